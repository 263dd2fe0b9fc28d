"""Ways to compute less: each changes no result (1e-5 in float32)."""

from copy import deepcopy
from dataclasses import replace

import pytest
import torch

from symgnn.config import ModelConfig, load_preset
from symgnn.experiments.bench import Timing, matrix_product_rate
from symgnn.models import SymGNN
from symgnn.nn import FeatureNorm, JointGraphConvolution, mixing
from symgnn.skeleton import adjacency, load_layout, normalise, powers

SMALL = replace(load_preset("cmu-short").model, width=0.125)


def trained_looking(config: ModelConfig) -> SymGNN:
    """A model none of whose folded terms is invisible: statistics, affine parameters, edge weights and biases are random."""
    torch.manual_seed(5)
    model = SymGNN(config, load_layout("cmu"), observed=50, channels=3, classes=8)
    for parameter in model.parameters():
        parameter.data.add_(0.02 * torch.randn_like(parameter))
    for module in model.modules():
        if isinstance(module, FeatureNorm):
            assert module.running_mean is not None and module.running_var is not None
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2.0)
    model.fit_normalisation([torch.randn(40, 26, 3)])
    return model.eval()


@pytest.mark.parametrize(
    "config",
    [
        SMALL,
        replace(SMALL, bone=False, width=1.0),
        replace(SMALL, graphs="structural"),
        replace(SMALL, graphs="actional"),
        replace(SMALL, scales="part"),
        replace(SMALL, scales="joint"),
        replace(load_preset("deep").model, width=0.125, bone=False),
    ],
    ids=["light", "full width", "only J-S", "only J-A", "only P", "only J", "deep"],
)
@pytest.mark.parametrize("clips", [1, 3])
def test_folding(config: ModelConfig, clips: int) -> None:
    """One clip alone goes through packed weights, several through the plain ones."""
    model = trained_looking(config)
    observed = torch.randn(clips, 50, 26, 3)
    with torch.no_grad():
        plain, folded = model(observed, 10), model.folded()(observed, 10)
    assert plain.future is not None and folded.future is not None
    # Relative to how far the prediction moves: folding reorders sums, and the decoder adds its rounding up over the frames.
    moved = (plain.future - observed[:, -1:]).abs().max()
    assert (folded.future - plain.future).abs().max() <= 1e-5 * moved.clamp(min=1.0)
    torch.testing.assert_close(folded.logits, plain.logits, rtol=1e-5, atol=1e-5 * float(plain.logits.abs().max()))


@pytest.mark.parametrize("clips", [1, 3])
def test_blocks_in_16_bits(clips: int) -> None:
    """bf16 keeps 8 bits: answers agree to about a hundredth of how they vary, and what is outside the blocks stays exact."""
    model = trained_looking(replace(SMALL, width=0.5))
    observed = torch.randn(clips, 50, 26, 3)
    with torch.no_grad():
        plain, half = model(observed, 10), model.folded(torch.bfloat16)(observed, 10)
    assert plain.future is not None and half.future is not None and plain.logits is not None and half.logits is not None
    assert half.logits.dtype == half.future.dtype == torch.float32
    assert torch.equal(half.actional, plain.actional)
    moved = (plain.future - observed[:, -1:]).abs().max()
    off = (half.future - plain.future).abs().max() / moved
    assert 1e-5 < off < 3e-2  # above: blocks are in fact in 16 bits
    assert (half.logits - plain.logits).abs().max() < 3e-2 * plain.logits.abs().max()


def test_folding_leaves_the_model_alone() -> None:
    model = trained_looking(SMALL)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.folded()
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    left = [name for name, module in model.folded().named_modules() if isinstance(module, FeatureNorm)]
    assert left and all(".agim." in name for name in left)  # those come after a ReLU


def test_folded_models_are_copied_and_answer_twice() -> None:
    model = trained_looking(SMALL).folded()
    observed = torch.randn(1, 50, 26, 3)
    with torch.no_grad():
        first = model(observed, 4).logits
        assert torch.equal(model(observed, 4).logits, first)
        assert torch.equal(deepcopy(model)(observed, 4).logits, first)


@pytest.mark.parametrize("inputs", [3, 15, 16, 40], ids=lambda inputs: f"{inputs} features")
@pytest.mark.parametrize("graphs", ["both", "structural", "actional"])
def test_graph_convolution_clip_by_clip(inputs: int, graphs: str) -> None:
    """In training the batch goes at once, in a folded network clip by clip."""
    torch.manual_seed(0)
    layout = load_layout("cmu")
    structural = None if graphs == "actional" else powers(normalise(adjacency(layout)), 3)
    layer = JointGraphConvolution(inputs, 24, structural, None if graphs == "structural" else 0.7)
    layer.bias.data.normal_()
    x = torch.randn(5, 7, 26, inputs)
    actional = None if graphs == "structural" else torch.rand(5, 26, 26)
    factor, shift = torch.rand(24), torch.randn(24)
    with torch.no_grad():
        expected = layer(x, actional) * factor + shift
        folded = layer.folded(factor, shift)
        torch.testing.assert_close(folded(x, actional), expected, rtol=1e-5, atol=1e-5)
        one_by_one = [folded(x[i : i + 1], None if actional is None else actional[i : i + 1]) for i in range(5)]
        torch.testing.assert_close(torch.cat(one_by_one), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("graphs", ["both", "structural", "actional"])
def test_graph_convolution_clip_by_clip_in_training(graphs: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """A large batch makes its gathered features again backwards: the gradients are those of the plain products."""
    torch.manual_seed(0)
    layout = load_layout("cmu")
    structural = None if graphs == "actional" else powers(normalise(adjacency(layout)), 3)
    layer = JointGraphConvolution(20, 24, structural, None if graphs == "structural" else 0.7).to(dtype)
    inputs = [torch.randn(5, 7, 26, 20, dtype=dtype).requires_grad_()]
    if graphs != "structural":
        inputs.append(torch.rand(5, 26, 26, dtype=dtype).softmax(dim=2).requires_grad_())
    outer = torch.randn(5, 7, 26, 24, dtype=dtype)
    used = []
    apply = mixing._ClipByClip.apply
    monkeypatch.setattr(mixing._ClipByClip, "apply", lambda *given: used.append(1) or apply(*given))
    found = []
    for large in (0, 1 << 40):
        monkeypatch.setattr(mixing, "_LARGE", large)
        found.append(torch.autograd.grad(layer(*inputs), [*inputs, *layer.parameters()], outer))
    assert len(used) == 1
    tolerance = {"rtol": 1e-9, "atol": 1e-9} if dtype == torch.float64 else {"rtol": 0.05, "atol": 0.3}
    for ours, plain in zip(*found, strict=True):
        torch.testing.assert_close(ours, plain, **tolerance)


def test_floor_is_flop_over_rate() -> None:
    assert Timing(median=0.03, worst=0.05, floor=0.01).ratio == pytest.approx(3.0)
    assert 1e8 < matrix_product_rate(quick=True) < 1e14  # a slower or faster machine than that is a wrong unit
