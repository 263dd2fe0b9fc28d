"""Runs by what they are made of: nothing is trained or judged twice."""

import functools
import hashlib
import itertools
import json
import os
import platform
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import torch

from symgnn.config import Preset, preset_to_dict
from symgnn.data import Store, split_recordings
from symgnn.errors import InputError
from symgnn.evaluation import Protocol, evaluate, fitted_baseline, load_protocol, on_held_out, per_cell_minimum
from symgnn.experiments.paper.perturbing import perturbed, sigma_for
from symgnn.experiments.paper.records import Judge
from symgnn.files import is_first_process, write_whole
from symgnn.models.checkpoint import TrainedModel, load, snapshot_files
from symgnn.skeleton import Space, load_layout
from symgnn.training import train

NOISE_SEED = 0
"""Of the noise of Figs. 14 and 15: the same directions for every σ."""

LATER: dict[str, dict[str, Any]] = {"model": {"joint": True}, "training": {"jitter": 0.0, "snapshots": False}}
"""Fields that presets did not have when runs were first kept, with what a preset without them did: so they leave addresses as
they were, and what was trained before is found again."""


class Interrupted(Exception):
    """A training was stopped by Ctrl-C; its last checkpoint is kept."""


class Busy(Exception):
    """Another process is at the same run."""


class Absent(InputError):
    """Figures that are not among those kept, and what they are found with is not here."""


@dataclass(frozen=True, eq=False)
class Remembered(Store):
    """Data that is not at hand: without clips, for runs whose figures are kept."""

    @classmethod
    def of(cls, sha256: Mapping[str, str], layout: str, space: Space) -> "Remembered":
        """A stand-in.

        Args:
            sha256: of its files, which runs are known by.
            layout: name of its bodies' layout.
            space: what it holds.
        """
        body = load_layout(layout)
        nothing = np.empty((0, len(body.stored(space)), 3), dtype=np.float32)
        return cls(Path("DIR"), body, space, "", 0.0, (), nothing, (), None, None, {"sha256": dict(sha256)})


def address(parts: Mapping[str, Any], store: Store) -> str:
    """Twelve hexadecimal digits that change with anything a run depends on.

    Args:
        parts: plain values: sections of a preset, or the name of a baseline.
        store: the data; its arrays and clips count, not its place.
    """
    content = {"parts": dict(parts), "data": store.about["sha256"]}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]


@dataclass(frozen=True)
class Trained:
    """What one run is and where it lies."""

    preset: Preset
    baseline: str | None
    """What needs no training, in the network's place."""
    store: Store
    out: Path
    """Folder of all runs."""

    @cached_property
    def address(self) -> str:
        if self.baseline is not None:
            return address({"baseline": self.baseline, "seed": self.preset.training.seed}, self.store)
        values = preset_to_dict(self.preset)
        for section, fields in LATER.items():
            for name, before in fields.items():
                if values[section][name] == before:
                    del values[section][name]
        return address({name: values[name] for name in ("data", "model", "training")}, self.store)

    @property
    def folder(self) -> Path:
        """Checkpoints, ``time.json`` and ``results``."""
        return self.out / "runs" / self.address

    @property
    def step(self) -> int:
        """Steps that its last checkpoint has behind it; 0 where there is none."""
        about = read_json(self.folder / "time.json")
        return 0 if about is None else int(about["step"])

    @property
    def here(self) -> bool:
        """Whether it can be judged in any way: figures may have come without their weights."""
        return self.baseline is not None or (self.folder / "last.ckpt").is_file()

    @property
    def finished(self) -> bool:
        """Whether nothing is left to train."""
        return self.baseline is not None or self.step >= self.preset.training.steps

    @property
    def seconds(self) -> float:
        """That training has taken so far."""
        about = read_json(self.folder / "time.json")
        return 0.0 if about is None else float(about["seconds"])

    def train(self, device: str, progress: bool = True) -> None:
        """Train what is left of it; a second process that wants the same run is told so.

        Raises:
            Interrupted: Ctrl-C.
            Busy: another process trains it.
            InputError: as for [train][symgnn.training.train].
        """
        if self.finished and self.here:
            return
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(self.folder.with_suffix(".lock"))

        def taken() -> bool:
            try:
                lock.acquire(timeout=0)
            except filelock.Timeout:
                return True
            return False

        if of_first_process(taken):
            raise Busy
        try:
            before, began = self.seconds if self.here else 0.0, time.perf_counter()
            self.folder.mkdir(exist_ok=True)
            if is_first_process():
                write_json(self.folder / "data.json", {"sha256": self.store.about["sha256"]})
            resume = (self.folder / "preset.json").exists()

            def note(step: int | None = None) -> None:
                self._note(step, before + time.perf_counter() - began, device)

            try:
                run = train(
                    self.preset,
                    self.store,
                    self.folder,
                    resume=resume,
                    accelerator=device,
                    progress=progress,
                    on_checkpoint=note,  # what a kill leaves is known by step and time
                )
            finally:
                note()
            if run.interrupted:
                raise Interrupted
        finally:
            lock.release()

    def _note(self, step: int | None, seconds: float, device: str) -> None:
        """Write ``time.json``; the step is that of the last checkpoint where none is given."""
        last = self.folder / "last.ckpt"
        if not is_first_process() or not last.is_file():
            return
        parameters = self.parameters
        if step is None or parameters is None:
            model = load(last, folded=False)
            step, parameters = model.card.step, sum(weight.numel() for weight in model.network.parameters())
        about = {"step": step, "seconds": seconds, "machine": machine(device), "parameters": parameters}
        write_json(self.folder / "time.json", about)

    @property
    def parameters(self) -> int | None:
        """Of the network; None before there is one."""
        about = read_json(self.folder / "time.json")
        return None if about is None else about["parameters"]

    @property
    def machine(self) -> str | None:
        """What it was trained on."""
        about = read_json(self.folder / "time.json")
        return None if about is None else about["machine"]

    def model(self, selection: str) -> TrainedModel:
        """The trained network.

        Raises:
            Absent: there are no weights of it at all.
            InputError: there is no such checkpoint.
        """
        path = self.folder / f"{selection}.ckpt"
        if not path.is_file() and not self.here:
            raise Absent(self._without_weights)
        if not path.is_file():
            raise InputError(f"{path}: there is no such checkpoint: nothing was held out for validation")
        return load(path, "cuda" if torch.cuda.is_available() else "cpu")

    def snapshots(self) -> Iterator[TrainedModel]:
        """The network after each interval, one after the other.

        Raises:
            Absent: there are no weights of it at all.
            InputError: its snapshots are gone.
        """
        files = snapshot_files(self.folder)
        if not files and not self.here:
            raise Absent(self._without_weights)
        if not files:
            raise InputError(f"{self.folder}: its snapshots are gone; delete the folder, and the same command trains it again")
        for path in files:
            yield load(path, "cuda" if torch.cuda.is_available() else "cpu")

    @property
    def _without_weights(self) -> str:
        return f"its figures came without its weights ({self.folder}), and this one is not among them"

    def protocol(self) -> Protocol:
        """The preset's protocol, fitted to its window."""
        window = self.preset.data
        return load_protocol(
            self.preset.protocol,
            observed=window.observed,
            future=window.future,
            step=window.step,
            sampling=window.sampling,
            ratio=window.ratio,
            persons=window.persons,
        )

    def kept(self, what: Mapping[str, Any], find: Callable[[], Mapping[str, Any]]) -> Mapping[str, Any]:
        """Figures of this run that are found once and kept.

        Args:
            what: plain values that tell them from other figures of the run.
            find: finds them.

        Raises:
            Absent: they are not kept, and the data is not at hand.
        """
        key = hashlib.sha256(json.dumps(dict(what), sort_keys=True).encode()).hexdigest()[:12]
        path = self.folder / "results" / f"{key}.json"
        known = read_json(path)
        # A training that went on since makes old figures those of other weights.
        if known is not None and known["step"] == self.step:
            return known["figures"]
        if isinstance(self.store, Remembered):
            raise Absent("it is not judged in this way yet, and the data is not at hand")
        figures = find()
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, {"what": dict(what), "step": self.step, "figures": dict(figures)})
        return figures

    def known(self, name: str) -> list[Mapping[str, Any]]:
        """Figures that are kept, of whatever is told apart by such a field."""
        kept = [read_json(path) for path in sorted((self.folder / "results").glob("*.json"))]
        return [each["figures"] for each in kept if each is not None and name in each["what"] and each["step"] == self.step]

    def judged(self, judge: Judge, selection: str) -> Mapping[str, Any]:
        """[Result.to_dict][symgnn.evaluation.Result.to_dict] of this run, from the kept file where there is one."""
        protocol = self.protocol()
        what: dict[str, Any] = {
            "protocol": protocol.name,
            "future": protocol.future,
            "ratio": protocol.ratio,
            "selection": selection,
        }

        def find() -> Mapping[str, Any]:
            rules, store = protocol, self.store
            if judge.held_out:
                training = self.preset.training
                rules, store = on_held_out(rules, store, split_recordings(store, training.validation, training.seed)[1])
            if self.baseline is not None:
                model, rules = fitted_baseline(self.baseline, rules, store)
            elif selection == "per-cell-minimum":
                return per_cell_minimum([evaluate(each, rules, store) for each in self.snapshots()]).to_dict()
            else:
                model = self.model(selection)
            if judge.noise:
                generator = torch.Generator().manual_seed(NOISE_SEED)
                model = perturbed(model, sigma_for(self.store, judge.noise), generator)
            return evaluate(model, rules, store).to_dict()

        if self.baseline is not None:
            # Its address says nothing of the window, which a trained network's does.
            window = self.preset.data
            what |= {"observed": window.observed, "step": window.step, "sampling": window.sampling, "persons": window.persons}
        if judge.held_out:
            what["validation"] = self.preset.training.validation
        return self.kept({**what, **asdict(judge)}, find)

    def actions(self, judge: Judge) -> tuple[str, ...]:
        """Those with recordings to train on and to be judged on, in the order of their classes."""
        learnt, judged = self.store.select(split="train"), self.store.select(split="test")
        if judge.held_out:
            learnt, judged = split_recordings(self.store, self.preset.training.validation, self.preset.training.seed)
        labels = {self.store.clips[index].label for index in learnt} & {self.store.clips[index].label for index in judged}
        return tuple(self.store.class_names[label] for label in sorted(labels) if label >= 0)

    def shortened(self, steps: int) -> "Trained":
        """The same with fewer steps; its checkpoints and validations come ten times in all, or as often as they did."""
        training = self.preset.training
        every = min(training.validate_every, steps // 10) if steps >= 10 else steps
        # Whole intervals alone are kept.
        steps = steps // every * every
        return replace(self, preset=replace(self.preset, training=replace(training, steps=steps, validate_every=every)))


def of_first_process(find: Callable[[], Any]) -> Any:
    """What the first of torchrun's processes finds, in each of them: all go by one plan, which is measured and written once.

    Args:
        find: called in the first process alone; gives plain values. All processes ask for the same things in the same order.

    Raises:
        InputError: the first process found something amiss.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return find()
    key = f"symgnn {next(_ASKED)}"
    if not is_first_process():
        found = json.loads(_meeting_place().get(key))
        if "amiss" in found:
            raise InputError(found["amiss"])
        return found["found"]
    try:
        found = find()
    except InputError as error:
        _meeting_place().set(key, json.dumps({"amiss": str(error)}))
        raise
    _meeting_place().set(key, json.dumps({"found": found}))
    return found


_ASKED = itertools.count()


@functools.cache
def _meeting_place() -> Any:
    from torch.distributed.rendezvous import rendezvous

    store, _, _ = next(rendezvous("env://"))
    # The first process may measure for long.
    store.set_timeout(timedelta(days=1))
    return store


def machine(device: str) -> str:
    """What computes, in words."""
    if device != "cpu" and torch.cuda.is_available():
        return f"{torch.cuda.get_device_name()}, torch {torch.__version__}"
    return f"{os.cpu_count()} CPU cores ({platform.machine()}, {torch.get_num_threads()} threads), torch {torch.__version__}"


def read_json(path: Path) -> dict[str, Any] | None:
    """A JSON file's content; None where there is none.

    Raises:
        InputError: it is there and is no JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (ValueError, OSError) as error:
        raise InputError(f"{path}: cannot be read: {error}; delete it, and it is made anew") from None


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Plain values into a file that ``read_json`` reads, whole or not at all."""
    write_whole(path, json.dumps(dict(values), indent=1, ensure_ascii=False).encode() + b"\n")
