"""Lines of frames in, lines of answers out; and what goes wrong in between."""

import io
import json
import os
import random
import signal
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tiny
from live import FPS, make_model, motion
from symgnn.cli import main
from symgnn.data import ClipRecord, Store, write_store
from symgnn.errors import InputError
from symgnn.models.checkpoint import TrainedModel, save
from symgnn.runtime import Streams, predict
from symgnn.runtime.lines import LONGEST_LINE, LineAnswers, bounded_lines

SYMGNN = [sys.executable, "-c", "import sys; from symgnn.cli import main; sys.exit(main())"]


@pytest.fixture(scope="module")
def model() -> TrainedModel:
    return make_model()


@pytest.fixture(scope="module")
def checkpoint(model: TrainedModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "tiny.ckpt"
    save(path, model)
    return path


def lines_of(clip: np.ndarray, **more: Any) -> list[str]:
    """A line a frame, with its time; joints of NaN are null."""
    frames = [[None if np.isnan(joint).any() else joint.tolist() for joint in frame] for frame in clip.astype(np.float64)]
    return [json.dumps({"frame": frame, "time": index / FPS, **more}) for index, frame in enumerate(frames)]


def answers_to(
    model: TrainedModel, lines: list[str], streams: dict[str, Any] | None = None, **options: Any
) -> tuple[list[Any], Any, list[str]]:
    """What is written, the summary, and what is said."""
    written: list[Any] = []
    said: list[str] = []
    source = io.BytesIO("".join(f"{line}\n" for line in lines).encode())
    work = LineAnswers(
        Streams(model, **(streams or {})), source.read, lambda line: written.append(json.loads(line)), said.append, **options
    )
    return written, work.run(), said


# --- answers ------------------------------------------------------------------------------------------------------------


def test_every_frame_is_answered_as_predict_does(model: TrainedModel):
    clip = motion(14)
    clip[5, 2] = np.nan
    written, summary, said = answers_to(model, lines_of(clip), every=True)
    assert [line["time"] for line in written] == [index / FPS for index in range(7, 14)]
    for index, line in enumerate(written, start=7):
        (expected,) = predict(model, [clip[: index + 1]])
        assert expected.future is not None
        assert line["probabilities"] == pytest.approx(expected.probabilities, abs=2e-6)
        assert np.abs(np.array(line["future"]) - expected.future).max() < 1e-5
        assert line["milliseconds"] == [20, 40, 60, 80]
        assert line["label"] == max(line["smoothed"], key=line["smoothed"].get)
        assert line["track"] is None and line["dropped"] == line["late"] == line["padded"] == 0 and line["latency_ms"] > 0
        assert len(line["edges"]) == 5 and all(source != target for source, target, _ in line["edges"])
    assert (summary.lines, summary.bad, summary.dropped, summary.stats.answered) == (14, 0, 0, 7) and said == []


def test_a_frame_may_be_a_bare_list_or_flat(model: TrainedModel):
    clip = motion(9)
    expected, _, _ = answers_to(model, lines_of(clip), every=True)
    nested = [json.dumps(frame.tolist()) for frame in clip]
    flat = [json.dumps(frame.ravel().tolist()) for frame in clip]
    joints = [json.dumps({"joints": frame.tolist()}) for frame in clip]
    for lines in (nested, flat, joints):
        written, _, said = answers_to(model, ["", *lines, "  "], every=True)
        assert [line["smoothed"] for line in written] == [line["smoothed"] for line in expected]
        assert said == ["lines have no time: they count as 50 frames a second (--fps, --clock)"]
    (slow, *_), _, said = answers_to(model, nested, {"fps": 25}, every=True)
    assert slow["time"] == pytest.approx(4 / 25) and "25 frames a second" in said[0]


def test_without_poses(model: TrainedModel):
    (line,), _, _ = answers_to(model, lines_of(motion(8)), future=False)
    assert "future" not in line and "milliseconds" not in line and line["label"]


def test_tracks_have_streams_of_their_own(model: TrainedModel):
    clips = {"anna": motion(10), 2: motion(10, 1)}
    mixed = [line for pair in zip(*(lines_of(clip, track=name) for name, clip in clips.items()), strict=True) for line in pair]
    written, _, _ = answers_to(model, mixed, every=True)
    assert [line["track"] for line in written] == ["anna", 2] * 3
    for name, clip in clips.items():
        alone, _, _ = answers_to(model, lines_of(clip), every=True)
        assert [line["smoothed"] for line in written if line["track"] == name] == [line["smoothed"] for line in alone]


def test_persons_of_one_time_are_recognised_together():
    model = make_model(persons=2)
    clips = {"anna": motion(10), "ben": motion(10, 1)}
    mixed = [line for pair in zip(*(lines_of(clip, track=name) for name, clip in clips.items()), strict=True) for line in pair]
    written, _, _ = answers_to(model, mixed, every=True)
    assert [line["track"] for line in written] == ["anna", "ben"] * 3
    for index, line in enumerate(written):
        expected = predict(model, [clip[: 8 + index // 2] for clip in clips.values()], together=[0, 0])[0]
        assert line["probabilities"] == pytest.approx(expected.probabilities, abs=2e-6)


def test_the_newest_frame_wins_and_drops_are_counted(model: TrainedModel):
    """While the model is at the eighth frame, five more come: all go into the window, the last one is answered."""
    clip = motion(13)
    lines = [f"{line}\n".encode() for line in lines_of(clip)]
    chunks = iter([b"".join(lines[:8]), b"".join(lines[8:]), b""])
    written = []

    def read(_: int) -> bytes:
        if written or not started:
            started.append(True)
            return next(chunks)
        with work._inbox._changed:
            work._inbox._changed.wait_for(lambda: written, timeout=60)
        return next(chunks)

    def write(line: str) -> None:
        written.append(json.loads(line))
        with work._inbox._changed:
            work._inbox._changed.notify_all()
            assert work._inbox._changed.wait_for(lambda: len(written) > 1 or len(work._inbox._lines) == 5, timeout=60)

    started: list[bool] = []
    work = LineAnswers(Streams(model), read, write, pytest.fail)
    summary = work.run()
    assert [line["time"] for line in written] == [7 / FPS, 12 / FPS]
    assert [line["dropped"] for line in written] == [0, 4] and summary.dropped == 4
    (expected,) = predict(model, [clip])
    assert written[1]["probabilities"] == pytest.approx(expected.probabilities, abs=2e-6)


def test_the_clock_is_when_lines_come(model: TrainedModel):
    written, _, said = answers_to(model, lines_of(motion(9)), {"warm_up": "repeat"}, arrival=True, every=True)
    times = [line["time"] for line in written]
    assert said == [] and times == sorted(times) and times[0] >= 0 and times[0] != 0.0
    assert len(set(times) & {index / FPS for index in range(9)}) == 0


def test_joints_without_confidence_were_not_seen():
    model = make_model(space="xyc")
    clip = motion(8)
    clip[..., 2] = 0.9
    gone = clip.copy()
    gone[3, 1] = np.nan
    clip[3, 1] = 0, 0, 0
    (one,), _, _ = answers_to(model, lines_of(clip))
    (other,), _, _ = answers_to(model, lines_of(gone))
    assert one["probabilities"] == other["probabilities"]


def test_numbers_beyond_all_reason_leave_no_trace(model: TrainedModel):
    clip = motion(30)
    lines = lines_of(clip)
    lines.insert(10, json.dumps({"frame": [[1e38, -1e38, 1e38]] * 5, "time": 9.5 / FPS}))
    written, summary, _ = answers_to(model, lines, {"smoothing": 1.0, "warm_up": "repeat"}, every=True)
    wild = written[10]
    assert wild["label"] is None and wild["future"] is None and set(wild["probabilities"].values()) == {None}
    assert all(value is not None for value in written[-1]["smoothed"].values()) and summary.bad == 0


# --- lines --------------------------------------------------------------------------------------------------------------

GOOD = json.dumps(motion(1)[0].tolist())


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "no JSON: Expecting property name"),
        ("[1, 2", "no JSON"),
        ("\xff", "found shape|no JSON"),
        ("[" * 100_000, "no JSON"),
        ("1" * 5000, "no JSON: Exceeds the limit"),
        ("3", "found int, expected"),
        ('{"pose": 1}', "found an object with 'pose', expected"),
        ('{"frame": "x"}', "frame: found '\"x\"', expected a list of joints"),
        ("[[1, 2, 3]]", r"frame: found shape \(1, 3\); expected \(joints, 3\) with 5 joints"),
        ('{"frame": [[Infinity,0,0],null,null,null,null]}', "joint Hips, channel 0: found inf"),
        ('{"frame": [[true,0,0],null,null,null,null]}', "joint 0: found 'True', expected a number"),
        (f'{{"frame": {GOOD}, "time": "now"}}', "time: found \"'now'\", expected seconds"),
        (f'{{"frame": {GOOD}, "time": 1e400}}', "time: found inf"),
        (f'{{"frame": {GOOD}, "track": []}}', r"track: found '\[\]', expected a name or a number"),
        (f'{{"frame": {GOOD}, "track": "{"x" * 201}"}}', "track: found"),
        ("a" * (LONGEST_LINE + 1), "longer than 1,048,576 bytes"),
    ],
)
def test_a_wrong_line_is_named_and_passed_over(model: TrainedModel, line: str, message: str):
    lines = lines_of(motion(9))
    expected, _, _ = answers_to(model, lines, every=True)
    with_wrong = [*lines[:4], "", line, *lines[4:]]
    written, summary, said = answers_to(model, with_wrong, every=True)
    assert [each["smoothed"] for each in written] == [each["smoothed"] for each in expected]
    assert summary.bad == 1 and len(said) == 1
    with pytest.raises(InputError, match=f"^line 6: .*({message})"):
        answers_to(model, with_wrong, every=True, strict=True)
    assert said[0].startswith("line 6: ")


def test_many_wrong_lines_do_not_flood(model: TrainedModel):
    _, summary, said = answers_to(model, ["x"] * 100)
    assert summary.bad == 100 and len(said) == 21 and said[-1] == "further wrong lines are only counted"


def chunked(content: bytes, rng: random.Random) -> Callable[[int], bytes]:
    def chunks() -> Iterator[bytes]:
        place = 0
        while place < len(content):
            size = rng.randint(1, 9)
            yield content[place : place + size]
            place += size
        while True:
            yield b""

    found = chunks()
    return lambda _: next(found)


def test_lines_are_split_as_by_hand():
    rng = random.Random(0)
    for _ in range(300):
        content = bytes(rng.choice(b"ab\n") for _ in range(rng.randint(0, 60)))
        expected = content.split(b"\n")
        if not expected[-1]:
            expected.pop()
        longest = rng.randint(1, 8)
        found = list(bounded_lines(chunked(content, rng), longest))
        assert found == [None if len(line) > longest else line for line in expected]


def test_a_line_without_end_is_not_kept():
    chunk, left = b"a" * 65536, [1000]

    def read(_: int) -> bytes:
        left[0] -= 1
        return chunk if left[0] > 0 else b""

    tracemalloc.start()
    try:
        assert list(bounded_lines(read)) == [None]
        assert tracemalloc.get_traced_memory()[1] < 3 * LONGEST_LINE, "of 65 MB"
    finally:
        tracemalloc.stop()


# --- the command --------------------------------------------------------------------------------------------------------


@pytest.fixture
def piped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]):
    """Runs a command with lines on stdin: its exit code, answers and what it said."""

    def run(lines: list[str], *words: object) -> tuple[int, list[Any], str]:
        file = tmp_path / "lines.jsonl"
        file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        capfd.readouterr()
        with file.open(encoding="utf-8") as stdin:
            monkeypatch.setattr(sys, "stdin", stdin)
            code = main([str(word) for word in words])
        out, err = capfd.readouterr()
        return code, [json.loads(line) for line in out.splitlines()], err

    return run


def test_the_command(piped: Callable[..., Any], checkpoint: Path, model: TrainedModel):
    clip = motion(12)
    expected, _, _ = answers_to(model, lines_of(clip), {"smoothing": 0.0, "horizon": 2, "edges": 3}, every=True)
    options = ("--every", "--horizon", 2, "--edges", 3, "--smoothing", 0)
    code, answers, err = piped(lines_of(clip), "stream", checkpoint, *options)
    assert code == 0 and len(answers) == len(expected) == 5
    for answer, other in zip(answers, expected, strict=True):
        assert answer["smoothed"] == pytest.approx(other["smoothed"], abs=2e-6) and len(answer["edges"]) == 3
        assert np.allclose(answer["future"], other["future"], atol=1e-5) and np.shape(answer["future"]) == (2, 5, 3)
    assert "12 frames, 5 answers, 0 dropped, 0 late, 0 bad lines; from frame to answer" in err


def test_wrong_lines_give_1_strict_2(piped: Callable[..., Any], checkpoint: Path):
    lines = [*lines_of(motion(9)), "oops"]
    code, answers, err = piped(lines, "stream", checkpoint, "--every", "--no-future")
    assert code == 1 and len(answers) == 2 and "symgnn: line 10: no JSON" in err and "1 bad lines" in err
    code, answers, err = piped(["oops", *lines], "stream", checkpoint, "--every", "--strict")
    assert code == 2 and answers == [] and err.splitlines()[-1].startswith("symgnn: line 1: no JSON")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--horizon", "0"], "horizon: found 0"),
        (["--reject", "2"], "reject: found 2"),
        (["--threads", "0"], "--threads: found 0"),
        (["--seconds", "2"], "seconds: found 2, but this model"),
        (["--fps", "0"], "fps: found 0"),
        (["--max-tracks", "0"], "max_tracks: found 0"),
    ],
)
def test_wrong_options(piped: Callable[..., Any], checkpoint: Path, options: list[str], message: str):
    code, answers, err = piped([], "stream", checkpoint, *options)
    assert code == 2 and answers == [] and message in err


def test_nothing_in_nothing_out(piped: Callable[..., Any], checkpoint: Path):
    code, answers, err = piped([], "stream", checkpoint)
    assert (code, answers) == (0, []) and "0 frames, 0 answers" in err


def started(checkpoint: Path, *options: str, **more: Any) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [*SYMGNN, "stream", str(checkpoint), "--every", *options],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **more,
    )


def test_answers_come_at_once_and_ctrl_c_ends_it(checkpoint: Path):
    with started(checkpoint, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None and process.stderr is not None
        for line in lines_of(motion(8)):
            process.stdin.write(f"{line}\n")
        process.stdin.flush()
        # The pipe stays open: the answer does not wait for its end.
        assert json.loads(process.stdout.readline())["time"] == pytest.approx(7 / FPS)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 130
        assert "8 frames, 1 answers" in (err := process.stderr.read()) and "interrupted" in err and "Traceback" not in err


def test_a_reader_that_has_seen_enough_ends_it(checkpoint: Path):
    reads, writes = os.pipe()
    with started(checkpoint, stdout=writes) as process:
        os.close(writes)
        with os.fdopen(reads) as out:
            assert process.stdin is not None
            for line in lines_of(motion(8)):
                process.stdin.write(f"{line}\n")
            process.stdin.flush()
            out.readline()
        _, err = process.communicate("".join(f"{line}\n" for line in lines_of(motion(60))[8:]), timeout=60)
        assert process.returncode == 141 and "Traceback" not in err and "Fatal" not in err


# --- frames to try it with ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    clips = [motion(12), motion(9, 1)]
    clips[0][3, 2] = np.nan
    records = [(ClipRecord(recording=f"clip_{index}"), clip) for index, clip in enumerate(clips)]
    return write_store(tmp_path_factory.mktemp("play") / "store", records, layout=tiny.layout(), space="xyz", fps=FPS)


def test_a_clip_is_played(store: Store, piped: Callable[..., Any], monkeypatch: pytest.MonkeyPatch):
    now, slept = [100.0], []
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    monkeypatch.setattr("time.sleep", lambda seconds: (slept.append(seconds), now.__setitem__(0, now[0] + seconds)))
    code, frames, _ = piped([], "data", "play", f"{store.path}:0", "--rate", 2)
    monkeypatch.undo()
    assert code == 0 and [frame["time"] for frame in frames] == [index / FPS for index in range(12)]
    assert sum(slept) == pytest.approx(11 / FPS / 2) and slept[1:] == pytest.approx([1 / FPS / 2] * 11)
    stored = store.clip_frames(0)
    for index, frame in enumerate(frames):
        for joint, found in enumerate(frame["frame"]):
            missing = np.isnan(stored[index, joint]).any()
            assert (found is None) == missing and (missing or np.array_equal(np.float32(found), stored[index, joint]))
    assert frames[3]["frame"][2] is None


def test_played_frames_are_answered(store: Store, checkpoint: Path, piped: Callable[..., Any], model: TrainedModel):
    _, frames, _ = piped([], "data", "play", f"{store.path}:clip_0", "--rate", 0)
    code, answers, _ = piped([json.dumps(frame) for frame in frames], "stream", checkpoint, "--every", "--smoothing", 0)
    assert code == 0 and len(answers) == 5
    (expected,) = predict(model, [np.array(store.clip_frames(0))])
    assert answers[-1]["smoothed"] == pytest.approx(expected.probabilities, abs=2e-6)


def test_what_cannot_be_played(store: Store, piped: Callable[..., Any], tmp_path: Path):
    for words, message in (
        ([store.path], "names no clip; expected STORE:0"),
        ([f"{store.path}:2"], "no clip '2' (a number from 0 to 1"),
        ([f"{tmp_path}/none:0"], "none"),
        ([f"{store.path}:0", "--rate", "-1"], "--rate: found -1"),
    ):
        code, frames, err = piped([], "data", "play", *words)
        assert code == 2 and frames == [] and message in err
