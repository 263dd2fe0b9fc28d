"""A clip of a store, to look at."""

from pathlib import Path

import numpy as np

from symgnn.data import Store, stored_mean
from symgnn.files import write_whole
from symgnn.viz import ClipView, body_of, clip_page, observed_panels, positions, write_page
from symgnn.viz.svg import beside


def draw_clip(store: Store, index: int, path: Path, poses: int = 6) -> None:
    """Write one clip as a row of poses (``.svg``) or an animation (``.html``).

    Raises:
        InputError: rotations of a layout without offsets, which cannot be drawn as a body; or the file cannot be written.
    """
    record = store.clips[index]
    motion = np.array(store.clip_frames(index)[:, list(store.layout.columns(store.space))])
    space = store.space
    if space == "xyc":  # an image has no depth: the body is drawn flat
        motion[..., 2] = np.where(np.isnan(motion[..., 2]), np.nan, 0.0)
        space = "xyz"
    places = positions(motion, store.layout, space, stored_mean(store, (index,)).numpy())
    body = body_of(store.layout, space)
    if path.suffix.lower() == ".svg":
        picture = beside(observed_panels(body, places, 1000 / store.fps, count=poses), f"{poses} poses of {record.recording}")
        write_whole(path, picture.standalone().encode())
        return
    label = "no class" if record.label < 0 else store.class_names[record.label]
    view = ClipView(name=f"{record.recording}: {label}", observed=places, predicted=None, frame_ms=1000 / store.fps)
    write_page(path, clip_page(body, [view], title=record.recording))
