import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from symgnn.errors import InputError
from symgnn.skeleton import Layout, forward_kinematics, layout_from_dict, load_layout

DATA = Path(__file__).parents[2] / "shared" / "data"
BVH = DATA / "cmu_bvh" / "14_12_head.bvh"
ROWS = DATA / "cmu_mocap" / "test" / "washwindow" / "washwindow_1.txt"

ARM = layout_from_dict(
    {
        "name": "arm",
        "joints": ["Shoulder", "Elbow", "Hand"],
        "bones": [["Shoulder", "Elbow", "Hand"]],
        "offsets": {"Shoulder": [0, 0, 0.5], "Elbow": [3, 0, 0], "Hand": [2, 0, 0]},
        "parts": {"all": ["Shoulder", "Elbow", "Hand"]},
    }
)


def random_rows(layout: Layout, *batch: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*batch, len(layout.joints) + 1, 3, generator=generator, dtype=torch.float64)


def test_three_joints_by_hand():
    """As row vectors a quarter turn about z takes x to -y, one about y takes x to z; a turn moves what hangs below."""
    quarter = math.pi / 2
    rows = torch.tensor(
        [
            [[10, 20, 30], [0, 0, 0], [0, 0, 0], [1, 2, 3]],  # the hand's own turn moves nothing
            [[0, 0, 0], [0, 0, quarter], [0, 0, 0], [0, 0, 0]],
            [[0, 0, 0], [0, 0, 0], [0, quarter, 0], [0, 0, 0]],
            [[0, 0, 0], [0, 0, quarter], [0, quarter, 0], [0, 0, 0]],  # elbow first, then shoulder: x to z, and z stays
            [[0, 0, 0], [0, quarter, 0], [0, 0, quarter], [0, 0, 0]],  # x to -y, and y stays
        ],
        dtype=torch.float64,
    )
    expected = [
        [[10, 20, 30.5], [13, 20, 30.5], [15, 20, 30.5]],
        [[0, 0, 0.5], [0, -3, 0.5], [0, -5, 0.5]],
        [[0, 0, 0.5], [3, 0, 0.5], [3, 0, 2.5]],
        [[0, 0, 0.5], [0, -3, 0.5], [0, -3, 2.5]],
        [[0, 0, 0.5], [0, 0, 3.5], [0, -2, 3.5]],
    ]
    np.testing.assert_allclose(forward_kinematics(rows, ARM).numpy(), expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize("name", ["cmu", "h36m"])
def test_against_loops(name):
    """x_j = offset_j G_parent + x_parent, G_j = R_j G_parent, joint by joint up to the root each time."""
    layout = load_layout(name)
    assert layout.offsets is not None
    rows = random_rows(layout, 2, 3)
    found = forward_kinematics(rows, layout)
    assert found.shape == (2, 3, len(layout.joints), 3)
    for row, places in zip(rows.flatten(0, 1).numpy(), found.flatten(0, 1).numpy(), strict=True):
        for joint in range(len(layout.joints)):
            place = np.array(layout.offsets[joint])
            above = layout.parents[joint]
            while above >= 0:
                place = place @ Rotation.from_rotvec(row[1 + above]).as_matrix() + np.array(layout.offsets[above])
                above = layout.parents[above]
            np.testing.assert_allclose(places[joint], place + row[0], rtol=0, atol=1e-9)


def test_rest_poses_stand_upright():
    """Without rotations y is up: head over hips over feet; H3.6M's arms are raised, CMU's are spread."""
    for name in ("cmu", "h36m"):
        layout = load_layout(name)
        assert layout.up == "y" and layout.offsets is not None
        rest = forward_kinematics(torch.zeros(len(layout.joints) + 1, 3), layout)
        at = dict(zip(layout.joints, rest.tolist(), strict=True))
        assert at["Hips"] == [0, 0, 0]
        assert at["Head"][1] > at["Spine1"][1] > 0 > at["LeftLeg"][1] > at["LeftFoot"][1]
        assert at["LeftUpLeg"][0] > 0 > at["RightUpLeg"][0]
        assert at["LeftToeBase"][2] > at["LeftFoot"][2]  # it faces z
    # by hand: 257.077681 + 233.383263 + .1 + 121.134938 + 115.002227
    assert at["HeadEnd"] == pytest.approx([0, 726.698109, 0])


@settings(max_examples=20)
@given(st.sampled_from(["cmu", "h36m"]), st.integers(0, 10**6))
def test_bones_keep_their_lengths(name, seed):
    layout = load_layout(name)
    places = forward_kinematics(random_rows(layout, 4, seed=seed), layout)
    offsets = torch.tensor(layout.offsets, dtype=torch.float64)
    for joint, parent in enumerate(layout.parents):
        if parent >= 0:
            length = (places[:, joint] - places[:, parent]).norm(dim=-1)
            torch.testing.assert_close(length, offsets[joint].norm().expand(4), rtol=1e-9, atol=1e-9)


def test_h36m_joints_that_coincide_and_that_stand_still():
    """The 3D protocol: six joints copy others; with the root at rest four never move."""
    layout = load_layout("h36m")
    rows = random_rows(layout, 50)
    rows[:, :2] = 0
    places = forward_kinematics(rows, layout)
    torch.testing.assert_close(places[:, [16, 20, 23, 24, 28, 31]], places[:, [13, 19, 22, 13, 27, 30]], rtol=0, atol=1e-9)
    still = [joint for joint in range(32) if places[:, joint].std(dim=0).max() < 1e-9]
    assert still == [0, 1, 6, 11]


@pytest.mark.parametrize("name", ["cmu", "h36m"])
def test_the_first_two_triples_move_the_body_as_a_whole(name):
    layout = load_layout(name)
    rows = random_rows(layout, 5)
    at_rest = rows.clone()
    at_rest[:, :2] = 0
    turn = torch.from_numpy(Rotation.from_rotvec(rows[:, 1].numpy()).as_matrix())
    moved = forward_kinematics(at_rest, layout) @ turn + rows[:, :1]
    torch.testing.assert_close(forward_kinematics(rows, layout), moved, rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", ["cmu", "h36m"])
def test_mirrored_rows_give_the_mirrored_body(name):
    """Positions change sign along the mirror axis, rotation vectors along the other two, left and right change places."""
    layout = load_layout(name)
    assert layout.offsets is not None
    axis, mirror = layout.mirror_axis, list(layout.mirror)
    flip = torch.ones(3, dtype=torch.float64)
    flip[axis] = -1
    # Real bodies are a little lopsided; an exactly symmetric one shows the rule.
    offsets = torch.tensor(layout.offsets, dtype=torch.float64)
    even = (offsets + flip * offsets[mirror]) / 2
    symmetric = dataclasses.replace(layout, offsets=tuple((x, y, z) for x, y, z in even.tolist()))

    rows = random_rows(layout, 6)
    mirrored = torch.cat((flip * rows[:, :1], -flip * rows[:, 1:][:, mirror]), dim=1)
    expected = flip * forward_kinematics(rows, symmetric)[:, mirror]
    torch.testing.assert_close(forward_kinematics(mirrored, symmetric), expected, rtol=0, atol=1e-9)


def test_joints_may_be_listed_in_any_order():
    layout = load_layout("cmu")
    assert layout.offsets is not None
    order = np.random.default_rng(0).permutation(len(layout.joints)).tolist()
    other = layout_from_dict(
        {
            "name": "shuffled",
            "joints": [layout.joints[joint] for joint in order],
            "root": "Hips",
            "bones": [
                [layout.joints[parent], layout.joints[joint]] for joint, parent in enumerate(layout.parents) if parent >= 0
            ],
            "offsets": {layout.joints[joint]: list(layout.offsets[joint]) for joint in order},
            "parts": {"all": list(layout.joints)},
        }
    )
    rows = random_rows(layout, 3)
    shuffled = torch.cat((rows[:, :1], rows[:, 1:][:, order]), dim=1)
    torch.testing.assert_close(forward_kinematics(shuffled, other), forward_kinematics(rows, layout)[:, order])


def test_a_body_without_offsets_is_refused():
    with pytest.raises(InputError) as error:
        forward_kinematics(torch.zeros(26, 3), load_layout("ntu25"))
    assert str(error.value) == "layout ntu25 has no offsets: joints cannot be placed from rotations; add the field offsets"


def test_rows_of_another_body_are_refused():
    with pytest.raises(InputError) as error:
        forward_kinematics(torch.zeros(7, 33, 3), load_layout("cmu"))
    assert str(error.value) == "layout cmu stores 39 triples (translation and joints), found 33"


# --- the public BVH release ---------------------------------------------------------------------------------------


@dataclasses.dataclass
class Bvh:
    """A BVH file as its format says: joints in order, and where each stands in each frame."""

    names: list[str]
    parents: list[int]
    offsets: list[tuple[float, float, float]]
    channels: list[list[str]]
    frames: np.ndarray

    @classmethod
    def read(cls, path: Path) -> "Bvh":
        lines = path.read_text().split("\n")
        found = cls([], [], [], [], np.empty(0))
        open_joints: list[int] = []
        for number, words in enumerate(line.split() for line in lines):
            match words:
                case ["ROOT" | "JOINT", name]:
                    found._add(name, open_joints)
                case ["End", "Site"]:
                    found._add("Site", open_joints)
                case ["OFFSET", x, y, z]:
                    found.offsets.append((float(x), float(y), float(z)))
                case ["CHANNELS", _, *channels]:
                    found.channels[-1] = channels
                case ["}"]:
                    open_joints.pop()
                case ["Frame", "Time:", _]:
                    found.frames = np.array([[float(x) for x in row.split()] for row in lines[number + 1 :] if row.strip()])
        return found

    def _add(self, name: str, open_joints: list[int]) -> None:
        self.parents.append(open_joints[-1] if open_joints else -1)
        open_joints.append(len(self.names))
        self.names.append(name)
        self.channels.append([])

    def positions(self, frame: np.ndarray, root_order: str) -> np.ndarray:
        """Column vectors: a point of a joint is parent · T(offset) · (the joint's channels in their order).

        The root's rotations are multiplied in ``root_order`` instead of the order of its channels.
        """
        values = iter(frame.tolist())
        world: list[np.ndarray] = []
        for joint, parent in enumerate(self.parents):
            local = np.eye(4)
            local[:3, 3] = self.offsets[joint]
            turns = {}
            for channel in self.channels[joint]:
                if channel.endswith("position"):
                    local["XYZ".index(channel[0]), 3] += next(values)
                else:
                    turns[channel[0]] = Rotation.from_euler(channel[0], next(values), degrees=True).as_matrix()
            for axis in root_order if parent < 0 else turns:
                local[:3, :3] = local[:3, :3] @ turns[axis]
            world.append(world[parent] @ local if parent >= 0 else local)
        return np.stack([matrix[:3, 3] for matrix in world])


@pytest.fixture(scope="module")
def trial() -> tuple[Bvh, torch.Tensor, Layout]:
    """Trial 14_12 as BVH, its rows in the benchmark, and the CMU layout with the bones of that subject."""
    for path in (BVH, ROWS):
        if not path.is_file():
            pytest.skip(f"{path} is not on this machine")
    bvh = Bvh.read(BVH)
    with ROWS.open() as lines:
        rows = [[float(x) for x in next(lines).split(",")] for _ in bvh.frames]
    layout = dataclasses.replace(load_layout("cmu"), offsets=tuple(bvh.offsets))
    return bvh, torch.tensor(rows, dtype=torch.float64).unflatten(1, (39, 3)), layout


def test_the_layout_is_the_tree_of_the_bvh_file(trial):
    bvh, _, layout = trial
    names = [name if name != "Site" else bvh.names[parent] + "End" for name, parent in zip(bvh.names, bvh.parents, strict=True)]
    assert names == list(layout.joints) and bvh.parents == list(layout.parents)
    assert bvh.frames.shape == (4, 6 + 3 * 30)


def test_positions_are_those_of_the_bvh_file(trial):
    """One rule for all joints, the benchmark's order of the root's rotations (Z X Y) included."""
    bvh, rows, layout = trial
    expected = np.stack([bvh.positions(frame, root_order="ZXY") for frame in bvh.frames])
    assert np.ptp(expected[1:], axis=0).max() > 0.01 and np.abs(expected[0] - expected[1]).max() > 1  # they move
    np.testing.assert_allclose(forward_kinematics(rows, layout).numpy(), expected, rtol=0, atol=1e-6)


def test_the_benchmark_misreads_the_roots_channels(trial):
    """The file says Z Y X: read so, the body stands elsewhere by the root's turn, and is the same body without it."""
    bvh, rows, layout = trial
    as_declared = np.stack([bvh.positions(frame, root_order="ZYX") for frame in bvh.frames])
    assert np.abs(forward_kinematics(rows, layout).numpy() - as_declared).max() > 0.05
    at_rest, frames = rows.clone(), bvh.frames.copy()
    at_rest[:, :2], frames[:, :6] = 0, 0
    expected = np.stack([bvh.positions(frame, root_order="ZYX") for frame in frames])
    np.testing.assert_allclose(forward_kinematics(at_rest, layout).numpy(), expected, rtol=0, atol=1e-6)
