"""The clients in ``examples``, run as a user runs them, against a service."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serving import Process, client_of, make_model, nulls, poses, serving, write_model
from symgnn.models.checkpoint import load
from symgnn.runtime import Stream

EXAMPLES = Path(__file__).parents[1] / "examples"
ANSWER = re.compile(r"^(\d+\.\d\d) s: (swaying|nodding|stepping)\b.* (\d+) poses ahead", re.M)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def process(checkpoint: Path) -> Any:
    with serving(checkpoint, "--port", 0) as process:
        yield process


def python() -> list[str]:
    return [sys.executable, str(EXAMPLES / "stream_client.py")]


def node() -> list[str]:
    """Node with a WebSocket of its own: 22, or 20 with a flag."""
    program = shutil.which("node")
    if program is None:
        pytest.skip("needs node, which is absent")
    for flags in ([], ["--experimental-websocket"]):
        asked = subprocess.run(
            [program, *flags, "-p", "typeof WebSocket"], capture_output=True, text=True, check=False, timeout=60
        )
        if asked.stdout.strip() == "function":
            return [program, *flags, str(EXAMPLES / "stream_client.mjs")]
    pytest.skip(
        f"needs a node with WebSocket (22, or 20.10), found {subprocess.check_output([program, '--version'], text=True)}"
    )


def lines(clip: np.ndarray, *, times: bool = True) -> str:
    frames = [{"frame": nulls(pose), **({"time": number / 30} if times else {})} for number, pose in enumerate(clip)]
    return "".join(json.dumps(frame) + "\n" for frame in frames)


def last_label(checkpoint: Path, clip: np.ndarray, rate: float) -> str | None:
    """What the stream of this package says of the last frame."""
    stream = Stream(load(checkpoint), warm_up="repeat")
    answers = [stream.push(pose, number / rate) for number, pose in enumerate(clip)]
    assert answers[-1] is not None
    return answers[-1].label


def test_python_sends_a_clip_in_real_time(process: Process, checkpoint: Path, tmp_path: Path):
    clip = poses(30, 1)
    clip[10, 2] = np.nan
    np.save(tmp_path / "clip.npy", clip)
    done = subprocess.run(
        [*python(), str(tmp_path / "clip.npy"), "--fps", "30", "--url", process.stream],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "session s" in done.stdout and done.stderr == ""
    found = ANSWER.findall(done.stdout)
    assert found[-1] == ("0.97", last_label(checkpoint, clip, 30.0), "4")


def test_python_sends_a_clip_of_a_store(tmp_path: Path, process: Process):
    from tiny import make_store

    store = make_store(tmp_path)
    done = subprocess.run(
        [*python(), f"{store.path}:2", "--url", process.stream, "--horizon", "2"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert {found[2] for found in ANSWER.findall(done.stdout)} == {"2"}


@pytest.mark.parametrize("command", [python, node])
def test_lines_of_json_are_sent_as_they_come(process: Process, command: Any):
    words = [*command(), "-", "--url", process.stream]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as client:
        assert client.stdin is not None and client.stdout is not None
        assert client.stdout.readline().startswith("session s")
        for number, line in enumerate(lines(poses(6)).splitlines(keepends=True)):
            client.stdin.write(line)
            client.stdin.flush()
            assert ANSWER.match(client.stdout.readline()), number
        rest, errors = client.communicate(timeout=20)
        assert client.returncode == 0 and rest == "" and errors == ""


def test_javascript_sends_a_file_in_real_time(process: Process, checkpoint: Path, tmp_path: Path):
    clip = poses(30, 2)
    (tmp_path / "frames.jsonl").write_text(lines(clip))
    words = [*node(), str(tmp_path / "frames.jsonl"), "--fps", "30", "--url", process.stream]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    assert ANSWER.findall(done.stdout)[-1] == ("0.97", last_label(checkpoint, clip, 30.0), "4")


@pytest.mark.parametrize(("command", "signum"), [(python, signal.SIGKILL), (node, signal.SIGTERM)])
def test_clients_come_back_after_the_service_was_ended(checkpoint: Path, command: Any, signum: int):
    pose = lines(poses(1), times=False)
    with serving(checkpoint, "--port", 0) as first:
        words = [*command(), "-", "--url", first.stream]
        with subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as client:
            assert client.stdin is not None and client.stdout is not None and client.stderr is not None
            assert client.stdout.readline().startswith("session s1")
            client.stdin.write(pose)
            client.stdin.flush()
            assert ANSWER.match(client.stdout.readline())
            first.end(signum)
            # Of a service that ends in order they are told why first.
            said = client.stderr.readline()
            assert "again in" in (client.stderr.readline() if "going away" in said else said)
            # Nothing of the first one is on disk; the second one knows nothing of it.
            with client_of(make_model(), port=int(first.address.split(":")[1])):
                assert client.stdout.readline().startswith("session s1")
                client.stdin.write(pose)
                client.stdin.flush()
                assert ANSWER.match(client.stdout.readline())
                client.communicate(timeout=20)
                assert client.returncode == 0


@pytest.mark.parametrize("command", [python, node])
def test_clients_give_up_what_is_refused(command: Any):
    with client_of(make_model(), token="right") as service:
        words = [*command(), "-", "--url", f"ws://{service.address}/v1/stream"]

        def run(token: str) -> subprocess.CompletedProcess[str]:
            environment = {**os.environ, "SYMGNN_TOKEN": token}
            frames = lines(poses(2))
            return subprocess.run(words, input=frames, capture_output=True, text=True, check=False, env=environment, timeout=60)

        refused = run("wrong")
        assert refused.returncode == 1 and "token: found none or a wrong one" in refused.stderr
        if command is python:
            assert run("right").returncode == 0
