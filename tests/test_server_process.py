"""``symgnn serve`` as a process: hostile clients, coming and going, the end, and what is wrong before the beginning."""

import asyncio
import json
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import websockets

from serving import Process, nulls, poses, serving, write_model
from symgnn.errors import InputError
from symgnn.runtime import load_model
from symgnn.runtime.server.running import serve

POSE = nulls(poses(1)[0])


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def process(checkpoint: Path) -> Iterator[Process]:
    with serving(checkpoint, "--port", 0, "--idle", 20) as process:
        yield process


async def send_frames(connection: Any, frames: int) -> tuple[int, int]:
    """Thirty frames a second, or as many as are answered: answers, and how many frames the service says it left out."""
    loop = asyncio.get_running_loop()
    next_one, answers, dropped = loop.time(), 0, 0
    for number, pose in enumerate(poses(frames)):
        await asyncio.sleep(next_one - loop.time())
        next_one = max(next_one + 1 / 30, loop.time())
        await connection.send(json.dumps({"frame": nulls(pose), "time": number / 30}))
        message = json.loads(await asyncio.wait_for(connection.recv(), 5))
        assert message["type"] == "answer" and message["time"] == pytest.approx(number / 30)
        answers, dropped = answers + 1, message["dropped"]
    return answers, dropped


FLOOD = """
import json, sys, threading
from websockets.sync.client import connect
from websockets.exceptions import ConnectionClosed
text = json.dumps({"frame": json.loads(sys.argv[2])})
while True:
    with connect(sys.argv[1], compression=None) as socket:
        threading.Thread(target=lambda: [None for _ in socket], daemon=True).start()
        try:
            while True:
                socket.send(text)
        except ConnectionClosed as closed:
            print(closed.rcvd.code if closed.rcvd else None, flush=True)
"""
"""Sends as fast as it can, and comes back when it is sent away."""


async def never_reads(address: str) -> None:
    """Sends and sends, and takes nothing in."""
    host, port = address.split(":")
    _, writer = await asyncio.open_connection(host, int(port), limit=2**12)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    writer.transport.pause_reading()  # pyright: ignore[reportAttributeAccessIssue]
    head = f"GET /v1/stream HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    writer.write(f"{head}Sec-WebSocket-Key: {'A' * 22}==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode())
    for number in range(10**6):
        first = {"type": "open", "warm_up": "repeat", "horizon": 100} if number == 0 else {"frame": POSE}
        text = json.dumps(first).encode()
        size = bytes([0x80 | len(text)]) if len(text) < 126 else bytes([0x80 | 126]) + struct.pack(">H", len(text))
        writer.write(bytes([0x81]) + size + bytes(4) + text)
        try:
            await asyncio.sleep(0.01)
        except asyncio.CancelledError:
            writer.transport.abort()
            writer.close()
            raise


def test_who_never_reads_and_who_floods_do_not_slow_a_third(process: Process):
    async def main() -> tuple[int, int]:
        mute = asyncio.create_task(never_reads(process.address))
        async with websockets.connect(process.stream) as connection:
            await connection.send(json.dumps({"type": "open", "warm_up": "repeat"}))
            await connection.recv()
            try:
                return await send_frames(connection, 150)
            finally:
                mute.cancel()

    flood = subprocess.Popen([sys.executable, "-c", FLOOD, process.stream, json.dumps(POSE)], stdout=subprocess.PIPE, text=True)
    try:
        assert flood.stdout is not None
        assert asyncio.run(main()) == (150, 0)
        # It was sent away meanwhile, or is now.
        assert flood.stdout.readline() == "1008\n"
    finally:
        flood.kill()
        flood.communicate()
    metrics = httpx.get(f"{process.http}/metrics").text
    assert 'symgnn_errors_total{code="1008"}' in metrics


def test_the_wire_itself(process: Process):
    """What the server below the application refuses: too big, no UTF-8, no HTTP."""

    async def main() -> None:
        async with websockets.connect(process.stream) as connection:
            await connection.recv()
            await connection.send("x" * 2**17)
            with pytest.raises(websockets.ConnectionClosedError) as closed:
                await connection.recv()
            assert closed.value.rcvd is not None and closed.value.rcvd.code == 1009
        for path in ("/v1/nothing", "/"):
            with pytest.raises(websockets.InvalidStatus):
                await websockets.connect(f"ws://{process.address}{path}")
        host, port = process.address.split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"\x00\xff rubbish\r\n\r\n")
        assert b" 400 " in await reader.readline()
        writer.close()

    asyncio.run(main())


def test_a_hundred_connections_come_and_go(process: Process):
    """Three hundred: some leave in order, some break off, some are refused; nothing of them stays."""

    async def come(number: int) -> None:
        async with websockets.connect(process.watch if number % 5 == 4 else process.stream) as connection:
            await connection.recv()
            if number % 5 < 3:
                await connection.send(json.dumps({"frame": POSE}) if number % 2 else "?")
                await connection.recv()
            if number % 3 == 0:
                connection.transport.abort()

    async def main(count: int) -> None:
        for first in range(0, count, 10):
            await asyncio.gather(*(come(number) for number in range(first, first + 10)))

    def at_rest() -> int:
        deadline = time.monotonic() + 15
        while time.monotonic() < deadline:
            metrics = httpx.get(f"{process.http}/metrics").text
            if "symgnn_sessions 0.0" in metrics and "symgnn_viewers 0.0" in metrics:
                return process.files()
            time.sleep(0.1)
        raise AssertionError("sessions are left over")

    asyncio.run(main(20))
    before = at_rest()
    asyncio.run(main(300))
    deadline = time.monotonic() + 15
    while (after := at_rest()) > before + 2 and time.monotonic() < deadline:
        time.sleep(0.2)
    assert after <= before + 2


def test_a_stop_answers_what_is_under_way_and_says_goodbye(checkpoint: Path):
    async def main(process: Process) -> None:
        async with websockets.connect(process.stream) as connection, websockets.connect(process.watch) as viewer:
            await connection.send(json.dumps({"type": "open", "warm_up": "repeat"}))
            await connection.recv()
            await connection.send(json.dumps({"frame": POSE}))
            assert json.loads(await connection.recv())["type"] == "answer"
            ending = asyncio.create_task(asyncio.to_thread(process.end, signal.SIGTERM))
            process.process.send_signal(signal.SIGTERM)  # as timeout(1) does: to the child and to the group
            for one in (connection, viewer):
                messages = [json.loads(text) async for text in one]
                assert messages[-1] == {"type": "error", "message": "the service is going away: connect again later"}
                assert one.close_code == 1001
        code, seconds, said = await ending
        assert code == 0 and seconds < 10 and said == ""
        with pytest.raises(OSError):
            await websockets.connect(process.stream)

    with serving(checkpoint, "--port", 0) as process:
        asyncio.run(main(process))


def test_a_port_in_use_is_said_before_the_model_is_read(tmp_path: Path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=f"port {port} of 127.0.0.1 is in use: .*--port"):
            serve(tmp_path / "no.ckpt", port=port)


def test_what_is_no_model_is_said_before_anybody_can_connect(tmp_path: Path, checkpoint: Path):
    broken = tmp_path / "broken.ckpt"
    broken.write_bytes(checkpoint.read_bytes()[:2000])
    for path, words in ((tmp_path / "no.ckpt", "no such file"), (broken, "damaged"), (Path(__file__), "damaged or of another")):
        with pytest.raises(InputError, match=words):
            serve(path, port=0)
    for options, words in (
        ({"port": 70000}, "--port"),
        ({"host": "no.such.host.invalid"}, "--host"),
        ({"host": "192.0.2.1"}, "cannot be listened at"),
        ({"threads": 0}, "--threads"),
        ({"horizon": 0}, "--horizon"),
        ({"token": " "}, "--token"),
        ({"play": "/nowhere"}, "/nowhere"),
    ):
        with pytest.raises(InputError, match=words):
            serve(checkpoint, **{"port": 0, **options})
    assert load_model(checkpoint, 1).preset.name == "tiny"


def test_the_command_says_what_is_wrong_in_a_line(tmp_path: Path):
    done = subprocess.run(
        [sys.executable, "-m", "symgnn", "serve", str(tmp_path / "no.ckpt"), "--port", "0"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2 and done.stdout == "" and done.stderr.count("\n") == 1 and "no such file" in done.stderr


def test_without_the_packages_the_command_names_them(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    from symgnn.cli import main

    for name in [name for name in sys.modules if name.startswith("symgnn.runtime.server")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert main(["serve", "cmu"]) == 2
    assert "pip install 'symgnn[serve]'" in capsys.readouterr().err


def test_beyond_this_machine_a_token_is_made_and_needed(checkpoint: Path):
    with serving(checkpoint, "--port", 0, "--host", "0.0.0.0") as process:
        token = process.said[-1].split("?token=")[1].split()[0]
        assert len(token) > 30
        port = process.address.split(":")[-1]
        address = f"http://127.0.0.1:{port}/v1/model"
        assert httpx.get(address).status_code == 401
        assert httpx.get(address, headers={"Authorization": f"Bearer {token}"}).status_code == 200
        code, _, said = process.end(signal.SIGINT)
        assert code == 0 and token not in said
