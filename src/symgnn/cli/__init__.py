"""The command line: command to function. Help needs no torch; only training loads Lightning."""

import dataclasses
import difflib
import errno
import functools
import inspect
import itertools
import logging
import os
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro
from rich.console import Console
from rich.table import Table
from rich.text import Text
from tyro.conf import Positional, arg

from symgnn.cli.data import (
    KINDS,
    data_check,
    data_convert_layout,
    data_how,
    data_import,
    data_info,
    data_layouts,
    data_make,
    data_play,
    data_split,
    data_view,
)
from symgnn.cli.live import export, serve, stream
from symgnn.cli.paper import paper_list, paper_report, paper_run
from symgnn.cli.shared import (
    File,
    Folder,
    Switch,
    check_place,
    checkpoint_file,
    duration,
    load_checkpoint,
    load_model,
    say,
    show,
)
from symgnn.config import (
    CLASSIFIERS,
    PREDICTORS,
    DataConfig,
    ModelConfig,
    Preset,
    Selection,
    TrainingConfig,
    field_sources,
    load_preset,
    network_names,
    preset_names,
    preset_to_dict,
)
from symgnn.errors import InputError
from symgnn.files import is_first_process

if TYPE_CHECKING:
    from symgnn.skeleton import Layout


# --- commands -----------------------------------------------------------------------------------------------------------


def train(
    preset: Annotated[Positional[str], arg(metavar="PRESET")],
    /,
    folder: Annotated[Path, arg(name="data", metavar="DIR")],
    out: Annotated[Path | None, arg(metavar="RUN", help_behavior_hint="")] = None,
    resume: Switch = False,
    device: Literal["auto", "cpu", "gpu"] = "auto",
    start: Annotated[str | None, arg(name="from", metavar="RUN|CHECKPOINT", help_behavior_hint="")] = None,
    network: Annotated[str, arg(name="model", metavar="NAME")] = "sym-gnn",
    *,
    window: Annotated[DataConfig, arg(name="data")],
    model: ModelConfig,
    training: TrainingConfig,
) -> int:
    """Train a preset: one command from recordings to both answers.

    The defaults of the options below are the preset's (with no preset named, those of cmu-long). Checkpoints go to
    RUN/last.ckpt and RUN/validation.ckpt, curves to RUN/logs. Ctrl-C keeps the last checkpoint; the same command with --resume
    goes on from there.

    Args:
        preset: name of a preset, or path of a YAML file.
        folder: a store, or a benchmark's own folder of text files.
        out: folder to write; runs/PRESET by default.
        resume: go on from RUN/last.ckpt.
        device: where to compute.
        start: fine-tune this model: what fits is taken over, the rest is new, and it is said which.
        network: sym-gnn, or a baseline in its place, with its published training laid over the preset's: {networks}.
    """
    chosen = dataclasses.replace(load_preset(preset, network), data=window, model=model, training=training)
    if window.sampling != "window" and chosen.protocol == "recognition":
        chosen = dataclasses.replace(chosen, protocol="clips")
    if window.ratio is not None:
        chosen = dataclasses.replace(chosen, protocol="early")
    run_folder = out or Path("runs") / chosen.name
    from symgnn.data import group_persons, open_data, recognise
    from symgnn.training import MotionData, TrainingModule
    from symgnn.training import train as fit

    def describe(module: TrainingModule, data: MotionData) -> None:
        parameters = sum(weight.numel() for weight in module.model.parameters())
        train, held = (
            len(group_persons(data.store, indices, chosen.data.persons))
            for indices in (data.train_indices, data.validation_indices)
        )
        apart = f", {held:,} held out for validation" if held else ""
        say(
            f"{chosen.name}: {parameters:,} parameters; {train:,} recordings{apart}; "
            f"{chosen.training.steps:,} steps of {chosen.training.batch} -> {run_folder}"
        )
        for line in [] if module.reused is None else module.reused.sentences():
            say(line)

    began = time.perf_counter()
    trained = None if start is None or resume else load_checkpoint(start, "last", folded=False)
    store = open_data(folder, kind=recognise(folder, window.layout))
    split, wanted = store.about.get("split_as"), chosen.name.removesuffix("-modern")
    if split is not None and wanted.startswith("ntu") and split != wanted:
        raise InputError(
            f"{folder}: is split into training and test as {split}, the preset {chosen.name} is for {wanted}: import the files "
            f"again with --split-as {wanted}, or train {split}"
        )
    run = fit(chosen, store, run_folder, resume=resume, accelerator=device, start=trained, on_start=describe)
    if run.interrupted:
        return _interrupted(run.last)
    say(f"{chosen.training.steps} steps in {duration(time.perf_counter() - began)}: {run.last}")
    say(f"next: symgnn evaluate {shlex.quote(str(run.folder))} --data {shlex.quote(str(folder))}")
    return 0


train.__doc__ = (train.__doc__ or "").format(networks=", ".join(network_names()[1:]))


def evaluate(
    model: Annotated[Positional[str], arg(metavar="RUN|CHECKPOINT|MODEL.onnx|BASELINE")],
    /,
    data: Folder,
    protocol: Annotated[str | None, arg(metavar="NAME", help_behavior_hint="")] = None,
    selection: Selection = "last",
    json: File = None,
    html: File = None,
    up_to: Switch = False,
    ratio: Annotated[float | None, arg(metavar="PART", help_behavior_hint="")] = None,
    held_out: Switch = False,
) -> int:
    """Judge a model by a protocol, beside zero-velocity on the same clips.

    Args:
        model: folder of a run, a checkpoint, a file of symgnn export, or a baseline: zero-velocity repeats the last pose,
            running-average-2 and -4 the mean of as many; linear (logistic regression) and nearest (neighbour) recognise from
            the numbers of the training clips, to tell whether the network is worth it.
        data: a store, or a benchmark's own folder.
        protocol: cmu-short, cmu-long, h36m-8, h36m-256 (angles), h36m-3d-8, h36m-3d-256 (places), ntu, kinetics, demo (any
            positions), image (those in an image), recognition (windows), clips (whole ones) or early (their beginning); by
            default that of the model's preset, and clips for linear and nearest.
        selection: which weights of a run: the final ones; or those that did best on the held-out part of the training data.
            per-cell-minimum takes, for every action and time by itself, the smallest error of all snapshots of the run
            (training.snapshots), chosen on test data: so the tables of many papers are made, and with them alone it compares.
        json: also write every figure to this file.
        html: also write a report with pictures to this file.
        up_to: add the error averaged up to each frame, which some papers print in place of the benchmark's figure.
        ratio: of the protocol early: the part of each clip that is shown, such as 0.1; by default that of the training.
        held_out: judge on the training recordings that the run held out for validation, where settings may be chosen, and
            not on the test clips.
    """
    for path in filter(None, (json, html)):
        check_place(path)
    baseline = model in (*PREDICTORS, *CLASSIFIERS)
    if baseline and html is not None:
        raise InputError("--html needs a trained model")
    if model in PREDICTORS and protocol is None:
        raise InputError(f"--protocol is needed: {model} has no preset")
    if held_out and (baseline or html is not None):
        raise InputError("--held-out needs a trained model, and writes no --html")
    snapshots: list[Path] = []
    if selection == "per-cell-minimum":
        from symgnn.models.checkpoint import snapshot_files

        if held_out or html is not None:
            raise InputError("--selection per-cell-minimum goes with no --held-out and no --html")
        if not Path(model).is_dir():
            raise InputError(f"{model}: is no folder; --selection per-cell-minimum needs that of a run of symgnn train")
        snapshots = snapshot_files(Path(model))
        if not snapshots:
            raise InputError(
                f"{model}: has no snapshots, the weights of every validation, of which the smallest errors are taken: train it "
                "anew, in another folder, with --training.snapshots"
            )
    trained = None if baseline else load_model(model, "last" if snapshots else selection)
    from symgnn.data import open_data, recognise, split_recordings
    from symgnn.evaluation import evaluate as judge
    from symgnn.evaluation import fitted_baseline, load_protocol, on_held_out, per_cell_minimum

    if trained is None:
        rules = load_protocol(protocol or "clips", ratio=ratio)
        store = open_data(data, kind=recognise(data, rules.layout))
        fitted, rules = fitted_baseline(model, rules, store)
        result = judge(fitted, rules, store, up_to=up_to, progress=True)
    else:
        window = trained.preset.data
        name = protocol or trained.preset.protocol
        rules = load_protocol(
            name,
            observed=window.observed,
            future=window.future,
            step=window.step,
            sampling=window.sampling,
            ratio=window.ratio if ratio is None and name == "early" else ratio,
            persons=window.persons,
        )
        from symgnn.models.checkpoint import TrainedModel

        if html is not None and not isinstance(trained, TrainedModel):
            raise InputError("--html needs the checkpoint that the file was exported from")
        store = open_data(data, kind=recognise(data, trained.layout.name))
        if held_out:
            training = trained.preset.training
            rules, store = on_held_out(rules, store, split_recordings(store, training.validation, training.seed)[1])
        if snapshots:
            each = (load_model(str(file)) for file in snapshots)
            result = per_cell_minimum([judge(snapshot, rules, store, up_to=up_to, progress=True) for snapshot in each])
        elif html is None or not isinstance(trained, TrainedModel):
            result = judge(trained, rules, store, up_to=up_to, progress=True)
        else:
            from symgnn.experiments.report import answers, report_data
            from symgnn.viz import report_page, write_page

            with answers(trained) as answered:
                result = judge(trained, rules, store, up_to=up_to, progress=True)

            run = checkpoint_file(model, selection).parent
            command = shlex.join(["symgnn", "evaluate", model, "--data", str(data), "--protocol", rules.name])
            figures = report_data(
                trained,
                rules,
                store,
                result,
                answered,
                title=f"Sym-GNN, preset {trained.preset.name}",
                run=run,
                facts={"command": command},
            )
            write_page(html, report_page(figures))
    show(result)
    if json is not None:
        from symgnn.files import write_whole

        write_whole(json, result.to_json().encode() + b"\n")
    return 0


def predict(
    checkpoint: Annotated[Positional[str], arg(metavar="RUN|CHECKPOINT|MODEL.onnx")],
    clips: Annotated[Positional[tuple[str, ...]], arg(metavar="CLIP...")],
    /,
    out: File = None,
    html: File = None,
    horizon: Annotated[int | None, arg(metavar="FRAMES", help_behavior_hint="")] = None,
    kind: Annotated[str | None, arg(name="as", metavar="FORMAT", help_behavior_hint="")] = None,
    layout: Annotated[str | None, arg(metavar="NAME|FILE.yaml", help_behavior_hint="")] = None,
    fps: Annotated[float | None, arg(help_behavior_hint="")] = None,
    label_column: Annotated[str | None, arg(metavar="HEADING|N", help_behavior_hint="")] = None,
    zero_is_missing: Switch = False,
) -> int:
    """Say what the person in a clip is doing and where each joint will be.

    A clip may be of any length: its last frames are looked at, and one shorter than the model's window is filled on the left
    with its first pose, which is said; a model trained on whole clips looks at all of it. Files that tell rate or times are
    resampled to the model's rate; joints are found by name, or mapped from another body. Each person is a clip.

    Args:
        checkpoint: of symgnn train, or a file of symgnn export; it holds all that is needed.
        clips: files or folders of any format of symgnn data import, a store, or STORE:7 for its clip 7.
        out: file for class probabilities and future poses: .json or .npz.
        html: page with each clip's answer and an animation of it.
        horizon: frames to predict; by default as many as in training.
        kind: what the files are, where their names do not say: {kinds}.
        layout: body of files that do not name their joints (symgnn data layouts); by default the model's.
        fps: frames a second of files that do not tell; by default the model's.
        label_column: of tables: heading or number of a column with classes, which is left out.
        zero_is_missing: a joint at exactly 0 0 0 was not seen.
    """
    if not clips:
        raise InputError("CLIP: found none, expected the files or stores to answer for")
    if out is not None and out.suffix.lower() not in (".json", ".npz"):
        raise InputError(f"--out {out}: found the suffix {out.suffix!r}, expected .json or .npz")
    for path in filter(None, (out, html)):
        check_place(path)
    model = load_model(checkpoint, "last")
    from symgnn.data.importing import ImportOptions
    from symgnn.runtime import predict as answer
    from symgnn.runtime import prediction_page, read_clips, scenes, write_predictions
    from symgnn.viz import write_page

    options = ImportOptions(layout=layout, fps=fps, label_column=label_column, zero_is_missing=zero_is_missing)
    notes: dict[str, None] = {}
    read = [clip for source in clips for clip in read_clips(source, model, kind, options, note=notes.setdefault)]
    for note in notes:
        say(note)
    names = [clip.name for clip in read]
    together = scenes(read, model.preset.data.persons)
    found = answer(model, [clip.frames for clip in read], horizon, names=names, together=together)
    # Both are made before either is written, so that an error in one leaves neither.
    page = None if html is None else prediction_page(found, names, model)
    if out is not None:
        write_predictions(out, found, names, model)
    if html is not None and page is not None:
        write_page(html, page)
    table = Table()
    for name in ("clip", "it is", "probability", "future"):
        table.add_column(name)
    for name, one in zip(names, found, strict=True):
        sure = "" if one.label is None else f"{one.probabilities[one.label]:.1%}"
        future = "" if one.future is None else f"{len(one.future)} poses, {one.milliseconds[-1]:.0f} ms"
        table.add_row(Text(name), one.label or "", sure, future)
    show(table)
    for path in filter(None, (out, html)):
        say(f"wrote {path}")
    return 0


predict.__doc__ = (predict.__doc__ or "").format(kinds=", ".join(KINDS))


def info(
    subject: Annotated[Positional[str], arg(metavar="PRESET|CHECKPOINT")],
    /,
    network: Annotated[str, arg(name="model", metavar="NAME")] = "sym-gnn",
    *,
    window: Annotated[DataConfig, arg(name="data")],
    model: ModelConfig,
    training: TrainingConfig,
) -> int:
    """Show size, cost, graphs and parts of a network, and where its numbers come from.

    Args:
        subject: name of a preset (options then change it), path of its YAML file, of a checkpoint or of a run.
        network: of a preset: sym-gnn, or a baseline in its place.
    """
    if _is_preset(subject):
        from symgnn.models.checkpoint import build
        from symgnn.skeleton import load_layout

        preset = dataclasses.replace(load_preset(subject, network), data=window, model=model, training=training)
        layout = load_layout(preset.data.layout)
        classes = _classes(layout.name)
        built = build(preset, layout, classes)
        about = f"{preset.description}\nuntrained; counted with {classes} classes"
    else:
        trained = load_checkpoint(subject, "last", folded=False)
        preset, layout, built, card = trained.preset, trained.layout, trained.network, trained.card
        about = (
            f"{preset.description}\ntrained {card.step} steps ({card.selection} weights) by symgnn {card.package_version} "
            f"on data of {card.fps:g} frames a second\nclasses: {', '.join(card.class_names)}"
        )
    from symgnn.experiments.sizes import sizes

    show(Text(f"{preset.name}: {about}"))
    table = Table(title=f"one clip, {preset.data.observed} frames observed, {preset.data.future} predicted")
    for name, justify in (("network", "left"), ("part", "left"), ("parameters", "right"), ("GFLOP", "right")):
        table.add_column(name, justify=justify)  # pyright: ignore[reportArgumentType]
    found = sizes(built, preset.data.future)
    for size in found:
        table.add_row(size.network, size.part, f"{size.parameters:,}", f"{size.flop / 1e9:.4f}")
    table.add_section()
    total = sum(size.parameters for size in found), sum(size.flop for size in found) / 1e9
    table.add_row("all", "", f"{total[0]:,}", f"{total[1]:.4f}", style="bold")
    show(table)
    _graphs(layout, preset.model.hop)
    _sources(preset)
    return 0


def demo(
    out: Annotated[Path, arg(metavar="DIR")] = Path("runs/demo"),
    steps: Annotated[int | None, arg(metavar="INT", help_behavior_hint="")] = None,
) -> int:
    """Train on the built-in motion, evaluate, write a report: under three minutes.

    Args:
        out: folder to write; an earlier demo there is replaced.
        steps: train for so many steps in place of the preset's.
    """
    preset = load_preset("demo")
    if steps is not None:
        if steps < 1:
            raise InputError(f"--steps: found {steps}, expected 1 or more")
        training = dataclasses.replace(preset.training, steps=steps, validate_every=steps)
        preset = dataclasses.replace(preset, training=training)
    from symgnn.experiments.demo import demo as run_demo

    done = run_demo(out, preset, say=say)
    if done.result is None:
        return _interrupted(done.run.last, again="symgnn demo starts anew")
    show(done.result)
    show(Text(f"\n{duration(done.seconds)} in all; the checkpoint: {done.run.last}"))
    show(Text(f"the report, to open in a browser: {done.report.resolve()}", style="bold"))
    return 0


def bench(
    presets: Annotated[tuple[str, ...], arg(metavar="PRESET...")] = (),
    json: File = None,
    quick: Switch = False,
) -> int:
    """Measure speed on this machine, beside the floor its matrix products set.

    Args:
        presets: which to measure.
        json: also write every figure to this file.
        quick: fewer repetitions.
    """
    if json is not None:
        check_place(json)
    for preset in presets:
        load_preset(preset)
    from symgnn.experiments.bench import bench as measure

    if presets:
        return measure(presets=presets, json=json, quick=quick)
    return measure(json=json, quick=quick)


def bench_data(
    json: File = None,
    quick: Switch = False,
    scale: float = 0.05,
) -> int:
    """Measure the way of data on this machine: readers, import, store, windows, wait of a training step.

    Args:
        json: also write every figure to this file.
        quick: fewer files, clips and repetitions.
        scale: part of the frames that the store of 57,000 clips really has; its table is whole, clips share frames.
    """
    if json is not None:
        check_place(json)
    if not 0 < scale <= 1:
        raise InputError(f"--scale: found {scale:g}, expected more than 0 and at most 1 (3 GB)")
    from symgnn.experiments.bench_data import bench_data as measure

    return measure(json=json, quick=quick, scale=scale)


def bench_live(
    forms: Annotated[tuple[str, ...], arg(metavar="FORM...")] = (),
    only: Annotated[tuple[str, ...], arg(metavar="PART...")] = (),
    json: File = None,
    quick: Switch = False,
    minutes: float = 60.0,
) -> int:
    """Measure streams on this machine: from a frame to both answers, clients of a service, memory.

    Takes about half an hour, of which compiling takes a third.

    Args:
        forms: ways to run a network: eager and folded (always), bf16, compiled, onnx, int8, tick (a frame at a time); by
            default all of them.
        only: latency, clients or memory; by default all three.
        json: also write every figure to this file.
        quick: a small part of it all, to see that it works.
        minutes: of motion in the stream whose memory is watched.
    """
    if json is not None:
        check_place(json)
    if not 0 < minutes < 1e5:
        raise InputError(f"--minutes: found {minutes:g}, expected a positive number")
    from symgnn.experiments.bench_live import FORMS, PARTS
    from symgnn.experiments.bench_live import bench_live as measure

    return measure(forms=forms or FORMS, parts=only or PARTS, json=json, quick=quick, minutes=minutes)


def bench_training(
    presets: Annotated[tuple[str, ...], arg(metavar="PRESET...")] = (),
    device: Literal["auto", "cpu", "gpu"] = "auto",
    json: File = None,
    quick: Switch = False,
) -> int:
    """Measure a training step on this machine, beside the floor: FLOP over the rate of matrix products in its precision.

    On a GPU a step is timed twice: launched kernel by kernel, and recorded as a CUDA graph (training.recorded).

    Args:
        presets: which to measure.
        device: where to compute.
        json: also write every figure to this file.
        quick: fewer repetitions.
    """
    if json is not None:
        check_place(json)
    for preset in presets:
        load_preset(preset)
    from symgnn.experiments.bench_training import PRESETS
    from symgnn.experiments.bench_training import bench_training as measure

    return measure(presets=presets or PRESETS, device=device, json=json, quick=quick)


# --- how commands are found and run ----------------------------------------------------------------------------------------

_COMMANDS: dict[str, Callable[..., int]] = {
    "train": train,
    "evaluate": evaluate,
    "predict": predict,
    "stream": stream,
    "serve": serve,
    "export": export,
    "info": info,
    "bench data": bench_data,  # before "bench", whose words they begin with
    "bench live": bench_live,
    "bench training": bench_training,
    "bench": bench,
    "data how": data_how,
    "data import": data_import,
    "data info": data_info,
    "data check": data_check,
    "data split": data_split,
    "data view": data_view,
    "data play": data_play,
    "data convert-layout": data_convert_layout,
    "data layouts": data_layouts,
    "data make": data_make,
    "paper list": paper_list,
    "paper run": paper_run,
    "paper report": paper_report,
    "demo": demo,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Returns:
        0; 2 after something the user has to mend, said in a line on stderr; 130 after Ctrl-C.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    _listen()
    try:
        code = _run(words)
        sys.stdout.flush()
        return code
    except InputError as error:
        return _fail(str(error))
    except KeyboardInterrupt:
        # What these have done is kept, whatever they were at.
        again = (
            f"; go on with: {shlex.join(['symgnn', *words])}" if words[:2] in (["paper", "run"], ["paper", "report"]) else ""
        )
        print(f"symgnn: interrupted{again}", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # Whoever read our output has seen enough. What is still buffered goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        if error.errno not in _PLACES:
            raise
        return _fail(f"{error.filename or 'writing'}: {error.strerror}; free some space or choose another place")


_PLACES = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG}
"""Errors of the place that is written to, not of the program."""


def _run(words: list[str]) -> int:
    name = next((name for name in _COMMANDS if words[: len(name.split())] == name.split()), None)
    if name is None:
        return _overview(words)
    command, rest = _COMMANDS[name], words[len(name.split()) :]
    if command in (train, info):
        # --help shows, and overrides change, the values of the preset that is named.
        preset = load_preset(_named_preset(rest), _given(rest, "--model") or "sym-gnn")
        if preset.name == "own" and command is train and not {"-h", "--help"} & set(rest):
            preset = _for_own_data(preset, rest)
        command = functools.partial(command, window=preset.data, model=preset.model, training=preset.training)
    return tyro.cli(command, prog=f"symgnn {name}", args=rest)


def _for_own_data(preset: Preset, words: Sequence[str]) -> Preset:
    """The preset for a user's own recordings with what their store decides; it is said."""
    folder, start = _given(words, "--data"), _given(words, "--from")
    if folder is None:
        return preset  # the parser says that --data is missing
    from symgnn.data import open_data
    from symgnn.training.own import fitted

    begun = None if start is None else load_checkpoint(start, "last", folded=False).card
    preset, reasons = fitted(preset, open_data(folder), begun)
    for reason in reasons:
        say(reason)
    return preset


def _given(words: Sequence[str], option: str) -> str | None:
    """What an option is given, as ``--option VALUE`` or ``--option=VALUE``."""
    after = (after for word, after in itertools.pairwise(words) if word == option)
    return next(after, None) or next((word.partition("=")[2] for word in words if word.startswith(f"{option}=")), None)


def _named_preset(words: Sequence[str]) -> str:
    if words and not words[0].startswith("-") and (words[0].endswith((".yaml", ".yml")) or not Path(words[0]).exists()):
        return words[0]
    return next((word for word in words if word in preset_names() or word.endswith((".yaml", ".yml"))), "cmu-long")


def _overview(words: Sequence[str]) -> int:
    groups = {name.split()[0] for name in _COMMANDS}
    if words and words[0] not in {*groups, "-h", "--help", "--version"}:
        near = difflib.get_close_matches(words[0], groups, n=1, cutoff=0.4)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise InputError(f"no command {words[0]!r}{hint} (there are: {', '.join(dict.fromkeys(_COMMANDS))})")
    if words and words[0] == "--version":
        print(f"symgnn {version('symgnn')}")
        return 0
    if words and words[0] in groups and words[1:] and words[1] not in ("-h", "--help"):
        inside = [name for name in _COMMANDS if name.split()[0] == words[0]]
        raise InputError(f"no command {' '.join(words[:2])!r} (there are: {', '.join(inside)})")
    asked = any(word in ("-h", "--help") for word in words)
    console = Console(stderr=not asked, highlight=False)
    console.print("usage: symgnn COMMAND ...\n\nWhat a moving body is doing, and where each joint will be.\n", markup=False)
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    for name, command in _COMMANDS.items():
        if not words or words[0] not in groups or name.split()[0] == words[0]:
            table.add_row(f"  {name}", Text((inspect.getdoc(command) or "").splitlines()[0]))
    console.print(table)
    console.print("\nsymgnn COMMAND --help tells the rest.", markup=False)
    return 0 if asked else 2


# --- pieces ------------------------------------------------------------------------------------------------------------------


def _is_preset(subject: str) -> bool:
    """Whether the user means a preset; what is no file and looks like no path can only be a preset's name, right or wrong."""
    if subject.endswith((".yaml", ".yml")) or subject in preset_names():
        return True
    return not Path(subject).exists() and Path(subject).name == subject and not Path(subject).suffix


def _classes(layout: str) -> int:
    """Classes of the data set a preset is for."""
    return {"h36m": 15, "h36m-3d": 15, "ntu25": 60}.get(layout, 8)


def _graphs(layout: "Layout", hop: int) -> None:
    from symgnn.skeleton import adjacency, bone_adjacency, normalise, powers

    bones = bone_adjacency(layout)
    reached = powers(normalise(adjacency(layout)), hop)
    lines = [
        f"layout {layout.name}: {len(layout.joints)} joints, {layout.num_nodes} in use, {len(layout.edges)} bones between them",
        *(
            f"skeleton graph to the power {order}: {int((power > 0).sum())} of {layout.num_nodes**2} pairs of joints linked"
            for order, power in enumerate(reached, start=1)
        ),
        f"bone graph: {len(bones)} bones, {int((bones.sum() - len(bones)) / 2)} pairs share a joint",
        f"parts: {len(layout.parts)}, {len(layout.part_edges)} pairs of them joined",
        *(f"  {name}: {', '.join(layout.node_names[node] for node in nodes)}" for name, nodes in layout.parts.items()),
    ]
    show(Text("\n".join(lines)))


def _sources(preset: Preset) -> None:
    table = Table(title="what each number is, and where it comes from")
    table.add_column("field", no_wrap=True)
    table.add_column("value")
    table.add_column("source")
    for section in ("data", "model", "training"):
        record = getattr(preset, section)
        sources = field_sources(type(record))
        for name, value in preset_to_dict(preset)[section].items():
            shown = " ".join(map(str, value)) if isinstance(value, (list, tuple)) else f"{value}"
            table.add_row(Text(f"{section}.{name}"), Text(shown), Text(sources[name]))
        table.add_section()
    show(table)


class _Lines(logging.Handler):
    """The package's warnings, as lines on whatever stderr is when they come."""

    def emit(self, record: logging.LogRecord) -> None:
        print(f"symgnn: {record.getMessage()}", file=sys.stderr)


def _listen() -> None:
    logger = logging.getLogger("symgnn")
    if not is_first_process():
        logger.setLevel(logging.ERROR)  # what the first process says, too
    if not any(isinstance(handler, _Lines) for handler in logger.handlers):
        logger.addHandler(_Lines())


def _fail(message: str) -> int:
    print(f"symgnn: {message}", file=sys.stderr)
    return 2


def _interrupted(last: Path, again: str | None = None) -> int:
    if again is None:
        words = [word for word in sys.argv[1:] if word != "--resume"]
        again = f"go on with: {shlex.join(['symgnn', *words, *(['--resume'] if last.is_file() else [])])}"
    kept = f"kept {last}" if last.is_file() else "no checkpoint had been written yet"
    print(f"symgnn: interrupted; {kept}; {again}", file=sys.stderr)
    return 130
