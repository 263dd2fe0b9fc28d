"""A tiny model, served: in a thread of this process, and by the real command in a process of its own."""

import json
import math
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import torch
import websockets
from websockets.sync.client import ClientConnection, connect

from symgnn.config import DataConfig, Preset
from symgnn.models import SymGNN
from symgnn.models.checkpoint import Card, TrainedModel, save
from symgnn.runtime.server.app import Service
from symgnn.runtime.server.limits import Limits
from symgnn.runtime.server.playback import Programme
from symgnn.runtime.server.running import bind, make_server
from symgnn.runtime.server.security import Access
from tiny import BODY, CLASSES, FUTURE, MODEL, OBSERVED, TRAINING, layout, motion

FPS = 30.0
JOINTS = len(BODY["joints"])


def make_model(seed: int = 3, **model: Any) -> TrainedModel:
    """Five joints, a few channels, random weights that answer differently to different windows; 30 frames a second."""
    torch.manual_seed(seed)
    config = Preset(
        name="tiny",
        description="",
        protocol="demo",
        data=DataConfig(layout="tiny", space="xyz", step=1, observed=OBSERVED, future=FUTURE),
        model=MODEL if not model else type(MODEL)(**{**MODEL.__dict__, **model}),
        training=TRAINING,
    )
    network = SymGNN(config.model, layout(), observed=OBSERVED, channels=3, classes=len(CLASSES))
    with torch.no_grad():
        for weights in network.parameters():
            weights.copy_(1.5 * weights if weights.any() else 0.1 * torch.randn_like(weights))
    mean = motion(0, 0.0).mean(axis=0)
    return TrainedModel(network, Card(config, layout(), CLASSES, tuple(map(tuple, mean.tolist())), FPS, "0")).eval()


def poses(frames: int, seed: int = 0) -> np.ndarray:
    """Somebody who sways, (frames, 5, 3) in float32."""
    random = np.random.default_rng(seed)
    return (motion(seed % 3, float(seed), frames) + random.normal(0, 0.02, (frames, JOINTS, 3))).astype(np.float32)


def nulls(pose: np.ndarray) -> list[Any]:
    """A pose as JSON has it."""
    return [None if np.isnan(joint).all() else [None if math.isnan(x) else float(x) for x in joint] for joint in pose]


def write_model(folder: Path) -> Path:
    """The tiny model as a checkpoint."""
    path = folder / "tiny.ckpt"
    save(path, make_model())
    return path


class Connection:
    """A WebSocket of a client that does one thing at a time."""

    def __init__(self, socket: ClientConnection):
        self.socket = socket

    def send_json(self, message: Any) -> None:
        self.socket.send(json.dumps(message))

    def send_text(self, message: str) -> None:
        self.socket.send(message)

    def send_bytes(self, message: bytes) -> None:
        self.socket.send(message)

    def receive_json(self) -> Any:
        return json.loads(self.socket.recv(timeout=10))

    def receive_bytes(self) -> bytes:
        message = self.socket.recv(timeout=10)
        assert isinstance(message, bytes)
        return message

    def close(self) -> None:
        self.socket.close()


def said(connection: Connection) -> tuple[str, int]:
    """The sentence and the code a connection is closed with; what comes before is passed over."""
    last: Any = None
    with suppress(websockets.ConnectionClosed):
        while True:
            last = connection.receive_json()
    told = connection.socket.protocol.close_rcvd
    assert told is not None and last["type"] == "error" and last["message"].startswith(told.reason[:100])
    return last["message"], told.code


class Local:
    """A service in a thread of this process, and who speaks to it."""

    def __init__(self, service: Service, access: Access, port: int = 0):
        self.service = service
        self._socket = bind("127.0.0.1", port)
        self._socket.listen(100)
        self._server = make_server(service, access)
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._socket]})
        self._thread.start()
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"
        self._http = httpx.Client(base_url=f"http://{self.address}", timeout=20)
        self.get, self.post, self.stream = self._http.get, self._http.post, self._http.stream

    @contextmanager
    def connect(self, path: str, headers: dict[str, str] | None = None) -> Iterator[Connection]:
        url = f"ws://{self.address}{path}"
        with connect(url, additional_headers=headers, compression=None, proxy=None) as socket:
            yield Connection(socket)

    def number(self, name: str) -> float:
        """A metric."""
        lines = [line for line in self.get("/metrics").text.splitlines() if line.startswith(f"{name} ")]
        return float(lines[0].split()[1])

    def rest(self) -> None:
        """Wait until every session is gone."""
        deadline = time.monotonic() + 10
        while self.number("symgnn_sessions") or self.number("symgnn_viewers"):
            assert time.monotonic() < deadline, "sessions are left over"

    def end(self) -> None:
        self._http.close()
        self._server.should_exit = True
        self._thread.join(20)
        assert not self._thread.is_alive()


@contextmanager
def client_of(
    model: TrainedModel,
    *,
    token: str | None = None,
    host: str = "127.0.0.1",
    origins: tuple[str, ...] = (),
    clips: Programme = (),
    port: int = 0,
    **limits: Any,
) -> Iterator[Local]:
    """A service of a model."""
    client = Local(Service(model, Limits(**limits), clips=clips), Access.of(host, token, origins), port)
    try:
        yield client
    finally:
        client.end()


class Process:
    """A ``symgnn serve`` that listens at ``url``."""

    def __init__(self, *words: object):
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        environment.pop("SYMGNN_TOKEN", None)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "symgnn", "serve", *map(str, words)],
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
            env=environment,
        )
        self.said: list[str] = []
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.said.append(line)
            if found := re.search(r"http://([^/ ]+)/", line):
                self.address = found[1]
                break
        else:
            raise AssertionError(f"it ended with {self.process.wait()}: {''.join(self.said)}")

    @property
    def http(self) -> str:
        return f"http://{self.address}"

    @property
    def stream(self) -> str:
        return f"ws://{self.address}/v1/stream"

    @property
    def watch(self) -> str:
        return f"ws://{self.address}/v1/watch"

    def files(self) -> int:
        """Open file descriptors."""
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))

    def memory(self) -> float:
        """Resident memory, MB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+)", status)
        assert found
        return int(found[1]) / 1024

    def end(self, signum: int = signal.SIGTERM) -> tuple[int, float, str]:
        """Exit code, seconds it took to go, and what it said after it listened."""
        began = time.perf_counter()
        self.process.send_signal(signum)
        _, said = self.process.communicate(timeout=20)
        return self.process.returncode, time.perf_counter() - began, said


@contextmanager
def serving(*words: object) -> Iterator[Process]:
    """The command, ended at the end."""
    process = Process(*words)
    try:
        yield process
    finally:
        if process.process.poll() is None:
            process.process.kill()
        process.process.communicate()
