"""A network that computes one frame a tick answers as the window that ends with this tick (reading 42)."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor

from symgnn.config import ModelConfig, load_preset
from symgnn.errors import InputError
from symgnn.models import ContinualSymGNN
from symgnn.models.continual import reach
from symgnn.nn import ContinualBlock, GraphTemporalBlock, JointGraphConvolution, Recent
from test_savings import trained_looking
from tiny import OBSERVED, make_model

LIVE = replace(load_preset("cmu-live").model, width=0.125)
TINY = {"kernels": (3, 3, 1), "padding": "none", "actional_in": "decoder"}


def answers(model: ContinualSymGNN, clip: Tensor, horizon: int = 3) -> list:
    """Feed a clip frame by frame; the answers from the first full window on."""
    state, found = model.start(), []
    for frame in clip:
        model.push(state, frame)
        if state.ticks >= model.network.observed:
            found.append(model.answer(state, horizon))
    return found


def same(one: Tensor | None, other: Tensor | None) -> None:
    assert (one is None) == (other is None)
    if one is not None and other is not None:
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5 * float(other.abs().max()))


@pytest.mark.parametrize(
    "config",
    [
        LIVE,
        replace(LIVE, bone=True),
        replace(LIVE, bone=True, width=1.0),
        replace(LIVE, scales="joint"),
        replace(LIVE, scales="part"),
        replace(LIVE, graphs="structural", actional_in="everywhere"),
        replace(LIVE, difference_orders=(0, 2)),
        replace(LIVE, recognition=False),
        replace(LIVE, look_back=20, bone=True),
        replace(LIVE, prediction=False, bone=True),
        replace(LIVE, strides=(2, 1, 2, 1), kernels=(3, 3, 3, 3), fuse_after=(3,)),
    ],
    ids=[
        *("joints", "dual", "full width", "only J", "only P", "only J-S", "two orders", "no recg", "look back", "no pred"),
        "other strides",
    ],
)
@torch.inference_mode()
def test_every_phase_agrees_with_the_window(config: ModelConfig) -> None:
    """20 ticks after the window is full: three strides of 2 have eight phases, and each has come twice."""
    folded = trained_looking(config).folded()
    clip = torch.randn(70, 26, 3).cumsum(dim=0) / 7
    found = answers(ContinualSymGNN(folded), clip)
    assert len(found) == 21
    for last, output in enumerate(found, start=50):
        window = folded(clip[None, last - 50 : last], 3)
        same(output.logits, window.logits)
        same(output.future, window.future)
        same(output.actional, window.actional)
    # A network that ignored what it is fed would agree too.
    moves = [(one.logits if one.logits is not None else one.future) for one in found]
    assert all((one - other).abs().max() > 3e-5 * other.abs().max() for one, other in pairwise(moves))


def test_long_streams_do_not_drift() -> None:
    """A thousand ticks later nothing of the beginning is left, in rings or in rounding."""
    folded = make_model(**TINY).float().eval().folded()
    model = ContinualSymGNN(folded)
    state = model.start()
    clip = torch.from_numpy(np.random.default_rng(0).normal(size=(1000, 5, 3))).float()
    for frame in clip:
        model.push(state, frame)
    same(model.answer(state, 4).logits, folded(clip[None, -OBSERVED:], 4).logits)


def test_streams_do_not_mix() -> None:
    model = ContinualSymGNN(make_model(**TINY).float().eval().folded())
    one, other = torch.randn(2, 12, 5, 3)
    alone = answers(model, one)[-1].logits
    states = model.start(), model.start()
    for frames in zip(one, other, strict=True):
        for state, frame in zip(states, frames, strict=True):
            model.push(state, frame)
    assert torch.equal(model.answer(states[0], 1).logits, alone)
    assert not torch.allclose(model.answer(states[1], 1).logits, alone)


def test_reach_is_what_features_depend_on() -> None:
    """The frame at the end of the reach changes the features of a window, the one before it does not: no padding is seen."""
    for config in (
        LIVE,
        replace(LIVE, kernels=(5, 5, 3, 3)),
        replace(LIVE, difference_orders=(0,)),
        replace(LIVE, scales="part"),
    ):
        network = trained_looking(config).double()
        observed = torch.randn(1, 50, 26, 3, dtype=torch.float64)
        far = reach(config, 50)
        plain = network.encode(observed)[0].hidden
        for frame, changes in ((50 - far, True), (50 - far - 1, False)):
            other = observed.clone()
            other[:, frame] += 1.0
            # Of order 2 the window's first frame is the exception: its difference is zero, whatever it was.
            assert (not torch.equal(network.encode(other)[0].hidden, plain)) == changes, (config.kernels, frame)


@torch.inference_mode()
def test_a_missing_joint_keeps_its_last_value() -> None:
    """In the stream and in the window alike; what comes after a gap does not change what was said in it."""
    folded = make_model(**TINY).float().eval().folded()
    clip = torch.randn(14, 5, 3)
    gaps = clip.clone()
    gaps[9:12, 2] = torch.nan
    held = clip.clone()
    held[9:12, 2] = clip[8, 2]
    found = answers(ContinualSymGNN(folded), gaps)
    for last, output in enumerate(found, start=OBSERVED):
        same(output.logits, folded(held[None, last - OBSERVED : last], 2).logits)
        same(output.logits, folded(gaps[None, last - OBSERVED : last], 2).logits) if last <= 9 + OBSERVED - 1 else None


def test_a_joint_never_seen_stands_at_its_mean() -> None:
    model = make_model(**TINY).float().eval()
    clip = torch.randn(OBSERVED, 5, 3)
    gone, standing = clip.clone(), clip.clone()
    gone[:, 3], standing[:, 3] = torch.nan, model.mean[3]
    continual = ContinualSymGNN(model.folded())
    assert torch.equal(answers(continual, gone)[0].logits, answers(continual, standing)[0].logits)


def test_too_few_frames_are_no_window() -> None:
    model = ContinualSymGNN(make_model(**TINY).float().eval().folded())
    state = model.start()
    model.push(state, torch.zeros(5, 3))
    with pytest.raises(ValueError, match="observes 8 frames, the stream has had 1"):
        model.answer(state, 1)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"padding": "same"}, "padding is same"),
        ({"joint": False}, "joint is false"),
        ({"actional_in": "everywhere"}, "actional_in is everywhere"),
        ({"placement": "centre"}, "placement is centre"),
        ({"kernels": (5, 3, 1)}, r"depend on 9 frames, its window has 8"),
    ],
)
def test_networks_that_start_anew_are_refused(fields: dict, message: str) -> None:
    model = make_model(**{**TINY, **fields}).float().eval().folded()
    with pytest.raises(InputError, match=message):
        ContinualSymGNN(model)


def test_kernels_that_do_not_fit_the_window_are_refused() -> None:
    with pytest.raises(InputError, match="need more than the 8 observed frames"):
        make_model(padding="none", kernels=(7, 5, 3))


def test_blocks_need_some_graph() -> None:
    with pytest.raises(ValueError, match="without which blocks have none"):
        ModelConfig(graphs="actional", actional_in="decoder")


def test_the_actional_graph_stays_in_the_decoder() -> None:
    """The blocks hold one weight a structural graph, the prediction head one more; the graph is inferred and shown."""
    network = make_model(**TINY)
    graphs = {name: len(module.weight) for name, module in network.named_modules() if isinstance(module, JointGraphConvolution)}
    assert graphs and all(count == (3 if ".prediction." in name else 2) for name, count in graphs.items())
    assert network.eval()(torch.randn(1, 8, 5, 3).double(), 1).actional is not None


def test_a_padded_block_is_refused() -> None:
    graph = JointGraphConvolution(2, 2, torch.eye(3)[None], None)
    block = GraphTemporalBlock(graph, 2, 2, 2, kernel=3, stride=1, dropout=0.0).eval()
    with pytest.raises(ValueError, match="pads its window"):
        ContinualBlock([block.folded()], 1)


def test_a_ring_reads_what_was_written_so_many_ticks_before() -> None:
    recent = Recent(taps=3, spacing=2)
    memory = recent.empty(torch.zeros(1, 1, 1))
    for tick in range(20):
        read = recent(memory, torch.full((1, 1, 1), float(tick + 1)), tick).flatten().tolist()
        assert read == [max(0.0, tick + 1 - back) for back in (4, 2, 0)]
