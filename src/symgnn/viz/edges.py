"""The strongest learned links between joints, eq. (2), drawn on the body."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from symgnn.viz.body import Array, Body, project, spread, view_of
from symgnn.viz.svg import Picture, number


@dataclass(frozen=True)
class Link:
    """One off-diagonal entry of an actional graph."""

    to: int
    """Node that receives: the row."""
    source: int
    """Node it looks at: the column."""
    weight: float


def strongest_links(actional: Float[Array, "node node"], count: int) -> list[Link]:
    """The largest off-diagonal entries of A_act, the strongest first (equal ones in the order of rows, then columns)."""
    rows, columns = np.nonzero(~np.eye(len(actional), dtype=bool))
    order = np.argsort(-actional[rows, columns], kind="stable")[:count]
    return [Link(int(rows[k]), int(columns[k]), float(actional[rows[k], columns[k]])) for k in order]


def links_picture(body: Body, pose: Float[Array, "point 2"], links: list[Link], title: str = "") -> Picture:
    """Links as arrows over a diagram of the body, from the joint that is looked at to the joint that looks.

    The wider and darker an arrow, the larger its weight. Joints that share one place are drawn apart.

    Args:
        body: what is drawn.
        pose: places of its points in a picture plane, all present.
        links: between joints in use.
        title: whose links, for the text that stands for the picture.
    """
    places = spread(pose, body)
    low, high = places.min(axis=0), places.max(axis=0)
    height, margin = 340.0, 16.0
    scale = (height - 2 * margin) / float(high[1] - low[1])
    width = float(high[0] - low[0]) * scale + 2 * margin
    pixels = np.stack([margin + (places[:, 0] - low[0]) * scale, height - margin - (places[:, 1] - low[1]) * scale], axis=1)

    limbs = "".join(
        f"M{number(pixels[a, 0])} {number(pixels[a, 1])}L{number(pixels[b, 0])} {number(pixels[b, 1])}" for a, b in body.bones
    )
    content = [f'<path class="limb" d="{limbs}"/>']
    # The strongest last, on top.
    top = max((link.weight for link in links), default=1.0)
    content += [
        _arrow(pixels[body.nodes[link.source]], pixels[body.nodes[link.to]], link.weight / top) for link in reversed(links)
    ]
    for node in body.nodes:
        x, y = pixels[node]
        content.append(
            f'<circle class="joint" cx="{number(x)}" cy="{number(y)}" r="3.2"><title>{body.names[node]}</title></circle>'
        )
    names = [f"{body.names[body.nodes[link.source]]} to {body.names[body.nodes[link.to]]}" for link in links]
    alt = f"Body with the {len(links)} strongest links{f' for {title}' if title else ''}: {', '.join(names)}"
    return Picture(round(width, 1), height, "".join(content), alt)


def clearest_diagram(body: Body, poses: Sequence[Float[Array, "point 3"]]) -> Float[Array, "point 2"] | None:
    """The first of some poses that from the front shows left and right apart, or else the last; None of no pose."""
    flat = [project(pose, view_of(body, pose, azimuth=0.0, elevation=0.0)) for pose in poses]
    if not flat:
        return None
    # Human3.6M's rest pose has both arms straight up in one line: left and right must be apart.
    return next((pose for pose in flat if _apart(pose, body) > 0.03), flat[-1])


def _apart(pose: Float[Array, "point 2"], body: Body) -> float:
    """Least distance of left and right joints in use, against the body's height."""
    used = [pair for pair in body.pairs if set(pair) <= set(body.nodes)]
    height = float(pose[:, 1].max() - pose[:, 1].min()) or 1.0
    return min((float(np.linalg.norm(pose[a] - pose[b])) / height for a, b in used), default=1.0)


def _arrow(start: Float[Array, "2"], end: Float[Array, "2"], strength: float) -> str:
    """A bent arrow, so that the two directions between a pair of joints lie apart."""
    along = end - start
    length = float(np.linalg.norm(along)) or 1.0
    along = along / length
    across = np.array([-along[1], along[0]])
    bend = (start + end) / 2 + across * min(0.22 * length, 40.0)
    # The tip stops short of the joint's circle, coming from the bend.
    way = end - bend
    way = way / (float(np.linalg.norm(way)) or 1.0)
    tip = end - way * 4.0
    size = 5.0 + 3.0 * strength
    wing = np.array([-way[1], way[0]]) * size * 0.5
    back = tip - way * size
    opacity = 0.35 + 0.65 * strength
    points = " ".join(f"{number(x)},{number(y)}" for x, y in (tip, back + wing, back - wing))
    return (
        f'<g opacity="{opacity:.2f}"><path class="link" stroke-width="{1.0 + 3.0 * strength:.1f}" '
        f'd="M{number(start[0])} {number(start[1])}Q{number(bend[0])} {number(bend[1])} {number(back[0])} {number(back[1])}"/>'
        f'<polygon class="tip" points="{points}"/></g>'
    )
