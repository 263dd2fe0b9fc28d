import dataclasses
import json
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from symgnn.errors import InputError
from symgnn.skeleton import Layout, layout_from_dict, layout_names, layout_to_dict, load_layout

SKELETONS = Path(__file__).parents[2] / "shared" / "data" / "skeletons.json"

BUILT_IN = ("cmu", "coco17", "h36m", "h36m-3d", "kinect20", "mediapipe33", "ntu25", "openpose18", "openpose25")

# A small body with everything in it: a side each, a joint that is not in use, a part each.
BODY = {
    "name": "body",
    "joints": ["Hips", "Spine", "Head", "HeadEnd", "LeftLeg", "RightLeg"],
    "bones": [["Hips", "Spine", "Head", "HeadEnd"], ["Hips", "LeftLeg"], ["Hips", "RightLeg"]],
    "nodes": ["Hips", "Spine", "Head", "LeftLeg", "RightLeg"],
    "parts": {"trunk": ["Hips", "Spine", "Head"], "left leg": ["LeftLeg"], "right leg": ["RightLeg"]},
}


def body(**changes: object) -> dict[str, object]:
    return {key: value for key, value in {**BODY, **changes}.items() if value != "absent"}


def named_edges(layout: Layout) -> list[tuple[str, str]]:
    names = layout.node_names
    return [(names[parent], names[child]) for parent, child in layout.edges]


@st.composite
def trees(draw: st.DrawFn) -> dict[str, object]:
    """A random body: joint i hangs on an earlier one; the joints and the bones are listed in any order."""
    size = draw(st.integers(2, 12))
    names = [f"j{index}" for index in range(size)]
    bones = [[names[draw(st.integers(0, child - 1))], names[child]] for child in range(1, size)]
    owner = [draw(st.integers(0, 3)) for _ in names]
    return {
        "name": "tree",
        "root": "j0",
        "joints": draw(st.permutations(names)),
        "bones": draw(st.permutations(bones)),
        "parts": {f"p{part}": [name for name, own in zip(names, owner, strict=True) if own == part] for part in range(4)},
    }


# --- what a file means ---------------------------------------------------------------------------------------------------


def test_three_joints_by_hand():
    layout = layout_from_dict(
        {
            "name": "arm",
            "root": "Shoulder",
            "joints": ["Hand", "Elbow", "Shoulder"],
            "bones": [["Shoulder", "Elbow", "Hand"]],
            "parts": {"upper": ["Shoulder"], "lower": ["Hand", "Elbow"]},
            "offsets": {"Shoulder": [0, 0, 0], "Elbow": [0, -3, 0], "Hand": [0, -2.5, 0]},
        }
    )
    assert layout == Layout(
        name="arm",
        joints=("Hand", "Elbow", "Shoulder"),
        parents=(1, 2, -1),
        offsets=((0.0, -2.5, 0.0), (0.0, -3.0, 0.0), (0.0, 0.0, 0.0)),
        unit="m",
        nodes=(0, 1, 2),
        edges=((1, 0), (2, 1)),
        parts={"upper": (2,), "lower": (0, 1)},
        part_edges=((0, 1),),
        mirror=(0, 1, 2),
        mirror_axis=0,
        up="y",
    )


def test_joints_out_of_use_keep_their_place_in_the_rows():
    layout = layout_from_dict(BODY)
    assert layout.nodes == (0, 1, 2, 4, 5) and layout.num_nodes == 5
    assert layout.stored("xyz") == layout.stored("xyc") == ("Hips", "Spine", "Head", "HeadEnd", "LeftLeg", "RightLeg")
    assert layout.stored("expmap") == ("translation", *layout.stored("xyz"))
    assert layout.columns("xyz") == layout.columns("xyc") == (0, 1, 2, 4, 5)
    assert layout.columns("expmap") == (1, 2, 3, 5, 6)
    for space in ("xyz", "expmap", "xyc"):
        assert tuple(layout.stored(space)[column] for column in layout.columns(space)) == layout.node_names


def test_an_edge_skips_joints_out_of_use():
    layout = layout_from_dict(
        body(nodes=["Hips", "Head", "LeftLeg", "RightLeg"], parts={"all": BODY["nodes"][:1] + BODY["nodes"][2:]})
    )
    assert named_edges(layout) == [("Hips", "Head"), ("Hips", "LeftLeg"), ("Hips", "RightLeg")]


def test_edges_point_away_from_the_node_nearest_to_the_root():
    layout = layout_from_dict(
        body(
            nodes=["Head", "Spine", "LeftLeg", "RightLeg"],
            edges=[["LeftLeg", "Spine", "RightLeg"], ["Head", "Spine"]],
            parts={"trunk": ["Spine", "Head"], "left leg": ["LeftLeg"], "right leg": ["RightLeg"]},
        )
    )
    # Spine, LeftLeg and RightLeg are equally near to Hips; the first listed is the root. The order of the file is kept.
    assert named_edges(layout) == [("Spine", "LeftLeg"), ("Spine", "RightLeg"), ("Spine", "Head")]
    assert layout.part_edges == ((0, 1), (0, 2))


def test_the_root_is_the_first_joint_unless_named():
    values = {"name": "x", "joints": ["a", "b", "c"], "bones": [["b", "a"], ["b", "c"]], "parts": {"all": ["a", "b", "c"]}}
    assert layout_from_dict(values).parents == (-1, 0, 1)
    assert layout_from_dict({**values, "root": "b"}).parents == (1, -1, 1)
    assert layout_from_dict({**values, "root": "c"}).parents == (1, 2, -1)


def test_a_part_without_joints_is_dropped():
    layout = layout_from_dict(body(parts={"feet": [], **BODY["parts"]}))
    assert layout.part_names == ("trunk", "left leg", "right leg")
    assert layout.part_edges == ((0, 1), (0, 2))


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("LeftArm", "RightArm"),
        ("ArmLeft", "ArmRight"),
        ("left_arm", "right_arm"),
        ("arm_l", "arm_r"),
        ("LHipJoint", "RHipJoint"),
        ("L_Wrist_End", "R_Wrist_End"),
        ("lKnee", "rKnee"),
        ("LEFT_KNEE", "RIGHT_KNEE"),
        ("Left2", "Right2"),
        ("left eye", "right eye"),
    ],
)
def test_sides_are_found_in_the_names(left, right):
    joints = ["Pelvis", left, "L5", "Upright", right]
    layout = layout_from_dict(
        {"name": "x", "joints": joints, "bones": [[joints[0], joint] for joint in joints[1:]], "parts": {"all": joints}}
    )
    assert layout.mirror == (0, 4, 2, 3, 1)  # a vertebra and an upright thing have no side


def test_pairs_given_by_the_user_replace_the_names():
    layout = layout_from_dict(body(mirror=[["Head", "Spine"]]))
    assert layout.mirror == (0, 2, 1, 3, 4, 5)
    assert layout_from_dict(body(mirror=[])).mirror == (0, 1, 2, 3, 4, 5)


def test_node_mirror_speaks_of_nodes():
    layout = layout_from_dict(BODY)
    assert layout.mirror == (0, 1, 2, 3, 5, 4)
    assert layout.node_mirror == (0, 1, 2, 4, 3)


@given(trees())
def test_dict_and_yaml_round_trip(values):
    layout = layout_from_dict(values)
    plain = layout_to_dict(layout)
    assert layout_from_dict(plain) == layout
    assert layout_from_dict(yaml.safe_load(yaml.safe_dump(plain))) == layout


@given(trees(), st.data())
def test_bones_may_be_written_either_way(values, data):
    flipped = [bone[::-1] if data.draw(st.booleans()) else bone for bone in values["bones"]]
    assert layout_from_dict({**values, "bones": flipped}) == layout_from_dict(values)


@given(trees())
def test_parents_and_edges_are_the_tree_of_the_file(values):
    layout = layout_from_dict(values)
    names = layout.joints
    hung = {(names[parent], name) for name, parent in zip(names, layout.parents, strict=True) if parent >= 0}
    assert hung == {tuple(bone) for bone in values["bones"]} == set(named_edges(layout))
    owner = {name: part for part, members in values["parts"].items() for name in members}
    crossing = {frozenset((owner[a], owner[b])) for a, b in values["bones"] if owner[a] != owner[b]}
    assert {frozenset((layout.part_names[a], layout.part_names[b])) for a, b in layout.part_edges} == crossing


# --- the layouts that come with the package ---------------------------------------------------------------------------------


def test_built_in_names():
    assert layout_names() == BUILT_IN
    assert [load_layout(name).name for name in BUILT_IN] == list(BUILT_IN)


@pytest.mark.parametrize("name", BUILT_IN)
def test_built_in_round_trip(name):
    layout = load_layout(name)
    assert layout_from_dict(layout_to_dict(layout)) == layout


@pytest.mark.parametrize(
    ("name", "joints", "nodes"), [("cmu", 38, 26), ("h36m", 32, 21), ("h36m-3d", 32, 22), ("ntu25", 25, 25)]
)
def test_built_in_sizes_and_parts(name, joints, nodes):
    """Sec. 4.2.1: head, torso, pairs of upper arms, forearms, thighs and crura; limbs hang on the torso."""
    layout = load_layout(name)
    assert (len(layout.joints), layout.num_nodes, len(layout.edges)) == (joints, nodes, nodes - 1)
    links = {frozenset((layout.part_names[a], layout.part_names[b])) for a, b in layout.part_edges}
    assert links == {
        frozenset(pair)
        for side in ("left", "right")
        for pair in (
            ("head", "torso"),
            ("torso", f"{side} upper arm"),
            (f"{side} upper arm", f"{side} forearm"),
            ("torso", f"{side} thigh"),
            (f"{side} thigh", f"{side} crus"),
        )
    }


def test_cmu_columns_in_use_are_the_benchmarks():
    columns = [3 * triple + axis for triple in load_layout("cmu").columns("expmap") for axis in range(3)]
    ranges = ((9, 20), (27, 38), (42, 59), (66, 80), (84, 86), (93, 107), (111, 113))
    assert columns == [column for first, last in ranges for column in range(first, last + 1)]
    assert len(load_layout("cmu").stored("expmap")) * 3 == 117


def test_h36m_triples_in_use_are_the_benchmarks():
    assert load_layout("h36m").columns("expmap") == (1, 2, 3, 4, 5, 7, 8, 9, 10, 12, 13, 14, 15, 17, 18, 19, 20, 25, 26, 27, 28)
    assert len(load_layout("h36m").stored("expmap")) * 3 == 99


def test_h36m_in_3d_has_the_body_of_h36m_and_the_joints_the_benchmark_counts():
    """32 joints less those that never move and those that copy others; the nodes of one limb keep their distances."""
    layout, angles = load_layout("h36m-3d"), load_layout("h36m")
    assert layout.nodes == tuple(sorted(set(range(32)) - {0, 1, 6, 11} - {16, 20, 23, 24, 28, 31}))
    for part in ("joints", "parents", "offsets", "unit", "mirror", "mirror_axis", "up", "landmarks"):
        assert getattr(layout, part) == getattr(angles, part)
    assert layout.node_names[layout.root_node] == "Spine1"
    assert {joint: parent for parent, joint in named_edges(layout)}["LeftArm"] == "Neck"


def test_ntu_bones_are_those_of_the_data_sets_drawing_code():
    # connecting_joint of show_skeleton_on_RGB_frames.m, github.com/shahroudy/NTURGB-D: joint j is drawn to entry j, from 1.
    connecting = [2, 1, 21, 3, 21, 5, 6, 7, 21, 9, 10, 11, 1, 13, 14, 15, 1, 17, 18, 19, 2, 8, 8, 12, 12]
    drawn = {frozenset((joint, other - 1)) for joint, other in enumerate(connecting)}
    assert {frozenset(edge) for edge in load_layout("ntu25").edges} == drawn


def test_ntu_mirror_is_that_of_the_joint_list():
    pairs = ((5, 9), (6, 10), (7, 11), (8, 12), (13, 17), (14, 18), (15, 19), (16, 20), (22, 24), (23, 25))
    expected = list(range(25))
    for left, right in pairs:
        expected[left - 1], expected[right - 1] = right - 1, left - 1
    assert load_layout("ntu25").mirror == tuple(expected)


@pytest.mark.parametrize("name", BUILT_IN)
def test_mirror_maps_the_body_onto_itself(name):
    layout = load_layout(name)
    mirror, node_mirror = layout.mirror, layout.node_mirror
    for joint, parent in enumerate(layout.parents):
        assert mirror[mirror[joint]] == joint
        assert layout.parents[mirror[joint]] == (mirror[parent] if parent >= 0 else -1)
    assert {(node_mirror[a], node_mirror[b]) for a, b in layout.edges} == set(layout.edges)
    groups = {frozenset(members) for members in layout.parts.values()}
    assert {frozenset(node_mirror[node] for node in members) for members in groups} == groups


@pytest.mark.parametrize(("name", "tolerance"), [("cmu", 0.2), ("h36m", 0.02)])
def test_rest_pose_is_nearly_its_mirror_image(name, tolerance):
    """Bodies are not quite symmetric; the axis is the right one if only its coordinate changes sign."""
    layout = load_layout(name)
    assert layout.offsets is not None and layout.mirror_axis == 0
    for joint in layout.nodes:
        x, y, z = layout.offsets[joint]
        assert layout.offsets[layout.mirror[joint]] == pytest.approx((-x, y, z), abs=tolerance)
    # and on a side joint the sign does change: left is where x is positive
    left = layout.joints.index("LeftUpLeg")
    assert layout.offsets[left][0] > 1 and layout.offsets[layout.mirror[left]][0] < -1


@pytest.mark.parametrize("name", ["cmu", "h36m"])
def test_constants_are_those_of_the_reference_file(name):
    if not SKELETONS.is_file():
        pytest.skip(f"{SKELETONS} is not on this machine")
    expected = json.loads(SKELETONS.read_text())[name]
    layout = load_layout(name)
    sites = {joint for joint, known in zip(layout.joints, expected["joints"], strict=True) if joint != known}
    assert all(known in (joint, "Site") for joint, known in zip(layout.joints, expected["joints"], strict=True))
    assert sites == {layout.joints[layout.parents[layout.joints.index(site)]] + "End" for site in sites}
    assert list(layout.parents) == expected["parent"]
    assert [list(offset) for offset in layout.offsets or ()] == expected["offset"]
    assert list(layout.nodes) == expected["nodes"]
    assert [list(edge) for edge in named_edges(layout)] == expected["edges"]
    assert {part: [layout.node_names[node] for node in members] for part, members in layout.parts.items()} == expected["parts"]


# --- what a user can get wrong ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"joints": "absent"}, "body.yaml: joints: this field is needed"),
        ({"joint": []}, "body.yaml: joint: no such field; did you mean joints? (there are: name, joints, bones"),
        ({"joints": ["Hips", 3]}, "body.yaml: joints.1: Input should be a valid string (found 3)"),
        ({"joints": ["Hips", "Hips"]}, "body.yaml: joints: 'Hips' is listed twice; names are unique"),
        ({"joints": ["Hips"]}, "body.yaml: joints: expected at least two, found 1"),
        ({"root": "Hip"}, "body.yaml: root: 'Hip' is not in joints; did you mean Hips?"),
        ({"bones": [["Hips"]]}, "body.yaml: bones: expected chains of two or more joints, found ['Hips']"),
        ({"bones": [["Hips", "Spin"]]}, "body.yaml: bones: 'Spin' is not in joints; did you mean Spine?"),
        (
            {"bones": [["Hips", "Spine", "Head", "HeadEnd"], ["Hips", "LeftLeg"]]},
            "body.yaml: bones: joint 'RightLeg' is not connected to 'Hips'; add the pair that joins them",
        ),
        (
            {"bones": [["Hips", "Spine", "Head", "Hips"]]},
            "body.yaml: bones: Head - Hips closes a cycle; a body is a tree: leave one pair of it out",
        ),
        ({"bones": [["Hips", "Hips"]]}, "body.yaml: bones: Hips - Hips closes a cycle"),
        ({"nodes": ["Hips", "Tail"]}, "body.yaml: nodes: 'Tail' is not in joints"),
        ({"nodes": ["Hips", "Head", "Hips"]}, "body.yaml: nodes: 'Hips' is listed twice; names are unique"),
        ({"nodes": ["Hips"]}, "body.yaml: nodes: expected at least two joints in use, found 1"),
        (
            {"nodes": ["Head", "LeftLeg", "RightLeg"]},
            "body.yaml: edges: no joint in use is above all of Head, LeftLeg, RightLeg; list the edges between nodes",
        ),
        ({"edges": [["Hips", "HeadEnd"]]}, "body.yaml: edges: 'HeadEnd' is not in nodes; did you mean Head?"),
        (
            {"edges": [["Hips", "Spine", "Head"], ["LeftLeg", "RightLeg"]]},
            "body.yaml: edges: joint 'LeftLeg' is not connected to",
        ),
        ({"edges": [["Hips", "Spine", "Head", "Hips"]]}, "body.yaml: edges: Head - Hips closes a cycle"),
        ({"parts": {"trunk": ["Hips", "Spine", "Head"]}}, "body.yaml: parts: joint 'LeftLeg' is in no part"),
        (
            {"parts": {**BODY["parts"], "head": ["Head"]}},
            "body.yaml: parts.head: joint 'Head' is also in part 'trunk'; a joint is in exactly one",
        ),
        ({"parts": {"trunk": ["Hips", "Hips"]}}, "body.yaml: parts.trunk: joint 'Hips' is also in part 'trunk'"),
        (
            {"parts": {"trunk": ["HeadEnd"]}},
            "body.yaml: parts.trunk: joint 'HeadEnd' is not in use; leave it out here or add it to nodes",
        ),
        ({"parts": {"trunk": ["Hups"]}}, "body.yaml: parts.trunk: 'Hups' is not in joints; did you mean Hips?"),
        ({"parts": {"trunk": "Hips"}}, "body.yaml: parts.trunk: Input should be a valid list (found 'Hips')"),
        ({"offsets": {"Hips": [0, 0, 0]}}, "body.yaml: offsets: joint 'Spine' is missing; give every joint's offset or none"),
        ({"offsets": {"Hip": [0, 0, 0]}}, "body.yaml: offsets: 'Hip' is not in joints; did you mean Hips?"),
        ({"offsets": {"Hips": [0, float("nan"), 0]}}, "body.yaml: offsets.Hips.1: Input should be a finite number (found nan)"),
        ({"offsets": {"Hips": [0, 0]}}, "body.yaml: offsets.Hips.2: this field is needed"),
        (
            {"mirror": [["LeftLeg", "RightLeggings"]]},
            "body.yaml: mirror: 'RightLeggings' is not in joints; did you mean RightLeg?",
        ),
        (
            {"mirror": [["LeftLeg", "RightLeg"], ["LeftLeg", "Head"]]},
            "body.yaml: mirror: joint 'LeftLeg' is in two pairs; a joint has one counterpart",
        ),
        ({"mirror": [["LeftLeg", "LeftLeg"]]}, "body.yaml: mirror: joint 'LeftLeg' is in two pairs"),
        (
            {"mirror": [["Head", "HeadEnd"]]},
            "body.yaml: mirror: joint 'Head' is in use but its counterpart 'HeadEnd' is not; use both or none",
        ),
        (
            {"joints": ["Hips", "LeftLeg", "RihgtLeg"], "bones": [["LeftLeg", "Hips", "RihgtLeg"]], "nodes": "absent"}
            | {"parts": {"all": ["Hips", "LeftLeg", "RihgtLeg"]}},
            "body.yaml: mirror: joint 'LeftLeg' has no counterpart 'RightLeg'; did you mean RihgtLeg?",
        ),
        ({"mirror_axis": "w"}, "body.yaml: mirror_axis: Input should be 'x', 'y' or 'z' (found 'w')"),
        ({"up": "north"}, "body.yaml: up: Input should be 'x', 'y', 'z', '-x', '-y' or '-z' (found 'north')"),
    ],
)
def test_errors_name_field_and_joint(changes, message):
    with pytest.raises(InputError) as error:
        layout_from_dict(body(**changes), where="body.yaml")
    assert str(error.value).startswith(message)


def test_a_layout_of_ones_own(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(
        "joints: [Hips, Spine, Head, LeftLeg, RightLeg]\n"
        "bones:\n  - [Hips, Spine, Head]\n  - [LeftLeg, Hips, RightLeg]\n"
        "parts:\n  body: [Hips, Spine, Head]\n  left leg: [LeftLeg]\n  right leg: [RightLeg]\n"
    )
    layout = load_layout(path)
    assert layout == load_layout(str(path))
    assert layout.name == "mine"
    assert named_edges(layout) == [("Hips", "Spine"), ("Spine", "Head"), ("Hips", "LeftLeg"), ("Hips", "RightLeg")]
    assert layout.mirror == (0, 1, 2, 4, 3)
    assert layout.part_edges == ((0, 1), (0, 2))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("joints: [a, b", "not a YAML file: while parsing a flow sequence"),
        ("- a\n- b\n", "expected the fields of a layout (joints, bones, parts), found list"),
        ("", "expected the fields of a layout (joints, bones, parts), found NoneType"),
        ("joints: [a, b]\nparts: {all: [a, b]}\n", "bones: this field is needed"),
    ],
)
def test_errors_name_the_file(tmp_path, text, message):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(InputError) as error:
        load_layout(path)
    assert str(error.value).startswith(f"{path}: {message}")


def test_bytes_that_are_no_text(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_bytes(b"joints: [\xff\xfe]")
    with pytest.raises(InputError, match="not a YAML file"):
        load_layout(path)


@pytest.mark.parametrize("name", BUILT_IN)
def test_landmarks_and_mirror_agree(name: str):
    """Left and right landmarks are each other's mirror image, and lie where the parts of that name are."""
    layout = load_layout(name)
    part = {layout.nodes[node]: of for of, nodes in layout.parts.items() for node in nodes}
    assert {"left shoulder", "left elbow", "left wrist", "left hip", "left knee", "left ankle"} <= layout.landmarks.keys()
    for landmark, joint in layout.landmarks.items():
        side, _, place = landmark.partition(" ")
        if side not in ("left", "right"):
            continue
        assert layout.mirror[joint] == layout.landmarks[f"{'right' if side == 'left' else 'left'} {place}"]
        if joint in part and place not in ("eye", "ear"):
            limb = {"shoulder": "upper arm", "elbow": "upper arm", "hip": "thigh", "knee": "thigh"}
            lower = "forearm" if place in ("wrist", "hand", "fingertip", "thumb") else "crus"
            # On H3.6M the forearm begins at the elbow.
            expected = {f"{side} {limb.get(place, lower)}"} | ({f"{side} forearm"} if place == "elbow" else set())
            assert part[joint] in expected


@pytest.mark.parametrize(
    ("name", "by_index"),
    [
        ("kinect20", {0: "HipCenter", 3: "Head", 7: "HandLeft", 11: "HandRight", 15: "FootLeft", 19: "FootRight"}),
        ("openpose18", {0: "Nose", 1: "Neck", 4: "RWrist", 7: "LWrist", 10: "RAnkle", 13: "LAnkle", 14: "REye", 17: "LEar"}),
        ("openpose25", {8: "MidHip", 11: "RAnkle", 14: "LAnkle", 19: "LBigToe", 21: "LHeel", 22: "RBigToe", 24: "RHeel"}),
        ("coco17", {0: "nose", 5: "left_shoulder", 10: "right_wrist", 11: "left_hip", 16: "right_ankle"}),
        (
            "mediapipe33",
            {0: "nose", 11: "left_shoulder", 16: "right_wrist", 23: "left_hip", 28: "right_ankle", 31: "left_foot_index"},
        ),
    ],
)
def test_published_orders(name: str, by_index: dict[int, str]):
    """Points as the makers of the sensors and detectors number them."""
    joints = load_layout(name).joints
    assert {index: joints[index] for index in by_index} == by_index


# --- a layout that extends another ------------------------------------------------------------------------------------------


def test_a_file_may_state_what_differs_from_another(tmp_path):
    """Fields are replaced whole; what is not stated is the other's, its own parents' included."""
    base, child, grandchild = (tmp_path / f"{name}.yaml" for name in ("base", "child", "grandchild"))
    base.write_text(yaml.safe_dump({**BODY, "unit": "cm", "up": "z"}))
    parts = {"all": BODY["nodes"]}
    child.write_text(yaml.safe_dump({"extends": str(base), "parts": parts, "unit": "mm"}))
    grandchild.write_text(yaml.safe_dump({"extends": str(child), "name": "third"}))
    expected = layout_from_dict({**BODY, "name": "child", "unit": "mm", "up": "z", "parts": parts})
    assert load_layout(child) == expected
    assert load_layout(grandchild) == dataclasses.replace(expected, name="third")


@pytest.mark.parametrize(
    ("extends", "message"),
    [
        ("h63m", r"body.yaml: extends: no layout 'h63m'; did you mean h36m\?"),
        ("absent.yaml", r"body.yaml: extends: absent.yaml: no such layout file"),
        (None, r"body.yaml: extends itself by way of .*body.yaml -> .*body.yaml"),
    ],
)
def test_a_layout_to_extend_that_is_none(tmp_path, extends, message):
    path = tmp_path / "body.yaml"
    path.write_text(yaml.safe_dump({"extends": extends or str(path)}))
    with pytest.raises(InputError, match=message):
        load_layout(path)


def test_of_joints_equally_near_to_the_root_one_on_the_midline_carries_the_graph():
    values = {
        "name": "short",
        "joints": ["Hips", "LeftLeg", "RightLeg", "Chest"],
        "bones": [["LeftLeg", "Hips", "RightLeg"], ["Hips", "Chest"]],
        "nodes": ["LeftLeg", "RightLeg", "Chest"],
        "edges": [["LeftLeg", "Chest", "RightLeg"]],
        "parts": {"all": ["LeftLeg", "RightLeg", "Chest"]},
    }
    assert named_edges(layout_from_dict(values)) == [("Chest", "LeftLeg"), ("Chest", "RightLeg")]


def test_unknown_landmarks():
    with pytest.raises(InputError, match=r"landmarks: 'left elbo' is not in the landmarks; did you mean left elbow\?"):
        layout_from_dict({**layout_to_dict(load_layout("coco17")), "landmarks": {"left elbo": "left_elbow"}})
    with pytest.raises(InputError, match=r"landmarks\.nose: 'Nose' is not in joints"):
        layout_from_dict({**layout_to_dict(load_layout("coco17")), "landmarks": {"nose": "Nose"}})


def test_unknown_layouts(tmp_path):
    with pytest.raises(InputError) as error:
        load_layout("ntu52")
    assert str(error.value).startswith(
        f"no layout 'ntu52'; did you mean ntu25? (there are: {', '.join(BUILT_IN)}; a layout of your own"
    )
    path = tmp_path / "gone.yaml"
    with pytest.raises(InputError) as error:
        load_layout(path)
    assert str(error.value) == f"{path}: no such layout file (built-in layouts: {', '.join(BUILT_IN)})"
