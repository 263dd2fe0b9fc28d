"""Files in every format that can be imported, of a usual size, made of the built-in motion: what ``bench data`` reads."""

import json
import math
import pickle
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from symgnn.data import Store
from symgnn.data.importing import FORMATS, ImportOptions
from symgnn.data.readers.expmap_text import read_table
from symgnn.skeleton import Layout, load_layout

Motion = Float[np.ndarray, "time joint 3"]
"""What a file holds, as it is read back: places, or x, y and confidence in an image; in BVH and in the benchmarks' text the
root's place and then three angles a joint."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A format, and how a file of it is made and read."""

    name: str
    """As ``--as`` has it."""
    layout: str
    frames: int
    """Of a recording: 300 are ten seconds of Kinetics, 90 three of NTU RGB+D."""
    triples: int
    """Joints; with the root's place one more."""
    write: Callable[[Path, list[Motion]], Path]
    """Writes a file (or folder) of this path but for its suffix, and says which; all formats but two take one recording."""
    floor: Callable[[Path], object]
    """The least that any reader has to do with these bytes: numpy's parser, or json's or pickle's."""
    image: float = 0.0
    """Width of the image, where places are in one."""
    recordings: int = 1
    """Recordings a file."""

    def motions(self, store: Store, seed: int) -> list[Motion]:
        """What a file shall hold: pieces of recordings, played to and fro where they are short."""
        return [self._motion(store, seed * self.recordings + number) for number in range(self.recordings)]

    def reader(self) -> Callable[[Path], list[Any]]:
        """The package's reader of such files, as an import calls it: the layout is loaded once."""
        if self.name not in FORMATS:
            return lambda path: [read_table(path, 3 * self.triples)]
        layout, options = load_layout(self.layout), ImportOptions()
        return lambda path: list(FORMATS[self.name].read(path, layout, options))

    def _motion(self, store: Store, seed: int) -> Motion:
        source = store.clip_frames(seed % len(store.clips)).astype(np.float64)
        turn = np.abs((np.arange(self.frames) + 7 * seed) % (2 * len(source) - 2) - len(source) + 1)
        joints = np.arange(self.triples)
        # More joints than the motion has are others' places, a little beside them.
        motion = source[turn][:, joints % source.shape[1]] + 0.07 * (joints // source.shape[1])[:, None]
        motion += np.array([0.1, 0.2, 3.5]) - motion[0, 0]
        if self.image:
            wave = 0.6 + 0.3 * np.sin(np.arange(self.frames)[:, None] / 9 + joints)
            motion = np.dstack([self.image * (0.5 + 0.25 * motion[..., :2]), wave])
        return motion.round(5)


def _numbers(path: Path, after: str = "") -> np.ndarray:
    """All numbers of a text, by numpy."""
    text = path.read_text()
    return np.fromstring(text[text.index("\n", text.index(after)) :] if after else text, sep=" ")


def _columns(path: Path) -> np.ndarray:
    """A table, by numpy."""
    return np.loadtxt(path, delimiter=",", skiprows=int(path.suffix == ".csv"))


def _table(path: Path, motions: list[Motion]) -> Path:
    heading = ",".join(f"{joint}_{axis}" for joint in load_layout("kinect20").joints for axis in "xyz")
    path = path.with_suffix(".csv")
    np.savetxt(path, motions[0].reshape(len(motions[0]), -1), fmt="%.5f", delimiter=",", header=heading, comments="")
    return path


def _json_lines(path: Path, motions: list[Motion]) -> Path:
    path = path.with_suffix(".jsonl")
    rows = enumerate(motions[0].tolist())
    path.write_text("".join(json.dumps({"time": round(frame / 30, 4), "joints": joints}) + "\n" for frame, joints in rows))
    return path


def _array(path: Path, motions: list[Motion]) -> Path:
    path = path.with_suffix(".npy")
    np.save(path, motions[0].astype(np.float32))
    return path


def _bvh(path: Path, motions: list[Motion]) -> Path:
    """A trial of CMU's BVH release."""
    layout = load_layout("cmu")
    path = path.with_suffix(".bvh")
    rows = "\n".join(" ".join(f"{value:.4f}" for value in frame) for frame in motions[0].reshape(len(motions[0]), -1))
    tree = "\n".join(_tree(layout, layout.parents.index(-1)))
    path.write_text(f"HIERARCHY\n{tree}\nMOTION\nFrames: {len(motions[0])}\nFrame Time: 0.0083333\n{rows}\n")
    return path


def _tree(layout: Layout, joint: int) -> Iterator[str]:
    assert layout.offsets is not None
    name = layout.joints[joint]
    below = [child for child, parent in enumerate(layout.parents) if parent == joint]
    place = "Xposition Yposition Zposition " if layout.parents[joint] < 0 else ""
    yield f"{'ROOT' if place else 'JOINT'} {name}" if below else "End Site"
    yield f"{{\nOFFSET {' '.join(f'{value:.6f}' for value in layout.offsets[joint])}"
    if below:
        yield f"CHANNELS {6 if place else 3} {place}Zrotation Yrotation Xrotation"
    for child in below:
        yield from _tree(layout, child)
    yield "}"


def _c3d(path: Path, motions: list[Motion]) -> Path:
    """Float32 of an Intel machine at 120 Hz, one group of parameters."""
    frames, points, _ = motions[0].shape
    labels = "".join(f"M{point:03d}" for point in range(points)).encode()

    def parameter(name: bytes, kind: int, sizes: list[int], data: bytes) -> bytes:
        body = struct.pack("bB", kind, len(sizes)) + bytes(sizes) + data + b"\0"
        return bytes([len(name), 1]) + name + struct.pack("<H", len(body) + 2) + body

    block = b"\x01\x50\x00\x54" + bytes([5, 255]) + b"POINT\x03\x00\x00"
    block += parameter(b"USED", 2, [], struct.pack("<H", points)) + parameter(b"SCALE", 4, [], struct.pack("<f", -1))
    block += parameter(b"RATE", 4, [], struct.pack("<f", 120)) + parameter(b"UNITS", -1, [2, 1], b"m ")
    block += parameter(b"LABELS", -1, [4, points], labels) + b"\0\0"
    block = block.ljust(512 * math.ceil(len(block) / 512), b"\0")
    head = struct.pack("<BBHHHHHfHHf", 2, 0x50, points, 0, 1, frames, 10, -1.0, 2 + len(block) // 512, 0, 120.0)
    values = np.concatenate([motions[0], np.zeros((frames, points, 1))], axis=2).astype("<f4")
    path = path.with_suffix(".c3d")
    path.write_bytes(head.ljust(512, b"\0") + block + values.tobytes())
    return path


def _openpose(path: Path, motions: list[Motion]) -> Path:
    path.mkdir()
    for frame, pose in enumerate(motions[0].reshape(len(motions[0]), -1).tolist()):
        empty = {name: [] for name in ("face_keypoints_2d", "hand_left_keypoints_2d", "hand_right_keypoints_2d")}
        content = {"version": 1.3, "people": [{"person_id": [-1], "pose_keypoints_2d": pose, **empty}]}
        (path / f"video_{frame:012d}_keypoints.json").write_text(json.dumps(content))
    return path


def _coco(path: Path, motions: list[Motion]) -> Path:
    path = path.with_suffix(".json")
    rows = enumerate(motions[0].reshape(len(motions[0]), -1).tolist())
    path.write_text(
        json.dumps([{"image_id": frame, "category_id": 1, "keypoints": pose, "score": 0.9} for frame, pose in rows])
    )
    return path


def _pickle(path: Path, motions: list[Motion]) -> Path:
    names = [f"S001C001P001R001A{number + 1:03d}" for number in range(len(motions))]
    annotations = [
        {"frame_dir": name, "label": number, "total_frames": len(motion), "keypoint": motion[None].astype(np.float32)}
        for number, (name, motion) in enumerate(zip(names, motions, strict=True))
    ]
    path = path.with_suffix(".pkl")
    path.write_bytes(pickle.dumps({"split": {"xsub_train": names, "xsub_val": []}, "annotations": annotations}))
    return path


def _toolkit_array(path: Path, motions: list[Motion]) -> Path:
    """Filled to 300 frames and two persons with zeros, as those toolkits do."""
    folder = path / "train"
    folder.mkdir(parents=True)
    rows = np.zeros((len(motions), 3, 300, motions[0].shape[1], 2), np.float32)
    for row, motion in zip(rows, motions, strict=True):
        row[:, : len(motion), :, 0] = motion.transpose(2, 0, 1)
    np.save(folder / "train_data_joint.npy", rows)
    names = [f"S001C001P001R001A{number + 1:03d}.skeleton" for number in range(len(motions))]
    (folder / "train_label.pkl").write_bytes(pickle.dumps((names, list(range(len(motions))))))
    return folder / "train_data_joint.npy"


def _ntu(path: Path, motions: list[Motion]) -> Path:
    """One body; depth, colour and orientation are made up, with seven digits as in the data set."""
    lines = [str(len(motions[0]))]
    for frame, pose in enumerate(motions[0]):
        lines += ["1", f"72057594037931101 0 1 1 1 1 0 {0.01 * math.sin(frame):.7g} 0.0570216 2", str(len(pose))]
        turns = np.sin(pose @ np.array([[1.0, 2, 3, 4], [5, 6, 7, 8], [2, 7, 1, 8]]))
        planes = [pose, 256 + 366 * pose[:, :2] / pose[:, 2:], 960 + 1060 * pose[:, :2] / pose[:, 2:], turns]
        lines += [" ".join(f"{value:.7g}" for value in row) + " 2" for row in np.concatenate(planes, axis=1).tolist()]
    path = path.with_suffix(".skeleton")
    path.write_text("\r\n".join(lines) + "\r\n", newline="")
    return path


def _kinetics(path: Path, motions: list[Motion]) -> Path:
    """Two bodies a frame, the second less sure."""
    frames = []
    for number, pose in enumerate(motions[0], start=1):
        bodies = [
            {"pose": (pose[:, :2] * size).round(3).ravel().tolist(), "score": (pose[:, 2] * size).round(3).tolist()}
            for size in (1, 0.5)
        ]
        frames.append({"frame_index": number, "skeleton": bodies})
    path = path.with_suffix(".json")
    path.write_text(json.dumps({"data": frames, "label": "abseiling", "label_index": 0}))
    return path


def _rows(path: Path, motions: list[Motion]) -> Path:
    """Text of the angle benchmarks."""
    path = path.with_suffix(".txt")
    np.savetxt(path, motions[0].reshape(len(motions[0]), -1), fmt="%.7f", delimiter=",")
    return path


def _json(path: Path) -> object:
    return json.loads(path.read_bytes())


SAMPLES = (
    Sample(name="table", layout="kinect20", frames=300, triples=20, write=_table, floor=_columns),
    Sample(
        name="jsonl",
        layout="kinect20",
        frames=300,
        triples=20,
        write=_json_lines,
        floor=lambda path: [json.loads(line) for line in path.read_bytes().splitlines()],
    ),
    Sample(name="arrays", layout="ntu25", frames=300, triples=25, write=_array, floor=np.load),
    Sample(name="bvh", layout="cmu", frames=600, triples=32, write=_bvh, floor=lambda path: _numbers(path, "Frame Time")),
    Sample(
        name="c3d",
        layout="cmu",
        frames=600,
        triples=41,
        write=_c3d,
        floor=lambda path: np.frombuffer(path.read_bytes(), "<f4").copy(),
    ),
    Sample(
        name="openpose",
        layout="openpose25",
        frames=150,
        triples=25,
        write=_openpose,
        floor=lambda path: [_json(file) for file in sorted(path.iterdir())],
        image=1280.0,
    ),
    Sample(name="keypoints", layout="coco17", frames=300, triples=17, write=_coco, floor=_json, image=1280.0),
    Sample(
        name="pickle",
        layout="ntu25",
        frames=90,
        triples=25,
        write=_pickle,
        floor=lambda path: pickle.loads(path.read_bytes()),
        recordings=100,
    ),
    Sample(name="toolkit-arrays", layout="ntu25", frames=90, triples=25, write=_toolkit_array, floor=np.load, recordings=100),
    Sample(name="ntu", layout="ntu25", frames=90, triples=25, write=_ntu, floor=_numbers),
    Sample(name="kinetics", layout="openpose18", frames=300, triples=18, write=_kinetics, floor=_json, image=1.0),
    Sample(name="cmu", layout="cmu", frames=600, triples=39, write=_rows, floor=_columns),
    Sample(name="h36m", layout="h36m", frames=1200, triples=33, write=_rows, floor=_columns),
)
"""One for each of ``importing.FORMATS``, and the text of the two angle benchmarks."""
