"""Placement: moving or turning a person changes no score and moves the prediction along; a whole clip in so many frames."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from symgnn.config import load_preset
from symgnn.data import Changes, ClipRecord, WindowSampler, write_store
from symgnn.data.windows import node_frames
from symgnn.errors import InputError
from symgnn.models import SymGNN
from symgnn.models.placement import Placement
from symgnn.skeleton import load_layout

LAYOUT = load_layout("kinect20")
MARK = LAYOUT.landmarks


def motion(batch: int = 3, frames: int = 6, seed: int = 0) -> torch.Tensor:
    return torch.randn(batch, frames, 20, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def model(placement: str, **changes) -> SymGNN:
    torch.manual_seed(0)
    config = replace(load_preset("own").model, width=0.1, bone=True, placement=placement, dropout=0.0, **changes)
    network = SymGNN(config, LAYOUT, observed=6, channels=3, classes=4).double().eval()
    for name, parameter in network.named_parameters():
        if "displace.2" in name:  # an untrained head predicts that nobody moves, wherever they are
            torch.nn.init.normal_(parameter, std=0.1)
    return network


def test_body_axes_by_scipy():
    """Back to z, shoulders to x, root at the origin, as a rotation found another way."""
    observed = motion()
    placed = Placement("body", LAYOUT, "xyz")(observed)
    found = placed.apply(observed)
    for clip, turned in zip(observed.numpy(), found.numpy(), strict=True):
        pelvis, spine = clip[0, MARK["pelvis"]], clip[0, MARK["spine"]]
        across = clip[0, MARK["left shoulder"]] - clip[0, MARK["right shoulder"]]
        back = spine - pelvis
        square = across - back * (across @ back) / (back @ back)
        axes = np.stack([square / np.linalg.norm(square), back / np.linalg.norm(back)])
        rotation = Rotation.align_vectors(np.array([[1, 0, 0], [0, 0, 1]]), axes)[0]
        np.testing.assert_allclose(turned, (clip - spine) @ rotation.as_matrix().T, atol=1e-9)
    torch.testing.assert_close(placed.undo(found), observed)


@pytest.mark.parametrize("kind", ["centre", "body"])
def test_moving_a_person_moves_the_prediction(kind: str):
    network, observed = model(kind), motion()
    shift = torch.tensor([3.0, -2.0, 7.0], dtype=torch.float64)
    here, there = network(observed, 4), network(observed + shift, 4)
    torch.testing.assert_close(there.logits, here.logits)
    torch.testing.assert_close(there.future, here.future + shift)


def test_turning_a_person_turns_the_prediction():
    network, observed = model("body"), motion()
    turn = torch.from_numpy(Rotation.from_euler("xyz", [0.4, -1.0, 2.0]).as_matrix())
    here, there = network(observed, 4), network(observed @ turn.T, 4)
    torch.testing.assert_close(there.logits, here.logits)
    torch.testing.assert_close(there.future, here.future @ turn.T)


def test_without_placement_place_matters():
    network, observed = model("none"), motion()
    assert (network(observed + 3, 4).logits - network(observed, 4).logits).abs().max() > 1e-3


def test_missing_root_is_found_by_its_neighbours_in_time():
    """The first frame's root is missing: the nearest frame's is taken; other joints stay missing where they were."""
    observed = motion()
    root = LAYOUT.joints.index("HipCenter")
    gap = observed.clone()
    gap[:, 0, root] = float("nan")
    network = model("centre")
    placed, way = network.place(gap)
    assert way.origin is not None
    torch.testing.assert_close(way.origin[:, 0, 0], observed[:, 1, root])
    assert torch.equal(placed.isnan(), gap.isnan())
    output = network(gap, 4)
    assert output.future is not None and bool(output.future.isfinite().all())


def test_an_image_keeps_its_confidence():
    observed = motion().abs()
    placed = Placement("centre", load_layout("openpose18"), "xyc")(observed[:, :, :18]).apply(observed[:, :, :18])
    torch.testing.assert_close(placed[..., 2], observed[:, :, :18, 2])
    assert bool((placed[:, 0, 1, :2] == 0).all()), "the neck is the root"


@pytest.mark.parametrize(
    ("kind", "layout", "space", "message"),
    [
        ("centre", "cmu", "expmap", "rotations"),
        ("body", "openpose18", "xyc", "cannot be turned"),
        ("body", "coco17", "xyz", "layout coco17 has no pelvis"),
    ],
)
def test_placements_that_do_not_fit(kind, layout, space, message: str):
    with pytest.raises(InputError, match=message):
        Placement(kind, load_layout(layout), space)


def test_a_body_without_extent_is_left_as_it_is():
    point = torch.ones(1, 4, 20, 3, dtype=torch.float64)
    assert torch.equal(Placement("body", LAYOUT, "xyz")(point).apply(point), torch.zeros_like(point))


# Whole clips and random changes


def line(length: int) -> torch.Tensor:
    """A clip whose numbers are its rows' own."""
    return torch.arange(length, dtype=torch.float32)[:, None, None].expand(length, 2, 3)


def sampler(lengths: tuple[int, ...], **settings) -> WindowSampler:
    frames = torch.cat([line(length) + 100 * number for number, length in enumerate(lengths)])
    many = torch.tensor(lengths)
    settings = {"observed": 4, "future": 1, "sampling": "whole", **settings}
    return WindowSampler(frames, many.cumsum(0) - many, many, torch.arange(len(lengths)), **settings)


def test_whole_clips_by_hand():
    windows = sampler((5, 9, 1)).spread(7)
    found = torch.cat((windows.observed, windows.future), dim=1)[..., 0, 0]
    assert found.tolist() == [[0, 1, 2, 3, 4], [100, 102, 104, 106, 108], [200] * 5]
    assert windows.clip.tolist() == [0, 1, 2]


def test_cropped_clips_stay_inside():
    """Evenly spaced, at least the part that is kept, from the first to the last frame over many draws."""
    windows = sampler((21,), changes=Changes(crop=0.5)).sample(2000, torch.Generator().manual_seed(0))
    found = torch.cat((windows.observed, windows.future), dim=1)[..., 0, 0]
    steps = found.diff(dim=1)
    assert bool(((steps - steps[:, :1]).abs() < 1e-4).all())
    length = found[:, -1] - found[:, 0]
    assert 10 - 1e-4 <= length.min() < 10.1 and 19.9 < length.max() <= 20
    assert 0 <= found.min() < 0.1 and 19.9 < found.max() <= 20


def test_turned_and_scaled():
    """Every frame of a window by one angle and factor, about the vertical: heights scale, distances from the axis too."""
    frames = torch.randn(30, 3, 3, generator=torch.Generator().manual_seed(1))
    frames[4, 1] = float("nan")
    settings = {"observed": 20, "future": 10, "changes": Changes(rotation=90.0, scale=0.25), "up": 1}
    windows = WindowSampler(frames, torch.tensor([0]), torch.tensor([30]), torch.tensor([0]), **settings)
    drawn = windows.sample(500, torch.Generator().manual_seed(2))
    found = torch.cat((drawn.observed, drawn.future), dim=1)
    assert torch.equal(found.isnan(), frames.isnan().expand_as(found))
    factor = (found[:, 0, 0, 1] / frames[0, 0, 1])[:, None, None]
    assert 0.75 <= factor.min() < 0.76 and 1.24 < factor.max() <= 1.25
    torch.testing.assert_close(found[..., 1], frames[..., 1] * factor, equal_nan=True)
    flat, before = (
        torch.view_as_complex(found[..., [2, 0]].contiguous()),
        torch.view_as_complex(frames[:, :, [2, 0]].contiguous()),
    )
    turn = (flat / before)[:, 0, 0]
    angle = turn.angle().rad2deg()
    assert -90 <= angle.min() < -88 and 88 < angle.max() <= 90
    torch.testing.assert_close(flat, before * turn[:, None, None], equal_nan=True, atol=1e-4, rtol=1e-4)


def test_dropped_joints():
    windows = sampler((9,), changes=Changes(joint_dropping=0.25)).sample(4000, torch.Generator().manual_seed(3))
    gone = windows.observed.isnan()
    assert torch.equal(gone, gone[:, :1, :, :1].expand_as(gone)), "all along and in every channel"
    assert gone[:, 0, :, 0].float().mean().item() == pytest.approx(0.25, abs=0.02)
    assert not windows.future.isnan().any()


def test_jitter():
    """What is seen is the truth and noise of the given size, of a size of its own in each window; what comes is the truth."""
    frames = torch.randn(9, 4, 3, generator=torch.Generator().manual_seed(1))
    frames[2, 1] = math.nan
    one = (torch.tensor([0]), torch.tensor([9]), torch.tensor([0]))
    windows = WindowSampler(frames, *one, observed=6, future=3, changes=Changes(jitter=0.2))
    drawn = windows.sample(4000, torch.Generator().manual_seed(2))
    assert torch.equal(drawn.future, frames[6:].expand_as(drawn.future))
    noise = drawn.observed - frames[:6]
    assert torch.equal(noise.isnan(), frames[:6].isnan().expand_as(noise))
    sizes = noise.flatten(1).square().nanmean(dim=1).sqrt()
    # 66 numbers tell a window's σ to some 9 %; evenly spread up to 0.2 it has a mean of 0.1 and quartiles of 0.05 and 0.15.
    assert sizes.mean().item() == pytest.approx(0.1, rel=0.03) and sizes.max() < 0.27
    quartiles = sizes.quantile(torch.tensor([0.25, 0.75])).tolist()
    assert quartiles == pytest.approx([0.05, 0.15], rel=0.06)
    # One draw a number: neither joints, nor frames, nor coordinates, nor windows share theirs.
    alike = (noise / sizes[:, None, None, None]).nan_to_num(0.0)
    for axis in range(4):
        assert (alike * alike.roll(1, axis)).mean().abs() < 0.03
    assert (noise / sizes[:, None, None, None]).nanmean().abs() < 0.01


def test_confidence_has_no_jitter(tmp_path):
    layout = load_layout("openpose18")
    frames = np.random.default_rng(0).random((6, 18, 3))
    store = write_store(tmp_path / "s", [(ClipRecord(recording="a"), frames)], layout=layout, space="xyc", fps=25.0)
    changes = Changes(jitter=0.1)
    seen = WindowSampler.from_store(store, (0,), observed=4, future=2, changes=changes).sample(3, torch.Generator()).observed
    truth = torch.from_numpy(node_frames(store, (0,)))[:4].expand_as(seen)
    assert torch.equal(seen[..., 2], truth[..., 2]) and not bool((seen[..., :2] == truth[..., :2]).any())


def test_confidence_is_not_predicted(tmp_path):
    layout = load_layout("openpose18")
    frames = np.random.default_rng(0).random((12, 18, 3))
    store = write_store(tmp_path / "s", [(ClipRecord(recording="a"), frames)], layout=layout, space="xyc", fps=25.0)
    batch = WindowSampler.from_store(store, (0,), observed=4, future=2).sample(3, torch.Generator().manual_seed(0))
    assert bool(batch.future[..., 2].isnan().all()) and not batch.future[..., :2].isnan().any()
    assert not batch.observed.isnan().any()


@pytest.mark.parametrize("changes", [Changes(rotation=5.0), Changes(scale=0.1)])
def test_rotations_are_neither_turned_nor_scaled(changes: Changes, tmp_path):
    layout = load_layout("cmu")
    clips = [(ClipRecord(recording="a"), np.zeros((12, 39, 3)))]
    store = write_store(tmp_path / "s", clips, layout=layout, space="expmap", fps=120.0)
    with pytest.raises(InputError, match="must be 0"):
        WindowSampler.from_store(store, (0,), observed=4, future=2, changes=changes)
