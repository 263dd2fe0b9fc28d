"""Say what the person in front of a camera is doing: MediaPipe finds the joints, a Stream answers at every picture.

    pip install mediapipe opencv-python
    symgnn data import recordings/ store --as keypoints --layout mediapipe33 && symgnn train own --data store --out runs/mine
    python examples/webcam.py runs/mine/last.ckpt pose_landmarker_lite.task

The second file is MediaPipe's own model, see https://ai.google.dev/edge/mediapipe/solutions/vision/pose_landmarker.
"""

import argparse
import math
import time
from collections.abc import Iterable, Iterator
from typing import Any

import symgnn


def answers(frames: Iterable[tuple[float, Any]], stream: symgnn.Stream) -> Iterator[symgnn.Answer]:
    """Answers to (second, world landmarks), None where nobody is seen; a landmark has x, y and z in metres."""
    for second, landmarks in frames:
        joints = None if not landmarks else [(mark.x, mark.y, mark.z) for mark in landmarks]
        if (answer := stream.push(joints, time=second)) is not None:
            yield answer


def landmarks_of_camera(camera: int, task: str) -> Iterator[tuple[float, Any]]:
    """What MediaPipe finds in each picture of a camera, until it gives no more."""
    import cv2  # pyright: ignore[reportMissingImports]
    import mediapipe  # pyright: ignore[reportMissingImports]

    vision = mediapipe.tasks.vision
    base = mediapipe.tasks.BaseOptions(model_asset_path=task)
    options = vision.PoseLandmarkerOptions(base_options=base, running_mode=vision.RunningMode.VIDEO)
    pictures, start = cv2.VideoCapture(camera), time.monotonic()
    with vision.PoseLandmarker.create_from_options(options) as detector:
        while (taken := pictures.read())[0]:
            second = time.monotonic() - start
            picture = mediapipe.Image(mediapipe.ImageFormat.SRGB, cv2.cvtColor(taken[1], cv2.COLOR_BGR2RGB))
            found = detector.detect_for_video(picture, math.floor(1000 * second)).pose_world_landmarks
            yield second, found[0] if found else None


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("checkpoint", help="of a model trained on MediaPipe's world landmarks (layout mediapipe33)")
    parser.add_argument("task", help="MediaPipe's pose_landmarker_*.task")
    parser.add_argument("--camera", type=int, default=0)
    given = parser.parse_args()
    stream = symgnn.Stream(symgnn.load(given.checkpoint), warm_up="repeat", reject=0.5)
    for answer in answers(landmarks_of_camera(given.camera, given.task), stream):
        sure = max(answer.smoothed.values(), default=0)
        print(f"{answer.time:7.2f} s  {answer.label or '?':20} {sure:4.0%}  {answer.latency_ms:5.1f} ms", flush=True)


if __name__ == "__main__":
    main()
