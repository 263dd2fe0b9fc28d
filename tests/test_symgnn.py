"""The whole model: what it learns about units, what it does with gaps, and that nodes have no order. Section 5."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from fitting import noise, permutation, relabel
from symgnn.data import node_frames, open_data
from symgnn.models import SymGNN
from symgnn.nn import fill_missing
from symgnn.skeleton import Layout, bones, layout_from_dict, load_layout
from symgnn.types import Output
from tiny import CLASSES, FUTURE, MODEL, OBSERVED, heads_of, layout, make_batch, make_model, networks_of

torch.set_num_threads(1)


def network(body: Layout | None = None, **model: object) -> SymGNN:
    return SymGNN(replace(MODEL, **model), body or layout(), observed=OBSERVED, channels=3, classes=len(CLASSES))


def answer(model: SymGNN, observed: Tensor, horizon: int = FUTURE) -> Output:
    with torch.no_grad():
        return model.eval()(observed, horizon)


# --- units --------------------------------------------------------------------------------------------------------------------


def recordings() -> list[Tensor]:
    """Three of them, with gaps, one coordinate that stands still, one that hardly moves and one that is never there."""
    found = []
    for number, frames in enumerate((20, 3, 11)):
        motion = 50 + 3 * noise(frames, 5, 3, seed=number)
        motion[noise(frames, 5, 3, seed=10 + number) > 1] = math.nan
        motion[:, 1, 2] = 7.0
        motion[:, 0, 1] = 50 + 2e-5 * noise(frames, seed=20 + number)
        motion[:, 3, 0] = math.nan
        found.append(motion)
    return found


def naive_statistics(rows: list[list[float]]) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each column over what is there; 1 for a deviation below 1e-4."""
    means, deviations = [], []
    for column in zip(*rows, strict=True):
        there = [value for value in column if not math.isnan(value)]
        mean = math.fsum(there) / len(there) if there else 0.0
        deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in there) / len(there)) if there else 0.0
        means.append(mean)
        deviations.append(deviation if deviation >= 1e-4 else 1.0)
    return means, deviations


def naive_bones(frame: Tensor) -> list[float]:
    """Child minus parent of every edge, one number after the other."""
    return [float(frame[child, c]) - float(frame[parent, c]) for parent, child in layout().edges for c in range(3)]


def test_statistics_of_joints_and_bones():
    """Over all recordings together, of each coordinate; a bone counts where both of its ends are there (reading 15)."""
    model = network().double()
    model.fit_normalisation(recordings())
    frames = [frame for motion in recordings() for frame in motion]
    for mean, scale, rows in (
        (model.mean, model.scale, [frame.flatten().tolist() for frame in frames]),
        (model.bone_mean, model.bone_scale, [naive_bones(frame) for frame in frames]),
    ):
        means, scales = naive_statistics(rows)
        assert mean.flatten().tolist() == pytest.approx(means, rel=1e-12, abs=1e-12)
        assert scale.flatten().tolist() == pytest.approx(scales, rel=1e-9)
    assert model.scale[1, 2] == model.scale[0, 1] == model.scale[3, 0] == 1
    assert model.mean[3, 0] == 0


def test_statistics_of_exponential_maps(shared_data: Path):
    """On the real data: the 26 nodes of the protocol, columns 9-20, 27-38, 42-59, 66-80, 84-86, 93-107, 111-113."""
    store = open_data(shared_data / "cmu_mocap", progress=False)
    train = store.select(split="train")
    model = network(store.layout)
    model.fit_normalisation([torch.from_numpy(node_frames(store, (index,))[1:]) for index in train])
    rows = np.concatenate([store.clip_frames(index)[1:].reshape(-1, 117) for index in train]).astype(np.float64)
    columns = [c for a, b in ((9, 20), (27, 38), (42, 59), (66, 80), (84, 86), (93, 107), (111, 113)) for c in range(a, b + 1)]
    np.testing.assert_allclose(model.mean.flatten(), rows.mean(axis=0)[columns], rtol=1e-4, atol=1e-6)
    deviation = rows.std(axis=0)[columns]
    np.testing.assert_allclose(model.scale.flatten(), np.where(deviation < 1e-4, 1.0, deviation), rtol=1e-4, atol=1e-6)


def test_one_scale_for_the_body():
    """scaling="body": the mean deviation of what varies; a joint weighs in the loss as it does in the error (reading 25)."""
    motion = 50 + torch.arange(1, 16).view(5, 3) * noise(200, 5, 3)
    motion[:, 4] = 7.0
    motion[:, 2, 0] = 9.0
    apart, common = network().double(), network(scaling="body").double()
    apart.fit_normalisation([motion])
    common.fit_normalisation([motion])
    assert float(apart.scale.max() / apart.scale.min()) > 10
    for name in ("scale", "bone_scale"):
        own = getattr(apart, name)
        expected = own[own != 1].mean()
        torch.testing.assert_close(getattr(common, name), expected.expand_as(getattr(common, name)), rtol=1e-12, atol=0)
    torch.testing.assert_close(common.mean, apart.mean)


@pytest.mark.parametrize("scaling", ["coordinate", "body"])
def test_rates(scaling):
    """Mean absolute first and second differences in normalised units, within recordings, of what is there (reading 24)."""
    model = network(scaling=scaling).double()
    model.fit_normalisation(recordings())
    for index, (joints, head) in enumerate(zip((True, False), networks_of(model), strict=True)):
        first, second = [], []
        for motion in recordings():
            frames = [frame.flatten().tolist() if joints else naive_bones(frame) for frame in motion]
            scale = (model.scale, model.bone_scale)[index].flatten().tolist()
            for column in range(len(scale)):
                x = [frame[column] / scale[column] for frame in frames]
                first += [abs(x[t] - x[t - 1]) for t in range(1, len(x))]
                second += [abs(x[t] - 2 * x[t - 1] + x[t - 2]) for t in range(2, len(x))]
        expected = [np.nanmean(first), np.nanmean(second)]
        assert heads_of(head)[1].rates.tolist() == pytest.approx(expected, rel=1e-9)


def test_a_body_that_never_moves():
    model = network()
    model.fit_normalisation([torch.ones(10, 5, 3)])
    assert model.scale.eq(1).all() and model.bone_scale.eq(1).all()
    assert heads_of(networks_of(model)[0])[1].rates.tolist() == [1, 1]
    future = answer(model, torch.ones(2, OBSERVED, 5, 3)).future
    assert future is not None
    torch.testing.assert_close(future, torch.ones(2, FUTURE, 5, 3))


def test_normalise():
    """(x - mean) / scale of joints, and of bones with statistics of their own; NaN stays where a joint, or a bone's end, is."""
    model = make_model()
    motion = noise(2, 4, 5, 3)
    motion[0, 1, 1, 2] = math.nan  # the spine, an end of two bones
    joints, others = model.normalise(motion)
    expected = (motion.numpy() - model.mean.numpy()) / model.scale.numpy()
    np.testing.assert_allclose(joints.numpy(), expected, rtol=1e-12)
    for b in range(2):
        for t in range(4):
            for number, value in enumerate(naive_bones(motion[b, t])):
                bone, channel = divmod(number, 3)
                wanted = (value - float(model.bone_mean[bone, channel])) / float(model.bone_scale[bone, channel])
                assert float(others[b, t, bone, channel]) == pytest.approx(wanted, rel=1e-12, nan_ok=True)
    assert others.isnan().sum() == 2 and others[0, 1, :2, 2].isnan().all()
    torch.testing.assert_close(model.denormalise(joints), motion, rtol=1e-12, atol=1e-12, equal_nan=True)


def test_bones_are_the_incidence_matrix():
    motion = noise(2, 3, 26, 3)
    body = load_layout("cmu")
    model = SymGNN(replace(MODEL, bone=True), body, observed=OBSERVED, channels=3, classes=2)
    torch.testing.assert_close(model.bones(motion), bones(body).double() @ motion, rtol=1e-12, atol=1e-12)


def test_units_do_not_matter():
    """The model owns its units: the same motion in other units, learned from and predicted, gives the same answers."""
    metres, batch = make_model(), make_batch()
    factor, shift = 1000.0, torch.tensor([3.0, -20.0, 500.0], dtype=torch.float64)
    frames = torch.cat((batch.observed, batch.future), dim=1)
    metres.fit_normalisation(list(frames))
    millimetres = make_model()
    millimetres.fit_normalisation(list(frames * factor + shift))
    one, other = answer(metres, batch.observed), answer(millimetres, batch.observed * factor + shift)
    assert one.logits is not None and one.future is not None and other.future is not None
    torch.testing.assert_close(other.logits, one.logits, rtol=1e-7, atol=1e-9)
    torch.testing.assert_close(other.future, one.future * factor + shift, rtol=1e-9, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_other_precision_than_the_weights(dtype):
    """NumPy's arrays are float64; the answer has the precision of the weights."""
    model = make_model().to(dtype)
    expected, found = (answer(model, make_batch().observed.to(kind)) for kind in (dtype, torch.float64))
    assert found.logits is not None and found.future is not None and found.future.dtype == dtype
    torch.testing.assert_close(found.logits, expected.logits, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found.future, expected.future, rtol=1e-4, atol=1e-4)


# --- missing joints -----------------------------------------------------------------------------------------------------------


def test_missing_joints_are_filled():
    """Gaps in the window, at its ends too, and a joint that is never there: the answers are those for the filled window."""
    model, observed = make_model(), make_batch().observed
    gaps = observed.clone()
    gaps[0, 2:4, 1] = math.nan
    gaps[1, :3, 0] = math.nan
    gaps[2, -2:, 4, 1] = math.nan
    gaps[3, :, 2] = math.nan
    filled = gaps.clone()
    filled[0, 2, 1] = (2 * gaps[0, 1, 1] + gaps[0, 4, 1]) / 3
    filled[0, 3, 1] = (gaps[0, 1, 1] + 2 * gaps[0, 4, 1]) / 3
    filled[1, :3, 0] = gaps[1, 3, 0]
    filled[2, -2:, 4, 1] = gaps[2, -3, 4, 1]
    filled[3, :, 2] = model.mean[2]
    torch.testing.assert_close(fill_missing(gaps, model.mean), filled, rtol=1e-12, atol=1e-12)
    one, other = answer(model, gaps), answer(model, filled)
    for found, expected in ((one.logits, other.logits), (one.future, other.future), (one.actional, other.actional)):
        assert found is not None and bool(found.isfinite().all())
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-10)
    whole = answer(model, observed)
    assert whole.logits is not None and one.logits is not None
    torch.testing.assert_close(one.logits[4:], whole.logits[4:])  # clips without gaps
    assert float((one.logits[:4] - whole.logits[:4]).abs().min(dim=1).values.max()) > 0


def test_nothing_observed_at_all():
    output = answer(make_model(), torch.full((1, OBSERVED, 5, 3), math.nan, dtype=torch.float64))
    assert output.logits is not None and output.future is not None
    assert bool(output.logits.isfinite().all()) and bool(output.future.isfinite().all())


# --- order of nodes -----------------------------------------------------------------------------------------------------------


def relabelled(body: Layout, order: Tensor) -> Layout:
    """The same body, its joints in use in another order: new node i is the old node order[i]."""
    place = {int(old): new for new, old in enumerate(order)}
    return replace(
        body,
        nodes=tuple(body.nodes[int(old)] for old in order),
        edges=tuple((place[parent], place[child]) for parent, child in body.edges),
        parts={part: tuple(sorted(place[node] for node in members)) for part, members in body.parts.items()},
    )


@pytest.mark.parametrize(
    "variant", [{}, {"graphs": "structural"}, {"graphs": "actional"}, {"scales": "part"}, {"scales": "joint"}]
)
def test_joints_have_no_order(variant):
    """Joints, parts and bones relabelled together: the class scores stay, futures and actional graphs move along."""
    order = permutation(5)
    model, observed = make_model(**variant), make_batch().observed
    moved = network(relabelled(layout(), order), **variant).double()
    state = {}
    for name, value in model.state_dict().items():
        if name in ("mean", "scale"):
            state[name] = value[order]
        elif name.endswith("edges") and name.startswith("networks.0") and value.shape[-1] == 5:
            state[name] = relabel(value, order)
        else:
            state[name] = value  # edges of bones stand in the order of the layout's edges, which is kept
    moved.load_state_dict(state)
    one, other = answer(model, observed), answer(moved, observed[:, :, order])
    assert one.logits is not None and one.future is not None and other.future is not None
    assert float((one.future - one.future[:, :, order]).abs().max()) > 1e-3
    torch.testing.assert_close(other.logits, one.logits, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(other.future, one.future[:, :, order], rtol=1e-9, atol=1e-9)
    if one.actional is not None:
        torch.testing.assert_close(other.actional, relabel(one.actional, order), rtol=1e-9, atol=1e-9)


def test_clips_have_no_order():
    """A clip's answer does not depend on what else is in the batch."""
    model, observed = make_model(), make_batch().observed
    whole = answer(model, observed)
    alone = answer(model, observed[2:3])
    assert whole.logits is not None and whole.future is not None
    torch.testing.assert_close(alone.logits, whole.logits[2:3], rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(alone.future, whole.future[2:3], rtol=1e-10, atol=1e-10)


# --- variants -----------------------------------------------------------------------------------------------------------------

VARIANTS = {
    "only J-S": {"graphs": "structural"},
    "only J-A": {"graphs": "actional"},
    "only P": {"scales": "part"},
    "only J": {"scales": "joint"},
    "only J-A, only J": {"graphs": "actional", "scales": "joint"},
    "only J-A, only P": {"graphs": "actional", "scales": "part"},
    "no bone": {"bone": False},
    "only bone": {"joint": False},
    "only bone, no prediction": {"joint": False, "prediction": False},
    "no recognition": {"recognition": False},
    "no prediction": {"prediction": False},
    "no actional weight": {"actional_weight": 0.0},
    **{f"K = {k}": {"agim_iterations": k} for k in range(5)},
    **{f"orders {orders}": {"difference_orders": orders} for orders in ((0,), (0, 1), (1, 2))},
    **{f"hop {hop}": {"hop": hop} for hop in (1, 4)},
    "one block": {"graph_channels": (4,), "channels": (6,), "strides": (2,), "kernels": (3,), "fuse_after": ()},
    "fused twice": {
        "graph_channels": (4,) * 4, "channels": (4, 4, 6, 6), "strides": (1,) * 4, "kernels": (5, 3, 3, 1),
        "fuse_after": (2, 3),
    },
    "half as wide": {"width": 0.5},
}  # fmt: skip


@pytest.mark.parametrize("variant", VARIANTS)
def test_variants(variant):
    """Each answers what it has a head for, in any horizon, and every parameter it has is trained by something."""
    config = replace(MODEL, **VARIANTS[variant])
    model, batch = make_model(**VARIANTS[variant]), make_batch()
    output = answer(model, batch.observed, 7)
    assert (output.logits is not None) == config.recognition and (output.future is not None) == config.predicts
    for found in (output.logits, output.future):
        assert found is None or bool(found.isfinite().all())
    if output.future is not None:
        assert output.future.shape == (6, 7, 5, 3)
        shorter = answer(model, batch.observed, 3).future
        torch.testing.assert_close(shorter, output.future[:, :3])
    assert (output.actional is None) == (config.graphs == "structural" or config.scales == "part" or not config.joint)
    model.train()
    features = model.encode(batch.observed)
    scores = model.recognise(features)
    futures = model.predict(features, model.fuse(scores), 2)
    networks = config.joint + config.bone
    assert len(scores) == networks * config.recognition and len(futures) == networks * config.prediction
    sum((each.square().sum() for each in (*scores, *futures)), torch.zeros(())).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and bool(parameter.grad.isfinite().all()), name
    assert sum(p.numel() for p in model.parameters()) == sum(
        p.numel() for p in (*model.backbone_parameters(), *model.head_parameters())
    )


def test_bone_scores_are_weighted():
    """Fused scores are joint + bone_weight x bone, before the softmax (reading 15)."""
    observed = make_batch().observed
    for weight in (0.0, 1.0, 0.3):
        model = make_model(bone_weight=weight)
        with torch.no_grad():
            joint, bone = model.eval().recognise(model.encode(observed))
        torch.testing.assert_close(answer(model, observed).logits, joint + weight * bone)


def test_bones_alone_are_the_bone_half():
    """Given the same weights, by their names (reading 48); with gaps, and folded too."""
    both, observed = make_model(bone_weight=0.3).eval(), make_batch().observed
    observed[0, 2:4, 1] = math.nan
    alone = network(joint=False).double().eval()
    fitting = {name: value for name, value in both.state_dict().items() if not name.startswith("networks.0.")}
    alone.load_state_dict(fitting)
    with torch.no_grad():
        joint, bone = both.recognise(both.encode(observed))
    assert float((joint - bone).abs().max()) > 1e-3
    for model in (alone, alone.folded()):
        output = answer(model, observed)
        torch.testing.assert_close(output.logits, bone, rtol=1e-9, atol=1e-9)
        assert output.future is None and output.actional is None
    assert output.logits is not None
    torch.testing.assert_close(answer(both, observed).logits, joint + 0.3 * output.logits, rtol=1e-9, atol=1e-9)
    assert sum(weight.numel() for weight in alone.parameters()) == sum(
        weight.numel() for weight in both.networks[1].parameters()
    )


def test_bones_alone_are_normalised_as_beside_joints():
    frames = recordings()
    both, alone = network().double(), network(joint=False).double()
    both.fit_normalisation(frames)
    alone.fit_normalisation(frames)
    state = both.state_dict()
    for name, buffer in alone.named_buffers():
        if name.endswith(("mean", "scale", "rates")) and "running" not in name:
            assert torch.equal(buffer, state[name]) and (name in ("mean", "bone_mean") or not buffer.eq(1).all()), name


def test_two_joints_have_one_bone():
    """A bone graph of a single node: it has nothing to infer, and its actional graph is 1."""
    body = layout_from_dict({"name": "stick", "joints": ["a", "b"], "bones": [["a", "b"]], "parts": {"all": ["a", "b"]}})
    model = network(body).train()
    observed = noise(4, OBSERVED, 2, 3).float()
    features = model.encode(observed)
    assert features[1].actional is not None and features[1].actional.eq(1).all()
    logits = model.fuse(model.recognise(features))
    futures = model.predict(features, logits, 3)
    assert logits is not None and all(bool(each.isfinite().all()) for each in (logits, *futures))
    output = answer(model, observed)
    assert output.future is not None and bool(output.future.isfinite().all())


def test_refusals():
    with pytest.raises(ValueError, match="a window needs 3 observed frames"):
        SymGNN(MODEL, layout(), observed=2, channels=3, classes=3)
    with pytest.raises(ValueError, match="the model observes 8 frames, the window has 7"):
        network()(torch.zeros(1, 7, 5, 3), 2)
