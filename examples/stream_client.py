"""Send a clip's frames to `symgnn serve` as a camera would, and print what comes back.

    symgnn serve cmu &
    python examples/stream_client.py clip.npy --fps 120        # (frames, joints, 3) of NumPy, NaN where missing
    python examples/stream_client.py motion/store:7            # clip 7 of a store (needs symgnn)
    camera | python examples/stream_client.py -                # lines of JSON: {"frame": [[x, y, z], null, ...], "time": 1.25}

It needs `websockets`, and NumPy for files. Where the service goes away it connects again, after pauses that grow. For a service
on another machine the token is taken from the environment, SYMGNN_TOKEN.
"""

import argparse
import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Iterable
from typing import Any

import websockets

PAUSES = (0.2, 0.5, 1.0, 2.0, 5.0)
"""Seconds before the first, second, ... attempt to connect again; then always the last."""


async def from_lines() -> AsyncIterator[dict[str, Any]]:
    """Frames as somebody else writes them, when they come."""
    while line := await asyncio.to_thread(sys.stdin.readline):
        if line.strip():
            yield json.loads(line)


async def from_clip(frames: Iterable[Any], fps: float) -> AsyncIterator[dict[str, Any]]:
    """Frames of a clip, in real time."""
    loop = asyncio.get_running_loop()
    begun = loop.time()
    for number, pose in enumerate(frames):
        await asyncio.sleep(begun + number / fps - loop.time())
        # JSON has no NaN: a joint that is missing is null.
        joints = [None if any(value != value for value in joint) else joint for joint in pose.tolist()]
        yield {"frame": joints, "time": number / fps}


def read(source: str, fps: float | None) -> AsyncIterator[dict[str, Any]]:
    """The frames of a file, of a store's clip, or of standard input."""
    if source == "-":
        return from_lines()
    import numpy as np

    if source.endswith(".npy"):
        return from_clip(np.load(source, allow_pickle=False), fps or 30.0)
    from symgnn import open_data

    folder, _, index = source.rpartition(":")
    store = open_data(folder)
    columns = list(store.layout.columns(store.space))
    return from_clip(store.clip_frames(int(index))[:, columns], fps or store.fps)


async def talk(url: str, frames: AsyncIterator[dict[str, Any]], opening: dict[str, Any], retries: int) -> int:
    """Send the frames and print the answers until there are no more frames; the number of answers."""
    token = os.environ.get("SYMGNN_TOKEN")
    headers = {"Authorization": f"Bearer {token}"} if token else None
    newest: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue(1)
    camera = asyncio.create_task(pump(frames, newest))
    answers = failures = 0
    while True:
        try:
            async with websockets.connect(url, additional_headers=headers) as socket:
                await socket.send(json.dumps({"type": "open", **opening}))
                sender = asyncio.create_task(send(socket, newest))
                try:
                    async for text in socket:
                        message = json.loads(text)
                        tell(message)
                        answers += message["type"] == "answer"
                        failures = failures if message["type"] in ("hello", "error") else 0
                finally:
                    sender.cancel()
            over = camera.done() and newest.empty()
            reason = f"closed with {socket.close_code}"
        except websockets.ConnectionClosed as error:
            # Other than these it would be refused again.
            reason = str(error)
            over = error.rcvd is not None and error.rcvd.code not in (1001, 1011, 1012, 1013)
            if over:
                print(reason, file=sys.stderr)
        except (OSError, websockets.InvalidHandshake) as error:
            over, reason = False, str(error)
        if over or failures == retries:
            camera.cancel()
            return answers
        pause = PAUSES[min(failures, len(PAUSES) - 1)]
        failures += 1
        print(f"{reason}; again in {pause} s", file=sys.stderr)
        await asyncio.sleep(pause)


async def pump(frames: AsyncIterator[dict[str, Any]], newest: asyncio.Queue[dict[str, Any] | None]) -> None:
    """Keep the newest frame at hand: what could not be sent in time is of no use later."""
    async for frame in frames:
        if newest.full():
            newest.get_nowait()
        newest.put_nowait(frame)
    await newest.put(None)


async def send(socket: websockets.ClientConnection, newest: asyncio.Queue[dict[str, Any] | None]) -> None:
    """Send frames as they come; after the last one wait a moment for answers on their way."""
    while (frame := await newest.get()) is not None:
        await socket.send(json.dumps(frame))
    await asyncio.sleep(0.5)
    await socket.close()


def tell(message: dict[str, Any]) -> None:
    """One line for a message."""
    match message["type"]:
        case "hello":
            print(
                f"session {message['session']}: {message['model']['preset']}, classes {', '.join(message['model']['classes'])}"
            )
        case "waiting":
            print(f"waiting: {message['have']} of {message['need']} frames")
        case "answer":
            sure = message["smoothed"].get(message["label"], 0.0)
            ahead = f"{len(message['future'])} poses ahead" if message["future"] else "no poses"
            print(f"{message['time']:.2f} s: {message['label']} {sure:.0%}, {ahead}, {message['latency_ms']:.0f} ms")
        case "error":
            print(message["message"], file=sys.stderr)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", help="a .npy file, STORE:7, or - for lines of JSON")
    parser.add_argument("--url", default="ws://127.0.0.1:8000/v1/stream")
    parser.add_argument("--fps", type=float, help="frames a second")
    parser.add_argument("--horizon", type=int, help="frames to predict")
    parser.add_argument("--warm-up", choices=("wait", "repeat"), default="repeat")
    parser.add_argument("--retries", type=int, default=10, help="attempts to connect again, one after another")
    asked = parser.parse_args()
    opening = {"horizon": asked.horizon, "fps": asked.fps, "warm_up": asked.warm_up}
    opening = {name: value for name, value in opening.items() if value is not None}
    answers = asyncio.run(talk(asked.url, read(asked.source, asked.fps), opening, asked.retries))
    sys.exit(0 if answers else 1)


if __name__ == "__main__":
    main()
