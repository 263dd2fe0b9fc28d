"""Prediction from a user's own files: whatever the format, the frames are those that were written."""

import json
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import ntu_files
import symgnn
from symgnn.cli import main
from symgnn.config import load_preset
from symgnn.data.importing import ImportOptions
from symgnn.data.readers.bvh import read_bvh
from symgnn.errors import InputError
from symgnn.models.checkpoint import Card, TrainedModel, build, save
from symgnn.runtime import read_clips
from symgnn.skeleton import load_layout
from test_c3d import file_of

CLASSES = ("run", "sit", "wave")
FRAMES = 30


def make_model(layout: str = "kinect20", fps: float = 25.0, space: str = "xyz") -> TrainedModel:
    """Random weights that answer differently to different motion."""
    own = load_preset("own")
    preset = replace(
        own,
        data=replace(own.data, layout=layout, observed=8, future=3, space=space),  # pyright: ignore[reportArgumentType]
        model=replace(own.model, width=0.1, dropout=0.0, placement="none" if space == "expmap" else own.model.placement),
    )
    body = load_layout(layout)
    torch.manual_seed(1)
    network = build(preset, body, len(CLASSES))
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return TrainedModel(
        network, Card(preset, body, CLASSES, ((0.0, 0.0, 0.0),) * len(body.stored(preset.data.space)), fps, "0.1.0")
    ).eval()


@pytest.fixture(scope="module")
def model() -> TrainedModel:
    return make_model()


KINECT = load_layout("kinect20").joints


def walk(joints: int, seed: int = 0) -> np.ndarray:
    """Numbers that every format can say exactly."""
    random = np.random.default_rng(seed)
    return (random.integers(-512, 512, (1, joints, 3)) / 256 + random.integers(-8, 8, (FRAMES, joints, 3)) / 256).astype(
        np.float32
    )


def headed(path: Path, clip: np.ndarray) -> None:
    """Columns in another order than the layout's, with times and a class between them."""
    order = np.random.default_rng(2).permutation(len(KINECT))
    lines = ["time,label," + ",".join(f"{KINECT[joint]}_{axis}" for joint in order for axis in "xyz")]
    lines += [f"{k / 25},walk," + ",".join(map(str, pose[order].ravel().tolist())) for k, pose in enumerate(clip)]
    path.write_text("\n".join(lines))


def cells(path: Path, clip: np.ndarray) -> None:
    lines = [";".join([*KINECT, "action"])]
    lines += [";".join([*(" ".join(map(str, joint)) for joint in pose.tolist()), "3"]) for pose in clip]
    path.write_text("\n".join(lines))


def triples(path: Path, clip: np.ndarray) -> None:
    path.write_text("\n".join(",".join(map(str, pose)) for pose in clip.reshape(FRAMES, -1).tolist()))


def objects(path: Path, clip: np.ndarray) -> None:
    path.write_text(
        "\n".join(json.dumps({"joints": dict(zip(KINECT[::-1], pose[::-1], strict=True))}) for pose in clip.tolist())
    )


def named_arrays(path: Path, clip: np.ndarray) -> None:
    np.savez(path, frames=clip[:, ::-1], joints=np.array(KINECT[::-1]), fps=25.0)


WRITERS: dict[str, Callable[[Path, np.ndarray], object]] = {
    "a.npy": np.save,
    "flat.npy": lambda path, clip: np.save(path, clip.reshape(FRAMES, -1)),
    "named.npz": named_arrays,
    "headed.csv": headed,
    "cells.csv": cells,
    "plain.txt": triples,
    "a.jsonl": objects,
    "a.c3d": lambda path, clip: path.write_bytes(file_of(clip, labels=KINECT, unit="m", rate=25.0)),
}


@pytest.mark.parametrize("name", WRITERS)
def test_one_motion_in_every_format(model: TrainedModel, tmp_path: Path, name: str):
    """The answer is that to the array itself."""
    clip = walk(20)
    WRITERS[name](tmp_path / name, clip)
    notes: list[str] = []
    (found,) = read_clips(tmp_path / name, model, note=notes.append)
    np.testing.assert_array_equal(found.frames, clip)
    (expected,), (answer,) = symgnn.predict(model, [clip]), symgnn.predict(model, [found.frames])
    assert answer.probabilities == expected.probabilities and answer.future is not None and expected.future is not None
    np.testing.assert_array_equal(answer.future, expected.future)
    assert [note for note in notes if "action" not in note] == [], "nothing was lost but the column of classes"


def linear(times: np.ndarray) -> np.ndarray:
    """Joints that move evenly, each its own way: known at any time."""
    random = np.random.default_rng(5)
    return (random.normal(size=(20, 3)) + times[:, None, None] * random.normal(size=(20, 3))).astype(np.float32)


def test_motion_comes_at_the_models_rate(model: TrainedModel, tmp_path: Path):
    """A model of 25 frames a second; files of 60, of uneven times, and of a rate only the user knows."""
    expected = linear(np.arange(26) / 25)
    np.savez(tmp_path / "fast.npz", frames=linear(np.arange(61) / 60), joints=np.array(KINECT), fps=60.0)
    times = np.sort(np.r_[0, 1, np.random.default_rng(3).uniform(0, 1, 40)]).round(4)
    rows = [
        json.dumps({"time": time, "joints": pose}) for time, pose in zip(times.tolist(), linear(times).tolist(), strict=True)
    ]
    (tmp_path / "uneven.jsonl").write_text("\n".join(rows))
    np.save(tmp_path / "unsaid.npy", linear(np.arange(101) / 100))
    triples_of = linear(np.arange(101) / 100).reshape(101, -1)
    (tmp_path / "unsaid.csv").write_text("\n".join(",".join(map(repr, map(float, row))) for row in triples_of))
    for name, options in (
        ("fast.npz", ImportOptions()),
        ("fast.npz", ImportOptions(fps=7.0)),
        ("uneven.jsonl", ImportOptions()),
        ("unsaid.npy", ImportOptions(fps=100.0)),
        ("unsaid.csv", ImportOptions(fps=100.0)),
    ):
        (clip,) = read_clips(tmp_path / name, model, options=options)
        np.testing.assert_allclose(clip.frames, expected, atol=2e-6, err_msg=name)
    (clip,) = read_clips(tmp_path / "unsaid.npy", model)
    assert len(clip.frames) == 101, "taken as the model's rate where nobody says otherwise"
    with pytest.raises(InputError, match=r"--fps: found 0, expected a positive number"):
        read_clips(tmp_path / "unsaid.npy", model, options=ImportOptions(fps=0.0))


# --- bodies ---------------------------------------------------------------------------------------------------------------


def image(joints: int) -> np.ndarray:
    clip = np.abs(walk(joints)) + 3
    clip[..., 2] = 0.5
    return clip


def coco_file(path: Path, clip: np.ndarray) -> None:
    results = [
        {"image_id": k, "category_id": 1, "keypoints": pose.ravel().tolist(), "score": 0.9} for k, pose in enumerate(clip)
    ]
    path.write_text(json.dumps(results))


def test_coco_keypoints_for_a_model_of_openpose(tmp_path: Path):
    """By hand: everything has its counterpart but the neck, which is put between the shoulders with the lower confidence."""
    clip = image(17)
    clip[:, 5, 2] = 0.25
    coco_file(tmp_path / "a.json", clip)
    notes: list[str] = []
    (found,) = read_clips(tmp_path / "a.json", make_model("openpose18", space="xyc"), note=notes.append)
    # Nose; right shoulder, elbow, wrist; left; right hip, knee, ankle; left; right eye, left eye, right ear, left ear.
    counterpart = [0, -1, 6, 8, 10, 5, 7, 9, 12, 14, 16, 11, 13, 15, 2, 1, 4, 3]
    for joint, of in enumerate(counterpart):
        if of >= 0:
            np.testing.assert_array_equal(found.frames[:, joint], clip[:, of])
    np.testing.assert_allclose(found.frames[:, 1, :2], (clip[:, 5, :2] + clip[:, 6, :2]) / 2)
    assert (found.frames[:, 1, 2] == 0.25).all()
    assert notes == ["joints of layout coco17 mapped to those of openpose18; put between others: Neck"]


def test_arrays_of_another_body_are_named_by_the_user(tmp_path: Path):
    """What is lost is said once for all files."""
    model = make_model("coco17", space="xyc")
    notes: list[str] = []
    (tmp_path / "in").mkdir()
    for name in "ab":
        np.save(tmp_path / "in" / f"{name}.npy", image(18))
    found = read_clips(tmp_path / "in", model, options=ImportOptions(layout="openpose18"), note=notes.append)
    for clip in found:
        np.testing.assert_array_equal(clip.frames[:, 5], image(18)[:, 5], err_msg="the left shoulder of both")
        np.testing.assert_array_equal(clip.frames[:, 16], image(18)[:, 10], err_msg="the right ankle")
    assert len(found) == 2 and notes == ["joints of layout openpose18 mapped to those of coco17; lost: Neck"]
    with pytest.raises(InputError, match=r"a\.npy: found 18 joints, layout coco17 has 17: name the layout .* by --layout"):
        read_clips(tmp_path / "in" / "a.npy", model)


def test_openpose_pickle_and_kinetics(tmp_path: Path):
    """A folder that is one recording, a pickle of two, and a file whose name does not tell what it is."""
    model = make_model("openpose18", fps=30.0, space="xyc")
    clip = image(18)
    (tmp_path / "film").mkdir()
    for k, pose in enumerate(clip):
        people = {"people": [{"pose_keypoints_2d": pose.ravel().tolist()}]}
        (tmp_path / "film" / f"film_{k:012d}_keypoints.json").write_text(json.dumps(people))
    (found,) = read_clips(tmp_path / "film", model)
    np.testing.assert_array_equal(found.frames, clip)

    scene = clip[..., :2] / 16
    frames = [
        {"frame_index": k + 1, "skeleton": [{"pose": pose.ravel().tolist(), "score": [0.5] * 18}]}
        for k, pose in enumerate(scene)
    ]
    (tmp_path / "k.json").write_text(json.dumps({"data": frames, "label": "yoga", "label_index": 3}))
    (found,) = read_clips(tmp_path / "k.json", model, "kinetics")
    np.testing.assert_allclose(found.frames[..., :2], scene, atol=1e-6)

    coco = make_model("coco17", space="xyc")
    notes = [
        {"frame_dir": name, "label": 0, "total_frames": FRAMES, "keypoint": image(17)[None, ..., :2] + add}
        for name, add in (("x", 0), ("y", 1))
    ]
    (tmp_path / "set.pkl").write_bytes(pickle.dumps({"annotations": notes, "split": {"all": ["x", "y"]}}))
    one, two = read_clips(tmp_path / "set.pkl", coco)
    assert one.name.endswith("set.pkl: x") and two.name.endswith("set.pkl: y")
    np.testing.assert_array_equal(two.frames[..., :2], image(17)[..., :2] + 1)


def test_two_persons_are_two_clips(tmp_path: Path):
    """A file of NTU with two bodies, for a model of their body and for one of Kinect v1's."""
    bodies = [
        ntu_files.Body(ntu_files.moving(40, 1, 0.2)),
        ntu_files.Body(ntu_files.moving(40, 2, 0.1, place=(-0.8, -0.2, 3.3)), number=ntu_files.FIRST_ID + 1),
    ]
    path = ntu_files.write_clip(tmp_path, "S001C001P001R001A050", bodies, 40)
    found = read_clips(path, make_model("ntu25", fps=30.0))
    assert [clip.name for clip in found] == [f"{path}, person 0", f"{path}, person 1"]
    for clip, body in zip(found, bodies, strict=True):
        np.testing.assert_allclose(clip.frames, body.poses, atol=1e-5)
    notes: list[str] = []
    mapped = read_clips(path, make_model("kinect20", fps=30.0), note=notes.append)
    wrist = KINECT.index("WristLeft") if "WristLeft" in KINECT else load_layout("kinect20").landmarks["left wrist"]
    np.testing.assert_allclose(mapped[1].frames[:, wrist], bodies[1].poses[:, 6], atol=1e-5)
    assert len(notes) == 1 and "mapped to those of kinect20" in notes[0]


def test_a_body_of_motion_capture(shared_data: Path):
    """The BVH release names its joints as the benchmark does; the model is of those in use."""
    path = shared_data / "cmu_bvh" / "14_12_head.bvh"
    (recording,) = read_bvh(path)
    by_name = dict(zip(recording.joints, np.moveaxis(recording.frames, 1, 0), strict=True))
    assert recording.fps is not None
    layout = load_layout("cmu")
    (clip,) = read_clips(path, make_model("cmu", fps=recording.fps), note=lambda _: None)
    lowered = {name.lower(): motion for name, motion in by_name.items()}
    shared = [(node, name.lower()) for node, name in enumerate(layout.node_names) if name.lower() in lowered]
    assert len(shared) > 20
    for node, name in shared:
        np.testing.assert_array_equal(clip.frames[:, node], lowered[name])


# --- what cannot be used --------------------------------------------------------------------------------------------------


def test_what_a_model_cannot_take(model: TrainedModel, tmp_path: Path):
    np.save(tmp_path / "a.npy", walk(20))
    coco_file(tmp_path / "image.json", image(17))
    objects(tmp_path / "a.jsonl", walk(20))
    (tmp_path / "other.jsonl").write_text(json.dumps({"joints": {f"p{k}": [1, 2, 3] for k in range(20)}}))
    for name, kind, message in (
        ("image.json", None, r"image\.json: holds image positions, the model was trained on positions"),
        ("other.jsonl", None, r"other\.jsonl: its joints \(p0, .*are not those of layout kinect20"),
        ("a.npy", "tables", r"--as tables: no such format; did you mean table\?"),
        ("a.npy", "bvh", r"found no \.bvh file"),
    ):
        with pytest.raises(InputError, match=message):
            read_clips(tmp_path / name, model, kind)
    turned = make_model("cmu", fps=120.0, space="expmap")
    with pytest.raises(InputError, match=r"a\.jsonl: format jsonl holds positions, the model was trained on rotations"):
        read_clips(tmp_path / "a.jsonl", turned)
    np.save(tmp_path / "rows.npy", np.zeros((5, 39, 3)))
    assert len(read_clips(tmp_path / "rows.npy", turned, options=ImportOptions(fps=120.0))[0].frames) == 5
    with pytest.raises(InputError, match=r"rows\.npy: rotations .* are not resampled from 60 frames a second.* 120"):
        read_clips(tmp_path / "rows.npy", turned, options=ImportOptions(fps=60.0))


def test_joints_at_nothing_were_not_seen(model: TrainedModel, tmp_path: Path):
    clip = walk(20)
    clip[4, 7] = 0
    triples(tmp_path / "a.csv", clip)
    objects(tmp_path / "a.jsonl", clip)
    for name in ("a.csv", "a.jsonl"):
        for zero, missing in ((True, [[4, 7]] * 1), (False, [])):
            (found,) = read_clips(tmp_path / name, model, options=ImportOptions(zero_is_missing=zero))
            assert np.argwhere(np.isnan(found.frames).all(axis=2)).tolist() == missing


def test_the_command(model: TrainedModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Three formats in one call; one bad file among them is named and nothing is written."""
    save(tmp_path / "m.ckpt", model)
    clip = walk(20)
    names = ("headed.csv", "a.jsonl", "a.npy")
    for name in names:
        WRITERS[name](tmp_path / name, clip)
    files = [str(tmp_path / name) for name in names]
    assert main(["predict", str(tmp_path / "m.ckpt"), *files, "--out", str(tmp_path / "out.json")]) == 0
    answers = json.loads((tmp_path / "out.json").read_text())["clips"]
    assert [answer["clip"] for answer in answers] == files
    (expected,) = symgnn.predict(model, [clip])
    for answer in answers:
        assert answer["probabilities"] == pytest.approx(expected.probabilities, abs=1e-6)
    (tmp_path / "bad.jsonl").write_text('{"joints": 3}')
    capsys.readouterr()
    command = ["predict", str(tmp_path / "m.ckpt"), files[0], str(tmp_path / "bad.jsonl"), "--out", str(tmp_path / "no.json")]
    assert main(command) == 2
    assert f"symgnn: {tmp_path / 'bad.jsonl'}: line 1: found no list" in capsys.readouterr().err
    assert not (tmp_path / "no.json").exists()
    # Without headings the column of classes has to be named.
    rows = [",".join(map(str, [*pose, 3])) for pose in clip.reshape(FRAMES, -1).tolist()]
    (tmp_path / "spare.csv").write_text("\n".join(rows))
    command = ["predict", str(tmp_path / "m.ckpt"), str(tmp_path / "spare.csv")]
    assert main(command) == 2 and "found 61 columns" in capsys.readouterr().err
    assert main([*command, "--label-column", "-1"]) == 0


def test_a_recording_of_precog(shared_data: Path, model: TrainedModel):
    """A real one: a cell a joint, the class of each frame last."""
    path = sorted((shared_data / "precog").rglob("*.csv"))[0]
    (clip,) = read_clips(path, model, note=lambda _: None)
    lines = path.read_text().splitlines()
    heads = [head.strip().lower().replace("_", "").replace(" ", "") for head in lines[0].split(";")]
    place = heads.index(KINECT[5].lower().replace("_", "").replace(" ", ""))
    for frame in (0, len(lines) // 2, len(lines) - 2):
        cell = lines[frame + 1].split(";")[place]
        assert clip.frames[frame, 5].tolist() == pytest.approx([float(number) for number in cell.split()], abs=1e-6)
