"""Layouts: what a body is made of, as data.

A layout is a YAML file beside this one (or the user's own). The shortest one states three things:

    joints: [Hips, Spine, Head, LeftLeg, RightLeg]
    bones:                                  # chains of joints: [a, b, c] is the bones a-b and b-c
      - [Hips, Spine, Head]
      - [LeftLeg, Hips, RightLeg]
    parts:
      body: [Hips, Spine, Head]
      left leg: [LeftLeg]
      right leg: [RightLeg]

Everything else has a default; [LayoutFile][symgnn.skeleton.layout.LayoutFile] lists the fields. A file may name another
layout with ``extends`` and state only the fields that differ.
"""

import difflib
import operator
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any, Literal

import pydantic
import pydantic.dataclasses
from pydantic import ConfigDict, Field, FiniteFloat, TypeAdapter

from symgnn.errors import InputError
from symgnn.files import read_extending

LAYOUTS = Path(__file__).parent / "layouts"

Space = Literal["xyz", "expmap", "xyc"]
"""Positions; exponential maps of the joints' rotations; image positions with the detector's confidence."""

_PAIRED = (
    "eye",
    "ear",
    "shoulder",
    "elbow",
    "wrist",
    "hand",
    "fingertip",
    "thumb",
    "hip",
    "knee",
    "ankle",
    "heel",
    "toe",
    "small toe",
)
LANDMARKS = (
    *("pelvis", "spine", "neck", "throat", "head", "crown", "nose"),
    *(f"{side} {landmark}" for side in ("left", "right") for landmark in _PAIRED),
)
"""Places of the human body that layouts may share: ``neck`` is between the shoulders, ``throat`` above it, ``pelvis`` between
the hips, ``spine`` halfway up the back, ``crown`` the top of the head, ``hand`` its middle."""

AXES = "xyz"
TRANSLATION = "translation"


@pydantic.dataclasses.dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class LayoutFile:
    """The fields of a layout's YAML file."""

    name: str
    """What the layout is called (in a file: the file's own name by default)."""
    joints: list[str]
    """Every joint, in the order of the data."""
    bones: list[list[str]]
    """The body's tree over all joints, as chains of names: [a, b, c] is the bones a-b and b-c, each written either way."""
    parts: dict[str, list[str]]
    """The body-parts of section 4.2.1: each joint in use is in exactly one. A part without joints is dropped."""
    unit: str = "m"
    """Unit of the positions and offsets."""
    root: str | None = None
    """Joint the tree hangs on (default: the first)."""
    offsets: dict[str, tuple[FiniteFloat, FiniteFloat, FiniteFloat]] | None = None
    """Vector from the parent to the joint in the parent's frame; needed for forward kinematics only."""
    nodes: list[str] | None = None
    """Joints in use: the vertices of the skeleton graph (default: all joints)."""
    edges: list[list[str]] | None = None
    """The skeleton graph over the joints in use, as chains; by default each hangs on the nearest joint in use above it."""
    mirror: list[tuple[str, str]] | None = None
    """Pairs of left and right joints, the rest being on the midline; by default found from the names."""
    mirror_axis: Literal["x", "y", "z"] = "x"
    """Coordinate that changes sign when left and right are exchanged."""
    up: Literal["x", "y", "z", "-x", "-y", "-z"] = "y"
    """Direction away from the ground, for drawing."""
    landmarks: dict[str, str] = Field(default_factory=dict)
    """Joint at each landmark of the human body, by the names of [LANDMARKS][symgnn.skeleton.layout.LANDMARKS]: what tells
    which joints two layouts share."""


@dataclass(frozen=True)
class Layout:
    """A body: joints, bones, parts and mirror, by index.

    A *joint* is a vertex of the body's tree as the data's files know it; a *node* is a joint in use, a vertex of the
    skeleton graph. ``nodes`` leads from the second to the first.
    """

    name: str
    joints: tuple[str, ...]
    """Every joint, in the order of the data."""
    parents: tuple[int, ...]
    """Joint each joint hangs on, -1 at the root."""
    offsets: tuple[tuple[float, float, float], ...] | None
    """Vector from the parent to the joint in the parent's frame; None where unknown."""
    unit: str
    """Unit of positions and offsets."""
    nodes: tuple[int, ...]
    """Joint of each node."""
    edges: tuple[tuple[int, int], ...]
    """The skeleton graph: a tree over the nodes as (parent, child)."""
    parts: dict[str, tuple[int, ...]]
    """Nodes of each body-part; every node is in exactly one."""
    part_edges: tuple[tuple[int, int], ...]
    """Pairs of parts that an edge joins."""
    mirror: tuple[int, ...]
    """Joint on the other side, itself on the midline."""
    mirror_axis: int
    """Coordinate that changes sign for positions; for rotation vectors the other two do."""
    up: str = "y"
    """Direction away from the ground ("y", "-y", ...) of positions and of the rest pose."""
    landmarks: dict[str, int] = field(default_factory=dict)
    """Joint at each landmark of the human body that the layout names."""

    @property
    def num_nodes(self) -> int:
        """Number of joints in use, the paper's M."""
        return len(self.nodes)

    @property
    def root_node(self) -> int:
        """The joint in use that the skeleton graph hangs on."""
        children = {child for _, child in self.edges}
        return next(node for node in range(self.num_nodes) if node not in children)

    @property
    def node_names(self) -> tuple[str, ...]:
        """Name of each joint in use."""
        return tuple(self.joints[joint] for joint in self.nodes)

    @property
    def part_names(self) -> tuple[str, ...]:
        """Name of each part."""
        return tuple(self.parts)

    @property
    def node_mirror(self) -> tuple[int, ...]:
        """Node on the other side, itself on the midline."""
        return tuple(self.nodes.index(self.mirror[joint]) for joint in self.nodes)

    def stored(self, space: Space) -> tuple[str, ...]:
        """Names of what a store keeps for each frame: the root's translation first where the space is ``expmap``."""
        return (TRANSLATION, *self.joints) if space == "expmap" else self.joints

    def columns(self, space: Space) -> tuple[int, ...]:
        """Index into ``stored(space)`` of each node."""
        return tuple(joint + 1 for joint in self.nodes) if space == "expmap" else self.nodes


def layout_names() -> tuple[str, ...]:
    """Names of the layouts that come with the package."""
    return tuple(sorted(path.stem for path in LAYOUTS.glob("*.yaml")))


def load_layout(name: str | Path) -> Layout:
    """A layout by its name, or from the user's YAML file.

    Args:
        name: one of [layout_names][symgnn.skeleton.layout.layout_names], or the path of a ``.yaml`` file.

    Raises:
        InputError: there is no such layout, or the file does not describe a body; the message names field and joint.
    """
    return layout_from_dict(_read(str(name)), where=str(_path(str(name))))


def layout_to_dict(layout: Layout) -> dict[str, Any]:
    """Plain values of a layout in the form of its YAML file: what checkpoints carry and ``layout_from_dict`` reads back."""
    joints, nodes = layout.joints, layout.node_names
    return {
        "name": layout.name,
        "unit": layout.unit,
        "joints": list(joints),
        "root": joints[layout.parents.index(-1)],
        "bones": [[joints[parent], joint] for joint, parent in zip(joints, layout.parents, strict=True) if parent >= 0],
        "offsets": layout.offsets and {joint: list(offset) for joint, offset in zip(joints, layout.offsets, strict=True)},
        "nodes": list(nodes),
        "edges": [[nodes[parent], nodes[child]] for parent, child in layout.edges],
        "parts": {part: [nodes[node] for node in members] for part, members in layout.parts.items()},
        "mirror": [[joints[joint], joints[other]] for joint, other in enumerate(layout.mirror) if joint < other],
        "mirror_axis": AXES[layout.mirror_axis],
        "up": layout.up,
        "landmarks": {landmark: joints[joint] for landmark, joint in layout.landmarks.items()},
    }


def layout_from_dict(values: Mapping[str, Any], where: str = "layout") -> Layout:
    """Check plain values (of a YAML file, of a checkpoint) and make a layout of them.

    Args:
        values: the fields of [LayoutFile][symgnn.skeleton.layout.LayoutFile].
        where: what the values came from, for the error message.

    Raises:
        InputError: a field is missing, unknown or of another type; a name is not a joint; bones or edges are not one
            connected tree; a joint in use is in no part or in two; the mirror is not a pairing of joints.
    """
    try:
        file = TypeAdapter(LayoutFile).validate_python(dict(values))
    except pydantic.ValidationError as error:
        raise InputError(f"{where}: {_explain(error)}") from None
    try:
        return _layout(file)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


def _path(name: str) -> Path:
    return Path(name) if name.endswith((".yaml", ".yml")) else LAYOUTS / f"{name}.yaml"


def _read(name: str) -> dict[str, Any]:
    return read_extending(name, _find, operator.or_, "the fields of a layout (joints, bones, parts)")


def _find(name: str, chain: tuple[str, ...]) -> Path:
    path = _path(name)
    if path.is_file():
        return path
    by = f"{_path(chain[-1])}: extends: " if chain else ""
    if path == Path(name):
        raise InputError(f"{by}{path}: no such layout file (built-in layouts: {', '.join(layout_names())})")
    raise InputError(
        f"{by}no layout {name!r}{_near(name, layout_names())} "
        f"(there are: {', '.join(layout_names())}; a layout of your own is named by the path of its .yaml file)"
    )


def _layout(file: LayoutFile) -> Layout:
    joints = file.joints
    _distinct("joints", joints)
    if len(joints) < 2:
        raise InputError(f"joints: expected at least two, found {len(joints)}")

    bones = _pairs("bones", file.bones, joints, "joints")
    if file.root is not None:
        _known("root", file.root, joints, "joints")
    parents = _oriented("bones", bones, joints, joints[0] if file.root is None else file.root)
    rank = {joint: index for index, joint in enumerate(joints)}

    nodes = joints if file.nodes is None else file.nodes
    _distinct("nodes", nodes)
    for node in nodes:
        _known("nodes", node, joints, "joints")
    if len(nodes) < 2:
        raise InputError(f"nodes: expected at least two joints in use, found {len(nodes)}")
    place = {node: index for index, node in enumerate(nodes)}
    other = _mirror(file, nodes)
    edges = _edges(file, nodes, parents, other)

    parts = _parts(file, nodes, joints)
    part_of = {node: index for index, members in enumerate(parts.values()) for node in members}
    crossings = {tuple(sorted((part_of[a], part_of[b]))) for a, b in edges}

    return Layout(
        name=file.name,
        joints=tuple(joints),
        parents=tuple(-1 if (parent := parents[joint]) is None else rank[parent] for joint in joints),
        offsets=_offsets(file),
        unit=file.unit,
        nodes=tuple(rank[node] for node in nodes),
        edges=tuple((place[parent], place[child]) for parent, child in edges),
        parts={part: tuple(place[node] for node in members) for part, members in parts.items()},
        part_edges=tuple(pair for pair in combinations(range(len(parts)), 2) if pair in crossings),
        mirror=tuple(rank[other[joint]] for joint in joints),
        mirror_axis=AXES.index(file.mirror_axis),
        up=file.up,
        landmarks={landmark: rank[joint] for landmark, joint in _landmarks(file).items()},
    )


def _pairs(name: str, chains: Sequence[Sequence[str]], known: Sequence[str], among: str) -> list[tuple[str, str]]:
    pairs = []
    for chain in chains:
        if len(chain) < 2:
            raise InputError(f"{name}: expected chains of two or more joints, found {list(chain)}")
        for joint in chain:
            _known(name, joint, known, among)
        pairs.extend(pairwise(chain))
    return pairs


def _oriented(name: str, pairs: Sequence[tuple[str, str]], joints: Sequence[str], root: str) -> dict[str, str | None]:
    """Parent of each joint when the pairs, in whichever order each is written, hang from the root."""
    neighbours: dict[str, list[str]] = {joint: [] for joint in joints}
    piece = {joint: joint for joint in joints}
    for a, b in pairs:
        if piece[a] == piece[b]:
            raise InputError(f"{name}: {a} - {b} closes a cycle; a body is a tree: leave one pair of it out")
        piece = {joint: piece[a] if label == piece[b] else label for joint, label in piece.items()}
        neighbours[a].append(b)
        neighbours[b].append(a)
    loose = [joint for joint in joints if piece[joint] != piece[root]]
    if loose:
        raise InputError(f"{name}: joint {loose[0]!r} is not connected to {root!r}; add the pair that joins them")
    parents: dict[str, str | None] = {root: None}
    queue = [root]
    for joint in queue:
        for below in neighbours[joint]:
            if below not in parents:
                parents[below] = joint
                queue.append(below)
    return parents


def _above(joint: str, parents: Mapping[str, str | None]) -> list[str]:
    """The joints between a joint and the root, the nearest first."""
    chain = []
    while (parent := parents[joint]) is not None:
        chain.append(parent)
        joint = parent
    return chain


def _edges(
    file: LayoutFile, nodes: Sequence[str], parents: Mapping[str, str | None], other: Mapping[str, str]
) -> list[tuple[str, str]]:
    if file.edges is None:
        hangs_on = {node: next((joint for joint in _above(node, parents) if joint in nodes), None) for node in nodes}
        tops = [node for node, parent in hangs_on.items() if parent is None]
        if len(tops) > 1:
            raise InputError(f"edges: no joint in use is above all of {', '.join(tops)}; list the edges between nodes")
        return [(parent, node) for node, parent in hangs_on.items() if parent is not None]
    # The joint in use nearest to the body's root is the root of the graph (LowerBack on CMU); of several, one on the midline
    # (Spine1 on Human3.6M in 3D, not a knee).
    top = min(nodes, key=lambda node: (len(_above(node, parents)), other[node] != node))
    pairs = _pairs("edges", file.edges, nodes, "nodes")
    hangs_on = _oriented("edges", pairs, nodes, top)
    return [(a, b) if hangs_on[b] == a else (b, a) for a, b in pairs]


def _parts(file: LayoutFile, nodes: Sequence[str], joints: Sequence[str]) -> dict[str, list[str]]:
    owner: dict[str, str] = {}
    for part, members in file.parts.items():
        for joint in members:
            _known(f"parts.{part}", joint, joints, "joints")
            if joint not in nodes:
                raise InputError(f"parts.{part}: joint {joint!r} is not in use; leave it out here or add it to nodes")
            if joint in owner:
                raise InputError(f"parts.{part}: joint {joint!r} is also in part {owner[joint]!r}; a joint is in exactly one")
            owner[joint] = part
    for node in nodes:
        if node not in owner:
            raise InputError(f"parts: joint {node!r} is in no part; every joint in use is in exactly one")
    return {part: members for part, members in file.parts.items() if members}


def _offsets(file: LayoutFile) -> tuple[tuple[float, float, float], ...] | None:
    if file.offsets is None:
        return None
    for joint in file.offsets:
        _known("offsets", joint, file.joints, "joints")
    for joint in file.joints:
        if joint not in file.offsets:
            raise InputError(f"offsets: joint {joint!r} is missing; give every joint's offset or none")
    return tuple(file.offsets[joint] for joint in file.joints)


def _landmarks(file: LayoutFile) -> dict[str, str]:
    for landmark, joint in file.landmarks.items():
        _known("landmarks", landmark, LANDMARKS, "the landmarks")
        _known(f"landmarks.{landmark}", joint, file.joints, "joints")
    return file.landmarks


def _mirror(file: LayoutFile, nodes: Sequence[str]) -> dict[str, str]:
    other = {joint: joint for joint in file.joints}
    if file.mirror is None:
        other.update((joint, _counterpart(joint, file.joints)) for joint in file.joints)
    else:
        paired: set[str] = set()
        for left, right in file.mirror:
            for joint in (left, right):
                _known("mirror", joint, file.joints, "joints")
                if joint in paired:
                    raise InputError(f"mirror: joint {joint!r} is in two pairs; a joint has one counterpart")
                paired.add(joint)
            other[left], other[right] = right, left
    for node in nodes:
        if other[node] not in nodes:
            raise InputError(f"mirror: joint {node!r} is in use but its counterpart {other[node]!r} is not; use both or none")
    return other


# A word of a joint's name: "LHipJoint" -> L, Hip, Joint; "L_Wrist_End" -> L, Wrist, End; "shoulderLeft" -> shoulder, Left.
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
_SIDES = {"left": "right", "right": "left", "l": "r", "r": "l"}


def _counterpart(joint: str, joints: Sequence[str]) -> str:
    """The joint whose name has left and right exchanged; the joint itself where the name has no side."""

    def swap(match: re.Match[str]) -> str:
        word = match.group()
        side = _SIDES.get(word.lower())
        if side is None:
            return word
        return side.upper() if word.isupper() else side.capitalize() if word[0].isupper() else side

    swapped = _WORD.sub(swap, joint)
    # A lone letter need not be a side (L5 is a vertebra); a whole word is one.
    if swapped not in joints and any(word.lower() in {"left", "right"} for word in _WORD.findall(joint)):
        hint = _near(swapped, [name for name in joints if name != joint])
        raise InputError(f"mirror: joint {joint!r} has no counterpart {swapped!r}{hint} (or list the pairs under mirror)")
    return swapped if swapped in joints else joint


def _distinct(name: str, values: Sequence[str]) -> None:
    seen: set[str] = set()
    for value in values:
        if value in seen:
            raise InputError(f"{name}: {value!r} is listed twice; names are unique")
        seen.add(value)


def _known(name: str, joint: str, known: Sequence[str], among: str) -> None:
    if joint not in known:
        raise InputError(f"{name}: {joint!r} is not in {among}{_near(joint, known)}")


def _near(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f"; did you mean {near[0]}?" if near else ""


def _explain(error: pydantic.ValidationError) -> str:
    lines = []
    for problem in error.errors():
        place = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "missing":
            lines.append(f"{place}: this field is needed")
        elif problem["type"] == "unexpected_keyword_argument":
            fields = tuple(LayoutFile.__dataclass_fields__)
            lines.append(f"{place}: no such field{_near(place, fields)} (there are: {', '.join(fields)})")
        else:
            lines.append(f"{place}: {problem['msg']} (found {problem['input']!r})")
    return "; ".join(lines)
