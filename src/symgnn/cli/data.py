"""The commands that make, mend and look at data."""

import dataclasses
import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

from rich.table import Table
from rich.text import Text
from tyro.conf import Positional, arg

from symgnn.cli.shared import File, Switch, check_place, duration, say, show
from symgnn.errors import InputError

if TYPE_CHECKING:
    from symgnn.data import Store
    from symgnn.data.importing import ImportOptions

Benchmark = Literal["cmu", "h36m", "h36m-3d"]
"""Benchmarks' folders; those of symgnn.data.opening."""
BENCHMARKS: tuple[Benchmark, ...] = get_args(Benchmark)
Form = Annotated[Benchmark | None, arg(name="as", help_behavior_hint="")]

KINDS = (*("table", "jsonl", "arrays", "bvh", "c3d", "openpose", "keypoints", "pickle", "toolkit-arrays", "ntu", "kinetics"),)
"""Formats of a user's own files; those of symgnn.data.importing, which help need not load."""
MOST_LINES = 40
"""Findings that are printed: errors come first."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How files are read: options of the commands that read a user's own."""

    kind: Annotated[
        str | None,
        arg(
            name="as",
            metavar="FORMAT",
            help_behavior_hint="",
            help=f"what the files are, where their names do not say: {', '.join((*BENCHMARKS, 'cmu-bvh', *KINDS))}.",
        ),
    ] = None
    layout: Annotated[str | None, arg(metavar="NAME|FILE.yaml", help_behavior_hint="")] = None
    """the body (symgnn data layouts), where the files do not name their joints."""
    labels: File = None
    """CSV file of file,label and, if you like, subject,camera,setup,split: a line for each file (--as cmu-bvh: of
    trial,split,action,number)."""
    label_column: Annotated[str | None, arg(metavar="HEADING|N", help_behavior_hint="")] = None
    """of tables: heading or number (from the end where negative) of the column with each frame's class."""
    label_from_name: Annotated[str | None, arg(metavar="REGEX", help_behavior_hint="")] = None
    """the first group of this, searched in each file's path, is its class."""
    label_from_folder: Switch = False
    """the name of a file's folder is its class."""
    no_class: Annotated[tuple[str, ...], arg(metavar="LABEL...")] = ("-1",)
    """labels that mean none."""
    cut: Switch = False
    """make a clip of each run of frames of one class, in place of a class for each frame."""
    shortest: int = 1
    """leave out clips of fewer frames."""
    fps: Annotated[float | None, arg(help_behavior_hint="")] = None
    """frames a second; files that tell their own rate or times are resampled to it."""
    subject_from_name: Annotated[str | None, arg(metavar="REGEX", help_behavior_hint="")] = None
    """the first group of this, searched in each file's path, is who moves."""
    zero_is_missing: Switch = False
    """a joint at exactly 0 0 0 was not seen."""
    leave_out: File = None
    """text file that names files not to be read, a line each, with or without suffix (NTU's list of missing skeletons)."""
    split_as: Annotated[str | None, arg(metavar="NAME", help_behavior_hint="")] = None
    """a published split: ntu60-xsub, ntu60-xview, ntu120-xsub, ntu120-xset, or one a pickle holds (xsub)."""

    def require_only(self, what: str, *fields: str) -> None:
        """Refuse options that would change nothing.

        Raises:
            InputError: one is given beside ``fields``.
        """
        defaults = Reading()
        given = [name for name in vars(self) if name not in fields and getattr(self, name) != getattr(defaults, name)]
        if given:
            options = ", ".join(f"--{'as' if name == 'kind' else name.replace('_', '-')}" for name in given)
            raise InputError(f"{options}: of files of your own; {what} is read as it is: leave them out")

    def options(self) -> "ImportOptions":
        """The same for the importer.

        Raises:
            InputError: classes are to come from two places.
        """
        from symgnn.data.importing import ImportOptions

        if sum((self.labels is not None, self.label_from_name is not None, self.label_from_folder)) > 1:
            raise InputError("--labels, --label-from-name, --label-from-folder: expected one of them at most")
        given: dict[str, Any] = {name: value for name, value in vars(self).items() if name != "kind"}
        given["no_class"] = ("", *self.no_class)
        return ImportOptions(**given)


def _benchmark(kind: str) -> Benchmark | None:
    return next((name for name in BENCHMARKS if name == kind), None)


def data_import(
    source: Annotated[Positional[Path], arg(metavar="FOLDER|FILE")],
    target: Annotated[Positional[Path], arg(metavar="STORE")],
    /,
    reading: Annotated[Reading, arg(name="")] = Reading(),
) -> int:
    """Make a store of recordings: your own in any of the usual forms, or a benchmark's folder.

    Files that cannot be used do not stop the work: they are listed in STORE.bad.csv with the reason, and the exit code is 1.

    Args:
        source: folder, searched to the bottom, or a file.
        target: folder to make; it must not exist.
        reading: what the files do not say themselves.
    """
    from symgnn.data import import_data, import_trials, recognise_benchmark
    from symgnn.data.importing import import_recordings

    kind = reading.kind
    benchmark = recognise_benchmark(source) if kind is None else _benchmark(kind)
    if benchmark is not None:
        reading.require_only(f"the benchmark's folder {source}", "kind")
        store = import_data(source, target, kind=benchmark)
        say(f"{target}: {len(store.clips)} clips, {len(store.frames):,} frames")
        return 0
    if kind == "cmu-bvh":
        if reading.labels is None:
            raise InputError("--labels is needed with --as cmu-bvh: a CSV file of trial,split,action,number")
        reading.require_only("the BVH release", "kind", "labels")
        store = import_trials(source, reading.labels, target)
        say(f"{target}: {len(store.clips)} clips, {len(store.frames):,} frames")
        return 0
    try:
        done = import_recordings(source, target, kind, reading.options())
    except KeyboardInterrupt:
        if target.with_name(f".{target.name}.partial").exists():
            say("stopped; the same command goes on from there")
        raise
    for note in done.notes:
        say(note)
    store = done.store
    say(f"{target}: {done.files - len(done.bad):,} files, {len(store.clips):,} clips, {len(store.frames):,} frames")
    read = done.files - done.done_before
    if read >= 1000:
        before = f" (after {done.done_before:,} of an earlier run)" if done.done_before else ""
        say(f"{read:,} files in {duration(done.seconds)}{before}: {read / done.seconds:,.0f} a second")
    for file, reason in done.bad[:5]:
        say(f"not used: {file}: {reason}")
    if done.report is not None:
        say(f"{len(done.bad)} of {done.files} files could not be used; all of them, with the reason: {done.report}")
        return 1
    say(f"next: symgnn data check {target}")
    return 0


def data_check(
    source: Annotated[Positional[Path], arg(metavar="STORE|FOLDER|FILE")],
    /,
    json: File = None,
    reading: Annotated[Reading, arg(name="")] = Reading(),
) -> int:
    """Look for what a careful colleague would notice before training.

    Counts, lengths, missing and jumping joints, bones that change their length, units, bodies upside down or mirrored, clips
    without motion, copies, and the same sequence in training and test. The exit code is 1 after an error, 0 after warnings.

    Args:
        source: a store, a benchmark's folder, or files that symgnn data import would read (with its options; nothing is kept).
        json: also write what was found to this file.
        reading: what the files do not say themselves.
    """
    import json as json_format

    from symgnn.data import is_store, open_data, recognise_benchmark
    from symgnn.data.checking import check_files, check_store
    from symgnn.files import write_whole

    if json is not None:
        check_place(json)
    benchmark = None if reading.kind is None else _benchmark(reading.kind)
    if is_store(source) or benchmark is not None or (reading.kind is None and recognise_benchmark(source)):
        reading.require_only(str(source), *(() if is_store(source) else ("kind",)))
        done = check_store(open_data(source, kind=benchmark), progress=True)
    elif reading.kind == "cmu-bvh":
        raise InputError("--as cmu-bvh: makes a benchmark of trials; expected its store: symgnn data import first")
    else:
        done = check_files(source, reading.kind, reading.options(), progress=True)
    splits = sorted({split for row in done.classes.values() for split in row})
    table = Table(title="clips")
    table.add_column("class")
    for split in splits:
        table.add_column(split, justify="right")
    for name, row in done.classes.items():
        table.add_row(name, *(f"{row.get(split, 0) or '·'}" for split in splits))
    show(table)
    style = {"error": "bold red", "warning": "yellow", "note": ""}
    for finding in done.findings[:MOST_LINES]:
        about = f" [{', '.join(finding.clips[:4])}{f' and {len(finding.clips) - 4} more' if len(finding.clips) > 4 else ''}]"
        show(Text.assemble((finding.level, style[finding.level]), f": {finding.what}{about if finding.clips else ''}"))
    if (more := len(done.findings) - MOST_LINES) > 0:
        show(Text(f"and {more} more: --json FILE writes everything"))
    if json is not None:
        content = {
            "errors": done.errors,
            "clips": done.classes,
            "findings": [dataclasses.asdict(each) for each in done.findings],
        }
        write_whole(json, json_format.dumps(content, indent=2, ensure_ascii=False).encode() + b"\n")
    return 1 if done.errors else 0


def data_split(
    store: Annotated[Positional[Path], arg(metavar="STORE")],
    /,
    by: Literal["subject", "camera", "setup", "random"],
    holdout: Annotated[tuple[str, ...], arg(metavar="NAME...|PART")],
    seed: int = 0,
) -> int:
    """Say which clips of a store train and which test.

    The test side is of people (cameras, setups) the training never saw; nothing but the table of clips changes.

    Args:
        store: a store's folder.
        by: what must not be on both sides; random draws whole recordings.
        holdout: names of the test subjects (cameras, setups); with --by random the part of the recordings, such as 0.2.
        seed: of --by random.
    """
    from symgnn.data import Store
    from symgnn.data.splitting import split_store

    done = split_store(Store.open(store), by, [word for each in holdout for word in each.split(",") if word], seed)
    parts = {side: [clip for clip in done.clips if clip.split == side] for side in ("train", "test")}
    for side, clips in parts.items():
        say(f"{side}: {len(clips)} clips, {sum(clip.length for clip in clips):,} frames")
    return 0


def data_layouts(
    name: Annotated[Positional[str | None], arg(metavar="NAME|FILE.yaml", help_behavior_hint="")] = None, /
) -> int:
    """List the built-in layouts, or show one.

    Args:
        name: of a layout, or the YAML file of your own.
    """
    from symgnn.skeleton import layout_names, load_layout

    if name is None:
        table = Table()
        for heading in ("layout", "joints", "in use", "parts", "unit"):
            table.add_column(heading, justify="left" if heading in ("layout", "unit") else "right")
        for each in layout_names():
            layout = load_layout(each)
            table.add_row(each, f"{len(layout.joints)}", f"{layout.num_nodes}", f"{len(layout.parts)}", layout.unit)
        show(table)
        return 0
    layout = load_layout(name)
    landmark = {joint: mark for mark, joint in layout.landmarks.items()}
    part = {layout.nodes[node]: of for of, nodes in layout.parts.items() for node in nodes}
    table = Table(title=f"{layout.name}, unit {layout.unit}, up is {layout.up}")
    for heading in ("", "joint", "hangs on", "mirrored", "part", "landmark"):
        table.add_column(heading)
    for index, joint in enumerate(layout.joints):
        above = layout.joints[layout.parents[index]] if layout.parents[index] >= 0 else ""
        other = layout.joints[layout.mirror[index]] if layout.mirror[index] != index else ""
        table.add_row(f"{index}", joint, above, other, part.get(index, "(not in use)"), landmark.get(index, ""))
    show(table)
    return 0


def data_convert_layout(
    store: Annotated[Positional[Path], arg(metavar="STORE")],
    target: Annotated[Positional[Path], arg(metavar="TARGET")],
    /,
    layout: Annotated[str, arg(metavar="NAME|FILE.yaml")],
) -> int:
    """Make a store of the joints of another layout, and say what is lost.

    Args:
        store: positions, in space or in an image.
        target: folder to make; it must not exist.
        layout: the other body (symgnn data layouts).
    """
    from symgnn.data import Store
    from symgnn.data.converting import convert_layout
    from symgnn.skeleton import load_layout

    made, mapping = convert_layout(Store.open(store), target, load_layout(layout))
    total = len(mapping.target.joints)
    say(f"{target}: {len(made.clips)} clips; {total - len(mapping.missing)} of {total} joints of layout {mapping.target.name}")
    for title, names in (("put between others", mapping.between), ("missing", mapping.missing), ("lost", mapping.lost)):
        if names:
            say(f"{title}: {', '.join(names)}")
    return 0


def data_view(
    store: Annotated[Positional[Path], arg(metavar="STORE|DIR")],
    clip: Annotated[Positional[str], arg(metavar="CLIP")],
    /,
    out: File = None,
    poses: int = 6,
    kind: Form = None,
) -> int:
    """Draw one clip on its skeleton: poses in a row, or an animation. Persons of one recording are drawn together.

    Args:
        store: a store's folder, or a benchmark's.
        clip: its number in the store, from 0, or the name of its recording.
        out: .svg for a picture, .gif for an animation, .html for one to stop and turn; by default CLIP.html.
        poses: in an .svg.
        kind: how to read a benchmark's folder; Human 3.6M's is angles, with h36m-3d places of joints.
    """
    from symgnn.data import open_data
    from symgnn.experiments.look import draw_clip

    opened = open_data(store, kind=kind)
    index = find_clip(opened, clip)
    place = out or Path(f"{Path(opened.clips[index].recording).name.replace(':', '_')}.html")
    check_place(place)
    if place.suffix.lower() not in (".svg", ".gif", ".html"):
        raise InputError(f"--out {place}: found the suffix {place.suffix!r}, expected .svg, .gif or .html")
    if poses < 2:
        raise InputError(f"--poses: found {poses}, expected 2 or more")
    notes = draw_clip(opened, index, place, poses)
    record = opened.clips[index]
    label = "no class" if record.label < 0 else opened.class_names[record.label]
    about = "; ".join([f"{label}, {record.length} frames ({record.length / opened.fps:.1f} s)", *notes])
    say(f"{record.recording}: {about} -> {place}")
    return 0


def data_play(
    clip: Annotated[Positional[str], arg(metavar="STORE:CLIP")],
    /,
    rate: float = 1.0,
) -> int:
    """Print the frames of a clip as lines of JSON, each at its time: what symgnn stream reads.

    Args:
        clip: a store's folder, or a benchmark's, and the clip's number in it from 0, or the name of its recording.
        rate: times as fast as it was; 0: as fast as it goes.
    """
    import json
    import math
    import time

    from symgnn.data import open_data
    from symgnn.runtime.answers import shortest

    if not 0 <= rate < math.inf:
        raise InputError(f"--rate: found {rate:g}, expected 1 for as fast as it was, 0 for as fast as it goes")
    folder, colon, which = clip.rpartition(":")
    if not colon:
        raise InputError(f"{clip}: names no clip; expected STORE:0, or the name of a recording in place of 0")
    opened = open_data(folder)
    index = find_clip(opened, which)
    began = time.monotonic()
    for number, frame in enumerate(opened.clip_frames(index)):
        second = number / opened.fps
        if rate:
            time.sleep(max(began + second / rate - time.monotonic(), 0))
        joints = [None if any(map(math.isnan, joint)) else joint for joint in shortest(frame)]
        print(json.dumps({"time": round(second, 6), "frame": joints}), flush=True)
    return 0


def find_clip(store: "Store", clip: str) -> int:
    """A clip by its number or the name of its recording."""
    named = [index for index, record in enumerate(store.clips) if record.recording == clip]
    if named:
        return named[0]
    if clip.isdecimal() and int(clip) < len(store.clips):
        return int(clip)
    near = difflib.get_close_matches(clip, [record.recording for record in store.clips], n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise InputError(f"{store.path}: no clip {clip!r}{hint} (a number from 0 to {len(store.clips) - 1}, or a recording's name)")


def data_how(
    name: Annotated[Positional[str | None], arg(metavar="NAME", help_behavior_hint="")] = None,
    /,
    check: Annotated[Path | None, arg(metavar="FOLDER", help_behavior_hint="")] = None,
) -> int:
    """Say where a data set is obtained, under which terms, and what to do with it.

    Args:
        name: of a data set, or of a preset made for it; without one, all are listed.
        check: say what of it is in this folder; the exit code is 1 where files are missing.
    """
    from symgnn.config import preset_names
    from symgnn.data.sources import find_source, found_files, sources

    if name is None:
        if check is not None:
            raise InputError(f"--check {check}: which data set is it? (there are: {', '.join(sources())})")
        table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
        for each, source in sources().items():
            table.add_row(each, Text(source.title))
        show(table)
        say("next: symgnn data how NAME")
        return 0
    name, source = find_source(name)
    if check is not None:
        whole = True
        for files, found in found_files(source, check):
            whole &= found >= (files.count or 1)
            expected = "" if files.count is None else f" of {files.count:,}"
            show(Text(f"{found:,}{expected} {files.what} ({', '.join(files.patterns)})"))
        return 0 if whole else 1
    presets = [preset for preset in preset_names() if preset.partition("-")[0] == name]
    show(Text(f"{name}: {source.title}", style="bold"))
    table = Table(box=None, show_header=False, pad_edge=False, padding=(1, 2, 0, 0))
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for heading, lines in (
        ("where", [source.page]),
        ("terms", [source.terms]),
        ("cite", [source.cite]),
        ("download", source.download),
        ("folder", [source.folder.rstrip()]),
        ("then", source.commands),
        ("presets", [", ".join(presets)]),
        ("store", [source.store]),
        ("clips", [source.clips]),
        ("not verified", source.unverified),
    ):
        if any(lines):
            table.add_row(heading, Text("\n".join(lines)))
    show(table)
    return 0


def data_make(
    target: Annotated[Positional[Path], arg(metavar="STORE")],
    /,
    seed: int = 0,
    clips_per_class: int = 32,
    in_place: Switch = False,
) -> int:
    """Make the built-in motion, a store to try things on.

    Eight movements of made-up people; figures on it are never results.

    Args:
        target: folder to make; it must not exist.
        seed: decides everything random.
        clips_per_class: clips of each movement, 16 or more.
        in_place: everybody stays on one spot, as on a treadmill; so the demo has it.
    """
    if clips_per_class < 16:
        raise InputError(f"--clips-per-class: found {clips_per_class}, expected 16 or more: each of 16 people does everything")
    if seed < 0:
        raise InputError(f"--seed: found {seed}, expected a number from 0 on")
    from symgnn.data import make_motion

    store = make_motion(target, seed=seed, clips_per_class=clips_per_class, in_place=in_place)
    say(f"{target}: {len(store.clips)} clips, {len(store.frames):,} frames")
    return 0


def data_info(
    store: Annotated[Positional[Path], arg(metavar="STORE|DIR")],
    /,
    verify: Switch = False,
    kind: Form = None,
) -> int:
    """Show what a store holds.

    Args:
        store: a store's folder, or a benchmark's.
        verify: compare every file with its checksum too.
        kind: how to read a benchmark's folder; Human 3.6M's is angles, with h36m-3d places of joints.
    """
    from symgnn.data import open_data

    opened = open_data(store, kind=kind)
    if verify:
        opened.verify()
    layout = opened.layout
    seconds = len(opened.frames) / opened.fps
    lines = [
        f"{store}: {len(opened.clips)} clips, {len(opened.frames):,} frames ({duration(seconds)} at {opened.fps:g} a second)",
        f"layout {layout.name}: {len(layout.joints)} joints, {layout.num_nodes} in use",
        f"space {opened.space}, unit {opened.unit}",
    ]
    for name, values in (("missing", opened.missing), ("copies of test files, not trained on", opened.leaked)):
        if values:
            lines.append(f"{name}: {', '.join(values)}")
    if verify:
        lines.append("every file is what was written (sha256)")
    show(Text("\n".join(lines)))
    splits = sorted({clip.split for clip in opened.clips})
    table = Table(title="clips (frames)")
    table.add_column("class")
    for split in splits:
        table.add_column(split or "no split", justify="right")
    for label, name in [*enumerate(opened.class_names), (-1, "no class")]:
        cells = []
        for split in splits:
            clips = [opened.clips[index] for index in opened.select(label=label, split=split)]
            cells.append(f"{len(clips)} ({sum(clip.length for clip in clips):,})" if clips else "·")
        if label >= 0 or any(cell != "·" for cell in cells):
            table.add_row(name, *cells)
    show(table)
    return 0
