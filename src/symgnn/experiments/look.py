"""A recording of a store, to look at."""

from pathlib import Path

import numpy as np
from jaxtyping import Float32

from symgnn.data import Store, stored_mean
from symgnn.files import write_whole
from symgnn.viz import ClipView, animate, body_of, clip_page, observed_panels, positions, several, write_page
from symgnn.viz.svg import beside


def draw_clip(store: Store, index: int, path: Path, poses: int = 6) -> tuple[str, ...]:
    """Write a clip as a row of poses (``.svg``), an animation (``.gif``) or a page with one (``.html``).

    The persons of its recording are drawn together; not so rotations, which do not say where anybody stands.

    Args:
        store: where it is.
        index: of the clip, or of that of any person of the recording.
        path: file to write.
        poses: in a picture.

    Returns:
        What whoever looks at it should know, a line each.

    Raises:
        InputError: rotations of a layout without offsets, which cannot be drawn as a body; or the file cannot be written.
    """
    record = store.clips[index]
    persons = [index]
    if store.space != "expmap":
        found = {clip.person: other for other, clip in enumerate(store.clips) if clip.recording == record.recording}
        persons = sorted((found | {record.person: index}).values())
    notes = [] if len(persons) == 1 else [f"{len(persons)} persons"]
    if len({store.clips[person].length for person in persons}) > 1:
        notes.append("their clips differ in length: each is drawn from its own first frame")
    body = several(body_of(store.layout, store.space), len(persons))
    places = _together([_places(store, person) for person in persons])
    frame_ms = 1000 / store.fps
    suffix = path.suffix.lower()
    if suffix == ".svg":
        panels = observed_panels(body, places, frame_ms, count=poses, whole=True)
        write_whole(path, beside(panels, f"{poses} poses of {record.recording}").standalone().encode())
    elif suffix == ".gif":
        content, shown_ms = animate(body, places, frame_ms)
        write_whole(path, content)
        if shown_ms > 1.5 * frame_ms:
            notes.append(f"one in {round(shown_ms / frame_ms)} frames is shown; the .html has all")
    else:
        label = "no class" if record.label < 0 else store.class_names[record.label]
        name = f"{record.recording}: {label}"
        one = ClipView(name=name, observed=places, predicted=None, frame_ms=frame_ms, whole=True)
        write_page(path, clip_page(body, [one], title=record.recording))
    return tuple(notes)


def _places(store: Store, index: int) -> Float32[np.ndarray, "time point 3"]:
    motion = np.array(store.clip_frames(index)[:, list(store.layout.columns(store.space))])
    return positions(motion, store.layout, store.space, stored_mean(store, (index,)).numpy())


def _together(persons: list[np.ndarray]) -> Float32[np.ndarray, "time point 3"]:
    """The points of all persons one after the other; who has fewer frames is missing in the rest."""
    longest = max(map(len, persons))
    return np.concatenate(
        [np.pad(one, ((0, longest - len(one)), (0, 0), (0, 0)), constant_values=np.nan) for one in persons], axis=1
    )
