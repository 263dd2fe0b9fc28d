"""Every format by way of the command, from files to a store: bodies, classes, splits and persons as the files say."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest

import ntu_files
from symgnn.cli import main
from symgnn.cli.data import KINDS
from symgnn.config import load_preset
from symgnn.data import ClipRecord, Store, write_store
from symgnn.data.importing import FORMATS
from symgnn.data.readers import ntu
from symgnn.skeleton import load_layout

BVH = """HIERARCHY
ROOT Hips
{
  OFFSET 0 0 0
  CHANNELS 6 Xposition Yposition Zposition Zrotation Yrotation Xrotation
  JOINT LeftUpLeg
  {
    OFFSET 1 0 0
    CHANNELS 3 Zrotation Yrotation Xrotation
    End Site
    {
      OFFSET 0 -2 0
    }
  }
  JOINT RightUpLeg
  {
    OFFSET -1 0 0
    CHANNELS 3 Zrotation Yrotation Xrotation
    End Site
    {
      OFFSET 0 -2 0
    }
  }
}
MOTION
Frames: 3
Frame Time: 0.02
0 5 0 0 0 0 0 0 0 0 0 0
0 5 1 0 0 0 90 0 0 0 0 0
0 5 2 0 90 0 0 0 0 0 0 0
"""


def imported(folder: Path, *words: str, code: int = 0) -> Store:
    store = folder.parent / "store"
    assert main(["data", "import", str(folder), str(store), *words]) == code
    return Store.open(store)


def test_help_lists_every_format():
    assert set(KINDS) == set(FORMATS)


def test_bvh(tmp_path: Path):
    """The body is the file's own; left leg raised by a quarter turn about z in the second frame, all about y in the third."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.bvh").write_text(BVH)
    store = imported(tmp_path / "in")
    assert store.fps == 50 and store.layout.joints[:2] == ("Hips", "LeftUpLeg") and store.layout.mirror != tuple(range(5))
    foot = store.layout.joints.index("LeftUpLegEnd")
    np.testing.assert_allclose(store.clip_frames(0)[:, foot], [[1, 3, 0], [3, 5, 1], [0, 3, 1]], atol=1e-5)


def test_openpose_and_coco(tmp_path: Path):
    """Two videos, a folder each, class by folder; and one file of COCO results."""
    points = np.arange(25 * 3, dtype=float).reshape(25, 3) + 1
    for name in ("wave/a", "sit/b"):
        (tmp_path / "in" / name).mkdir(parents=True)
        for frame in range(4):
            people = [{"person_id": [-1], "pose_keypoints_2d": (points + np.array([frame, 0, 0])).ravel().tolist()}]
            file = tmp_path / "in" / name / f"v_{frame:012d}_keypoints.json"
            file.write_text(json.dumps({"version": 1.3, "people": people}))
    store = imported(tmp_path / "in", "--fps", "25", "--label-from-folder")
    assert store.space == "xyc" and store.layout == load_layout("openpose25") and store.class_names == ("sit", "wave")
    assert [(clip.label, clip.length) for clip in store.clips] == [(0, 4), (1, 4)]
    np.testing.assert_array_equal(store.clip_frames(1)[3], (points + np.array([3, 0, 0])).astype(np.float32))


def test_toolkit_pickle(tmp_path: Path):
    keypoint = np.random.default_rng(0).random((2, 6, 17, 2)).astype(np.float32) + 1
    keypoint[1] = 0
    content = {
        "split": {"xsub_train": ["a"], "xsub_val": ["b"], "xview_train": ["b"], "xview_val": ["a"]},
        "annotations": [
            {
                "frame_dir": name,
                "label": label,
                "total_frames": 6,
                "img_shape": (9, 9),
                "keypoint": keypoint + (keypoint > 0) * label,
            }
            for name, label in (("a", 3), ("b", 12))
        ],
    }
    path = tmp_path / "in" / "set.pkl"
    path.parent.mkdir()
    path.write_bytes(pickle.dumps(content))
    store = imported(path.parent, "--split-as", "xsub", "--fps", "30")
    assert [(clip.recording, clip.split) for clip in store.clips] == [("set:a", "train"), ("set:b", "test")]
    assert store.class_names == ("3", "12") and store.layout.name == "coco17", "whoever is all zeros is not there"
    np.testing.assert_allclose(store.clip_frames(1)[..., :2], keypoint[0] + 12, rtol=1e-6)


@pytest.fixture
def skeletons(tmp_path: Path) -> Path:
    names = [
        f"S001C{camera:03d}P{subject:03d}R001A{action:03d}" for camera in (1, 2) for subject in (1, 3) for action in (9, 50)
    ]
    ntu_files.write_folder(tmp_path / "ntu", names)
    ntu_files.write_clip(tmp_path / "ntu", "S001C003P001R001A009", [], 20)
    return tmp_path / "ntu"


def test_ntu(skeletons: Path):
    """Two persons where the file has two, the split of the name, the classes by their names; the empty file is listed."""
    store = imported(skeletons, "--split-as", "ntu60-xsub", code=1)
    assert store.layout == load_layout("ntu25") and store.fps == 30
    assert store.class_names == (f"A009 {ntu.ACTIONS[8]}", f"A050 {ntu.ACTIONS[49]}")
    assert {(clip.subject, clip.split) for clip in store.clips} == {("1", "train"), ("3", "test")}
    persons = {clip.recording: 0 for clip in store.clips}
    for clip in store.clips:
        persons[clip.recording] += 1
    assert {name[-4:]: count for name, count in persons.items()} == {"A009": 1, "A050": 2}
    assert "S001C003P001R001A009.skeleton,nobody in it" in (skeletons.parent / "store.bad.csv").read_text()


def test_kinetics(tmp_path: Path):
    poses = np.random.default_rng(0).random((3, 18, 2)).round(3)
    for folder, name in (("kinetics_train", "x"), ("kinetics_val", "y")):
        (tmp_path / "in" / folder).mkdir(parents=True)
        frames = [
            {"frame_index": k + 1, "skeleton": [{"pose": pose.ravel().tolist(), "score": [0.5] * 18}]}
            for k, pose in enumerate(poses)
        ]
        content = {"data": frames, "label": "yoga", "label_index": 399}
        (tmp_path / "in" / folder / f"{name}.json").write_text(json.dumps(content))
    store = imported(tmp_path / "in", "--as", "kinetics")
    assert [clip.split for clip in store.clips] == ["train", "test"] and store.class_names == ("yoga",)
    assert store.layout == load_layout("openpose18") and store.space == "xyc"
    np.testing.assert_allclose(store.clip_frames(0)[..., :2], poses, atol=1e-6)


def test_images_train_and_predict(tmp_path: Path):
    """Image positions with gaps: the confidence is seen, and the future has finite places."""
    random = np.random.default_rng(0)
    (tmp_path / "in" / "a").mkdir(parents=True)
    (tmp_path / "in" / "b").mkdir()
    for number in range(8):
        motion = 100 + random.normal(size=(30, 17, 3)).cumsum(axis=0)
        motion[..., 2] = random.random((30, 17)) * (random.random((30, 17)) > 0.1)
        np.save(tmp_path / "in" / "ab"[number % 2] / f"{number}.npy", motion)
    store = imported(tmp_path / "in", "--layout", "coco17", "--fps", "25", "--label-from-folder")
    words = ["--training.steps", "4", "--training.validate-every", "4", "--training.batch", "4", "--model.width", "0.1"]
    assert main(["train", "own", "--data", str(store.path), "--out", str(tmp_path / "run"), *words]) == 0
    out = tmp_path / "answer.json"
    assert main(["predict", str(tmp_path / "run"), f"{store.path}:0", "--out", str(out)]) == 0
    (answer,) = json.loads(out.read_text())["clips"]
    assert np.isfinite(np.array(answer["future"])).all() and set(answer["probabilities"]) == {"a", "b"}
    assert load_preset("own").model.placement == "centre"


def test_precog(shared_data: Path, tmp_path: Path):
    """The raw files by the commands of docs/results.md: 360 labelled runs, and the two baselines' figures."""
    folder = shared_data / "precog" / "Dataset" / "CSV"
    if not folder.is_dir():
        pytest.skip(f"PRECOG is not there (expected in {folder})")
    store = tmp_path / "precog"
    words = ["--layout", "kinect20", "--label-column", "-1", "--no-class", "0", "--cut", "--shortest", "5", "--fps", "30"]
    assert main(["data", "import", str(folder), str(store), *words, "--subject-from-name", r"Seq\d+_(\d+)"]) == 0
    assert main(["data", "split", str(store), "--by", "subject", "--holdout", "2,4,6,8,10,12"]) == 0
    opened = Store.open(store)
    assert sum(clip.label >= 0 for clip in opened.clips) == 360 and len(opened.class_names) == 8
    for name, figure in (("linear", 0.867), ("nearest", 0.794)):
        out = tmp_path / f"{name}.json"
        assert main(["evaluate", name, "--data", str(store), "--json", str(out)]) == 0
        found = json.loads(out.read_text())
        assert found["clips"] == 180 and found["top1"] == pytest.approx(figure, abs=0.012)


def test_cmu_from_bvh(shared_data: Path, tmp_path: Path):
    """The first rows of a test file of the benchmark, from the trial of the public release that it was made of."""
    (tmp_path / "bvh").mkdir()
    (tmp_path / "bvh" / "14_12.bvh").write_bytes((shared_data / "cmu_bvh" / "14_12_head.bvh").read_bytes())
    labels = tmp_path / "trials.csv"
    labels.write_text("trial,split,action,number\n14_12,test,washwindow,1\n14_24,train,directing_traffic,4\n")
    store = imported(tmp_path / "bvh", "--as", "cmu-bvh", "--labels", str(labels))
    assert store.layout == load_layout("cmu") and store.space == "expmap" and store.fps == 120
    assert (store.clips[0].recording, store.clips[0].split) == ("washwindow_1", "test") and "14_24" in store.missing[0]
    rows = np.loadtxt(shared_data / "cmu_mocap" / "test" / "washwindow" / "washwindow_1.txt", delimiter=",", max_rows=4)
    # Float32 in the store: the reader's own test holds 1e-7.
    np.testing.assert_allclose(store.clip_frames(0), rows.reshape(4, 39, 3), atol=2e-6)
    assert main(["data", "import", str(tmp_path / "bvh"), str(tmp_path / "other"), "--as", "cmu-bvh"]) == 2


def test_looking_at_two_persons(skeletons: Path, capsys: pytest.CaptureFixture[str]):
    """They stand beside each other as they stood before the camera, whichever of their clips is named."""
    store = imported(skeletons, code=1)
    name = next(clip.recording for clip in store.clips if clip.person == 1)
    first, second = (index for index, clip in enumerate(store.clips) if clip.recording == name)
    pages = []
    for which in (name, str(second)):
        place = skeletons.parent / f"{which}.html"
        assert main(["data", "view", str(store.path), which, "--out", str(place)]) == 0
        assert "; 2 persons ->" in capsys.readouterr().err
        text = place.read_text().split('<script type="application/json">')[1].split("</script>")[0]
        pages.append(json.loads(text))
    assert pages[0] == pages[1] and len(pages[0]["heads"]) == 2
    drawn = np.array(pages[0]["frames"], float)
    true = np.concatenate([store.clip_frames(first), store.clip_frames(second)], axis=1)
    assert drawn.shape == true.shape
    apart = [np.linalg.norm(points[:, 0] - points[:, 25], axis=1) for points in (drawn, true)]
    tall = [np.linalg.norm(points[:, 3] - points[:, 2], axis=1).mean() for points in (drawn, true)]
    np.testing.assert_allclose(apart[0] / tall[0], apart[1] / tall[1], rtol=0.02)


def test_looking_at_an_image(tmp_path: Path):
    """An image is drawn as it was taken, also of somebody seen from behind: the left wrist stays on the left."""
    points = np.random.default_rng(3).uniform(100, 300, (17, 2))
    points[[5, 7, 9, 11, 13, 15], 0] -= 400  # the body's left on the image's left
    layout = load_layout("coco17")
    frames = np.concatenate([np.repeat(points[None], 3, axis=0), np.ones((3, 17, 1))], axis=2).astype(np.float32)
    store = write_store(tmp_path / "s", [(ClipRecord(recording="a"), frames)], layout=layout, space="xyc", fps=25.0)
    assert main(["data", "view", str(store.path), "a", "--out", str(tmp_path / "a.html")]) == 0
    text = (tmp_path / "a.html").read_text().split('<script type="application/json">')[1].split("</script>")[0]
    drawn = np.array(json.loads(text)["frames"], float)[0]
    scale = np.ptp(drawn[:, 0]) / np.ptp(points[:, 0])
    np.testing.assert_allclose(drawn[:, 0] - drawn[0, 0], scale * (points[:, 0] - points[0, 0]), atol=1.5)
    np.testing.assert_allclose(drawn[:, 1] - drawn[0, 1], -scale * (points[:, 1] - points[0, 1]), atol=1.5)


def test_persons_who_were_not_there_as_long(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    layout = load_layout("kinect20")
    poses = np.random.default_rng(0).normal(size=(9, 20, 3)).astype(np.float32)
    clips = [(ClipRecord(recording="a", person=person), poses[:length]) for person, length in ((0, 9), (1, 4))]
    store = write_store(tmp_path / "s", clips, layout=layout, space="xyz", fps=100.0)
    assert main(["data", "view", str(store.path), "a", "--out", str(tmp_path / "a.gif")]) == 0
    said = capsys.readouterr().err
    assert "2 persons; their clips differ in length" in said and "one in 4 frames is shown" in said
    assert main(["data", "view", str(store.path), "a", "--out", str(tmp_path / "a.png")]) == 2
    assert "expected .svg, .gif or .html" in capsys.readouterr().err
