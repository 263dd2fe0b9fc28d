"""Training from a store to checkpoints: that it learns, that it goes on after anything, that it says what is wrong."""

import copy
import csv
import errno
import math
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from symgnn.config import Preset, TrainingConfig
from symgnn.data import Store, write_store
from symgnn.errors import InputError
from symgnn.models import SymGNN
from symgnn.models.checkpoint import build, load, read_checkpoint, save, snapshot_files
from symgnn.training import MotionData, TrainingModule, train, training_step
from symgnn.training import module as training_module
from symgnn.training.module import MovingAverage, rate_factor
from symgnn.types import Batch
from tiny import CLASSES, FUTURE, MODEL, OBSERVED, layout, make_batch, make_model, make_preset, make_store, same, state_of

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("training")


@pytest.fixture(scope="module")
def store(folder: Path) -> Store:
    return make_store(folder)


def before_each_step(module: TrainingModule, change: Callable[[Batch], Batch]) -> None:
    """Let the module's steps see changed batches, or do something on the way."""
    original = module.training_step

    def training_step(batch: Batch, batch_idx: int) -> None:
        original(change(batch), batch_idx)

    module.training_step = training_step


def run(preset: Preset, store: Store, out: Path, **settings: Any) -> Path:
    """Train on the CPU without a progress line; gives the folder."""
    return train(preset, store, out, progress=False, accelerator="cpu", **settings).folder


@pytest.fixture(scope="module")
def preset(folder: Path) -> Preset:
    return make_preset(folder)


@pytest.fixture(scope="module")
def whole(preset: Preset, store: Store, folder: Path) -> Path:
    """The run that nothing disturbed."""
    return run(preset, store, folder / "whole")


# --- learning -------------------------------------------------------------------------------------------------------------


def test_overfits_one_batch():
    """Every clip is recognised, and the future is far closer than standing still."""
    torch.manual_seed(0)
    model = SymGNN(replace(MODEL, bone=False), layout(), observed=OBSERVED, channels=3, classes=len(CLASSES))
    drawn = make_batch(9)
    batch = Batch(drawn.observed.float(), drawn.future.float(), torch.arange(9) % 3, drawn.clip)
    model.fit_normalisation([batch.observed.flatten(0, 1)])
    # Recognition is learned by heart within 20 steps. Its gradient then being the shorter one, (15) would weigh it by 1 and
    # leave the backbone's features to it: the fixed weight tells whether both can be learned at once.
    config = TrainingConfig(weighting="fixed")
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-2)
    steps = []
    for _ in range(120):
        optimizer.zero_grad()
        steps.append(training_step(model, batch, config))
        steps[-1].surrogate.backward()
        optimizer.step()
    first, last = steps[0], steps[-1]
    assert first.prediction is not None and last.prediction is not None
    still = (model.normalise(batch.future)[0] - model.normalise(batch.observed[:, -1:])[0]).abs().mean()
    assert float(first.prediction) == pytest.approx(float(still), rel=1e-5), "an untrained head predicts that the body stands"
    assert last.prediction < 0.35 * first.prediction
    assert last.recognition is not None and last.recognition < 0.01 and last.accuracy == 1


def test_one_run_by_hand(store: Store, folder: Path):
    """A run does what the paper's loop does, written out here with PyTorch's plain Adam, and averages as it says.

    In float64: a bias before a batch norm has no gradient but rounding, which Adam in float32 turns into steps.
    """
    preset = make_preset(
        folder, steps=3, validate_every=3, average=0.5, clip_norm=0.3, schedule="cosine", weight_decay=0.01, precision="64-true"
    )
    began: list[SymGNN] = []
    batches: list[Batch] = []

    def keep(module: TrainingModule, data: MotionData) -> None:
        model = build(preset, store.layout, len(CLASSES)).double()
        model.load_state_dict(module.model.state_dict())
        began.append(model.train())
        data.setup("fit")
        generator = torch.Generator().manual_seed(training_module._seed(preset.training.seed, 0, 0))
        batches.extend(data.train_windows.sample(8, generator) for _ in range(3))

    out = run(preset, store, folder / "by hand", on_start=keep)
    (model,) = began
    average = {name: value.clone() for name, value in model.state_dict().items()}
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.01, foreach=False, fused=False)
    for number, batch in enumerate(batches):
        for group in optimizer.param_groups:
            group["lr"] = preset.training.learning_rate * 0.5 * (1 + math.cos(math.pi * number / 3))
        optimizer.zero_grad()
        training_step(model, batch, preset.training).surrogate.backward()
        norm = math.sqrt(sum(float(p.grad.square().sum()) for p in model.parameters() if p.grad is not None))
        assert norm > 0.3, "the clipping is at work"
        for parameter in model.parameters():
            assert parameter.grad is not None
            parameter.grad *= 0.3 / norm
        optimizer.step()
        decay = min(0.5, (1 + number) / (10 + number))
        for name, value in model.state_dict().items():
            average[name] = decay * average[name] + (1 - decay) * value
    written = state_of(out / "last.ckpt")["state_dict"]
    for name, value in model.state_dict().items():
        if value.is_floating_point():
            torch.testing.assert_close(written[f"model.{name}"], value, rtol=1e-5, atol=1e-8)
            torch.testing.assert_close(written[f"average.module.{name}"], average[name], rtol=1e-5, atol=1e-8)


def test_every_interval_draws_windows_of_its_own(preset: Preset, store: Store, tmp_path: Path):
    drawn: list[tuple[int, ...]] = []

    def listen(module: TrainingModule, _data: MotionData) -> None:
        def note(batch: Batch) -> Batch:
            drawn.append(tuple(batch.observed[:, 0, 0, 1].mul(1e6).long().tolist()))
            return batch

        before_each_step(module, note)

    run(preset, store, tmp_path / "run", on_start=listen)
    assert len(drawn) == len(set(drawn)) == 12


def test_moving_average_of_a_short_training():
    """Where the weights jump and stay, the average is near them long before 1/(1 - decay) steps are over."""
    model = make_model()
    average = MovingAverage(model, 0.999)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 1
    for step in range(50):
        average.update(model, step)
    for before, now in zip(average.module.parameters(), model.parameters(), strict=True):
        assert not before.requires_grad
        torch.testing.assert_close(before, now, rtol=0, atol=1e-6)


def test_validation_holds_out_whole_recordings(preset: Preset, store: Store, whole: Path):
    data = MotionData(store, preset)
    assert set(data.train_indices).isdisjoint(data.validation_indices) and data.validation_indices
    assert {store.clips[index].label for index in data.train_indices} == {0, 1, 2}
    data.setup("fit")
    loader = data.val_dataloader()
    assert not isinstance(loader, list)
    clips = torch.cat([batch.clip for batch in loader])
    assert set(clips.tolist()) == set(data.validation_indices)
    seen = set()
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        seen |= set(data.train_windows.sample(8, generator).clip.tolist())
    assert seen == set(data.train_indices)
    best, last = (load(whole / f"{name}.ckpt").card for name in ("validation", "last"))
    assert (best.selection, last.selection) == ("validation", "last")
    assert last.step == 12 and best.step in (4, 8, 12)


def test_the_validation_checkpoint_is_the_best(whole: Path):
    """By the figures written down; the steps of validations are those at the ends of intervals."""
    with (whole / "logs" / "metrics.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["validation_l1"]]
    figures = {int(row["step"]): float(row["validation_l1"]) for row in rows}
    assert list(figures) == [4, 8, 12]
    assert load(whole / "validation.ckpt").card.step == min(figures, key=lambda step: figures[step])
    assert read_checkpoint(whole / "last.ckpt")["best"] == pytest.approx(min(figures.values()), rel=1e-6)


@pytest.mark.parametrize("average", [0.9, 0.0])
def test_snapshots_are_the_weights_of_each_interval(average: float, preset: Preset, store: Store, tmp_path: Path):
    """By what a listener saw at each checkpoint; and keeping them changes nothing of the training."""
    preset = replace(preset, training=replace(preset.training, average=average))
    keeping = replace(preset, training=replace(preset.training, snapshots=True))
    seen: dict[int, dict[str, torch.Tensor]] = {}
    modules: list[TrainingModule] = []

    def keep(step: int) -> None:
        seen[step] = {name: value.clone() for name, value in modules[0].reported.state_dict().items()}

    folder = run(keeping, store, tmp_path / "all", on_start=lambda module, _: modules.append(module), on_checkpoint=keep)
    files = snapshot_files(folder)
    assert [path.name for path in files] == ["4.ckpt", "8.ckpt", "12.ckpt"] and list(seen) == [4, 8, 12]
    for path, (step, weights) in zip(files, seen.items(), strict=True):
        model = load(path, folded=False)
        assert (model.card.step, model.card.selection) == (step, "snapshot")
        assert all(torch.equal(value, weights[name]) for name, value in model.network.state_dict().items())
        assert "optimizer_states" not in read_checkpoint(path)
    assert not same(seen[4], seen[8])

    plain = run(preset, store, tmp_path / "plain")
    assert same(*(load(path / "last.ckpt", folded=False).network.state_dict() for path in (plain, folder)))
    assert not snapshot_files(plain)

    # Of a training in the same folder that came before nothing is left to be taken for this one's.
    (folder / "last.ckpt").unlink()
    shorter = replace(keeping, training=replace(keeping.training, steps=4))
    assert [path.name for path in snapshot_files(run(shorter, store, folder))] == ["4.ckpt"]
    # One that goes on keeps what it has.
    run(shorter, store, folder, resume=True)
    assert [path.name for path in snapshot_files(folder)] == ["4.ckpt"]


@pytest.mark.parametrize("changed", [{"placement": "none"}, {"placement": "centre"}])
def test_large_data_is_normalised_by_a_part_of_it(preset: Preset, store: Store, changed: dict, monkeypatch: pytest.MonkeyPatch):
    """A bound below what is there leaves some recordings, the same ones each time, and with them less to hold in memory."""
    preset = replace(preset, model=replace(preset.model, **changed))
    data = MotionData(store, preset)
    model = build(preset, store.layout, len(store.class_names))
    everything = data.recordings(model)
    assert len(everything) == len(data.train_indices) or changed["placement"] != "none"
    frames = sum(map(len, everything))
    monkeypatch.setattr(training_module, "MOST_FRAMES", frames // 3)
    some = data.recordings(model)
    assert frames // 6 < sum(map(len, some)) <= frames // 3 + max(map(len, everything))
    assert all(any(torch.equal(one, other) for other in everything) for one in some) or changed["placement"] != "none"
    assert all(torch.equal(one, other) for one, other in zip(some, data.recordings(model), strict=True))

    data.setup("fit")
    monkeypatch.setattr(training_module, "MOST_WINDOWS", 2 * len(data.validation_indices))
    assert sum(len(batch.label) for batch in data.val_dataloader()) == 2 * len(data.validation_indices)


def test_validation_figures_by_hand(preset: Preset, store: Store, whole: Path):
    """What is written at the end is what the checkpoint's (averaged) weights give on the held-out windows."""
    network = load(whole / "last.ckpt", folded=False).network
    data = MotionData(store, preset)
    data.setup("fit")
    distances, right = [], []
    loader = data.val_dataloader()
    assert not isinstance(loader, list)
    for batch in loader:
        with torch.no_grad():
            answer = network(batch.observed, FUTURE)
        assert answer.future is not None and answer.logits is not None
        distances.append(((answer.future - batch.future) / network.scale).abs().flatten())
        right.append(answer.logits.argmax(dim=1) == batch.label)
    with (whole / "logs" / "metrics.csv").open() as file:
        row = [row for row in csv.DictReader(file) if row["validation_l1"]][-1]
    assert float(row["validation_l1"]) == pytest.approx(float(torch.cat(distances).mean()), rel=1e-4)
    assert float(row["validation_accuracy"]) == pytest.approx(float(torch.cat(right).float().mean()), rel=1e-4)


def test_rows_are_means_of_the_steps_between(store: Store, folder: Path):
    preset = make_preset(folder, steps=20, validate_every=20, validation=0.0)
    distances: list[float] = []

    def listen(module: TrainingModule, _data: MotionData) -> None:
        def note(batch: Batch) -> Batch:
            distances.append(float(training_step(copy.deepcopy(module.model), batch, preset.training).prediction or 0))
            return batch

        before_each_step(module, note)

    rows = figures_of(run(preset, store, folder / "rows", on_start=listen))
    assert [int(row["step"]) for row in rows] == [10, 20]
    for row, mine in zip(rows, (distances[:10], distances[10:]), strict=True):
        assert float(row["l1"]) == pytest.approx(sum(mine) / 10, rel=1e-5)
        assert 0 <= float(row["lambda"]) <= 1 and 0 <= float(row["accuracy"]) <= 1


# --- presets ----------------------------------------------------------------------------------------------------------------


def test_constant_rate():
    assert {rate_factor(TrainingConfig(steps=10), step) for step in range(11)} == {1.0}


def test_step_schedule():
    """NTU in sec. 6.1.2: divided by 10 at epochs 30, 60 and 90 of 100."""
    training = TrainingConfig(steps=100, schedule="step", milestones=(0.3, 0.6, 0.9))
    expected = {0: 1, 29: 1, 30: 0.1, 59: 0.1, 60: 0.01, 89: 0.01, 90: 0.001, 99: 0.001}
    assert {step: rate_factor(training, step) for step in expected} == pytest.approx(expected)


def test_cosine_schedule_with_warm_up():
    training = TrainingConfig(steps=100, schedule="cosine", warm_up=0.2)
    assert [rate_factor(training, step) for step in (0, 9, 19)] == pytest.approx([0.05, 0.5, 1.0])
    assert rate_factor(training, 20) == 1
    assert rate_factor(training, 60) == pytest.approx(0.5)
    assert rate_factor(training, 40) == pytest.approx(0.5 + 0.5 * math.cos(math.pi / 4))
    assert rate_factor(training, 100) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("warm_up", [0.05, 0.17, 0.34, 1.0])
@pytest.mark.parametrize("schedule", ["constant", "step", "cosine"])
def test_rates_never_exceed_the_preset(warm_up, schedule):
    """Also where the warm-up is no whole number of steps, or all of them."""
    training = TrainingConfig(steps=10, schedule=schedule, warm_up=warm_up, milestones=(0.5,))
    assert all(0 <= rate_factor(training, step) <= 1 for step in range(11))


def test_sgd(store: Store, folder: Path):
    """Momentum 0.9 (sec. 6.1.2), Nesterov's, with the preset's weight decay."""
    preset = make_preset(folder, optimizer="sgd", learning_rate=0.05, weight_decay=1e-4, steps=4)
    (state,) = state_of(run(preset, store, folder / "sgd") / "last.ckpt")["optimizer_states"]
    (group,) = state["param_groups"]
    assert (group["momentum"], group["nesterov"], group["weight_decay"]) == (0.9, True, 1e-4)
    assert all(bool(entry["momentum_buffer"].ne(0).any()) for entry in state["state"].values())


@pytest.mark.parametrize(
    ("model", "training"),
    [
        ({}, {"precision": "bf16-mixed"}),
        ({}, {"precision": "64-true"}),
        ({"recognition": False}, {"average": 0.0}),
        ({"recognition": False, "graphs": "structural"}, {"precision": "bf16-mixed"}),
        ({"prediction": False}, {}),
        ({"dropout": 0.3, "bone": True}, {"weighting": "exact", "velocity_weight": 1.0}),
    ],
    ids=[
        "bf16-mixed",
        "64-true",
        "no recognition",
        "no recognition in bf16",
        "no prediction",
        "bone, dropout, exact, velocity",
    ],
)
def test_kinds_of_training(model, training, store: Store, folder: Path, request: pytest.FixtureRequest):
    """Each trains, judges itself on held-out recordings, writes a checkpoint that predicts, and goes on from it bit-equal."""
    preset = make_preset(folder, model, **{"steps": 8, **training})
    out = run(preset, store, folder / request.node.callspec.id)
    trained = load(out / "last.ckpt")
    assert (out / "validation.ckpt").is_file()
    answer = trained(torch.from_numpy(store.frames[None, :OBSERVED].copy()), FUTURE)
    for wanted, found in ((preset.model.recognition, answer.logits), (preset.model.prediction, answer.future)):
        assert (found is not None) == wanted and (found is None or bool(found.isfinite().all()))
    again = folder / f"{request.node.callspec.id}, stopped"
    stop_at(preset, store, again, step=6)
    assert read_checkpoint(again / "last.ckpt")["global_step"] == 4
    run(preset, store, again, resume=True)
    assert same(state_of(again / "last.ckpt"), state_of(out / "last.ckpt"))


# --- going on ----------------------------------------------------------------------------------------------------------------


def stop_at(preset: Preset, store: Store, out: Path, step: int) -> None:
    """A run that Ctrl-C reaches at the start of a step, as a real signal."""
    before = signal.getsignal(signal.SIGINT)

    def interrupt(module: TrainingModule, _data: MotionData) -> None:
        def press(batch: Batch) -> Batch:
            if module.global_step == step - 1:
                signal.raise_signal(signal.SIGINT)
            return batch

        before_each_step(module, press)

    assert train(preset, store, out, progress=False, accelerator="cpu", on_start=interrupt).interrupted
    assert signal.getsignal(signal.SIGINT) is before


def figures_of(run_folder: Path) -> list[dict[str, str]]:
    """The rows of metrics.csv without how fast the machine was."""
    with (run_folder / "logs" / "metrics.csv").open() as file:
        return [{name: value for name, value in row.items() if name != "samples_s"} for row in csv.DictReader(file)]


def same_runs(one: Path, other: Path) -> bool:
    """The same weights, moving average, optimiser and figures, bit for bit, in both checkpoints."""
    files = [[state_of(folder / f"{name}.ckpt") for name in ("last", "validation")] for folder in (one, other)]
    return same(*files) and figures_of(one) == figures_of(other)


@pytest.mark.parametrize("step", [2, 5, 8, 12])
def test_ctrl_c(step: int, preset: Preset, store: Store, whole: Path, tmp_path: Path):
    """The checkpoint of the last whole interval stays, and going on ends bit-equal to the run that nothing disturbed."""
    out = tmp_path / "run"
    stop_at(preset, store, out, step)
    if done := 4 * ((step - 1) // 4):
        assert read_checkpoint(out / "last.ckpt")["global_step"] == done
    else:
        assert not (out / "last.ckpt").exists()
    torch.manual_seed(99)  # whatever was drawn in between changes nothing
    run(preset, store, out, resume=True)
    assert same_runs(out, whole)


def test_going_on_with_a_finished_run_changes_nothing(preset: Preset, store: Store, whole: Path, tmp_path: Path):
    out = tmp_path / "run"
    run(preset, store, out)
    before = (out / "last.ckpt").read_bytes()
    run(preset, store, out, resume=True)
    assert (out / "last.ckpt").read_bytes() == before
    assert same_runs(out, whole), "two runs with one seed are one"


def test_another_seed_is_another_run(store: Store, whole: Path, folder: Path):
    out = run(make_preset(folder, seed=1), store, folder / "other seed")
    assert not same(state_of(out / "last.ckpt")["state_dict"], state_of(whole / "last.ckpt")["state_dict"])


KILLED = """
    import io, os, signal, sys, time
    from pathlib import Path

    import torch

    torch.set_num_threads(1)
    from symgnn.data import Store
    from symgnn.training import train
    from tiny import make_preset

    folder, when = Path(sys.argv[1]), sys.argv[2]
    save = torch.save
    written = []

    def cut_off(content, file):
        written.append(content["global_step"])
        if written.count(8) and when == "writing":
            buffer = io.BytesIO()
            save(content, buffer)
            file.write(buffer.getvalue()[: buffer.tell() // 2])
            file.flush()
            os.kill(os.getpid(), signal.SIGKILL)
        save(content, file)

    def slow(module, data):
        original = module.training_step

        def training_step(batch, batch_idx):
            time.sleep(0.05)
            original(batch, batch_idx)

        module.training_step = training_step

    torch.save = cut_off
    train(make_preset(folder), Store.open(folder / "store"), folder / when, progress=False, accelerator="cpu", on_start=slow)
"""


def killable(folder: Path, when: str) -> subprocess.Popen:
    """The run of the fixture ``whole`` in a process of its own."""
    places = [str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(KILLED), str(folder), when],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(places), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def test_killed_while_writing_a_checkpoint(preset: Preset, store: Store, whole: Path, folder: Path):
    process = killable(folder, "writing")
    output, _ = process.communicate(timeout=300)
    assert process.returncode == -signal.SIGKILL, output.decode()
    out = folder / "writing"
    assert list(out.glob(".*")), "something half-written is there, under another name"
    assert read_checkpoint(out / "last.ckpt")["global_step"] == 4
    run(preset, store, out, resume=True)
    assert same_runs(out, whole)
    assert not list(out.glob(".*")), "the next write clears it away"


def test_killed_anywhere(preset: Preset, store: Store, whole: Path, folder: Path):
    """At a moment nobody chose: in a step, a validation or a checkpoint, after the first interval."""
    process = killable(folder, "anywhere")
    out = folder / "anywhere"
    deadline = time.monotonic() + 300
    while not (out / "last.ckpt").exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(np.random.default_rng().uniform(0, 0.6))
    process.kill()
    output, _ = process.communicate()
    assert (out / "last.ckpt").exists(), output.decode()
    run(preset, store, out, resume=True)
    assert same_runs(out, whole)


def test_stopped_between_two_checkpoints(preset: Preset, store: Store, whole: Path, tmp_path: Path, monkeypatch):
    """The best figure is noted in ``last.ckpt``, so ``validation.ckpt`` has to be there before: else it would be lost."""
    assert load(whole / "validation.ckpt").card.step == 12, "the last interval is the best of all, or this test says nothing"
    save = torch.save
    written: list[int] = []

    def fail(content: dict[str, Any], file: Any) -> None:
        written.append(content["global_step"])
        if written.count(12) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        save(content, file)

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(InputError, match=r"\.ckpt: cannot be written: No space left on device"):
        run(preset, store, tmp_path / "run")
    monkeypatch.undo()
    run(preset, store, tmp_path / "run", resume=True)
    assert same_runs(tmp_path / "run", whole)


# --- missing joints, numbers that are none -----------------------------------------------------------------------------------


def test_missing_joints(tmp_path: Path):
    """Joints that are now and then not there: every figure stays finite, and so do the weights."""
    store = make_store(tmp_path, gaps=0.2)
    assert np.isnan(store.frames).mean() == pytest.approx(0.2, abs=0.03)
    out = run(make_preset(tmp_path, steps=10, validate_every=10, velocity_weight=1.0), store, tmp_path / "run")
    rows = figures_of(out)
    assert len(rows) == 2
    assert all(math.isfinite(float(value)) for row in rows for value in row.values() if value)
    state = state_of(out / "last.ckpt")["state_dict"]
    assert all(bool(value.isfinite().all()) for value in state.values())


def test_labels_that_are_not_there(tmp_path: Path):
    """Recordings without a class train the prediction; where no recording has one, accuracy is left out."""
    known = make_store(tmp_path)
    clips = [(replace(clip, label=-1), known.clip_frames(number)) for number, clip in enumerate(known.clips)]
    store = write_store(tmp_path / "bare", clips, layout=layout(), space="xyz", unit="m", fps=25.0, class_names=CLASSES)
    out = run(make_preset(tmp_path, steps=10, validate_every=10), store, tmp_path / "run")
    training, validation = figures_of(out)
    assert float(training["cross_entropy"]) == 0 and training["accuracy"] == ""
    assert validation["validation_accuracy"] == validation["validation_cross_entropy"] == ""
    assert float(validation["validation_l1"]) > 0


@pytest.mark.parametrize("step", [3, 8])
def test_loss_that_is_no_number(step: int, preset: Preset, store: Store, tmp_path: Path):
    """It stops with the recordings of the very batch, before a checkpoint takes the damage up."""
    held: list[str] = []

    def spoil(module: TrainingModule, _data: MotionData) -> None:
        def change(batch: Batch) -> Batch:
            if module.global_step != step - 1:
                return batch
            held.extend(sorted({store.clips[clip].recording for clip in batch.clip.tolist()}))
            return replace(batch, future=batch.future + math.inf)

        before_each_step(module, change)

    with pytest.raises(InputError) as caught:
        run(preset, store, tmp_path / "run", on_start=spoil)
    assert f"step {step}: not a finite number: l1" in str(caught.value)
    assert f"the batch held {', '.join(held)}." in str(caught.value)
    assert "learning_rate" in str(caught.value)
    last = tmp_path / "run" / "last.ckpt"
    assert last.exists() == (step > 4)
    if last.exists():
        assert all(bool(value.isfinite().all()) for value in state_of(last)["state_dict"].values())


def test_weights_that_are_no_numbers(preset: Preset, store: Store, tmp_path: Path):
    """The last step of an interval may break the weights while its own losses are fine."""

    def spoil(module: TrainingModule, _data: MotionData) -> None:
        read = module._read

        def break_after() -> None:
            read()
            if module.global_step == 8:
                next(module.model.parameters()).data[0] = math.nan

        module._read = break_after

    with pytest.raises(InputError, match="step 8: the weights are not finite numbers"):
        run(preset, store, tmp_path / "run", on_start=spoil)
    assert read_checkpoint(tmp_path / "run" / "last.ckpt")["global_step"] == 4


# --- refusals ----------------------------------------------------------------------------------------------------------------


def test_refusals(preset: Preset, store: Store, whole: Path, folder: Path, tmp_path: Path):
    with pytest.raises(InputError, match="holds a run already; go on with it by --resume"):
        run(preset, store, whole)
    with pytest.raises(InputError, match="holds no run to go on with"):
        run(preset, store, tmp_path / "nothing", resume=True)
    assert not (tmp_path / "nothing").exists()
    with pytest.raises(InputError, match=r"training\.steps: 10 is no multiple of training\.validate_every \(4\)"):
        run(make_preset(folder, steps=10), store, tmp_path / "odd")
    with pytest.raises(InputError, match=r"another training\.learning_rate \(0\.003, now 0\.1\)"):
        run(make_preset(folder, learning_rate=0.1), store, whole, resume=True)
    with pytest.raises(InputError, match=r"another model\.channels \(\(4, 8, 8\), now \(4, 8, 9\)\)"):
        run(make_preset(folder, {"channels": (4, 8, 9)}), store, whole, resume=True)
    other = write_store(
        tmp_path / "other",
        [(clip, store.clip_frames(k)) for k, clip in enumerate(store.clips)],
        layout=layout(), space="xyz", unit="m", fps=25.0, class_names=("a", "b", "c"),
    )  # fmt: skip
    with pytest.raises(InputError, match="trained on other classes"):
        run(preset, other, whole, resume=True)
    if not torch.cuda.is_available():
        with pytest.raises(InputError, match='device "gpu"'):
            train(preset, store, tmp_path / "gpu", accelerator="gpu")
    assert [path.name for path in tmp_path.iterdir()] == ["other"], "nothing is written before all is known to be well"


def test_a_folder_that_cannot_be_made(preset: Preset, store: Store, tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        run(preset, store, tmp_path / "file" / "run")


def test_weights_alone_are_nothing_to_go_on_from(preset: Preset, store: Store, whole: Path, tmp_path: Path):
    save(tmp_path / "last.ckpt", load(whole / "last.ckpt", folded=False))
    with pytest.raises(InputError, match="holds weights only"):
        run(preset, store, tmp_path, resume=True)
