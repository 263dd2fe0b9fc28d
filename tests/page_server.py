"""A server of the live page that says only what a test tells it to: the files over HTTP, ticks at /v1/watch."""

import asyncio
import contextlib
import http
import json
import math
import queue
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from websockets.asyncio.server import Server, ServerConnection, broadcast, serve
from websockets.datastructures import Headers
from websockets.http11 import Request, Response

WEB = Path(__file__).parents[1] / "src" / "symgnn" / "runtime" / "web"
FILES = {"/": "index.html", "/app.js": "app.js", "/app.css": "app.css"}
KINDS = {".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8"}
POLICY = "default-src 'self'; connect-src 'self' ws: wss:; style-src 'self'; img-src 'self' data:"

POINTS = [
    "Hips",
    "LeftUpLeg",
    "LeftLeg",
    "LeftFoot",
    "LeftToe",
    "RightUpLeg",
    "RightLeg",
    "RightFoot",
    "RightToe",
    "Spine",
    "Neck",
    "Head",
    "LeftArm",
    "LeftForeArm",
    "LeftHand",
    "RightArm",
    "RightForeArm",
    "RightHand",
]
PARENTS = (-1, 0, 1, 2, 3, 0, 5, 6, 7, 0, 9, 10, 9, 12, 13, 9, 15, 16)
CLASSES = ["walking", "running", "waving", "boxing", "kicking", "a class with quite a long name", "jumping", "squatting"]
Pose = list[list[float] | None]


def drawing(up: str = "y", *, flat: bool = False) -> dict[str, Any]:
    sides = ["left" if name.startswith("Left") else "right" if name.startswith("Right") else "middle" for name in POINTS]
    bones = [[parent, child] for child, parent in enumerate(PARENTS) if parent >= 0]
    return {"points": POINTS, "bones": bones, "sides": sides, "up": up, "flat": flat, "nodes": list(range(1, len(POINTS)))}


def model(**changes: Any) -> dict[str, Any]:
    body = changes.pop("drawing", drawing())
    return {
        "preset": "made-up",
        "layout": "eighteen",
        "space": "xyz",
        "classes": CLASSES,
        "joints": POINTS[1:],
        "channels": 3,
        "observed": 50,
        "frames_a_second": 25.0,
        "horizon": 25,
        "max_horizon": 40,
        "recognises": True,
        "predicts": True,
        "symgnn": "0.1.0",
        "engine": "torch",
        "drawing": body,
    } | changes


def walker(time: float, *, away: float = 0.0) -> Pose:
    """A person of 1.7 metres who walks on the spot, facing z: y up, x to its left."""
    swing = math.sin(2 * math.pi * time)
    pose: dict[str, list[float]] = {"Hips": [0.0, 0.92 + 0.02 * abs(swing), 0.0]}

    def hang(child: str, parent: str, x: float, down: float, angle: float) -> None:
        px, py, pz = pose[parent]
        pose[child] = [px + x, py - down * math.cos(angle), pz + down * math.sin(angle)]

    for side, sign in (("Left", 1.0), ("Right", -1.0)):
        thigh = 0.55 * sign * swing
        knee = thigh - 0.5 * max(0.0, -sign * math.cos(2 * math.pi * time))
        hang(f"{side}UpLeg", "Hips", 0.1 * sign, 0.06, 0.0)
        hang(f"{side}Leg", f"{side}UpLeg", 0.0, 0.43, thigh)
        hang(f"{side}Foot", f"{side}Leg", 0.0, 0.41, knee)
        hang(f"{side}Toe", f"{side}Foot", 0.0, 0.16, knee + 1.4)
    hang("Spine", "Hips", 0.0, -0.5, 0.04)
    hang("Neck", "Spine", 0.0, -0.1, 0.0)
    hang("Head", "Neck", 0.0, -0.14, 0.0)
    for side, sign in (("Left", 1.0), ("Right", -1.0)):
        arm = -0.5 * sign * swing
        hang(f"{side}Arm", "Spine", 0.18 * sign, 0.02, 0.0)
        hang(f"{side}ForeArm", f"{side}Arm", 0.04 * sign, 0.29, arm)
        hang(f"{side}Hand", f"{side}ForeArm", 0.0, 0.27, arm + 0.4)
    return [[x + away, y, z] for x, y, z in (pose[name] for name in POINTS)]


def tick(
    time: float, *, away: float = 0.0, pose: Pose | None = None, label: str | None = "walking", **changes: Any
) -> dict[str, Any]:
    """A tick of somebody who walks, with 25 predicted frames."""
    sure = 0.7 + 0.2 * math.sin(time)
    others = [0.5, 0.2, 0.1, 0.08, 0.06, 0.04, 0.02]
    probabilities = {name: (1 - sure) * share for name, share in zip(CLASSES[1:], others, strict=True)}
    return {
        "type": "tick",
        "time": time,
        "track": None,
        "pose": pose or walker(time, away=away),
        "ghosts": [walker(time + (k + 1) / 25, away=away) for k in range(25)],
        "milliseconds": [40.0 * (k + 1) for k in range(25)],
        "label": label,
        "probabilities": {"walking": sure} | probabilities,
        "edges": [[14, 8, 0.9], [17, 4, 0.6], [11, 0, 0.3]],
        "latency_ms": 12.34,
        "rate": 25.0,
        "dropped": 0,
        "truth": None,
    } | changes


class PageServer:
    """Serves the page on 127.0.0.1. What viewers send waits in ``heard``; the address each asked for in ``asked``."""

    def __init__(self, files: Path = WEB) -> None:
        self.hello: dict[str, Any] = {"type": "hello", "model": model(), "source": "playback", "name": "walking"}
        self.heard: queue.Queue[dict[str, Any]] = queue.Queue()
        self.asked: queue.Queue[str] = queue.Queue()
        self.refuse: int | None = None
        self.port = 0
        self._files = {path: (files / name).read_bytes() for path, name in FILES.items()}
        self._viewers: set[ServerConnection] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="page-server")
        self._thread.start()
        self._server: Server | None = None
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def start(self) -> None:
        """Listens, on the port it had before if it had one."""
        self._do(self._start())

    def stop(self) -> None:
        """Closes every connection and listens no longer."""
        self._do(self._stop())

    def send(self, *messages: dict[str, Any]) -> None:
        """To everybody who watches."""
        self._do(self._send([json.dumps(message) for message in messages]))

    def hang_up(self, code: int = 1011, reason: str = "") -> None:
        """Closes the sockets and goes on listening."""
        self._do(self._hang_up(code, reason))

    def close(self) -> None:
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _do(self, work: Any) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=20)

    async def _start(self) -> None:
        self._server = await serve(self._watch, "127.0.0.1", self.port, process_request=self._file, compression=None)
        self.port = next(iter(self._server.sockets)).getsockname()[1]

    async def _stop(self) -> None:
        if self._server is not None:
            self._server.close(close_connections=True)
            await self._server.wait_closed()
            self._server = None

    async def _send(self, messages: list[str]) -> None:
        for message in messages:
            broadcast(self._viewers, message)

    async def _hang_up(self, code: int, reason: str) -> None:
        await asyncio.gather(*(viewer.close(code, reason) for viewer in list(self._viewers)))

    def _file(self, connection: ServerConnection, request: Request) -> Response | None:
        path = request.path.partition("?")[0]
        if path == "/v1/watch":
            self.asked.put(request.path)
            return None
        content = self._files.get(path)
        if content is None:
            return connection.respond(http.HTTPStatus.NOT_FOUND, "nothing here\n")
        kind = KINDS[Path(FILES[path]).suffix]
        headers = {
            "Content-Type": kind,
            "Content-Security-Policy": POLICY,
            "Content-Length": str(len(content)),
            "Connection": "close",
        }
        return Response(200, "OK", Headers(headers), content)

    async def _watch(self, viewer: ServerConnection) -> None:
        if self.refuse is not None:
            await viewer.close(self.refuse)
            return
        await viewer.send(json.dumps(self.hello))
        self._viewers.add(viewer)
        try:
            async for message in viewer:
                self.heard.put(json.loads(message))
        finally:
            self._viewers.discard(viewer)


@contextlib.contextmanager
def page_server() -> Iterator[PageServer]:
    server = PageServer()
    try:
        yield server
    finally:
        server.close()
