"""Figures show what the arrays say: coordinates, links, counts and curves are read back from the drawings."""

import io
import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from symgnn.errors import InputError
from symgnn.skeleton import Layout, forward_kinematics, layout_from_dict, load_layout
from symgnn.viz import (
    Body,
    Chart,
    Picture,
    View,
    animate,
    below,
    beside,
    body_of,
    chart_picture,
    confusion_table,
    links_picture,
    observed_panels,
    positions,
    prediction_panels,
    project,
    read_metrics,
    scatter_picture,
    several,
    strongest_links,
    titled,
    view_of,
)
from symgnn.viz.body import rest_pose, spread
from symgnn.viz.charts import MOST_POINTS, nice_ticks
from symgnn.viz.svg import DRAWING

FRONT = View(right=(1.0, 0.0, 0.0), up=(0.0, 1.0, 0.0), towards=(0.0, 0.0, 1.0))


def stick(up: str = "y") -> Layout:
    """A body of five joints: the left is at +x."""
    return layout_from_dict(
        {
            "name": "stick",
            "joints": ["Hips", "Head", "LeftHand", "RightHand", "Tail"],
            "bones": [["Hips", "Head"], ["Head", "LeftHand"], ["Head", "RightHand"], ["Hips", "Tail"]],
            "parts": {"all": ["Hips", "Head", "LeftHand", "RightHand", "Tail"]},
            "up": up,
        }
    )


POSE = np.array([[0, 1, 0], [0, 2, 0], [0.5, 1.5, 0.1], [-0.7, 1.2, 0.3], [0, 0, -0.2]], np.float32)


def segments(svg: str, kind: str) -> np.ndarray:
    """Ends of every line of the paths of one class, (lines, 2, 2), near ones before far ones."""
    lines = [
        line
        for far in ("", " far")
        for path in re.findall(rf'<path class="{kind} bones{far}" d="([^"]+)"', svg)
        for line in path.split("M")[1:]
    ]
    return np.array([[[float(value) for value in end.split()] for end in line.split("L")] for line in lines])


def fit(drawn: np.ndarray, true: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Scale and shift of drawn = scale * true + shift for each of two coordinates, and the largest deviation."""
    scales, shifts, worst = [], [], 0.0
    for axis in range(2):
        design = np.stack([true[:, axis], np.ones(len(true))], axis=1)
        (scale, shift), *_ = np.linalg.lstsq(design, drawn[:, axis], rcond=None)
        worst = max(worst, float(np.abs(design @ [scale, shift] - drawn[:, axis]).max()))
        scales.append(scale)
        shifts.append(shift)
    return np.array(scales), np.array(shifts), worst


# --- bodies -------------------------------------------------------------------------------------------------------------


def test_the_body_of_positions_is_the_skeleton_graph_and_that_of_rotations_the_whole_tree():
    layout = load_layout("cmu")
    nodes, joints = body_of(layout, "xyz"), body_of(layout, "expmap")
    assert nodes.names == layout.node_names and set(nodes.bones) == set(layout.edges)
    assert joints.names == layout.joints
    assert {(parent, child) for parent, child in joints.bones} == {
        (parent, joint) for joint, parent in enumerate(layout.parents) if parent >= 0
    }
    for body in (nodes, joints):
        assert [body.names[point] for point in body.nodes] == list(layout.node_names)
        placed = {body.bones[0][0]}
        for parent, child in body.bones:
            assert parent in placed
            placed.add(child)
    assert nodes.sides[nodes.names.index("LeftArm")] == "left"
    assert nodes.sides[nodes.names.index("RThumb")] == "right"
    assert nodes.sides[nodes.names.index("LowerBack")] == "middle"
    assert joints.names[joints.pairs[0][0]] == "LHipJoint"


@pytest.mark.parametrize("name", ["cmu", "h36m", "ntu25"])
def test_left_and_right_of_every_built_in_layout_are_told_apart(name: str):
    layout = load_layout(name)
    body = body_of(layout, "xyz")
    for point, other in enumerate(layout.node_mirror):
        expected = {"left": "right", "right": "left", "middle": "middle"}[body.sides[point]]
        assert body.sides[other] == expected
        assert (body.sides[point] == "middle") == (point == other)
    assert body.heads


def test_rotations_are_placed_by_hand_computed_kinematics():
    # A quarter turn about z at A. As row vectors x R with R = [[0 -1 0] [1 0 0] [0 0 1]]: (1, 0, 0) becomes (0, -1, 0).
    layout = layout_from_dict(
        {
            "name": "arm",
            "joints": ["Root", "A", "B", "C"],
            "bones": [["Root", "A", "B", "C"]],
            "nodes": ["A", "B"],
            "parts": {"all": ["A", "B"]},
            "offsets": {"Root": [0, 0, 0], "A": [0, 2, 0], "B": [1, 0, 0], "C": [1, 0, 0]},
        }
    )
    mean = np.zeros((5, 3), np.float32)
    mean[:2] = 7.0  # translation and root rotation: not drawn
    motion = np.array([[[0, 0, np.pi / 2], [0, 0, 0]], [[0, 0, 0], [0, 0, np.pi / 2]], [[np.nan] * 3, [0, 0, 0]]], np.float32)
    expected = [
        [[0, 0, 0], [0, 2, 0], [0, 1, 0], [0, 0, 0]],
        [[0, 0, 0], [0, 2, 0], [1, 2, 0], [1, 1, 0]],
        [[0, 0, 0], [0, 2, 0], [1, 2, 0], [2, 2, 0]],  # a missing joint takes the mean, here no rotation
    ]
    assert np.allclose(positions(motion, layout, "expmap", mean), expected, atol=1e-6)
    before = motion.copy()
    positions(motion, layout, "expmap", mean)
    assert np.array_equal(motion, before, equal_nan=True) and (mean[:2] == 7.0).all()


def test_positions_are_themselves_and_those_of_an_image_flat():
    motion = np.random.default_rng(0).normal(size=(4, 5, 3)).astype(np.float32)
    assert np.array_equal(positions(motion, stick(), "xyz"), motion)
    image = positions(motion, stick(), "xyc")
    assert np.array_equal(image[..., :2], motion[..., :2]) and (image[..., 2] == 0).all()
    with pytest.raises(InputError, match="no offsets"):
        positions(motion, stick(), "expmap", np.zeros((6, 3), np.float32))


@pytest.mark.parametrize("angle", [0.0, 40.0, 90.0, 200.0])
@pytest.mark.parametrize("up", ["y", "-y", "z"])
def test_the_view_follows_the_body_and_not_the_room(angle: float, up: str):
    """Whichever way the body faces, in whichever axes, the picture is one: upright, from the front its left at the right."""
    swap = {"y": np.eye(3), "-y": np.diag([-1.0, -1.0, 1.0]), "z": np.array([[0.0, 0, 1], [1, 0, 0], [0, 1, 0]])}[up]
    c, s = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    turn = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
    pose = (POSE @ turn.T @ swap.T).astype(np.float32)
    body = body_of(stick(up), "xyz")
    flat = project(pose, view_of(body, pose, azimuth=0.0))
    # Hands: (1.2, 0.3) apart in x and height, -0.2 in depth; the body's left is along (1.2, -0.2) in the ground plane.
    left = np.array([1.2, 0.0, -0.2]) / np.hypot(1.2, 0.2)
    assert np.allclose(flat[:, 0], POSE @ left, atol=1e-5)
    assert np.allclose(flat[:, 1], POSE[:, 1], atol=1e-5)
    side = project(pose, view_of(body, pose, azimuth=90.0))
    front = np.cross(left, [0, 1, 0])
    assert np.allclose(side[:, 0], -(POSE @ front), atol=1e-5)  # seen from its left, the body looks to the left


def test_a_view_is_found_without_left_and_right_and_with_missing_joints():
    body = body_of(stick(), "xyz")
    pose = POSE.copy()
    pose[2] = np.nan
    view = view_of(body, pose, azimuth=0.0)
    assert np.allclose([view.right, view.up, view.towards], np.eye(3))
    view = view_of(body, np.full_like(POSE, np.nan), azimuth=0.0, elevation=30.0)
    assert np.allclose(
        np.array([view.right, view.up, view.towards]) @ np.array([view.right, view.up, view.towards]).T, np.eye(3)
    )
    assert np.isclose(view.towards[1], 0.5)


def test_the_cmu_rest_pose_stands_upright_with_the_left_at_x():
    layout = load_layout("cmu")
    body = body_of(layout, "xyz")
    pose = rest_pose(layout, "xyz")
    assert pose is not None
    place = dict(zip(body.names, pose, strict=True))
    assert place["Head"][1] > place["Spine"][1] > place["LeftLeg"][1] > place["LeftFoot"][1]
    assert place["LeftHand"][0] > 0 > place["RightHand"][0]
    assert np.allclose(view_of(body, pose, azimuth=0.0).right, [1, 0, 0], atol=0.05)


def test_spread_moves_only_what_shares_a_place():
    layout = load_layout("cmu")
    body = body_of(layout, "xyz")
    pose = rest_pose(layout, "xyz")
    assert pose is not None
    flat = project(pose, FRONT)
    apart = spread(flat, body)
    least = 0.045 * np.ptp(flat[:, 1])
    for parent, child in body.bones:
        before, after = flat[child] - flat[parent], apart[child] - apart[parent]
        if np.linalg.norm(before) < least:
            assert np.isclose(np.linalg.norm(after), least)
        else:
            assert np.allclose(before, after)
    distances = np.linalg.norm(apart[:, None] - apart[None], axis=2) + np.eye(len(apart)) * 100
    assert distances.min() > 0.5 * least


# --- panels -------------------------------------------------------------------------------------------------------------


def check_drawn(picture: Picture, kind: str, body: Body, pose: np.ndarray) -> tuple[float, np.ndarray]:
    drawn = segments(picture.content, kind)
    order = [bone for bone in body.bones if body.sides[bone[1]] != "right"]
    order += [bone for bone in body.bones if body.sides[bone[1]] == "right"]
    true = np.array([[pose[a, :2], pose[b, :2]] for a, b in order])
    assert drawn.shape == true.shape
    scales, shifts, worst = fit(drawn.reshape(-1, 2), true.reshape(-1, 2))
    assert worst < 0.11, "a tenth of a pixel is what a coordinate is written with"
    assert scales[0] > 0 and np.isclose(scales[0], -scales[1], rtol=0.01), "upright, and not stretched"
    assert (drawn >= 0).all() and (drawn[..., 0] <= picture.width).all() and (drawn[..., 1] <= picture.height).all()
    return float(scales[0]), shifts


def test_panels_draw_the_joints_where_they_are():
    body = body_of(stick(), "xyz")
    rng = np.random.default_rng(1)
    predicted = POSE + rng.normal(scale=0.1, size=(6, 5, 3)).astype(np.float32)
    true = POSE + rng.normal(scale=0.1, size=(6, 5, 3)).astype(np.float32)
    true[:, :, 0] += 5  # far along the ground: the panel grows wider
    panels = prediction_panels(body, POSE, predicted, {80: 2, 160: 4, 240: 6, 320: 8}, true=true, view=FRONT)
    assert len(panels) == 3, "320 ms lie beyond the prediction"
    scales = []
    for panel, label, frame in zip(panels, ("80 ms", "160 ms", "240 ms"), (1, 3, 5), strict=True):
        assert f">{label}</text>" in panel.content and label in panel.alt
        found = {
            kind: check_drawn(panel, kind, body, pose)
            for kind, pose in (("frozen", POSE), ("truth", true[frame]), ("guess", predicted[frame]))
        }
        shifts = np.array([shift for _, shift in found.values()])
        assert np.allclose(shifts, shifts[0], atol=0.6), "the bodies of a panel share one plane"
        scales += [scale for scale, _ in found.values()]
    assert np.allclose(scales, scales[0], rtol=0.01), "all panels share one scale"


def test_the_words_for_a_panel_say_how_far_apart_the_bodies_are():
    body = body_of(stick(), "xyz")
    true = POSE[None] + np.array([0.2, 0, 0], np.float32)
    (panel,) = prediction_panels(body, POSE, POSE[None], {40: 1}, true=true, view=FRONT)
    assert "10.0 % of the body's height" in panel.alt  # 0.2 of a height of 2


def test_observed_panels_are_evenly_chosen_and_end_now():
    body = body_of(stick(), "xyz")
    observed = np.repeat(POSE[None], 11, axis=0) + np.arange(11, dtype=np.float32)[:, None, None] * [0, 0.01, 0]
    panels = observed_panels(body, observed.astype(np.float32), 40.0, count=3, view=FRONT)
    labels = [re.search(r">([^<>]+)</text>", panel.content).group(1) for panel in panels]  # pyright: ignore[reportOptionalMemberAccess]
    assert labels == ["0.4 s ago", "0.2 s ago", "now"]
    heights = [segments(panel.content, "seen")[:, :, 1].min() for panel in panels]
    assert heights[0] > heights[1] > heights[2], "the body rises by a hundredth a frame"


def test_missing_joints_are_left_out():
    body = body_of(stick(), "xyz")
    pose = POSE.copy()
    pose[4] = np.nan
    (panel,) = prediction_panels(body, POSE, pose[None], {40: 1}, true=np.full((1, 5, 3), np.nan, np.float32), view=FRONT)
    assert len(segments(panel.content, "guess")) == 3 and len(segments(panel.content, "frozen")) == 4
    assert "truth" not in panel.content and "nan" not in panel.content


def test_panels_of_a_whole_clip_tell_its_own_time():
    body = body_of(stick(), "xyz")
    panels = observed_panels(body, np.repeat(POSE[None], 11, axis=0), 40.0, count=3, view=FRONT, whole=True)
    assert [re.search(r">([^<>]+)</text>", panel.content).group(1) for panel in panels] == ["0.0 s", "0.2 s", "0.4 s"]  # pyright: ignore[reportOptionalMemberAccess]


def test_the_view_is_taken_from_a_pose_that_is_seen():
    """The person is gone in the last frame, and turned about before: what is drawn is seen from its front all the same."""
    turned = POSE * np.array([-1, 1, -1], np.float32)
    motion = np.stack([POSE, turned, np.full_like(POSE, np.nan)])
    body = body_of(stick(), "xyz")
    panels = observed_panels(body, motion, 40.0, count=3)
    assert len(panels) == 2
    expected = observed_panels(body, motion[:2], 40.0, count=2, view=view_of(body, turned))
    assert segments(panels[1].content, "seen").tolist() == segments(expected[1].content, "seen").tolist()


# --- animations ---------------------------------------------------------------------------------------------------------


def pictures_of(content: bytes) -> tuple[np.ndarray, list[int], dict]:
    """Darkness (0 is paper) of each pixel, milliseconds of each picture, and what else the file says."""
    with Image.open(io.BytesIO(content)) as file:
        pictures, times = [], []
        for frame in range(getattr(file, "n_frames")):  # noqa: B009
            file.seek(frame)
            pictures.append(255 - np.asarray(file.convert("L")).astype(int))
            times.append(file.info["duration"])
        return np.stack(pictures), times, dict(file.info)


@pytest.mark.parametrize(
    ("frames", "rate", "pictures", "seconds"),
    [
        (25, 25, 25, 1.0),
        (30, 30, 30, 1.0),
        (240, 120, 60, 2.0),
        (61, 60, 31, 31 / 30),
        (7500, 25, 300, 300.0),
        (1, 25, 1, 0.04),
    ],
)
def test_an_animation_runs_in_real_time_and_is_bounded(frames: int, rate: int, pictures: int, seconds: float):
    motion = POSE + 0.001 * np.arange(frames, dtype=np.float32)[:, None, None] * np.array([1, 0, 0], np.float32)
    content, frame_ms = animate(body_of(stick(), "xyz"), motion, 1000 / rate, FRONT)
    drawn, times, about = pictures_of(content)
    assert len(drawn) == pictures and about["loop"] == 0
    assert sum(times) == pytest.approx(1000 * seconds, abs=5.1) and min(times) >= 30
    assert frame_ms == pytest.approx(1000 * seconds / pictures)
    assert drawn.shape[1] <= 360 and drawn.shape[2] <= 640


def test_an_animation_draws_the_bones_where_they_are():
    """By hand: 2 high and 1.2 + 1 wide is 304 pixels high (16 below, 40 above), 152 a unit, in a picture 366 wide."""
    motion = np.stack([POSE, POSE + np.array([1, 0, 0], np.float32)])
    content, _ = animate(body_of(stick(), "xyz"), motion, 40.0, FRONT)
    drawn, _, _ = pictures_of(content)
    assert drawn.shape == (2, 360, 366)

    def at(frame: int, x: float, y: float) -> int:
        return int(drawn[frame, round(360 - 16 - 152 * y), round(366 / 2 + 152 * (x - 0.4))])

    ink = 255 - (74 * 299 + 85 * 587 + 99 * 114) // 1000
    for frame in range(2):
        for x, y in POSE[[0, 1, 2, 4], :2].tolist():
            assert at(frame, x + frame, y) > 0.95 * ink
            assert at(1 - frame, x + frame, y) < 0.05 * ink, "nothing of the other frame is left over"
        assert at(frame, 0.25 + frame, 1.75) > 0.95 * ink, "the middle of the left arm"
        assert 0.4 * ink < at(frame, -0.7 + frame, 1.2) < 0.6 * ink, "the right hand is away from the eye"
        assert 0.4 * ink < at(frame, -0.35 + frame, 1.6) < 0.6 * ink
        assert at(frame, 0.11 + frame, 2.0) > 0.9 * ink, "the head is a ring of 0.055 of the height"
        for x, y in ((0.25, 0.5), (-0.3, 0.5), (0.05, 1.98)):
            assert at(frame, x + frame, y) == 0


def test_an_animation_leaves_out_what_is_missing():
    motion = np.stack([POSE, POSE])
    motion[1, 4] = np.nan
    drawn, _, _ = pictures_of(animate(body_of(stick(), "xyz"), motion, 40.0, FRONT)[0])
    middle = drawn.shape[2] // 2 + round(152 * 0.1)
    tail = slice(360 - 16 - 130, 360 - 16 + 2)
    assert (drawn[0, tail, middle] > 100).all() and (drawn[1, tail, middle] == 0).all()
    nobody = np.full((3, 5, 3), np.nan, np.float32)
    drawn, _, _ = pictures_of(animate(body_of(stick(), "xyz"), nobody, 40.0, FRONT)[0])
    assert len(drawn) == 3, "an empty scene with its time"


def test_several_persons_are_one_picture():
    body = body_of(stick(), "xyz")
    two = several(body, 2)
    motion = np.concatenate([POSE, POSE + np.array([2, 0, 0], np.float32)])[None]
    (panel,) = observed_panels(two, motion, 40.0, count=1, view=FRONT)
    (alone,) = observed_panels(body, motion[:, :5], 40.0, count=1, view=FRONT)
    lines, expected = segments(panel.content, "seen"), segments(alone.content, "seen")
    assert len(lines) == 2 * len(expected) and panel.content.count("<circle") == 2
    across = lines[..., 0].max() - lines[..., 0].min()
    assert across == pytest.approx(3.2 / 1.2 * (expected[..., 0].max() - expected[..., 0].min()), abs=0.3)
    drawn, _, _ = pictures_of(animate(two, motion, 40.0, FRONT)[0])
    assert drawn.shape[1:] == (360, round(3.2 * 152) + 32)


def test_pictures_beside_each_other_keep_their_content():
    whole = beside([Picture(10.0, 20.0, "<a/>", "one"), Picture(30.0, 5.0, "<b/>", "two")], "both", gap=4.0)
    assert (whole.width, whole.height) == (44, 20)
    assert '<g transform="translate(14 0)"><b/></g>' in whole.content
    file = Picture(3.0, 4.0, "", 'a "quoted" <word>').standalone()
    assert 'aria-label="a &quot;quoted&quot; &lt;word&gt;"' in file and "<title>" in file
    assert 'viewBox="-10 -10 23 24" width="23" height="24"' in file and '<rect x="-10" y="-10" width="23" height="24"' in file


def test_pictures_below_each_other_and_their_titles():
    whole = below([Picture(10.0, 20.0, "<a/>", "one"), Picture(30.0, 5.0, "<b/>", "two")], "both", gap=4.0)
    assert (whole.width, whole.height) == (30, 29)
    assert '<g transform="translate(0 24)"><b/></g>' in whole.content
    named = titled(Picture(10.0, 20.0, "<a/>", "one"), "a <name>")
    assert (named.width, named.height) == (56, 46) and ">a &lt;name&gt;</text>" in named.content
    assert '<g transform="translate(0 26)"><a/></g>' in named.content


def test_a_printed_picture_has_its_colours_written_out():
    """Programs without variables in styles, such as Inkscape, would draw it black."""
    picture = Picture(3.0, 4.0, '<path class="truth"/>', "one")
    assert "var(--truth)" in picture.standalone() and "#5cb0ff" in picture.standalone()
    printed = picture.standalone(printed=True)
    assert "var(" not in printed and "svg .truth { stroke: #1769c2; }" in printed and "#5cb0ff" not in printed


# --- links --------------------------------------------------------------------------------------------------------------


@given(st.integers(2, 7), st.integers(1, 12), st.integers(0, 1000))
def test_the_links_shown_are_the_largest_off_the_diagonal(size: int, count: int, seed: int):
    actional = np.random.default_rng(seed).random((size, size))
    entries = sorted(((actional[i, j], i, j) for i in range(size) for j in range(size) if i != j), reverse=True)[:count]
    assert [(link.weight, link.to, link.source) for link in strongest_links(actional, count)] == entries


def test_arrows_run_from_the_joint_looked_at_to_the_joint_that_looks():
    body = body_of(stick(), "xyz")
    actional = np.eye(5)
    actional[2, 4], actional[0, 3] = 0.4, 0.2  # LeftHand looks at Tail, Hips at RightHand
    links = strongest_links(actional, 2)
    picture = links_picture(body, POSE[:, :2], links, "walking")
    circles = {
        name: np.array([float(x), float(y)])
        for x, y, name in re.findall(
            r'<circle class="joint" cx="([\d.]+)" cy="([\d.]+)" r="[\d.]+"><title>(\w+)<', picture.content
        )
    }
    assert set(circles) == set(body.names)
    _, _, worst = fit(np.array([circles[name] for name in body.names]), POSE[:, :2])
    assert worst < 0.11
    arrows = re.findall(
        r'stroke-width="([\d.]+)" d="M([\d. ]+)Q[\d. -]+"/><polygon class="tip" points="([\d.]+),([\d.]+)', picture.content
    )
    assert len(arrows) == 2
    for (_, start, *tip), source, to in zip(arrows, ("RightHand", "Tail"), ("Hips", "LeftHand"), strict=True):
        assert np.allclose([float(value) for value in start.split()], circles[source], atol=0.11)
        assert np.linalg.norm(np.array(tip, float) - circles[to]) < 5
    assert float(arrows[0][0]) < float(arrows[1][0]), "the stronger link is wider, and drawn last"
    assert "Tail to LeftHand, RightHand to Hips" in picture.alt and "walking" in picture.alt


# --- charts -------------------------------------------------------------------------------------------------------------


def test_a_curve_passes_through_its_values():
    x, y = [0.0, 10.0, 30.0, 70.0], [3.0, -1.0, 2.0, 0.5]
    picture = chart_picture(Chart("Loss", "", "step", {"training": (x, y)}, dots=True))
    path = re.search(r'<path class="curve one" d="M([^"]+)"', picture.content)
    assert path is not None
    points = np.array([[float(value) for value in point.split()] for point in path.group(1).split("L")])
    scales, _, worst = fit(points, np.array([x, y]).T)
    assert worst < 0.06 and scales[0] > 0 > scales[1]
    # The grid line labelled 2 is where the value 2 is.
    label = re.search(r'y="([\d.]+)"[^>]*>2</text>', picture.content)
    assert label is not None and np.isclose(float(label.group(1)) - 4, points[2, 1], atol=0.11)
    assert picture.content.count("<circle") == 4
    assert "training from 3 to 0.5" in picture.alt


def test_many_values_are_averaged_and_infinite_ones_left_out():
    rng = np.random.default_rng(0)
    steps = np.arange(1000, dtype=float)
    values = rng.random(1000)
    values[7] = np.nan
    picture = chart_picture(Chart("Loss", "", "step", {"training": (steps.tolist(), values.tolist())}))
    path = re.search(r'<path class="curve one" d="M([^"]+)"', picture.content)
    assert path is not None
    drawn = path.group(1).split("L")
    assert len(drawn) == MOST_POINTS and "nan" not in picture.content
    first = values[:7].sum() / 7 if 999 // MOST_POINTS == 7 else np.nanmean(values[:7])
    assert f"from {first:.3g}" in picture.alt


def test_an_empty_chart_says_so_and_a_constant_one_has_axes():
    assert "no values" in chart_picture(Chart("Loss", "", "step", {"training": ([], [])})).content
    flat = chart_picture(Chart("Loss", "", "step", {"training": ([5.0], [2.0])})).content
    assert "nan" not in flat and flat.count("<circle") == 1


def test_small_differences_do_not_look_large():
    """An axis of at least 0.02 leaves 0.0003 flat, as the same values on an axis of their own are not; labels have room."""
    line = ([0.0, 1.0, 2.0], [0.1952, 0.1955, 0.1953])
    drawn = {}
    for least in (0.0, 0.02):
        picture = chart_picture(Chart("ratio", "", "noise", {"ratio": line}, dots=True, least_span=least))
        heights = [float(value) for value in re.findall(r'<circle[^>]*cy="([\d.]+)"', picture.content)]
        labels = [
            (float(x), label) for x, label in re.findall(r'<text x="([\d.-]+)"[^>]*end"[^>]*>([\d.]+)</text>', picture.content)
        ]
        assert len(labels) >= 2 and all(x - 7 * len(label) >= 0 for x, label in labels)
        drawn[least] = max(heights) - min(heights)
        assert picture.alt == "ratio over noise: from 0.195 to 0.195"
    assert drawn[0.0] > 50 and drawn[0.02] < 5


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6))
def test_ticks_are_round_and_cover_the_values(low: float, span: float):
    high = low + span
    ticks = nice_ticks(low, high)
    steps = np.diff(ticks)
    assert 1 <= len(steps) <= 6
    assert np.allclose(steps, steps[0], rtol=1e-3)
    tolerance = 1e-6 * max(abs(low), abs(high), span)
    assert ticks[0] <= low + tolerance and ticks[-1] >= high - tolerance
    assert re.match(r"[125]\.?0*e|(1\.9|4\.9|9\.9)9*\d*e", f"{steps[0]:.3e}") or span < 1e-9 * abs(low)


def test_metrics_are_read_by_column(tmp_path: Path):
    path = tmp_path / "metrics.csv"
    path.write_text("step,epoch,l1,validation_l1\n0,0,1.5,\n10,0,1.25,2.0\n20,1,,\n30,1,nan,1.0\n")
    lines = read_metrics(path)
    assert list(lines) == ["l1", "validation_l1"]
    assert lines["l1"][0] == [0, 10, 30] and lines["l1"][1][:2] == [1.5, 1.25]
    assert lines["validation_l1"] == ([10, 30], [2.0, 1.0])
    path.write_text("step,l1\n0,1\n10,many\n")
    with pytest.raises(InputError, match=r"line 3: l1: found 'many', expected a number"):
        read_metrics(path)
    path.write_text("epoch,l1\n0,1\n")
    with pytest.raises(InputError, match=r"expected a column named step, found epoch, l1"):
        read_metrics(path)
    with pytest.raises(InputError, match="cannot be read"):
        read_metrics(tmp_path / "none.csv")


# --- confusion ----------------------------------------------------------------------------------------------------------


class Cells(HTMLParser):
    """Text of every cell of every row, and the shade of each."""

    def __init__(self, html: str):
        super().__init__()
        self.rows: list[list[str]] = []
        self.shades: list[float] = []
        self._inside = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
            self._inside = True
            style = dict(attrs).get("style") or ""
            self.shades += [float(part) for part in re.findall(r"--part:([\d.]+)", style)]

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self._inside = False

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.rows[-1][-1] += data


def test_the_confusion_table_shows_the_counts():
    counts = np.array([[7, 1, 0], [0, 4, 4], [0, 0, 0]])
    cells = Cells(confusion_table(counts, ("walk_slow", "run", "a<b")))
    assert cells.rows[0][1:] == ["walk slow", "run", "a<b", "right"]
    assert [row[0] for row in cells.rows[1:]] == ["walk slow", "run", "a<b"]
    shown = [[0 if cell == "·" else int(cell) for cell in row[1:-1]] for row in cells.rows[1:]]
    assert shown == counts.tolist()
    assert [row[-1] for row in cells.rows[1:]] == ["87.5 %", "50.0 %", "no clips"]
    assert cells.shades == [0.875, 0.125, 0, 0, 0.5, 0.5, 0, 0, 0]


def test_expmap_bodies_of_h36m_are_placed_as_forward_kinematics_does():
    import torch

    layout = load_layout("h36m")
    rng = np.random.default_rng(0)
    mean = rng.normal(scale=0.3, size=(33, 3)).astype(np.float32)
    motion = rng.normal(scale=0.3, size=(2, layout.num_nodes, 3)).astype(np.float32)
    rows = np.repeat(mean[None], 2, axis=0)
    for node, joint in enumerate(layout.nodes):
        rows[:, joint + 1] = motion[:, node]
    rows[:, :2] = 0
    expected = forward_kinematics(torch.from_numpy(rows), layout).numpy()
    assert np.allclose(positions(motion, layout, "expmap", mean), expected, atol=1e-3)


def test_eight_lines_have_eight_colours_and_a_ninth_is_refused():
    lines = {f"line {place}": ([0.0, 1.0], [float(place), 1.0]) for place in range(8)}
    content = chart_picture(Chart("Many", "", "step", lines)).content
    colours = re.findall(r'<path class="curve (\w+)"', content)
    assert len(set(colours)) == 8
    for colour in colours:
        assert f"svg .{colour} {{ color:" in DRAWING
    with pytest.raises(ValueError, match="9 lines, and 8 colours"):
        chart_picture(Chart("Many", "", "step", {**lines, "ninth": ([0.0], [0.0])}))


def test_scattered_points_keep_their_places_and_classes():
    """A triangle of three classes: equal scales, upwards is up, a mark each and one in the legend."""
    groups = {
        "low left": np.array([[0.0, 0.0]]),
        "low right": np.array([[4.0, 0.0]]),
        "high": np.array([[0.0, 3.0], [4.0, 3.0]]),
    }
    picture = scatter_picture(groups, "Points", width=350.0, height=600.0)
    marks = re.findall(r'<path class="mark (\w+)" d="M([\d.]+) ([\d.]+)([^"]*)"', picture.content)
    assert Counter(colour for colour, *_ in marks) == {"one": 2, "two": 2, "three": 3}
    centres = []
    for _, x, y, rest in marks:
        pairs = [(float(a), float(b)) for a, b in re.findall(r"L([\d.]+) ([\d.]+)", rest)] or [
            (float(a), float(b)) for a, b in re.findall(r"1 1 ([\d.]+) ([\d.]+)", rest)
        ]
        corners = np.array([(float(x), float(y)), *pairs])
        centres.append((corners.max(axis=0) + corners.min(axis=0)) / 2)
    (left, _), (right, _), (high, other, _) = centres[0:2], centres[2:4], centres[4:7]
    side, rise = right - left, left - high
    assert abs(side[1]) < 0.2 and abs(rise[0]) < 0.2
    assert side[0] / 4 == pytest.approx(rise[1] / 3, rel=0.01)
    np.testing.assert_allclose(other, high + side, atol=0.2)
    assert 0 < high[0] < right[0] < 200 and 0 < high[1] < left[1] < picture.height < 600
    assert "low left (1), low right (1), high (2)" in picture.alt
    with pytest.raises(ValueError, match="no point"):
        scatter_picture({}, "Nothing")
    with pytest.raises(ValueError, match="41 classes, and 40 marks"):
        scatter_picture({str(place): np.zeros((1, 2)) for place in range(41)}, "Too many")


def test_marks_of_40_classes_differ():
    picture = scatter_picture({f"class {place}": np.array([[0.0, float(place)]]) for place in range(40)}, "Many")
    looks = []
    for colour, path in re.findall(r'<path class="mark (\w+)" d="([^"]+)"', picture.content):
        points = np.array([float(number) for number in re.findall(r"[\d.]+", path)][:6] if "A" not in path else [0.0] * 6)
        # Which way its first edge leads, and how many there are.
        looks.append((colour, "A" in path, path.count("L"), *np.sign(np.round(points[2:4] - points[:2], 1)).tolist()))
    assert set(Counter(looks).values()) == {2} and len(set(looks)) == 40
