"""BVH files and the CMU benchmark made from them, against loops with scipy's rotations, against files written here."""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from symgnn.data.readers.bvh import MOST_JOINTS, bvh_layout, parse_bvh, read_bvh
from symgnn.data.readers.cmu_bvh import read_cmu_bvh
from symgnn.data.recording import Recording
from symgnn.data.writing import write_store
from symgnn.errors import InputError
from symgnn.skeleton import Layout, load_layout

fuzz = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

ARM = """HIERARCHY
ROOT Shoulder
{
  OFFSET 0 0 0
  CHANNELS 6 Xposition Yposition Zposition Zrotation Xrotation Yrotation
  JOINT Elbow
  {
    OFFSET 3 0 0
    CHANNELS 3 Zrotation Xrotation Yrotation
    End Site
    {
      OFFSET 2 0 0
    }
  }
}
MOTION
Frames: 4
Frame Time: 0.04
10 20 30  0 0 0  0 0 0
0 0 0  90 0 0  0 0 0
0 0 0  0 0 0  0 0 90
0 0 0  90 0 0  0 0 90
"""


def put(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


# By hand


def test_an_arm_by_hand(tmp_path: Path):
    """A quarter turn about z takes x to y, one about y takes x to -z; in the last frame the shoulder's turn keeps z."""
    (found,) = read_bvh(put(tmp_path / "arm.bvh", ARM))
    assert found.joints == ("Shoulder", "Elbow", "ElbowEnd") and found.parents == (-1, 0, 1)
    assert (found.fps, found.space, found.unit, found.times) == (25.0, "xyz", "", None)
    expected = [
        [[10, 20, 30], [13, 20, 30], [15, 20, 30]],
        [[0, 0, 0], [0, 3, 0], [0, 5, 0]],
        [[0, 0, 0], [3, 0, 0], [3, 0, -2]],
        [[0, 0, 0], [0, 3, 0], [0, 3, -2]],
    ]
    np.testing.assert_allclose(found.frames, expected, rtol=0, atol=1e-6)
    assert found.frames.dtype == np.float32


def test_rotations_multiply_in_the_order_of_the_channels(tmp_path: Path):
    """Z then X: R = Rz Rx takes the y of the rest pose by Rx to z, where Rz leaves it; X then Z takes it to -x."""
    text = ARM.replace("OFFSET 3 0 0", "OFFSET 0 3 0").replace("Frames: 4", "Frames: 1")
    row = "0 0 0  90 90 0  0 0 0\n"
    head = text[: text.index("10 20 30")]
    (zxy,) = read_bvh(put(tmp_path / "zxy.bvh", head + row))
    np.testing.assert_allclose(zxy.frames[0, 1], [0, 0, 3], atol=1e-6)
    (xzy,) = read_bvh(put(tmp_path / "xzy.bvh", head.replace("Zrotation Xrotation", "Xrotation Zrotation") + row))
    np.testing.assert_allclose(xzy.frames[0, 1], [-3, 0, 0], atol=1e-6)


def test_position_channels_of_joints(tmp_path: Path):
    """The elbow's are its whole offset where they are near it, added where they are near nothing; the root's replace."""
    head = ARM[: ARM.index("10 20 30")].replace("Frames: 4", "Frames: 2").replace("OFFSET 0 0 0", "OFFSET 7 7 7")
    head = head.replace("CHANNELS 3 Zrotation Xrotation Yrotation", "CHANNELS 4 Yposition Zrotation Xposition Xrotation")
    whole = head + "1 2 3 0 0 0  0.5 90 3.25 0\n1 2 3 90 0 0  0 0 3 0\n"
    (found,) = read_bvh(put(tmp_path / "whole.bvh", whole))
    expected = [[[1, 2, 3], [4.25, 2.5, 3], [4.25, 4.5, 3]], [[1, 2, 3], [1, 5, 3], [1, 7, 3]]]
    np.testing.assert_allclose(found.frames, expected, rtol=0, atol=1e-6)
    added = head + "1 2 3 0 0 0  0.5 90 0.25 0\n1 2 3 90 0 0  0 0 0 0\n"
    (found,) = read_bvh(put(tmp_path / "added.bvh", added))
    np.testing.assert_allclose(found.frames, expected, rtol=0, atol=1e-6)
    # Of the root with one position channel the others stay at the offset.
    one = ARM.replace("6 Xposition Yposition Zposition", "4 Yposition").replace("OFFSET 0 0 0", "OFFSET 7 7 7")
    one = one[: one.index("Frames: 4")] + "Frames: 1\nFrame Time: 1\n5 0 0 0 0 0 0\n"
    assert read_bvh(put(tmp_path / "one.bvh", one))[0].frames[0, 0].tolist() == [7, 5, 7]


@pytest.mark.parametrize(
    ("seconds", "fps"),
    [
        ("0.0083333", 120),
        (".0083333", 120),
        ("0.008333", 120),
        ("8.3333e-3", 120),
        ("0.00833333333333", 120),
        ("0.0333", 30),
        ("0.033333", 30),
        ("0.033334", 30 / 1.00002),  # neither rounded nor cut off
        ("0.0333667", 1 / 0.0333667),  # 29.97
        ("0.016667", 60),
        ("0.016666", 60),
        ("0.04", 25),
        ("0.041667", 24),
        ("0.03", 1 / 0.03),
        ("1", 1),
        ("2", 0.5),
        ("0.005", 200),
    ],
)
def test_frames_a_second(tmp_path: Path, seconds: str, fps: float):
    found = parse_bvh(put(tmp_path / "a.bvh", ARM.replace("0.04", seconds)))
    assert found.fps == pytest.approx(fps, rel=1e-12) and found.frame_time == float(seconds)


# Against loops


@dataclass
class Joint:
    """A joint of a test's body; without channels' list it is an end site."""

    name: str
    parent: int
    offset: list[float]
    channels: list[str] | None


def written(joints: Sequence[Joint], motion: np.ndarray, wild: random.Random | None = None, seconds: str = "0.01") -> str:
    """A BVH file of the body; with ``wild``, breaks, blanks and case are any that the format leaves open."""
    words: list[str] = ["HIERARCHY\n"]

    def joint(number: int) -> None:
        own = joints[number]
        if own.channels is None:
            words.extend(["End", "Site"])
        else:
            words.extend(["ROOT" if own.parent < 0 else "JOINT", f"{own.name}\n"])
        words.extend(["{", "OFFSET", *map(repr, own.offset)])
        if own.channels is not None:
            words.extend(["CHANNELS", str(len(own.channels)), *own.channels])
            for below in range(number + 1, len(joints)):
                if joints[below].parent == number:
                    joint(below)
        words.append("}")

    joint(0)
    words += ["\nMOTION\n", f"Frames: {len(motion)}\n", f"Frame Time: {seconds}\n"]
    rows = [[repr(float(value)) for value in row] for row in motion]
    if wild is None:
        return " ".join(words) + "\n".join(" ".join(row) for row in rows) + "\n"
    text = ""
    for word in words:
        keyword = word.strip() in ("HIERARCHY", "ROOT", "JOINT", "End", "OFFSET", "CHANNELS", "MOTION")
        text += wild.choice(["", " ", "\t"]) + (wild.choice([word, word.lower(), word.upper()]) if keyword else word)
        text += wild.choice([" ", "\t", "  "])
        if word in "{}" or "rotation" in word:
            text += wild.choice(["", "\n", "\n\n", "\t"])
    text = text.rstrip() + "\n"
    for row in rows:
        for value in row:
            text += value + wild.choice([" ", "  ", "\t", "\n", " \n\t"])
    return text.replace("\n", wild.choice(["\n", "\r\n", "\r"]))


@st.composite
def bodies(draw: st.DrawFn) -> list[Joint]:
    """Trees in the order of a file: each joint hangs on the last one or on one above it."""
    names = st.text(
        st.characters(codec="utf-8", exclude_categories=("C", "Z"), exclude_characters="{}"), min_size=1, max_size=8
    )
    usual = st.sampled_from(
        ["Hips", "LeftArm", "RightArm", "LeftHand", "Head", "trunk", "L Leg", "R Leg", "translation", "AEnd"]
    )
    number = st.floats(-50, 50).map(lambda value: round(value, 3))
    joints: list[Joint] = []
    for index in range(draw(st.integers(1, 12))):
        open_joints = []
        above = index - 1
        while above >= 0:
            if joints[above].channels is not None:
                open_joints.append(above)
            above = joints[above].parent
        parent = draw(st.sampled_from(open_joints)) if open_joints else -1
        end = index > 0 and draw(st.integers(0, 3)) == 0
        turns = draw(st.sampled_from(["ZXY", "XYZ", "ZYX", "YXZ", "ZXZ", "Y", ""]))
        channels = [f"{axis}rotation" for axis in turns]
        if index == 0:
            channels = [f"{axis}position" for axis in draw(st.permutations("XYZ"))] + channels
        name = draw(st.one_of(names, usual))
        joints.append(Joint(name, parent, [draw(number) for _ in range(3)], None if end else channels))
    return joints


def naive_places(joints: Sequence[Joint], row: np.ndarray) -> list[np.ndarray]:
    """One frame, from each joint up to the root: the place in its parent's frame, turned and moved by every joint above."""
    starts = np.cumsum([0] + [len(joint.channels or []) for joint in joints])
    values = [
        dict(zip(joint.channels or [], row[start:], strict=False)) for joint, start in zip(joints, starts[:-1], strict=True)
    ]

    def turned(number: int, place: np.ndarray) -> np.ndarray:
        channels = joints[number].channels or []
        start = starts[number]
        # The last rotation comes first to a point.
        for index in reversed(range(len(channels))):
            if channels[index].endswith("rotation"):
                place = Rotation.from_euler(channels[index][0].lower(), row[start + index], degrees=True).apply(place)
        return place

    found = []
    for number, joint in enumerate(joints):
        place = np.array([values[number].get(f"{a}position", o) for a, o in zip("XYZ", joint.offset, strict=True)], float)
        above = joint.parent
        while above >= 0:
            own = joints[above]
            shift = [values[above].get(f"{a}position", o) for a, o in zip("XYZ", own.offset, strict=True)]
            place = turned(above, place) + shift
            above = own.parent
        found.append(place)
    return found


@settings(fuzz, max_examples=80)
@given(bodies(), st.integers(1, 5), st.randoms(use_true_random=False), st.booleans())
def test_any_body_in_any_shape(tmp_path: Path, joints: list[Joint], frames: int, wild: random.Random, plain: bool):
    width = sum(len(joint.channels or []) for joint in joints)
    motion = np.round(np.random.default_rng(wild.randrange(1000)).uniform(-180, 180, size=(frames, width)), 4)
    path = put(tmp_path / "body.bvh", written(joints, motion, None if plain else wild))
    bvh = parse_bvh(path)
    np.testing.assert_array_equal(bvh.motion, motion)
    assert bvh.parents == tuple(joint.parent for joint in joints)
    assert [list(channels) for channels in bvh.channels] == [joint.channels or [] for joint in joints]
    (found,) = read_bvh(path)
    expected = [naive_places(joints, row) for row in motion]
    np.testing.assert_allclose(found.frames, expected, rtol=2e-7, atol=2e-4)

    assert len(set(found.joints)) == len(joints)
    first: dict[str, int] = {}
    for number, joint in enumerate(joints):
        if joint.channels is not None and joint.name not in first:
            first[joint.name] = number
            assert found.joints[number] == joint.name
    if len(joints) > 1:
        layout = bvh_layout(found, "mine")
        assert layout.joints == found.joints and layout.parents == found.parents and layout.name == "mine"
        assert sorted(node for members in layout.parts.values() for node in members) == list(range(len(joints)))
        assert all(layout.mirror[other] == joint for joint, other in enumerate(layout.mirror))


def test_a_file_longer_than_a_block(tmp_path: Path):
    """Numbers that lie across two blocks of text are read once and whole; frames beyond a block are placed alike."""
    motion = np.round(np.random.default_rng(1).uniform(-180, 180, size=(19000, 9)), 6)
    text = ARM[: ARM.index("Frames: 4")] + "Frames: 19000\nFrame Time: 0.04\n"
    text += "\n".join(" ".join(map(repr, row)) for row in motion.tolist())
    assert len(text) > 1.5 * 2**20
    path = put(tmp_path / "long.bvh", text)
    np.testing.assert_array_equal(parse_bvh(path).motion, motion)
    (found,) = read_bvh(path)
    joints = [
        Joint("", -1, [0, 0, 0], [f"{a}position" for a in "XYZ"] + [f"{a}rotation" for a in "ZXY"]),
        Joint("", 0, [3, 0, 0], [f"{a}rotation" for a in "ZXY"]),
        Joint("", 1, [2, 0, 0], None),
    ]
    for frame in (0, 4095, 4096, 8191, 8192, 18999):
        np.testing.assert_allclose(found.frames[frame], naive_places(joints, motion[frame]), rtol=1e-6, atol=1e-4)


def test_names_of_end_sites_and_names_that_occur_twice(tmp_path: Path):
    def body(*names: str | None) -> str:
        inner = "".join(
            f"JOINT {name}\n{{ OFFSET 0 1 0 CHANNELS 1 Xrotation }}\n" if name else "End Site { OFFSET 0 1 0 }\n"
            for name in names
        )
        row = " ".join("0" for name in names if name)
        return (
            f"HIERARCHY ROOT Hips\n{{ OFFSET 0 0 0 CHANNELS 1 Xrotation {inner} }} MOTION\nFrames: 1 Frame Time: 0.01\n0 {row}"
        )

    def names(*given: str | None) -> tuple[str, ...]:
        return read_bvh(put(tmp_path / "a.bvh", body(*given)))[0].joints[1:]

    assert names(None, None) == ("HipsEnd", "HipsEnd_2")
    assert names(None, "HipsEnd") == ("HipsEnd_2", "HipsEnd")
    assert names("a", "a", "a_2", "a") == ("a", "a_3", "a_2", "a_4")
    assert names("Bip01 L  Thigh", "Hips") == ("Bip01 L Thigh", "Hips_2")
    named = body(None).replace("End Site", "End Site Toe_End")
    assert read_bvh(put(tmp_path / "a.bvh", named))[0].joints == ("Hips", "HipsEnd")


# Layouts


def body_of(tree: str) -> Recording:
    """A recording without motion from lines indented by one blank a level."""
    joints, parents, above = [], [], {-1: -1}
    for line in tree.strip("\n").split("\n"):
        depth = len(line) - len(line.lstrip())
        above[depth] = len(joints)
        joints.append(line.strip())
        parents.append(above[depth - 1])
    frames = np.zeros((1, len(joints), 3), np.float32)
    return Recording(frames=frames, joints=tuple(joints), parents=tuple(parents))


def parts_of(layout: Layout) -> dict[str, list[str]]:
    return {part: [layout.joints[node] for node in members] for part, members in layout.parts.items()}


def test_layout_of_the_cmu_body(shared_data: Path):
    """Parts, mirror and landmarks of the joints in use are those that the layout cmu was written with by hand."""
    path = shared_data / "cmu_bvh" / "14_12_head.bvh"
    found, cmu = bvh_layout(read_bvh(path)[0], "mine"), load_layout("cmu")
    assert found.joints == cmu.joints and found.parents == cmu.parents and found.mirror == cmu.mirror
    assert found.part_names == cmu.part_names
    own = parts_of(found)
    for part, nodes in cmu.parts.items():
        assert {cmu.node_names[node] for node in nodes} <= set(own[part])
    assert set(found.landmarks.items()) <= set(cmu.landmarks.items()) and len(found.landmarks) == 17


def test_layout_of_other_programs_names():
    biped = bvh_layout(
        body_of("""
Bip01
 Bip01 Spine
  Bip01 Neck
   Bip01 Head
    L Eye
    R Eye
   Bip01 L Clavicle
    Bip01 L UpperArm
     Bip01 L ForeArm
      Bip01 L ForeTwist
       Bip01 L Hand
        Bip01 L Finger0
   Bip01 R Clavicle
    Bip01 R UpperArm
     Bip01 R ForeArm
      Bip01 R ForeTwist
       Bip01 R Hand
        Bip01 R Finger0
 Bip01 L Thigh
  Bip01 L Calf
   Bip01 L Foot
    Bip01 L Toe0
 Bip01 R Thigh
  Bip01 R Calf
   Bip01 R Foot
 Bip01 Tail
"""),
        "biped",
    )
    assert {part: [name.removeprefix("Bip01 ") for name in names] for part, names in parts_of(biped).items()} == {
        "head": ["Neck", "Head", "L Eye", "R Eye"],
        "torso": ["Bip01", "Spine", "Tail"],
        "left upper arm": ["L Clavicle", "L UpperArm", "L ForeArm", "L ForeTwist"],
        "left forearm": ["L Hand", "L Finger0"],
        "right upper arm": ["R Clavicle", "R UpperArm", "R ForeArm", "R ForeTwist"],
        "right forearm": ["R Hand", "R Finger0"],
        "left thigh": ["L Thigh", "L Calf"],
        "left crus": ["L Foot", "L Toe0"],
        "right thigh": ["R Thigh", "R Calf"],
        "right crus": ["R Foot"],
    }
    landmarks = {place: biped.joints[joint].removeprefix("Bip01 ") for place, joint in biped.landmarks.items()}
    sided = {"shoulder": "UpperArm", "elbow": "ForeArm", "wrist": "Hand", "hip": "Thigh", "knee": "Calf", "ankle": "Foot"}
    expected = {f"{side} {place}": f"{side[0].upper()} {name}" for side in ("left", "right") for place, name in sided.items()}
    assert landmarks == expected | {"left toe": "L Toe0", "pelvis": "Bip01", "neck": "Neck", "head": "Head"}
    toe = biped.joints.index("Bip01 L Toe0")
    assert biped.mirror[toe] == toe  # the other foot has none

    lower = bvh_layout(
        body_of("""
pelvis
 spine_01
  neck_01
  upperarm_l
   hand_l
  upperarm_r
   hand_r
 thigh_l
  foot_l
 thigh_r
  foot_r
"""),
        "lower",
    )
    assert parts_of(lower)["left upper arm"] == ["upperarm_l"] and parts_of(lower)["right crus"] == ["foot_r"]
    assert lower.joints[lower.mirror[lower.joints.index("hand_l")]] == "hand_r"


def test_layout_of_names_that_say_nothing():
    """A trunk where branches of some size meet, a limb each, small stubs with the trunk; a body without branches is one."""
    layout = bvh_layout(
        body_of("""
a
 b1
  b2
   b3
 stub
 c1
  c2
   d1
    d2
    d3
   e1
    e2
"""),
        "mine",
    )
    assert parts_of(layout) == {
        "trunk": ["a", "c1", "c2", "stub"],
        "b1": ["b1", "b2", "b3"],
        "d1": ["d1", "d2", "d3"],
        "e1": ["e1", "e2"],
    }
    assert layout.mirror == tuple(range(12)) and not layout.landmarks
    chain = bvh_layout(body_of("trunk\n the trunk\n  third"), "chain")
    assert parts_of(chain) == {"the the trunk": ["trunk"], "the trunk": ["the trunk", "third"]}
    # Five vertebrae are no left side.
    assert bvh_layout(body_of("L5\n L4\n  R5"), "spine").mirror == (2, 1, 0)
    assert bvh_layout(body_of("L5\n L4\n  T12"), "spine").mirror == (0, 1, 2)


def test_layout_asks_for_a_body():
    nothing = Recording(frames=np.zeros((1, 2, 3), np.float32), joints=("a", "b"))
    with pytest.raises(InputError, match="layout mine: the recording names 2 joints and 0 parents; expected the body"):
        bvh_layout(nothing, "mine")
    with pytest.raises(InputError, match="expected at least two, found 1"):
        bvh_layout(body_of("alone"), "mine")


# Bad files


def changed(old: str, new: str) -> str:
    assert old in ARM
    return ARM.replace(old, new, 1)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "empty; expected HIERARCHY and MOTION"),
        (" \n\n", "empty; expected HIERARCHY"),
        ("Hips_x,Hips_y\n1,2\n", "line 1: found 'Hips_x,Hips_y', expected HIERARCHY"),
        (ARM[: ARM.index("MOTION")], "line 15: the file ends, expected MOTION"),
        (changed("}\nMOTION", "MOTION"), "line 14: the hierarchy ends, expected JOINT, End Site or }"),
        (changed("ROOT Shoulder", "JOINT Shoulder"), "line 2: found 'JOINT', expected ROOT"),
        (changed("ROOT Shoulder", "ROOT"), "line 3: found '{', expected a name after ROOT"),
        (changed("JOINT Elbow\n  {", "JOINT Elbow"), "line 7: found 'OFFSET', expected {"),
        (changed("OFFSET 3 0 0", "OFFSET 3 0"), "line 9: found 'CHANNELS', expected three numbers after OFFSET"),
        (changed("OFFSET 3 0 0", "OFFSET 3 0 nan"), "line 8: found 'nan', expected three numbers"),
        (changed("OFFSET 3 0 0", "OFFSET 3 0 1e999"), "line 8: found '1e999', expected three numbers"),
        (changed("OFFSET 3 0 0\n", ""), "line 8: found 'CHANNELS', expected OFFSET"),
        (changed("    CHANNELS 3 Zrotation Xrotation Yrotation\n", ""), "line 9: found 'End', expected CHANNELS"),
        (changed("CHANNELS 3", "CHANNELS 2"), "line 9: found 'Yrotation', expected JOINT, End Site or }"),
        (changed("CHANNELS 3", "CHANNELS 4"), "line 10: found 'End', expected a channel (Xposition,"),
        (changed("CHANNELS 3", "CHANNELS 1000000000"), "line 9: found '1000000000', expected the number of channels, 0 to 6"),
        (changed("Xposition Yposition", "Xposition Xposition"), "line 5: found 'Xposition', expected another channel"),
        (changed("End Site", "End Place"), "line 10: found 'Place', expected Site"),
        (
            changed("}\nMOTION", "}\nROOT Two\n{\n}\nMOTION"),
            "line 16: found a second ROOT, expected MOTION: split it, a body a file",
        ),
        (changed("}\nMOTION", "}\n}\nMOTION"), "line 16: found '}', expected MOTION"),
        (changed("Frames: 4", "Frames 4"), "line 17: found 'Frames', expected Frames: and their number"),
        (changed("Frames: 4", "Frames: four"), "line 17: found Frames: 'four', expected the number of frames, at least one"),
        (changed("Frames: 4", "Frames: 0"), "line 17: found Frames: '0', expected the number"),
        (changed("Frames: 4", "Frames: -4"), "line 17: found Frames: '-4', expected the number"),
        (changed("Frames: 4", "Frames: 1000000000"), "the end after 4 frames, expected 1,000,000,000 frames of 9 channels"),
        (changed("Frames: 4", f"Frames: {'9' * 5000}"), "found Frames: '9999"),
        (changed("Frames: 4", "Frames: 3"), "line 22: found more numbers, expected 3 frames of 9 channels"),
        (changed("Frame Time: 0.04\n", ""), "line 18: found '10', expected Frame Time: and the seconds"),
        (changed("0.04", "0"), "line 18: found Frame Time: '0', expected a positive number of seconds"),
        (changed("0.04", "-0.04"), "found Frame Time: '-0.04', expected a positive"),
        (changed("0.04", "5e-324"), "found Frame Time: '5e-324', expected a positive"),
        (changed("0.04", "1e-" + "0" * 5000 + "1"), "line 18: found Frame Time: '1e-000"),
        (changed("10 20 30", "10 20 x30"), "line 19: found 'x30', expected a finite number"),
        (changed("10 20 30", "10 20,5 30"), "line 19: found '20,5', expected a finite number"),
        (changed("10 20 30", "10 1e999 30"), "line 19: found '1e999', expected a finite number"),
        (changed("10 20 30", "10 2-0 30"), "line 19: found '2-0', expected a finite number"),
        (changed("10 20 30", "10 \u0662 30"), "line 19: found '\u0662', expected a finite number"),
        (changed("10 20 30", "10 1e300 30"), "frame 1, joint 'Shoulder': found a place beyond 3.4e+38"),
        (changed("OFFSET 3 0 0", "OFFSET 1e308 1e308 1e308"), "joint 'Elbow': found a place beyond 3.4e+38"),
        (ARM.rstrip().removesuffix(" 90"), "line 22: found the end after 3 frames and 8 of 9 channels, expected 4 frames"),
        (changed("Elbow", "Elb\0ow"), "line 6: found a zero byte, expected text"),
        (changed("Elbow", "Ellebø").encode("latin-1"), "line 6: found the byte 0xf8, expected UTF-8 text"),
        (ARM.encode("utf-16")[:-1], "line 22: found the byte 0x0a, expected UTF-8 text"),
        (
            "HIERARCHY\nROOT a\n{\nOFFSET 0 0 0\nCHANNELS 0\n}\nMOTION\nFrames: 9\nFrame Time: 1\n",
            "found a body without channels, expected at least one that moves",
        ),
        (
            "HIERARCHY ROOT a\n{ OFFSET 0 0 0 CHANNELS 1 Xrotation " + "End Site { OFFSET 0 0 0 }\n" * MOST_JOINTS + "} MOTION",
            f"found more than {MOST_JOINTS} joints, expected at most {MOST_JOINTS}",
        ),
    ],
)
def test_bad_files_are_named_by_line(tmp_path: Path, content: str | bytes, message: str):
    path = put(tmp_path / "bad.bvh", content)
    with pytest.raises(InputError) as caught:
        read_bvh(path)
    assert message in str(caught.value) and str(path) in str(caught.value)


def test_few_numbers_do_not_make_many_positions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """End sites cost no numbers: a small file could ask for more memory than there is."""
    monkeypatch.setattr("symgnn.data.readers.bvh.BOUND", 4 * 3 * 12 - 1)
    with pytest.raises(InputError, match="4 frames of 3 joints are 144 bytes of positions; expected at most 143: cut it"):
        read_bvh(put(tmp_path / "a.bvh", ARM))


def test_utf16_and_byte_order_marks(tmp_path: Path):
    expected = read_bvh(put(tmp_path / "a.bvh", ARM))[0].frames
    for content in (ARM.encode("utf-16"), ARM.encode("utf-8-sig"), ARM.replace("\n", "\r\n").encode()):
        np.testing.assert_array_equal(read_bvh(put(tmp_path / "b.bvh", content))[0].frames, expected)


def test_very_deep_and_very_wide_bodies(tmp_path: Path):
    deep = "HIERARCHY\n" + "".join(
        f"{'JOINT' if number else 'ROOT'} j{number}\n{{ OFFSET 1 0 0 CHANNELS 1 Zrotation\n" for number in range(1000)
    )
    text = deep + "}" * 1000 + "\nMOTION\nFrames: 1\nFrame Time: 1\n" + "0 " * 1000
    (found,) = read_bvh(put(tmp_path / "deep.bvh", text))
    assert found.frames[0, -1].tolist() == [1000, 0, 0]
    unclosed = put(tmp_path / "unclosed.bvh", deep)
    with pytest.raises(InputError, match="line 2001: the hierarchy ends, expected JOINT, End Site or }"):
        read_bvh(unclosed)


@settings(fuzz, max_examples=200)
@given(st.data())
def test_damaged_files_give_an_error_or_a_recording(tmp_path: Path, data: st.DataObject):
    raw = bytearray(ARM.encode())
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(raw)))
        match data.draw(st.sampled_from(["cut", "flip", "drop", "put", "twice"])):
            case "cut":
                del raw[place:]
            case "flip" if place < len(raw):
                raw[place] ^= 1 << data.draw(st.integers(0, 7))
            case "drop":
                del raw[place : place + data.draw(st.integers(1, 30))]
            case "put":
                raw[place:place] = data.draw(st.sampled_from([b"{", b"}", b"9" * 30, b"nan", b"\0", b"\xff\xfe", b"-", b"1e9"]))
            case _:
                raw[place:place] = raw[place : place + data.draw(st.integers(1, 60))]
    path = put(tmp_path / "damaged.bvh", bytes(raw))
    try:
        (found,) = read_bvh(path)
    except InputError as error:
        named = str(path) in str(error)
    else:
        named = True
        assert np.isfinite(found.frames).all() and found.frames.shape[1:] == (len(found.joints), 3)
        assert len(found.parents) == len(found.joints) and found.fps and math.isfinite(found.fps)
    assert named


# The CMU benchmark


def head_of(shared_data: Path) -> str:
    return (shared_data / "cmu_bvh" / "14_12_head.bvh").read_text()


def cmu_body() -> list[Joint]:
    """The release's body with offsets of nothing."""
    layout = load_layout("cmu")
    turns = [f"{axis}rotation" for axis in "ZYX"]
    places = [f"{axis}position" for axis in "XYZ"]
    return [
        Joint(name, parent, [0, 1, 0], None if name.endswith("End") else turns if parent >= 0 else places + turns)
        for name, parent in zip(layout.joints, layout.parents, strict=True)
    ]


def cmu_trial(frames: int, seed: int) -> tuple[str, np.ndarray]:
    motion = np.round(np.random.default_rng(seed).uniform(-180, 180, size=(frames, 96)), 4)
    return written(cmu_body(), motion, seconds=".0083333"), motion


def release(folder: Path, *trials: str, frames: int = 5) -> dict[str, np.ndarray]:
    """A folder as the release unpacks: a folder a subject."""
    motions = {}
    for seed, trial in enumerate(trials):
        subject = folder / "release" / trial.partition("_")[0]
        subject.mkdir(parents=True, exist_ok=True)
        text, motions[trial] = cmu_trial(frames, seed)
        put(subject / f"{trial}.bvh", text)
    return motions


def listed(folder: Path, *lines: str) -> Path:
    return put(folder / "trials.csv", "\n".join(lines))


def test_first_rows_of_the_published_benchmark(shared_data: Path, tmp_path: Path):
    published = shared_data / "cmu_mocap" / "test" / "washwindow" / "washwindow_1.txt"
    put(tmp_path / "14_12.bvh", head_of(shared_data))
    found = read_cmu_bvh(tmp_path, listed(tmp_path, "14_12,test,washwindow,1"))
    ((record, frames, *_),) = found.clips()
    expected = [[float(value) for value in line.split(",")] for line in published.read_text().splitlines()[:4]]
    np.testing.assert_allclose(frames.reshape(4, 117), expected, rtol=0, atol=1e-7)
    assert (record.recording, record.split, found.class_names[record.label]) == ("washwindow_1", "test", "washwindow")


def test_rows_against_loops(tmp_path: Path):
    """R = Rz Ry Rx, the root's Rz Rx Ry; minus its rotation vector; nothing for end sites, the position as it is."""
    motion = release(tmp_path, "30_07", frames=12)["30_07"]
    ((_, frames, *_),) = read_cmu_bvh(tmp_path, listed(tmp_path, "30_07,train,basketball_signal,4")).clips()
    assert frames.shape == (12, 39, 3)
    for row, values in zip(frames, motion, strict=True):
        np.testing.assert_array_equal(row[0], values[:3])
        column = 3
        for joint, own in enumerate(cmu_body(), start=1):
            if own.channels is None:
                assert not row[joint].any()
                continue
            z, y, x = (Rotation.from_euler(a, v, degrees=True) for a, v in zip("zyx", values[column : column + 3], strict=True))
            expected = z * x * y if own.parent < 0 else z * y * x
            np.testing.assert_allclose(row[joint], -expected.as_rotvec(), rtol=0, atol=1e-9)
            column += 3


def test_benchmark_and_store(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    release(tmp_path, "14_12", "14_24", "30_07")
    folder = tmp_path / "release"
    lines = ["# mine", "trial,split,action,number", "14_12,test,washwindow,1", "", " 14_24 , train, directing_traffic,4"]
    lines += ["30_07,train,basketball_signal,4", "14_12,train,washwindow,1", "99_01,test,soccer,1"]
    found = read_cmu_bvh(folder, listed(tmp_path, *lines))
    assert [(record.source, record.recording, record.split, record.subject) for record in found.records] == [
        ("14/14_12.bvh", "washwindow_1", "test", "14"),
        ("14/14_24.bvh", "directing_traffic_4", "train", "14"),
        ("30/30_07.bvh", "basketball_signal_4", "train", "30"),
        ("14/14_12.bvh", "washwindow_1", "leak", "14"),
    ]
    assert found.missing == ("99_01 (test/soccer/soccer_1.txt)",)
    assert found.leaked == ("train/washwindow/washwindow_1.txt",)
    assert [file.is_file() for file in found.files] == [True] * 4 and found.fps == 120.0
    clips = found.clips()
    store = write_store(
        tmp_path / "store", clips, layout=found.layout, space="expmap", fps=found.fps, class_names=found.class_names
    )
    assert store.frames.shape == (20, 39, 3) and [clip.length for clip in store.clips] == [5] * 4
    assert not caplog.records
    slow = folder / "14" / "14_12.bvh"
    slow.write_text(slow.read_text().replace(".0083333", ".0166667"))
    assert len(list(found.clips())) == 4
    assert "14_12.bvh: found 60 frames a second, taken for 120 as the others" in caplog.text


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("14_12,test,washwindow", "line 2: found 3 columns, expected 4: trial,split,action,number"),
        ("14-12,test,washwindow,1", "line 2: trial: found '14-12', expected subject and trial such as 14_12"),
        ("../14_12,test,washwindow,1", "line 2: trial: found '../14_12'"),
        ("14_12,Test,washwindow,1", "line 2: split: found 'Test', expected train or test"),
        ("14_12,test,washing,1", "line 2: action: found 'washing', expected one of basketball, basketball_signal,"),
        ("14_12,test,washwindow,0", "line 2: number: found '0', expected a whole number from 1 on"),
        ("14_12,test,washwindow,1.0", "line 2: number: found '1.0'"),
        ("30_07,train,jumping,2", "line 2: found train/jumping/jumping_2.txt again, line 1 has it; expected it once"),
        ('"14_12,test,washwindow,1', "line 2: found a line that is no CSV"),
        ("x" * 200_000, "line 2: found a line that is no CSV"),
    ],
)
def test_wrong_lines_of_the_list(tmp_path: Path, line: str, message: str):
    release(tmp_path, "14_12")
    with pytest.raises(InputError) as caught:
        read_cmu_bvh(tmp_path, listed(tmp_path, "14_12,train,jumping,2", line))
    assert f"trials.csv: {message}" in str(caught.value)


def test_folders_that_cannot_be_used(tmp_path: Path):
    good = listed(tmp_path, "14_12,test,washwindow,1")
    with pytest.raises(InputError, match="no such folder; expected the BVH release"):
        read_cmu_bvh(tmp_path / "gone", good)
    with pytest.raises(InputError, match=r"found none of the 1 trials of .*trials.csv, expected files such as 14_12.bvh"):
        read_cmu_bvh(tmp_path, good)
    with pytest.raises(InputError, match="lists no trial; expected lines trial,split,action,number, such as 14_12"):
        read_cmu_bvh(tmp_path, put(tmp_path / "none.csv", "trial,split,action,number\n"))
    release(tmp_path, "14_12")
    put(tmp_path / "14_12.BVH", "")
    with pytest.raises(InputError, match=r"found trial 14_12 2 times \(14_12.BVH, release/14/14_12.bvh\), expected it once"):
        read_cmu_bvh(tmp_path, good)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("JOINT LHipJoint", "JOINT LeftHip", "found joint 'LeftHip', expected LHipJoint"),
        ("CHANNELS 3 Zrotation Yrotation", "CHANNELS 3 Yrotation Zrotation", "joint LHipJoint has the channels Yrotation Zrot"),
        ("CHANNELS 6 Xposition Yposition", "CHANNELS 6 Yposition Xposition", "joint Hips has the channels Yposition Xposition"),
        ("JOINT RThumb", "End Site { OFFSET 0 0 0 } JOINT RThumb", "found 39 joints and end sites, expected 38"),
    ],
)
def test_trials_with_another_body(tmp_path: Path, old: str, new: str, message: str):
    release(tmp_path, "14_12")
    path = tmp_path / "release" / "14" / "14_12.bvh"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    found = read_cmu_bvh(tmp_path, listed(tmp_path, "14_12,test,washwindow,1"))
    with pytest.raises(InputError) as caught:
        list(found.clips())
    assert f"14_12.bvh: not the body of the CMU trials in BVH: {message}" in str(caught.value)


def test_a_trial_whose_joints_hang_elsewhere(tmp_path: Path):
    body = cmu_body()
    thumb = next(number for number, joint in enumerate(body) if joint.name == "RThumb")
    body[thumb].parent = next(number for number, joint in enumerate(body) if joint.name == "RightForeArm")
    put(tmp_path / "14_12.bvh", written(body, np.zeros((1, 96))))
    found = read_cmu_bvh(tmp_path, listed(tmp_path, "14_12,test,washwindow,1"))
    with pytest.raises(InputError, match="joint RThumb hangs on RightForeArm, expected RightHand"):
        list(found.clips())
