"""Exported models: the ONNX file answers what PyTorch answers, carries its card, and a damaged or foreign one says so."""

import json
import sys
import zlib
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor

import symgnn
from symgnn.cli import main
from symgnn.config import DataConfig, ModelConfig, load_preset
from symgnn.data import write_store
from symgnn.errors import InputError
from symgnn.models import SymGNN
from symgnn.models.checkpoint import Card, TrainedModel, build, save
from symgnn.nn import FeatureNorm
from symgnn.runtime import OnnxModel, export, load_model, onnx_network, open_onnx
from symgnn.runtime.answering import Engine, answer
from symgnn.skeleton import layout_from_dict, load_layout
from symgnn.types import Output
from tiny import BODY, MODEL, make_store

torch.set_num_threads(1)

TINY = layout_from_dict(BODY)
STICK = layout_from_dict({"name": "stick", "joints": ["A", "B"], "bones": [["A", "B"]], "parts": {"a": ["A"], "b": ["B"]}})
"""Two joints: its dual network has a single bone, which is linked to no other."""
XYZ = DataConfig(layout="own", space="xyz", step=1, observed=11, future=5)


def made(model: ModelConfig = MODEL, data: DataConfig = XYZ, layout: symgnn.skeleton.Layout = TINY) -> TrainedModel:
    """An unfolded model with a card, in which nothing is zero or one by chance of its making."""
    torch.manual_seed(3)
    generator = torch.Generator().manual_seed(3)
    preset = replace(load_preset("demo"), name="made", data=data, model=model)
    names = ("sitting", "standing", "lying", "running")
    network = build(preset, layout, len(names))
    assert isinstance(network, SymGNN)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
        for module in network.modules():
            if isinstance(module, FeatureNorm):
                assert module.running_mean is not None and module.running_var is not None
                module.running_mean.copy_(0.3 * torch.randn(module.running_mean.shape, generator=generator))
                module.running_var.copy_(torch.rand(module.running_var.shape, generator=generator) + 0.5)
    poses = 3 + torch.randn(40, *network.mean.shape, generator=generator) * (1 + torch.arange(3.0))
    network.fit_normalisation([poses])
    card = Card(preset, layout, names, tuple((0.5 * joint, 1.0, -2.0) for joint in range(7)), 25.0, version("symgnn"), step=12)
    return TrainedModel(network.eval(), card).eval()


def windows(model: TrainedModel, batch: int, gaps: bool = False, seed: int = 0) -> Tensor:
    """Random motion; with gaps, joints come and go, one is seen only at the end, one never, and of the last clip nothing is."""
    generator = torch.Generator().manual_seed(seed)
    joints, channels = model.network.mean.shape
    found = 3 + torch.randn(batch, model.network.observed, joints, channels, generator=generator).cumsum(dim=1)
    if gaps:
        found[torch.rand(found.shape[:3], generator=generator) < 0.3] = torch.nan
        found[0, :-2, 0] = torch.nan
        found[0, 4:, joints - 1] = torch.nan
        found[min(1, batch - 1), :, 1] = torch.nan
        found[batch - 1] = torch.nan
    return found


def assert_same(found: Output, expected: Output, tolerance: float = 1e-5) -> None:
    for name in ("logits", "future", "actional"):
        one, other = getattr(found, name), getattr(expected, name)
        assert (one is None) == (other is None), name
        if one is not None:
            assert one.shape == other.shape, name
            assert (one - other).abs().max() <= tolerance * other.abs().max(), name


@torch.inference_mode()
def eager(model: TrainedModel, *inputs: Any) -> Output:
    return model(*inputs)


@pytest.fixture(scope="module")
def model() -> TrainedModel:
    return made()


@pytest.fixture(scope="module")
def file(model: TrainedModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(model, tmp_path_factory.mktemp("export") / "model.onnx").path


EXPMAP = replace(XYZ, space="expmap")
VARIANTS: dict[str, tuple[ModelConfig, DataConfig, symgnn.skeleton.Layout]] = {
    "both networks": (MODEL, XYZ, TINY),
    "no bone": (replace(MODEL, bone=False), XYZ, TINY),
    "only bone": (replace(MODEL, joint=False), XYZ, TINY),
    "only bone, placed": (replace(MODEL, joint=False, prediction=False, placement="centre"), XYZ, TINY),
    "a single bone": (MODEL, XYZ, STICK),
    "wide": (replace(MODEL, width=5.0), XYZ, TINY),
    "weighed bones": (replace(MODEL, bone_weight=0.3), XYZ, TINY),
    "only J-S": (replace(MODEL, graphs="structural"), XYZ, TINY),
    "only J-A": (replace(MODEL, graphs="actional", actional_weight=0.5), XYZ, TINY),
    "only P": (replace(MODEL, scales="part"), XYZ, TINY),
    "only J": (replace(MODEL, scales="joint"), XYZ, TINY),
    "no recognition": (replace(MODEL, recognition=False), XYZ, TINY),
    "no prediction": (replace(MODEL, prediction=False), XYZ, TINY),
    "one branch": (replace(MODEL, difference_orders=(1,)), XYZ, TINY),
    "no iteration": (replace(MODEL, agim_iterations=0, difference_orders=(0, 2)), XYZ, TINY),
    "body's scale": (replace(MODEL, scaling="body"), XYZ, TINY),
    "one block": (
        replace(MODEL, graph_channels=(6,), channels=(4,), strides=(2,), kernels=(5,), fuse_after=(), scales="joint"), XYZ, TINY
    ),
    "unpadded": (replace(MODEL, padding="none"), replace(XYZ, observed=24), TINY),
    "actional graph in the decoder": (replace(MODEL, padding="none", actional_in="decoder"), replace(XYZ, observed=25), TINY),
    "look back": (replace(MODEL, look_back=2), XYZ, TINY),
    "look back on all": (replace(MODEL, look_back=8), replace(XYZ, observed=8), TINY),
    "expmap": (MODEL, EXPMAP, TINY),
    "image": (replace(MODEL, placement="centre"), replace(XYZ, space="xyc"), TINY),
    "centre": (replace(MODEL, placement="centre", recognition=False), XYZ, TINY),
    "body": (replace(MODEL, placement="body", bone=False), replace(XYZ, observed=6), load_layout("ntu25")),
}  # fmt: skip


@pytest.mark.parametrize("variant", VARIANTS)
def test_answers_as_pytorch_does(variant: str, tmp_path: Path):
    """All parts of a preset that change the graph, alone and together, with and without gaps: one session answers all."""
    made_here = made(*VARIANTS[variant])
    done = export(made_here, tmp_path / "model.onnx")
    assert done.size == done.path.stat().st_size and max(done.differences.values()) < 1e-5
    opened = open_onnx(done.path)
    persons = torch.tensor([0, 0, 1, 2, 2, 2])
    for batch, horizon, gaps, together in ((1, 1, False, None), (3, 5, True, None), (1, 3, True, None), (6, 2, True, persons)):
        seen = windows(made_here, batch, gaps, seed=batch + horizon)
        assert_same(opened(seen, horizon, together), eager(made_here, seen, horizon, together))


def test_a_body_without_axes_stays_as_it_is(tmp_path: Path):
    """All joints in one point, and shoulders along the back: PyTorch's "body" placement leaves both unturned."""
    made_here = made(*VARIANTS["body"])
    opened = open_onnx(export(made_here, tmp_path / "model.onnx").path)
    seen = windows(made_here, 3)
    seen[0] = 1.0
    landmarks = made_here.layout.landmarks
    shoulders = [
        made_here.layout.nodes.index(landmarks[name]) for name in ("right shoulder", "left shoulder", "pelvis", "spine")
    ]
    seen[1, :, shoulders] = torch.tensor([[0.0, 0, 1], [0, 0, 3], [0, 0, 0], [0, 0, 2]])
    assert_same(opened(seen, 2), eager(made_here, seen, 2))


def test_any_batch_and_horizon(model: TrainedModel, file: Path):
    opened = open_onnx(file)
    for batch in (1, 2, 5):
        for horizon in (1, 4, 40):
            seen = windows(model, batch, seed=batch)
            found = opened(seen, horizon)
            assert found.future is not None and found.future.shape == (batch, horizon, 5, 3)
            assert_same(found, eager(model, seen, horizon))


def test_needs_nothing_but_the_window(model: TrainedModel, file: Path):
    """Another program gives the window alone: it gets as many frames as in training, and everybody is alone."""
    session = onnxruntime.InferenceSession(file.read_bytes(), quiet(), providers=["CPUExecutionProvider"])
    assert [each.name for each in session.get_inputs()] == ["observed"]
    seen = windows(model, 2)
    found = [torch.from_numpy(each) for each in session.run(["logits", "future", "actional"], {"observed": seen.numpy()})]
    assert_same(Output(*found), eager(model, seen, 5))


def quiet() -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return options


def test_takes_the_place_of_a_checkpoint(model: TrainedModel, file: Path, tmp_path: Path):
    """``predict`` and ``answer`` find the same; the card comes back as it was; models of PyTorch are left as they were."""
    opened = load_model(file)
    assert isinstance(opened, OnnxModel) and isinstance(opened, Engine)
    assert opened.card == model.card and opened.precision == "float32"
    clips = [windows(model, 1, seed=seed)[0].numpy() for seed in (1, 2, 3)]
    ones, others = (symgnn.predict(each, clips, 7, together=[4, 4, 9]) for each in (opened, model))
    for one, other in zip(ones, others, strict=True):
        assert one.label == other.label and one.milliseconds == other.milliseconds
        assert one.probabilities == pytest.approx(other.probabilities, abs=1e-5)
        np.testing.assert_allclose(one.future, other.future, atol=1e-4)
    found = answer(opened, np.stack(clips), 2)
    assert found.probabilities is not None and found.probabilities.sum(axis=1) == pytest.approx(np.ones(3), abs=1e-12)
    save(tmp_path / "model.ckpt", model)
    assert isinstance(load_model(tmp_path / "model.ckpt"), TrainedModel)
    double = made()
    double.network.double().train()
    export(double, tmp_path / "double.onnx")
    assert double.network.mean.dtype == torch.float64 and double.network.training


def test_refuses_what_does_not_fit(model: TrainedModel, file: Path):
    opened = open_onnx(file)
    with pytest.raises(ValueError, match=r"windows of \(frames, joints, channels\) \(11, 5, 3\), found \(10, 5, 3\)"):
        opened(windows(model, 1)[:, 1:], 2)
    with pytest.raises(ValueError, match="at least 1 frame, not 0"):
        opened(windows(model, 1), 0)
    with pytest.raises(InputError, match="threads: found 0"):
        open_onnx(file, threads=0)
    with pytest.raises(InputError, match=r"found an exported model, expected the checkpoint it was made from"):
        symgnn.load(file)
    with pytest.raises(InputError, match=r"found the suffix '\.pt', expected \.onnx"):
        export(model, file.with_suffix(".pt"))


# --- a file that answers differently is not written -------------------------------------------------------------------------


def test_a_wrong_graph_leaves_no_file(model: TrainedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    right = onnx_network._recognise
    monkeypatch.setattr(onnx_network, "_recognise", lambda *inputs: right(*inputs) * 1.001)
    old = tmp_path / "old.onnx"
    old.write_bytes(b"what was there")
    for path in (tmp_path / "new.onnx", old):
        with pytest.raises(InputError, match=r"is not written: under onnxruntime logits differs from PyTorch's by 1\.0e-03"):
            export(model, path)
    assert old.read_bytes() == b"what was there" and list(tmp_path.iterdir()) == [old]


def test_a_missing_output_leaves_no_file(model: TrainedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(onnx_network, "_filled", lambda motion, *_: motion)  # NaN goes through
    with pytest.raises(InputError, match=r"is not written: under onnxruntime .* differs from PyTorch's by nan"):
        export(model, tmp_path / "new.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("package", ["onnx", "onnxruntime"])
def test_a_missing_package_is_named(package: str, file: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError, match=rf"need the package {package}: pip install 'symgnn\[export\]'"):
        open_onnx(file)


# --- files that are not whole, or not ours ---------------------------------------------------------------------------------


def test_damage_is_found(file: Path, tmp_path: Path):
    content = file.read_bytes()
    bad = tmp_path / "bad.onnx"
    for length in (0, 1, 10, len(content) // 2, len(content) - 40, len(content) - 1):
        bad.write_bytes(content[:length])
        with pytest.raises(InputError, match=r"bad\.onnx: (cannot be read as an ONNX file|is not as|an ONNX file, but)"):
            open_onnx(bad)
    for place in np.linspace(0, len(content) - 1, 60, dtype=int):
        bad.write_bytes(content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :])
        with pytest.raises(InputError, match=r"bad\.onnx: "):
            open_onnx(bad)
    with pytest.raises(InputError, match="no such file"):
        open_onnx(tmp_path / "none.onnx")


def rewritten(file: Path, change: Callable[[onnx.ModelProto, dict[str, Any]], None]) -> bytes:
    """The file with something changed by a hand that knows how to seal it."""
    proto = onnx.load_model_from_string(file.read_bytes())
    entry = json.loads(proto.metadata_props[0].value)
    del proto.metadata_props[:]
    change(proto, entry)
    proto.metadata_props.add(key="symgnn", value=json.dumps(entry))
    body = proto.SerializeToString()
    seal = onnx.ModelProto()
    seal.metadata_props.add(key="symgnn_crc32", value=f"{zlib.crc32(body):08x}")
    return body + seal.SerializeToString()


def external(proto: onnx.ModelProto, _: dict[str, Any]) -> None:
    tensor = next(each for each in proto.graph.initializer if len(each.raw_data) > 100)
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="passwd")


def custom(proto: onnx.ModelProto, _: dict[str, Any]) -> None:
    proto.opset_import.add(domain="evil", version=1)
    loop = next(node for node in proto.graph.node if node.op_type == "Loop")
    next(node for node in loop.attribute[0].g.node if node.op_type == "Tanh").domain = "evil"


def other_outputs(proto: onnx.ModelProto, _: dict[str, Any]) -> None:
    del proto.graph.output[2:]


def no_operator(proto: onnx.ModelProto, _: dict[str, Any]) -> None:
    next(node for node in proto.graph.node if node.op_type == "Conv").op_type = "Convolution"


def in_entry(**values: Any) -> Callable[[onnx.ModelProto, dict[str, Any]], None]:
    return lambda _, entry: entry.update(values)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (in_entry(format=2), r"export format 2 of symgnn .* is newer than this symgnn reads \(1\)"),
        (in_entry(card={}), "lacks or garbles 'format'"),
        (in_entry(card=None), "its symgnn entry lacks or garbles"),
        (in_entry(format="1"), "its symgnn entry lacks or garbles"),
        (external, "keeps weights in another file"),
        (custom, r"has operators of its own \(evil\)"),
        (other_outputs, r"has the outputs logits .*, future .*, expected logits .*actional float \(batch, 5, 5\)"),
        (no_operator, r"onnxruntime .* cannot run it: "),
    ],
    ids=["newer", "no card", "null card", "garbled", "external data", "custom operator", "other outputs", "no operator"],
)
def test_foreign_files_are_refused(change: Any, says: str, file: Path, tmp_path: Path):
    bad = tmp_path / "bad.onnx"
    bad.write_bytes(rewritten(file, change))
    with pytest.raises(InputError, match=says):
        open_onnx(bad)


def test_rewriting_alone_harms_nothing(model: TrainedModel, file: Path, tmp_path: Path):
    """The refusals above come from the changes, not from the hand that made them."""
    again = tmp_path / "again.onnx"
    again.write_bytes(rewritten(file, lambda *_: None))
    assert open_onnx(again).card == model.card


def test_other_models_are_refused(tmp_path: Path):
    node = onnx.helper.make_node("Relu", ["x"], ["y"])
    value = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1]) for name in "xy"]
    proto = onnx.helper.make_model(onnx.helper.make_graph([node], "other", value[:1], value[1:]))
    (tmp_path / "other.onnx").write_bytes(proto.SerializeToString())
    with pytest.raises(InputError, match=r"an ONNX file, but not one of symgnn export \(no symgnn entry in it\)"):
        open_onnx(tmp_path / "other.onnx")


# --- integers of 8 bits -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def wide() -> TrainedModel:
    """Wide enough for products in 8-bit integers."""
    return made(replace(MODEL, graph_channels=(8, 32, 48), channels=(32, 32, 48), agim_hidden=16, hidden=16))


def test_int8_is_near(wide: TrainedModel, tmp_path: Path):
    whole = export(wide, tmp_path / "whole.onnx")
    done = export(wide, tmp_path / "bytes.onnx", int8=True)
    kinds = [node.op_type for node in onnx.load(done.path).graph.node]
    assert kinds.count("MatMulInteger") >= 12 and "MatMulInteger" not in [
        node.op_type for node in onnx.load(whole.path).graph.node
    ]
    assert done.size < whole.size
    opened, seen = open_onnx(done.path), windows(wide, 3, gaps=True)
    assert opened.precision == "int8"
    expected = eager(wide, seen, 5)
    assert_same(opened(seen, 5), expected, tolerance=5e-2)
    assert expected.logits is not None
    assert 1e-5 < done.differences["logits"] < 5e-2 and done.differences["actional"] < 1e-5


def test_int8_clips_do_not_change_each_other(wide: TrainedModel, tmp_path: Path):
    """A clip a thousand times as large beside it takes nothing from a clip's precision."""
    opened = open_onnx(export(wide, tmp_path / "bytes.onnx", int8=True).path)
    seen = windows(wide, 3)
    alone = opened(seen[1:2], 3)
    seen[0] *= 1000
    beside = opened(seen, 3)
    for name in ("logits", "future"):
        one, other = getattr(alone, name)[0], getattr(beside, name)[1]
        torch.testing.assert_close(other, one, rtol=0, atol=1e-4 * float(one.abs().max()))


# --- the command ------------------------------------------------------------------------------------------------------------


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Export a checkpoint; predict and evaluate say of the file what they say of the checkpoint."""
    made_store = make_store(tmp_path / "train")
    clips = [(replace(clip, split="test"), made_store.clip_frames(index)) for index, clip in enumerate(made_store.clips)]
    store = write_store(
        tmp_path / "store", clips, layout=made_store.layout, space="xyz", unit="m", fps=25.0, class_names=made_store.class_names
    )
    data = DataConfig(layout="own", space="xyz", step=1, observed=8, future=4)
    made_here = made(data=data, layout=store.layout)
    made_here.card = replace(
        made_here.card,
        preset=replace(made_here.preset, protocol="recognition"),
        class_names=(*store.class_names, "other"),
        fps=store.fps,
        stored_mean=made_here.card.stored_mean[:5],
    )
    checkpoint, file = tmp_path / "model.ckpt", tmp_path / "model.onnx"
    save(checkpoint, made_here)
    assert main(["export", str(checkpoint), "--to", str(file)]) == 0
    said = capsys.readouterr().err
    assert "largest difference from PyTorch on 8 random windows" in said and f"{file.stat().st_size:,} bytes" in said

    results = []
    for subject in (checkpoint, file):
        judged, predicted = tmp_path / "judged.json", tmp_path / "predicted.json"
        assert main(["evaluate", str(subject), "--data", str(store.path), "--json", str(judged)]) == 0
        assert main(["predict", str(subject), f"{store.path}:0", "--out", str(predicted), "--horizon", "6"]) == 0
        results.append((json.loads(judged.read_text()), json.loads(predicted.read_text())))
    for one, other in zip(*results, strict=True):
        close(one, other)
    assert main(["export", str(checkpoint), "--to", str(file), "--int8"]) == 0
    assert "compare symgnn evaluate" in capsys.readouterr().err


def close(one: Any, other: Any) -> None:
    """Alike but for rounding."""
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        one, other = list(one.values()), list(other.values())
    if isinstance(one, list):
        assert len(one) == len(other)
        for each, its_other in zip(one, other, strict=True):
            close(each, its_other)
    else:
        assert one == (pytest.approx(other, rel=1e-3, abs=1e-4) if isinstance(one, float) else other)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["cmu", "--to", "model.bin"], "found the suffix '.bin', expected .onnx"),
        (["cmu", "--to", "nowhere/model.onnx"], "there is no folder nowhere"),
        (["nothing.ckpt", "--to", "model.onnx"], "no such file"),
    ],
)
def test_command_refuses(words: list[str], says: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: Any):
    monkeypatch.chdir(tmp_path)
    assert main(["export", *words]) == 2
    assert says in capsys.readouterr().err and not list(tmp_path.iterdir())
