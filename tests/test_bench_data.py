"""``symgnn bench data``: its files are true files of their formats, and its figures come from real work."""

import json
import re
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from symgnn.cli import main
from symgnn.data import Store
from symgnn.data.importing import FORMATS
from symgnn.data.readers.bvh import parse_bvh
from symgnn.experiments.bench_data import FRAMES, Memory, make_large
from symgnn.experiments.bench_files import SAMPLES, Sample

torch.set_num_threads(1)


def test_there_are_files_of_every_format():
    assert [sample.name for sample in SAMPLES] == [*FORMATS, "cmu", "h36m"]


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.name)
def test_files_are_read_back_as_they_were_made(sample: Sample, motion: Store, tmp_path: Path):
    """Every recording: all frames, joints and numbers, as far as the format writes digits."""
    made = sample.motions(motion, 3)
    path = sample.write(tmp_path / "file", made)
    found = sample.reader()(path)
    assert len(found) == len(made) == sample.recordings
    assert all(each.shape == (sample.frames, sample.triples, 3) for each in made)
    assert len(np.unique(made[0][:, 0, 0])) > 40, "somebody moves"
    frames = [each if isinstance(each, np.ndarray) else each.frames for each in found]
    if sample.name == "bvh":
        # Read are places of joints; what was written are angles.
        frames = [parse_bvh(path).motion]
        np.testing.assert_allclose(found[0].frames[:, 0], made[0][:, 0], atol=1e-4)
    for one, other in zip(frames, made, strict=True):
        digits = 5e-4 if sample.name == "kinetics" else 6e-5
        np.testing.assert_allclose(one.reshape(other.shape), other, atol=digits, rtol=1e-6)


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.name)
def test_the_floor_parses_everything(sample: Sample, motion: Store, tmp_path: Path):
    """A floor that skipped a part of the bytes would flatter no reader, but say nothing: it finds the last number too."""
    made = sample.motions(motion, 0)
    found = sample.floor(sample.write(tmp_path / "file", made))
    x, y, _ = made[-1][-1, -1]
    if isinstance(found, np.ndarray):
        assert np.isclose(found, y, atol=5e-4).any()
    else:
        assert any(f"{value:.3f}".rstrip("0") in str(found) or f"{value:.4g}" in str(found) for value in (x, y))


def test_a_large_table_over_few_frames(motion: Store, tmp_path: Path):
    """Below a scale of 1 clips share frames: lengths, names and sides are those of the whole, the file is not."""
    store = make_large(tmp_path / "store", motion, 300, 0.1)
    store.verify()
    lengths = [clip.length for clip in store.clips]
    assert len(lengths) == 300 and min(lengths) >= FRAMES[0] and max(lengths) <= FRAMES[1]
    assert len(store.frames) == pytest.approx(0.1 * sum(lengths), abs=1)
    assert len({clip.recording for clip in store.clips}) == 300 and len({clip.start for clip in store.clips}) > 250
    assert 0.3 < len(store.select(split="test")) / 300 < 0.7
    whole = make_large(tmp_path / "whole", motion, 20, 1.0)
    assert len(whole.frames) == sum(clip.length for clip in whole.clips)
    assert [clip.start for clip in whole.clips[1:]] == list(np.cumsum([clip.length for clip in whole.clips])[:-1])


def test_memory_is_what_is_held():
    with Memory() as memory:
        held = np.ones(50_000_000, np.uint8)
        time.sleep(0.2)
    if memory.peak is not None:  # Linux tells
        assert 45e6 < memory.peak < 80e6 and held.all()


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Small and quick, but real: every format has its row, and what is printed is what is written."""
    assert main(["bench", "data", "--quick", "--json", str(tmp_path / "figures.json")]) == 0
    printed = capsys.readouterr().out
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert [each["format"] for each in figures["readers"]] == [sample.name for sample in SAMPLES]
    for each in figures["readers"]:
        assert re.search(rf"^ +{each['format']} +{each['frames']:,} +{each['bytes'] / 1e6:.2f} ", printed, re.MULTILINE)
        assert each["seconds"] > 0 and each["floor"] > 0
    assert figures["import"]["files"] == 70 and figures["import"]["seconds"] > 0
    assert [each["clips"] for each in figures["opening"]] == [285, 572]
    assert [each["kind"] for each in figures["sampling"]] == ["windows", "whole clips"]
    for each in figures["training"]:
        assert each["share_of_wait"] == pytest.approx(each["waiting"] / (each["waiting"] + each["step"]))
        assert f"{each['share_of_wait']:.3%}" in printed
    assert "…" not in printed and "285 clips" in printed


def test_the_command_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    for words in (["--scale", "0"], ["--scale", "1.5"], ["--json", str(tmp_path / "no" / "x.json")]):
        assert main(["bench", "data", *words]) == 2
    assert "--scale: found 0" in capsys.readouterr().err
