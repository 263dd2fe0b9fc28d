"""The recognition toolkits' files: PySKL's and MMAction2's pickles, the arrays of ST-GCN, 2s-AGCN, MS-G3D and CTR-GCN.

    ntu60_3danno.pkl        {"split": {"xsub_train": [frame_dir, ...], ...}, "annotations": [{"frame_dir": ..., "label": 3,
                            "total_frames": 80, "keypoint": (persons, frames, joints, 2 or 3), "keypoint_score": ...}, ...]}
    train.pkl               the list of annotations alone (older)
    train_data_joint.npy    (clips, channels, frames, joints, persons), with train_label.pkl: (names, labels)
    NTU60_CS.npz            x_train, x_test (clips, frames, persons x joints x 3) and y_train, y_test (one-hot)

Bodies are told by their joints where no layout is named: 25 in space are ``ntu25``, 17 in the image ``coco17``, 18
``openpose18``. All of them fill with zeros who is not there; what NTU's names say (S001C002P003R001A042) becomes setup,
camera and subject.

Source: https://github.com/kennymckormick/pyskl, tools/data/README.md; the data generators and feeders of
https://github.com/yysijie/st-gcn, https://github.com/lshiwjx/2s-AGCN and https://github.com/Uason-Chen/CTR-GCN.
"""

import functools
import lzma
import math
import re
import tokenize
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from logging import getLogger
from pathlib import Path
from typing import IO, Any

import numpy as np
from jaxtyping import Float32

from symgnn.data.readers.safe_pickle import load_pickle
from symgnn.data.readers.text import is_image, shortened, shown
from symgnn.data.recording import Recording
from symgnn.errors import InputError
from symgnn.skeleton import Layout, load_layout

_logger = getLogger("symgnn.data")

LARGEST_CLIP = 1 << 26
"""Bytes of one clip of an array: NTU's have 180,000."""

_LAYOUTS = {(25, "xyz"): "ntu25", (17, "xyc"): "coco17", (18, "xyc"): "openpose18"}
_SPLIT = re.compile(r"(?P<before>.*)(?P<part>train|val|test)(?:idation|id|ing)?(?P<after>.*)", re.DOTALL | re.IGNORECASE)
_NTU = re.compile(r"S([0-9]{3})C([0-9]{3})P([0-9]{3})R[0-9]{3}A[0-9]{3}")
_ARRAY = re.compile(r"(?P<before>.*?)_?data(_joint)?\.npy", re.DOTALL)
_DAMAGED = (
    *(OSError, ValueError, EOFError, KeyError, OverflowError, SyntaxError, RuntimeError, NotImplementedError, TypeError),
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, tokenize.TokenError),
)
"""What numpy and zipfile say of files that are not what they claim."""


# Pickles


def read_toolkit_pickle(path: Path, split: str | None = None, layout: Layout | None = None) -> list[Recording]:
    """The persons of a pickle of annotations, see ``iterate_toolkit_pickle``, which takes less memory."""
    return list(iterate_toolkit_pickle(path, split, layout))


def iterate_toolkit_pickle(path: Path, split: str | None = None, layout: Layout | None = None) -> Iterator[Recording]:
    """The persons of a pickle of annotations, one at a time; whoever is not there in any frame is left out.

    Image positions come with ``keypoint_score`` as the confidence, or 1 where there is none; a joint of score 0, or at 0, 0
    without a score, is missing. In space a joint at 0, 0, 0 is missing, unless it is the one that the clip is centred on: the
    only one at 0 when a person is first seen. Frames after ``total_frames`` are left out, as the toolkits do.

    Args:
        path: the file.
        split: which of several splits says what is training and what test: "xsub" for ``xsub_train`` and ``xsub_val``, "1" for
            ``train1`` and ``test1``. None takes the only one; where there are several, clips then belong to none. ``val`` is
            test, but training where there is a ``test`` as well. A clip in both is test.
        layout: whose joints the clips hold.

    Raises:
        InputError: the pickle is refused by ``load_pickle``, or an annotation is not of this form; the message names its number
            and ``frame_dir``.
    """
    content: Any = load_pickle(path)
    of_clip: Mapping[str, str] | None = None
    if isinstance(content, dict) and "annotations" in content:
        of_clip = _splits(path, content.get("split", {}), split)
        annotations = content["annotations"]
    elif isinstance(content, dict) and "keypoint" in content:
        annotations = [content]
    else:
        annotations = content
    del content
    if isinstance(annotations, tuple) and len(annotations) == 2 and path.stem.endswith("label"):
        raise InputError(f"{path}: holds names and labels of an array: read the array ({path.stem[:-5]}data_joint.npy) instead")
    if not isinstance(annotations, list) or not all(isinstance(each, dict) for each in annotations):
        raise InputError(f"{path}: found no list of annotations, expected dicts with keypoint, label and frame_dir")
    everywhere = _part(path.stem) if of_clip is None else ""
    empty, names, count = 0, set(), len(annotations)
    annotations.reverse()
    for index in range(count):
        # Arrays that have become recordings need not wait for the last one.
        annotation = annotations.pop()
        name = _name(annotation.get("frame_dir", index), f"{path}: annotations[{index}]: frame_dir")
        names.add(name)
        where = f"{path}: annotations[{index}] ({shown(name)})"
        motion, space = _annotation(annotation, where, layout)
        label = None if annotation.get("label") is None else _label(annotation["label"], f"{where}: label")
        persons = list(
            _persons(motion, space, name, label, everywhere if of_clip is None else of_clip.get(name, ""), layout, where)
        )
        empty += not persons
        yield from persons
    if empty:
        _logger.warning("%s: %d of %d clips show nobody and are left out", path, empty, count)
    if of_clip and (absent := sorted(of_clip.keys() - names)):
        _logger.warning("%s: in the split but not in the file: %s", path, shortened(absent, 5))


def _splits(path: Path, splits: Any, chosen: str | None) -> Mapping[str, str]:
    """Each clip's part, "train" or "test"."""
    if not isinstance(splits, dict) or not all(isinstance(name, str) for name in splits):
        raise InputError(f"{path}: split: expected a dict of lists of frame_dir")
    groups: dict[str, dict[str, set[str]]] = {}
    for name, clips in splits.items():
        if not isinstance(clips, list | tuple | set | frozenset | np.ndarray):
            raise InputError(f"{path}: split: {shown(name)}: found a {type(clips).__name__}, expected a list of frame_dir")
        if not (match := _SPLIT.fullmatch(name)):
            _logger.warning("%s: split %r is neither train, val nor test and left out", path, name)
            continue
        group = (match["before"] + match["after"]).strip("_-. ")
        listed = np.ravel(clips).tolist() if isinstance(clips, np.ndarray) else clips
        groups.setdefault(group, {})[match["part"].lower()] = {_name(clip, f"{path}: split: {shown(name)}") for clip in listed}
    there = ", ".join(repr(group) for group in groups) or "none"
    if chosen is None:
        if len(groups) > 1:
            _logger.warning("%s: has the splits %s; none was chosen: clips belong to neither training nor test", path, there)
            return {}
        chosen = next(iter(groups), "")
    elif chosen not in groups:
        raise InputError(f"{path}: found no split {chosen!r} (there are: {there})")
    parts = groups.get(chosen, {})
    training, test = parts.get("train", set()), parts.get("test", set())
    if "test" in parts:
        training = training | parts.get("val", set())
    else:
        test = parts.get("val", set())
    if both := training & test:
        _logger.warning("%s: in training and test, kept for test only: %s", path, shortened(sorted(both), 5))
    return dict.fromkeys(training, "train") | dict.fromkeys(test, "test")


def _part(name: str) -> str:
    """What a file's name says: ``ntu60_xsub_val`` is test."""
    match = _SPLIT.fullmatch(name)
    return "" if not match else "train" if match["part"].lower() == "train" else "test"


def _name(found: Any, where: str) -> str:
    if isinstance(found, str | int | np.integer) and not isinstance(found, bool):
        return str(found)
    raise InputError(f"{where}: found a {type(found).__name__}, expected a name")


def _label(found: Any, where: str) -> str:
    """The class as written: mostly its index."""
    value = found.tolist() if isinstance(found, np.ndarray | np.generic) else found
    if isinstance(value, list | tuple) and len(value) == 1:
        value = value[0]
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise InputError(f"{where}: found {shown(repr(found))}, expected the number of one class")
    return str(value)


def _annotation(annotation: Mapping[str, Any], where: str, layout: Layout | None) -> tuple[np.ndarray, str]:
    """(persons, frames, joints, 3) with NaN where a joint is missing, and the space."""
    found = annotation.get("keypoint")
    if found is None and "raw_file" in annotation:
        raise InputError(f"{where}: its keypoints are in {shown(str(annotation['raw_file']))}, expected them here, as keypoint")
    keypoint = _array(found, f"{where}: keypoint")
    if keypoint.ndim == 3:
        keypoint = keypoint[None]
    if keypoint.ndim != 4 or keypoint.shape[3] not in (2, 3):
        raise InputError(f"{where}: keypoint: found shape {keypoint.shape}, expected (persons, frames, joints, 2 or 3)")
    score: np.ndarray | None = None
    if annotation.get("keypoint_score") is not None:
        score = _array(annotation["keypoint_score"], f"{where}: keypoint_score")
        # The axis of the only person may be left out, or there be a last one of 1.
        if score.shape not in (keypoint.shape[:3], (*keypoint.shape[:3], 1), keypoint.shape[int(len(keypoint) == 1) : 3]):
            raise InputError(f"{where}: keypoint_score: found shape {score.shape}, expected {keypoint.shape[:3]}")
        score = score.reshape(keypoint.shape[:3])
    total = annotation.get("total_frames", keypoint.shape[1])
    if isinstance(total, bool) or not isinstance(total, int | np.integer) or not 0 <= total <= keypoint.shape[1]:
        raise InputError(f"{where}: total_frames: found {shown(repr(total))}, keypoint has {keypoint.shape[1]} frames")
    keypoint = keypoint[:, :total]
    score = None if score is None else score[:, :total]
    if not keypoint.size:
        # Of nothing any number of persons can be claimed.
        return np.zeros((0, 0, keypoint.shape[2], 3), np.float32), "xyz"
    if keypoint.shape[3] == 3 and not is_image(layout):
        motion = _in_space(keypoint)
        if score is not None:
            motion[~(score > 0)] = np.nan
        return motion, "xyz"
    if keypoint.shape[3] == 3 and score is None:
        keypoint, score = keypoint[..., :2], keypoint[..., 2]
    return _in_image(keypoint[..., :2], score), "xyc"


def _array(found: Any, where: str) -> np.ndarray:
    if not isinstance(found, np.ndarray) or found.dtype.kind not in "fiu":
        what = f"an array of {found.dtype}" if isinstance(found, np.ndarray) else f"a {type(found).__name__}"
        raise InputError(f"{where}: found {what}, expected an array of numbers")
    return found


def _in_image(points: np.ndarray, score: np.ndarray | None) -> Float32[np.ndarray, "person time joint 3"]:
    third = (points != 0).any(axis=3) if score is None else score
    motion = _single(np.concatenate([points, third[..., None]], axis=3))
    motion[~(motion[..., 2] > 0) | np.isnan(motion).any(axis=3)] = np.nan
    return motion


def _in_space(points: np.ndarray) -> Float32[np.ndarray, "person time joint 3"]:
    motion = _single(points)
    zero = (motion == 0).all(axis=3)
    missing = zero | np.isnan(motion).any(axis=3)
    there = ~missing.all(axis=2)
    for person in np.flatnonzero(there.any(axis=1)):
        first = int(np.argmax(there[person]))
        alone = np.flatnonzero(missing[person, first])
        if len(alone) == 1 and zero[person, first, alone[0]]:
            missing[..., alone[0]] &= ~(zero[..., alone[0]] & there)
            break
    motion[missing] = np.nan
    return motion


def _single(values: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        return values.astype(np.float32)


def _persons(
    motion: np.ndarray, space: str, name: str, label: str | None, split: str, layout: Layout | None, where: str
) -> Iterator[Recording]:
    """A recording for each person who is there."""
    if np.isinf(motion).any():
        person, frame, joint, _ = np.argwhere(np.isinf(motion))[0]
        raise InputError(
            f"{where}: person {person}, frame {frame}, joint {joint}: found an infinite number, expected a finite one"
        )
    if layout is not None and len(layout.joints) != motion.shape[2]:
        raise InputError(f"{where}: found {motion.shape[2]} joints, layout {layout.name} has {len(layout.joints)}")
    joints = layout.joints if layout is not None else _joints(motion.shape[2], space)
    setup, camera, subject = (str(int(part)) for part in match.groups()) if (match := _NTU.search(name)) else ("", "", "")
    number = 0
    for frames in motion:
        if np.isnan(frames[..., 0]).all():
            continue
        yield Recording(
            frames=np.ascontiguousarray(frames),
            space="xyc" if space == "xyc" else "xyz",
            joints=joints,
            name=name,
            person=number,
            label=label,
            split=split,
            setup=setup,
            camera=camera,
            subject=subject,
        )
        number += 1


@functools.cache
def _joints(count: int, space: str) -> tuple[str, ...]:
    name = _LAYOUTS.get((count, space))
    return load_layout(name).joints if name else ()


# Arrays


def read_toolkit_arrays(path: Path, layout: Layout | None = None) -> Iterator[Recording]:
    """The persons of a ``.npy`` or ``.npz`` file of a whole data set, one clip in memory at a time.

    In an array of five axes of 18 joints (Kinetics-Skeleton) the channels are x, y and score, with y upwards around the
    middle of the image: it is turned to grow downwards, as in all images. Frames after the last in which somebody is there are
    padding and left out. Missing joints as in ``iterate_toolkit_pickle``.

    Args:
        path: ``train_data_joint.npy`` (or ``train_data.npy``, ``val_...``) with ``train_label.pkl`` beside it, or an ``.npz``.
        layout: whose joints the clips hold; by default NTU's 25 where the joints are not an axis of the array.

    Raises:
        InputError: while iterating: a file is not there, damaged or not of this form.
    """
    try:
        with path.open("rb") as file:
            is_archive = file.read(4) == b"PK\x03\x04"
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None
    yield from _archive(path, layout) if is_archive else _array_file(path, layout)


def _array_file(path: Path, layout: Layout | None) -> Iterator[Recording]:
    match = _ARRAY.fullmatch(path.name)
    if not match:
        raise InputError(
            f"{path}: found this name, expected ..._data.npy or ..._data_joint.npy (bones and motions are no positions)"
        )
    beside = path.with_name(f"{match['before']}_label.pkl".removeprefix("_"))
    labels: Any = load_pickle(beside)
    if not isinstance(labels, tuple | list) or len(labels) < 2:
        raise InputError(f"{beside}: found a {type(labels).__name__}, expected a tuple of names and labels")
    names, classes = (each.tolist() if isinstance(each, np.ndarray) else each for each in labels[:2])
    if not isinstance(names, list | tuple) or not isinstance(classes, list | tuple) or len(names) != len(classes):
        raise InputError(f"{beside}: expected as many names as labels")
    try:
        with path.open("rb") as file:
            shape, rows = _rows(file, path.stat().st_size, str(path))
            if shape[0] != len(names):
                raise InputError(f"{path}: found {shape[0]} clips, {beside.name} has {len(names)}")
            for index, row in enumerate(rows):
                name = _name(names[index], f"{beside}: name {index}").removesuffix(".skeleton")
                label = _label(classes[index], f"{beside}: label {index}")
                yield from _clip(row, name, label, _part(match["before"]), layout, f"{path}: clip {index}")
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None


def _archive(path: Path, layout: Layout | None) -> Iterator[Recording]:
    with ExitStack() as stack:
        try:
            archive = stack.enter_context(zipfile.ZipFile(path))
            sizes = {entry.filename.removesuffix(".npy"): entry.file_size for entry in archive.infolist()}
        except _DAMAGED as error:
            raise InputError(f"{path}: damaged: {_reason(error)}") from None
        parts = [part for part in ("train", "val", "test") if f"x_{part}" in sizes]
        if not parts:
            raise InputError(
                f"{path}: found {shortened(list(sizes), 5) or 'nothing'}, expected x_train, y_train, x_test, y_test"
            )
        for part in parts:
            opened = {}
            for kind in ("x", "y"):
                where = f"{path}: {kind}_{part}"
                if f"{kind}_{part}" not in sizes:
                    raise InputError(f"{where}: not there, expected it beside {'y' if kind == 'x' else 'x'}_{part}")
                try:
                    file = stack.enter_context(archive.open(f"{kind}_{part}.npy"))
                except _DAMAGED as error:
                    raise InputError(f"{where}: damaged: {_reason(error)}") from None
                opened[kind] = _rows(file, sizes[f"{kind}_{part}"], where)
            (shape, rows), (label_shape, labels) = opened["x"], opened["y"]
            if label_shape[0] != shape[0] or len(label_shape) > 2:
                raise InputError(f"{path}: y_{part}: found shape {label_shape}, expected {shape[0]} labels or one-hot rows")
            for index, (row, label) in enumerate(zip(rows, labels, strict=True)):
                where = f"{path}: y_{part}: clip {index}"
                split = "train" if part == "train" or (part == "val" and "test" in parts) else "test"
                yield from _clip(
                    row, f"{part}_{index}", _one_hot(label, where), split, layout, f"{path}: x_{part}: clip {index}"
                )


def _one_hot(row: np.ndarray, where: str) -> str:
    if row.ndim == 0:
        return _label(row, where)
    classes = np.flatnonzero(row)
    if len(classes) != 1:
        raise InputError(f"{where}: found {len(classes)} classes, expected one (one-hot)")
    return str(int(classes[0]))


def _rows(file: IO[bytes] | zipfile.ZipExtFile, size: int, where: str) -> tuple[tuple[int, ...], Iterator[np.ndarray]]:
    """Shape of an array in numpy's format, and its rows, read one by one."""
    try:
        if (version := np.lib.format.read_magic(file)) != (1, 0):
            raise ValueError(f"header of version {version}, numbers need 1.0 only")
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
        if fortran or dtype.kind not in "fiub" or not shape:
            raise ValueError(f"found {dtype} of shape {shape}{' in columns' if fortran else ''}, expected rows of numbers")
        row = math.prod(shape[1:]) * dtype.itemsize
        claimed = file.tell() + shape[0] * row
    except _DAMAGED as error:
        raise InputError(f"{where}: no array of numbers: {_reason(error)}") from None
    if claimed != size:
        raise InputError(f"{where}: found {size:,} bytes, expected {claimed:,} for its shape {shape}")
    if row > LARGEST_CLIP or row == 0:
        raise InputError(f"{where}: found shape {shape}, expected clips of at most {LARGEST_CLIP:,} bytes")

    def rows() -> Iterator[np.ndarray]:
        for index in range(shape[0]):
            try:
                raw = file.read(row)
            except _DAMAGED as error:
                raise InputError(f"{where}: clip {index}: damaged: {_reason(error)}") from None
            if len(raw) != row:
                raise InputError(f"{where}: clip {index}: found {len(raw):,} bytes, expected {row:,}: the file is cut off")
            yield np.frombuffer(raw, dtype).reshape(shape[1:])

    return shape, rows()


def _reason(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return text[0][:120] if text else type(error).__name__


def _clip(row: np.ndarray, name: str, label: str, split: str, layout: Layout | None, where: str) -> Iterator[Recording]:
    """A clip as (channel, time, joint, person), or (time, person joint channel) in one."""
    joints = 25 if layout is None else len(layout.joints)
    if row.ndim == 4 and row.shape[0] in (2, 3):
        motion = row.transpose(3, 1, 2, 0)
        flat = row.shape[0] == 2 or (row.shape[2] == 18 if layout is None else is_image(layout))
    elif row.ndim == 2 and row.shape[1] % (3 * joints) == 0:
        motion = row.reshape(len(row), -1, joints, 3).transpose(1, 0, 2, 3)
        flat = is_image(layout)
    else:
        expected = "(channels, frames, joints, persons) or (frames, persons x joints x 3)"
        raise InputError(f"{where}: found shape {row.shape}, expected {expected}; {joints} joints")
    if flat:
        made = _in_image(motion[..., :2], motion[..., 2] if motion.shape[3] == 3 else None)
        if row.ndim == 4 and row.shape[2] == 18:
            made[..., 1] *= -1
    else:
        made = _in_space(motion)
    there = np.flatnonzero(~np.isnan(made[..., 0]).all(axis=(0, 2)))
    yield from _persons(
        made[:, : there[-1] + 1 if len(there) else 0], "xyc" if flat else "xyz", name, label, split, layout, where
    )
