"""Checkpoints: one file is enough to predict; a damaged, foreign or newer one says so; writing leaves a whole file."""

import errno
import os
import pickle
import resource
import stat
import struct
from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import torch

from symgnn.errors import InputError
from symgnn.models import SymGNN
from symgnn.models.checkpoint import FORMAT, Card, TrainedModel, load, read_checkpoint, save, write_checkpoint
from symgnn.training import train
from tiny import CLASSES, FUTURE, layout, make_batch, make_model, make_preset, make_store

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("checkpoint")


@pytest.fixture(scope="module")
def model(folder: Path) -> TrainedModel:
    """A random network with the card of a training that never was."""
    card = Card(
        preset=make_preset(folder, {"bone": True, "difference_orders": (0, 1, 2)}),
        layout=layout(),
        class_names=CLASSES,
        stored_mean=tuple((joint / 3, 1.0, -1.0 * joint) for joint in range(5)),
        fps=25.0,
        package_version=version("symgnn"),
        step=7,
    )
    return TrainedModel(make_model().float(), card).eval()


@pytest.fixture
def path(model: TrainedModel, tmp_path: Path) -> Path:
    save(tmp_path / "model.ckpt", model)
    return tmp_path / "model.ckpt"


def answers(model: TrainedModel | SymGNN) -> tuple[torch.Tensor, torch.Tensor]:
    with torch.no_grad():
        output = model(make_batch().observed.float(), FUTURE)
    assert output.logits is not None and output.future is not None
    return output.logits, output.future


def test_round_trip(model: TrainedModel, path: Path):
    """Card, weights and answers come back as they were, with nothing but tensors and plain values in the file."""
    again = load(path, folded=False)
    assert again.card == model.card and not again.training
    assert (again.preset, again.layout, again.class_names, again.fps) == (model.preset, layout(), CLASSES, 25.0)
    torch.testing.assert_close(again.stored_mean[3], torch.tensor([1.0, 1.0, -3.0]))
    state = model.network.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in again.network.state_dict().items())
    for one, other in zip(answers(model), answers(again), strict=True):
        assert torch.equal(one, other)
    for one, other in zip(answers(model), answers(load(path)), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)  # folded
    content = torch.load(path, weights_only=True)
    assert set(content) == {"symgnn", "state_dict"} and content["symgnn"]["package_version"] == version("symgnn")


def test_checkpoint_of_a_training(folder: Path):
    """It carries preset, layout, classes, statistics and version, and the reported weights are the moving average."""
    store = make_store(folder)
    preset = make_preset(folder, steps=4)
    found: list[Any] = []
    last = train(
        preset, store, folder / "run", progress=False, accelerator="cpu", on_start=lambda *both: found.extend(both)
    ).last
    module, data = found
    card = load(last).card
    assert (card.preset, card.layout, card.class_names, card.fps) == (preset, store.layout, CLASSES, 25.0)
    assert (card.package_version, card.step, card.selection) == (version("symgnn"), 4, "last")
    rows = torch.cat([torch.from_numpy(store.clip_frames(index).copy()) for index in data.train_indices])
    torch.testing.assert_close(torch.tensor(card.stored_mean), rows.mean(dim=0), rtol=1e-5, atol=1e-6)
    network = load(last, folded=False).network
    torch.testing.assert_close(network.mean, rows.mean(dim=0), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(network.scale, rows.std(dim=0, correction=0), rtol=1e-5, atol=1e-6)
    for name, value in network.state_dict().items():
        assert torch.equal(value, module.average.module.state_dict()[name])
    assert any(not torch.equal(value, module.model.state_dict()[name]) for name, value in network.state_dict().items())
    module.reported.eval()
    for one, other in zip(answers(network), answers(module.reported), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)
    assert torch.load(last, weights_only=True).keys() >= {"symgnn", "state_dict", "optimizer_states", "lr_schedulers", "loops"}


def test_half_precision(model: TrainedModel, tmp_path: Path):
    """Half the size, float32 again when read, statistics exact, answers within the three digits that halves have."""
    save(tmp_path / "whole.ckpt", model)
    save(tmp_path / "half.ckpt", model, half=True)
    saved = (tmp_path / "whole.ckpt").stat().st_size - (tmp_path / "half.ckpt").stat().st_size
    assert saved > 1.7 * sum(weight.numel() for weight in model.network.parameters())
    again = load(tmp_path / "half.ckpt", folded=False)
    assert again.card == model.card
    state = model.network.state_dict()
    for name, value in again.network.state_dict().items():
        assert value.dtype == state[name].dtype
        if name.endswith(("mean", "scale", "rates", "var")):
            assert torch.equal(value, state[name])
        else:
            torch.testing.assert_close(value, state[name], rtol=1e-3, atol=1e-6)
    for one, other in zip(answers(model), answers(again), strict=True):
        assert float((one - other).norm() / one.norm()) < 0.02


def test_folded_models_cannot_be_saved(path: Path, tmp_path: Path):
    with pytest.raises(ValueError, match="folded=False"):
        save(tmp_path / "folded.ckpt", load(path))
    assert not (tmp_path / "folded.ckpt").exists()


# --- files that are none -----------------------------------------------------------------------------------------------------


def damaged(whole: bytes, model: TrainedModel) -> Iterator[Any]:
    """Contents that must not be read as a checkpoint, and what is said of each."""
    first = float(next(iter(model.network.state_dict().values())).flatten()[0])
    place = whole.index(struct.pack("<f", first))
    changed = bytearray(whole)
    changed[place] ^= 1
    yield "empty", b"", "cannot be read as a checkpoint"
    yield "text", b"step,l1\n1,0.5\n", "cannot be read as a checkpoint"
    yield "cut off", whole[: len(whole) // 2], "cannot be read as a checkpoint"
    yield "without its end", whole[:-30], "cannot be read as a checkpoint"
    yield "one bit of a weight", bytes(changed), "is damaged"
    yield "a pickle", pickle.dumps({"symgnn": os.system}), "cannot be read as a checkpoint"


def test_damaged_files(model: TrainedModel, path: Path, tmp_path: Path):
    for name, content, said in damaged(path.read_bytes(), model):
        other = tmp_path / "other.ckpt"
        other.write_bytes(content)
        with pytest.raises(InputError) as caught:
            load(other)
        assert said in str(caught.value) and str(other) in str(caught.value), name
        assert "weights_only" not in str(caught.value), "torch's advice to trust the file is not passed on"


def test_foreign_files(tmp_path: Path):
    other = tmp_path / "other.pt"
    for content in ({"model": 1}, [1, 2], torch.nn.Linear(2, 2).state_dict(), {"symgnn": 1, "state_dict": {}}):
        torch.save(content, other)
        with pytest.raises(InputError, match=r"other\.pt: a PyTorch file, but not a checkpoint of symgnn"):
            load(other)
    torch.save(torch.nn.Linear(2, 2), other)
    with pytest.raises(InputError, match=r"other\.pt: not a checkpoint of symgnn: it holds more than tensors"):
        load(other)


def test_no_file(tmp_path: Path):
    for path in (tmp_path / "none.ckpt", tmp_path):
        with pytest.raises(InputError, match="no such file; expected a checkpoint"):
            load(path)


def changed(path: Path, **entries: Any) -> Path:
    """The checkpoint with some of its symgnn entry changed; None takes an entry out."""
    content = torch.load(path, weights_only=True)
    content["symgnn"] |= entries
    content["symgnn"] = {name: value for name, value in content["symgnn"].items() if value is not None}
    torch.save(content, path)
    return path


def test_newer_version(path: Path):
    changed(path, format=FORMAT + 1, package_version="99.0")
    with pytest.raises(InputError, match=r"format 2 of symgnn 99\.0 is newer than this symgnn reads \(1\): update symgnn"):
        load(path)


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ({"class_names": None}, "lacks or garbles 'class_names'"),
        ({"format": "one"}, "lacks or garbles"),
        ({"stored_mean": 3}, "lacks or garbles"),
        ({"class_names": ["a", "b"]}, "its weights do not fit its preset"),
    ],
)
def test_garbled_cards(path: Path, entries, said):
    with pytest.raises(InputError, match=said) as caught:
        load(changed(path, **entries))
    assert str(path) in str(caught.value)


def test_garbled_preset_and_layout(model: TrainedModel, path: Path):
    """Their own messages, behind the file's name."""
    card = model.card.to_dict()
    preset = {**card["preset"], "model": {**card["preset"]["model"], "kernels": [3, 3]}}
    with pytest.raises(InputError, match=r"model\.ckpt: model\.kernels: expected one entry a block"):
        load(changed(path, preset=preset))
    with pytest.raises(InputError, match=r"model\.ckpt: .*Hat"):
        load(changed(path, preset=card["preset"], layout={**card["layout"], "parts": {"body": ["Hat"]}}))


# --- writing -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_mode_of_a_new_file(mask, mode, model: TrainedModel, tmp_path: Path):
    """A checkpoint can be read by whom the user's umask lets read."""
    before = os.umask(mask)
    try:
        save(tmp_path / "model.ckpt", model)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "model.ckpt").stat().st_mode) == mode


def test_rename_that_fails(model: TrainedModel, path: Path, monkeypatch: pytest.MonkeyPatch):
    """The old file is still there, whole, and nothing beside it."""
    before = path.read_bytes()

    def fail(*_names: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(InputError, match=r"model\.ckpt: cannot be written: No space left on device"):
        save(path, TrainedModel(model.network, replace(model.card, step=8)))
    assert path.read_bytes() == before
    assert [entry.name for entry in path.parent.iterdir()] == ["model.ckpt"]


@pytest.mark.parametrize("room", [0, 5_000, 100_000])
def test_disk_that_is_full(room: int, path: Path):
    """A limit on the size of files stands in for the disk: the archive's own writer meets it, at whatever byte it comes."""
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, limits[1]))
    try:
        with pytest.raises(InputError, match=r"model\.ckpt: cannot be written: File too large"):
            write_checkpoint({"weights": [torch.zeros(20_000), torch.zeros(200_000)]}, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == before
    assert [entry.name for entry in path.parent.iterdir()] == ["model.ckpt"]


def test_interrupted_write(path: Path, monkeypatch: pytest.MonkeyPatch):
    """Ctrl-C in the middle is Ctrl-C, and leaves the old file alone."""
    before = path.read_bytes()

    def interrupt(_content: Any, file: Any) -> None:
        file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_checkpoint({}, path)
    assert path.read_bytes() == before
    assert [entry.name for entry in path.parent.iterdir()] == ["model.ckpt"]


def test_errors_that_are_not_the_disks_pass(path: Path):
    """What cannot be written because the program is wrong is no InputError."""
    with pytest.raises((AttributeError, pickle.PicklingError, TypeError)):
        write_checkpoint({"function": lambda: None}, path)
    assert read_checkpoint(path)["symgnn"]["step"] == 7
