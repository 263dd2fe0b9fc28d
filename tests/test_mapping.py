"""Between layouts: what is shared is copied, what lies between is put there, what is lost is said."""

from pathlib import Path

import numpy as np
import pytest

from symgnn.cli import main
from symgnn.data import ClipRecord, Store, write_store
from symgnn.errors import InputError
from symgnn.skeleton import layout_from_dict, layout_names, layout_to_dict, load_layout
from symgnn.skeleton.mapping import layout_mapping


def frames_of(layout: str, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(4, len(load_layout(layout).joints), 3)).astype(np.float32)


def at(layout: str, frames: np.ndarray, joint: str) -> np.ndarray:
    return frames[:, load_layout(layout).joints.index(joint)]


def test_kinect_to_coco_by_hand():
    """Twelve joints of the limbs are shared; Kinect has no face, COCO no spine."""
    frames = frames_of("kinect20")
    mapping = layout_mapping(load_layout("kinect20"), load_layout("coco17"))
    found = mapping(frames)
    for coco, kinect in (("left_shoulder", "ShoulderLeft"), ("right_wrist", "WristRight"), ("left_ankle", "AnkleLeft")):
        np.testing.assert_array_equal(at("coco17", found, coco), at("kinect20", frames, kinect))
    assert mapping.missing == ("nose", "left_eye", "right_eye", "left_ear", "right_ear") and mapping.between == ()
    assert np.isnan(at("coco17", found, "nose")).all() and np.isfinite(found).any(axis=(0, 2)).sum() == 12
    assert set(mapping.lost) == {
        *("HipCenter", "Spine", "ShoulderCenter", "Head", "HandLeft", "HandRight", "FootLeft", "FootRight")
    }


def test_coco_to_kinect_by_hand():
    """Neck and pelvis halfway between shoulders and hips, the spine halfway between those, the head between the ears."""
    frames = frames_of("coco17")
    mapping = layout_mapping(load_layout("coco17"), load_layout("kinect20"))
    found = mapping(frames)

    def coco(*joints: str) -> np.ndarray:
        return np.mean([at("coco17", frames, joint) for joint in joints], axis=0)

    np.testing.assert_allclose(at("kinect20", found, "ShoulderCenter"), coco("left_shoulder", "right_shoulder"), rtol=1e-6)
    np.testing.assert_allclose(at("kinect20", found, "HipCenter"), coco("left_hip", "right_hip"), rtol=1e-6)
    middle = coco("left_shoulder", "right_shoulder", "left_hip", "right_hip")
    np.testing.assert_allclose(at("kinect20", found, "Spine"), middle, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(at("kinect20", found, "Head"), coco("left_ear", "right_ear"), rtol=1e-6)
    assert mapping.missing == ("HandLeft", "HandRight", "FootLeft", "FootRight")
    assert set(mapping.between) == {"ShoulderCenter", "HipCenter", "Spine", "Head"}


def test_the_lower_confidence_counts():
    frames = np.abs(frames_of("coco17"))
    found = layout_mapping(load_layout("coco17"), load_layout("openpose18"))(frames, image=True)
    shoulders = [at("coco17", frames, f"{side}_shoulder") for side in ("left", "right")]
    np.testing.assert_array_equal(at("openpose18", found, "Neck")[:, 2], np.minimum(shoulders[0][:, 2], shoulders[1][:, 2]))


@pytest.mark.parametrize("name", layout_names())
def test_to_itself_nothing_changes(name: str):
    mapping = layout_mapping(load_layout(name), load_layout(name))
    frames = frames_of(name)
    np.testing.assert_array_equal(mapping(frames), frames)
    assert not (mapping.missing or mapping.lost or mapping.between)


@pytest.mark.parametrize("source", layout_names())
@pytest.mark.parametrize("target", layout_names())
def test_left_stays_left(source: str, target: str):
    """A body mirrored and then converted is the converted body mirrored."""
    one, other = load_layout(source), load_layout(target)
    mapping, frames = layout_mapping(one, other), frames_of(source)
    mirrored = frames[:, list(one.mirror)]
    np.testing.assert_allclose(mapping(mirrored), mapping(frames)[:, list(other.mirror)], atol=1e-6)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    frames = frames_of("kinect20")
    record = ClipRecord(recording="a", label=0, subject="S")
    write_store(tmp_path / "a", [(record, frames)], layout=load_layout("kinect20"), space="xyz", fps=30.0, class_names=("x",))
    assert main(["data", "convert-layout", str(tmp_path / "a"), str(tmp_path / "b"), "--layout", "coco17"]) == 0
    said = capsys.readouterr().err
    assert "12 of 17 joints" in said and "nose" in said and "HipCenter" in said
    store = Store.open(tmp_path / "b")
    assert (store.layout, store.fps, store.class_names) == (load_layout("coco17"), 30.0, ("x",))
    assert (store.clips[0].label, store.clips[0].subject) == (0, "S")
    np.testing.assert_array_equal(store.clip_frames(0)[:, 5], at("kinect20", frames, "ShoulderLeft"))


def test_bodies_that_share_nothing():
    fish = layout_from_dict(
        {
            "name": "fish",
            "joints": ["snout", "fin", "tail"],
            "bones": [["snout", "fin", "tail"]],
            "parts": {"all": ["snout", "fin", "tail"]},
        }
    )
    with pytest.raises(InputError, match="share 0 joints"):
        layout_mapping(fish, load_layout("coco17"))
    same = layout_from_dict({**layout_to_dict(fish), "name": "herring"})
    assert not layout_mapping(fish, same).missing, "without landmarks, names tell"
