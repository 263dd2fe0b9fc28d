"""A store of other joints."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from symgnn.data.store import Clip, Store
from symgnn.data.writing import write_store
from symgnn.errors import InputError
from symgnn.skeleton import Layout
from symgnn.skeleton.mapping import LayoutMapping, layout_mapping

METRES = {"m": 1.0, "cm": 0.01, "mm": 0.001}


def convert_layout(store: Store, target: str | Path, layout: Layout) -> tuple[Store, LayoutMapping]:
    """Write a store's clips with the joints of another layout.

    What the layouts share is matched, some joints are put between others, the rest is missing (NaN). Lengths stay in the unit
    they are in.

    Args:
        store: positions, in space or in an image.
        target: the store to make; must not exist.
        layout: the other body.

    Returns:
        The new store, and what became of each joint.

    Raises:
        InputError: the store holds rotations, the layouts share next to nothing, or ``target`` exists.
    """
    if store.space == "expmap":
        raise InputError(f"{store.path}: holds rotations (space expmap), which belong to its own body; expected positions")
    mapping = layout_mapping(store.layout, layout)

    def clips() -> Iterator[Clip]:
        for index, clip in enumerate(store.clips):
            rows = slice(clip.start, clip.start + clip.length)
            yield Clip(
                clip,
                mapping(np.asarray(store.clip_frames(index)), image=store.space == "xyc"),
                None if store.labels is None else store.labels[rows],
                None if store.times is None else store.times[rows],
            )

    notes = {name: store.about[name] for name in ("origin", "missing", "leaked") if name in store.about}
    made = write_store(
        target,
        clips(),
        layout=layout,
        space=store.space,
        fps=store.fps,
        class_names=store.class_names,
        unit=store.unit,
        notes=notes,
    )
    return made, mapping
