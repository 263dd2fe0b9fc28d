"""Watch the folder that OpenPose writes to, and say what each person in front of the camera is doing.

    openpose.bin --write_json keypoints/ &
    python examples/openpose_folder.py runs/mine/last.ckpt keypoints/

The model is one trained on such files: symgnn data import keypoints/ store --as openpose; symgnn train own --data store
"""

import argparse
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import symgnn
from symgnn.data.readers.openpose import read_openpose_frame
from symgnn.data.readers.tracking import MOST_PERSONS, Seen, Tracker


def appearing(folder: Path, idle: float, say: Callable[[str], object] = print) -> Iterator[Seen]:
    """The frames of a folder as their files appear, until none has for ``idle`` seconds."""
    done: set[str] = set()
    last = time.monotonic()
    while time.monotonic() - last < idle:
        new = sorted(path for path in folder.glob("*_keypoints.json") if path.name not in done)
        for path in new:
            try:
                frame = read_openpose_frame(path)
            except symgnn.InputError as error:
                if path == new[-1]:
                    break  # it is still being written
                say(f"{error}")
                frame = None
            done.add(path.name)
            last = time.monotonic()
            if frame is not None:
                yield frame
        time.sleep(0.01)


def answers(frames: Iterable[Seen], streams: symgnn.Streams, fps: float) -> Iterator[tuple[int, symgnn.Answer]]:
    """Who (counted from 0 in order of appearance) is doing what, frame by frame."""
    tracker = Tracker()
    for frame in frames:
        persons = tracker.see(frame)
        yield from streams.push_all(dict(zip(persons, frame.poses, strict=True)), time=frame.number / fps).items()


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("checkpoint", help="of a model trained on OpenPose's keypoints")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--fps", type=float, default=30.0, help="pictures a second of the camera")
    parser.add_argument("--idle", type=float, default=60.0, help="seconds without a new file after which it ends")
    given = parser.parse_args()
    streams = symgnn.Streams(symgnn.load(given.checkpoint), warm_up="repeat", reject=0.5, max_tracks=MOST_PERSONS)
    for person, answer in answers(appearing(given.folder, given.idle), streams, given.fps):
        sure = max(answer.smoothed.values(), default=0)
        print(f"{answer.time:7.2f} s  person {person}  {answer.label or '?':20} {sure:4.0%}", flush=True)


if __name__ == "__main__":
    main()
