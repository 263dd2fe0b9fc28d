"""A body on paper: which points and lines are drawn of a layout, where they are in space, and from where one looks at them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float

from symgnn.skeleton import Layout, Space, forward_kinematics

Array = np.ndarray

Side = Literal["left", "right", "middle"]


@dataclass(frozen=True)
class Body:
    """What is drawn of a layout: points in space and the bones between them."""

    names: tuple[str, ...]
    """Name of each point."""
    bones: tuple[tuple[int, int], ...]
    """Points that a line joins, (parent, child), parents before their children."""
    sides: tuple[Side, ...]
    """Side of each point; names that do not say belong to the middle."""
    pairs: tuple[tuple[int, int], ...]
    """Left and right counterparts, the nearest to the trunk first."""
    nodes: tuple[int, ...]
    """Point of each joint in use."""
    heads: tuple[tuple[int, ...], ...]
    """Points between which each head is drawn; none where no joint is called head."""
    up: str
    """Direction away from the ground ("y", "-y", ...)."""
    flat: bool = False
    """Whether places are those of an image, which is seen from the camera alone."""


@dataclass(frozen=True)
class View:
    """Where one looks from: the three directions of the picture, unit vectors in the space of the body."""

    right: tuple[float, float, float]
    up: tuple[float, float, float]
    towards: tuple[float, float, float]
    """From the body to the eye."""


def body_of(layout: Layout, space: Space) -> Body:
    """The points that can be placed in space: all joints from rotations, the joints in use from positions."""
    if space == "expmap":
        names, pairs = layout.joints, layout.mirror
        bones = [(parent, joint) for joint, parent in enumerate(layout.parents) if parent >= 0]
        nodes = layout.nodes
    else:
        names, pairs = layout.node_names, layout.node_mirror
        bones = list(layout.edges)
        nodes = tuple(range(layout.num_nodes))
    bones, depth = _from_root(bones, len(names))
    sides: list[Side] = [_side(name) if pairs[point] != point else "middle" for point, name in enumerate(names)]
    couples = [(point, pairs[point]) for point, side in enumerate(sides) if side == "left"]
    heads = [point for point, name in enumerate(names) if "head" in name.lower()]
    return Body(
        names=tuple(names),
        bones=tuple(bones),
        sides=tuple(sides),
        pairs=tuple(sorted(couples, key=lambda couple: depth[couple[0]])),
        nodes=tuple(nodes),
        heads=(tuple(heads),) if heads else (),
        up=layout.up,
        flat=space == "xyc",
    )


def several(body: Body, count: int) -> Body:
    """So many of one body drawn together: their points follow one another."""
    size = len(body.names)
    shifts = range(0, count * size, size)
    return Body(
        names=body.names * count,
        bones=tuple((parent + shift, child + shift) for shift in shifts for parent, child in body.bones),
        sides=body.sides * count,
        pairs=tuple((left + shift, right + shift) for shift in shifts for left, right in body.pairs),
        nodes=tuple(node + shift for shift in shifts for node in body.nodes),
        heads=tuple(tuple(point + shift for point in head) for shift in shifts for head in body.heads),
        up=body.up,
        flat=body.flat,
    )


def positions(
    motion: Float[Array, "*batch joint channel"],
    layout: Layout,
    space: Space,
    stored_mean: Float[Array, "stored channel"] | None = None,
) -> Float[Array, "*batch point 3"]:
    """Places of a body's points, in the order of [body_of][symgnn.viz.body_of].

    Positions are themselves, those in an image lie in a plane. Exponential maps go through forward kinematics with the root
    upright at the origin: the benchmarks neither predict nor judge where the body stands and which way it faces.

    Args:
        motion: poses of the joints in use, in the units of the data; NaN where missing.
        layout: the body.
        space: what a channel is.
        stored_mean: with exponential maps, the mean of every stored triple; joints that are missing or not in use take it.

    Raises:
        InputError: the layout cannot be placed (no offsets).
    """
    if space == "xyz":
        return np.asarray(motion, np.float32)
    if space == "xyc":
        flat = np.array(motion, np.float32)
        flat[..., 2] = 0.0
        return flat
    if stored_mean is None:
        raise ValueError("exponential maps are drawn with the mean of the joints that are not in use: pass stored_mean")
    rows = np.broadcast_to(stored_mean, (*motion.shape[:-2], *stored_mean.shape)).astype(np.float32)
    columns = list(layout.columns(space))
    rows[..., columns, :] = np.where(np.isnan(motion), rows[..., columns, :], motion)
    rows[..., :2, :] = 0.0
    return forward_kinematics(torch.from_numpy(rows), layout).numpy()


def rest_pose(layout: Layout, space: Space) -> Float[Array, "point 3"] | None:
    """Places of a body's points with every rotation zero; None for a layout without offsets."""
    if layout.offsets is None:
        return None
    rows = torch.zeros(len(layout.stored("expmap")), 3)
    places = forward_kinematics(rows, layout).numpy()
    return places if space == "expmap" else places[list(layout.nodes)]


def view_of(body: Body, pose: Float[Array, "point 3"], azimuth: float = 35.0, elevation: float = 0.0) -> View:
    """The view of a body from a given side of its own front.

    The front is found from the left and right joints nearest to the trunk: with l from right to left along the ground and
    u upwards, the body faces l × u. An image stays as the camera saw it, whichever way the person faces.

    Args:
        body: what is drawn.
        pose: the pose whose front counts; NaN where a point is missing.
        azimuth: degrees from the front towards the body's left side.
        elevation: degrees above the horizon; above 0 a body that walks away rises in the picture.
    """
    up = _axis(body.up)
    if body.flat:
        return View((1.0, 0.0, 0.0), _triple(up), _triple(np.cross([1.0, 0.0, 0.0], up)))
    left = _leftwards(body, pose, up)
    front = np.cross(left, up)
    turn, rise = np.radians(azimuth), np.radians(elevation)
    level = np.cos(turn) * front + np.sin(turn) * left
    right = np.cross(up, level)
    towards = np.cos(rise) * level + np.sin(rise) * up
    return View(_triple(right), _triple(np.cross(towards, right)), _triple(towards))


def clearest(motion: Float[Array, "time point 3"]) -> Float[Array, "point 3"]:
    """The last of the poses with the most points: the one to take the view from."""
    present = np.isfinite(motion).all(axis=2).sum(axis=1)
    return motion[len(motion) - 1 - int(present[::-1].argmax())]


def project(places: Float[Array, "*batch point 3"], view: View) -> Float[Array, "*batch point 2"]:
    """Parallel projection: how far to the right and how far up in the picture each point is, in the unit of the places."""
    return np.asarray(places.astype(np.float64) @ np.array([view.right, view.up]).T)


def spread(places: Float[Array, "point 2"], body: Body, least: float = 0.045) -> Float[Array, "point 2"]:
    """A diagram of a pose: joints that share one place are drawn apart, so that each can be seen.

    Every bone shorter than ``least`` times the height gets that length, along the bone before it; several such bones at
    one joint fan out. What hangs on it moves along. Longer bones keep length and direction.
    """
    result = np.array(places, np.float64)
    height = float(np.nanmax(result[:, 1]) - np.nanmin(result[:, 1])) or 1.0
    least *= height
    short: dict[int, list[int]] = {}
    for parent, child in body.bones:
        if np.linalg.norm(places[child] - places[parent]) < least:
            short.setdefault(parent, []).append(child)
    direction = {}
    for parent, child in body.bones:
        bone = places[child].astype(np.float64) - places[parent]
        siblings = short.get(parent, [])
        if child in siblings:
            way = direction.get(parent)
            if way is None:
                # At the root: away from the middle of what hangs there already.
                other = [places[b] - places[a] for a, b in body.bones if a == parent and b not in siblings]
                way = -np.mean(other, axis=0) if other else np.array([0.0, 1.0])
                way = way / (np.linalg.norm(way) or 1.0)
            fan = np.radians(50.0) * (siblings.index(child) - (len(siblings) - 1) / 2)
            cos, sin = np.cos(fan), np.sin(fan)
            bone = least * np.array([cos * way[0] - sin * way[1], sin * way[0] + cos * way[1]])
        direction[child] = bone / (np.linalg.norm(bone) or 1.0)
        result[child] = result[parent] + bone
    return result


def _from_root(bones: Sequence[tuple[int, int]], points: int) -> tuple[list[tuple[int, int]], list[int]]:
    """Bones in an order that meets parents before their children, and how many bones each point is from the root."""
    children: dict[int, list[int]] = {}
    for parent, child in bones:
        children.setdefault(parent, []).append(child)
    depth = [0] * points
    order = [point for point in range(points) if point not in {child for _, child in bones}]
    ordered = []
    for parent in order:
        for child in children.get(parent, ()):
            depth[child] = depth[parent] + 1
            ordered.append((parent, child))
            order.append(child)
    return ordered, depth


_LEFT = re.compile(r"[Ll]eft|LEFT|^[Ll](?=[A-Z_])|[_.][Ll]$")
_RIGHT = re.compile(r"[Rr]ight|RIGHT|^[Rr](?=[A-Z_])|[_.][Rr]$")


def _side(name: str) -> Side:
    return "left" if _LEFT.search(name) else "right" if _RIGHT.search(name) else "middle"


def _axis(name: str) -> Float[Array, "3"]:
    direction = np.zeros(3)
    direction["xyz".index(name[-1])] = -1.0 if name.startswith("-") else 1.0
    return direction


def _leftwards(body: Body, pose: Float[Array, "point 3"], up: Float[Array, "3"]) -> Float[Array, "3"]:
    present = pose[np.isfinite(pose).all(axis=1)]
    size = float(np.linalg.norm(np.ptp(present, axis=0))) if len(present) else 0.0
    for left, right in body.pairs:
        across = pose[left].astype(np.float64) - pose[right]
        across -= up * (across @ up)
        length = float(np.linalg.norm(across))
        # Some joints share one place with their counterpart (the hip joints of CMU), some are missing.
        if length > 0.02 * size > 0:
            return across / length
    # Nothing says left: along the axis that comes first, so that the picture is at least upright.
    return _axis("z" if body.up[-1] == "x" else "x")


def _triple(vector: Float[Array, "3"]) -> tuple[float, float, float]:
    x, y, z = (float(value) for value in vector)
    return x, y, z
