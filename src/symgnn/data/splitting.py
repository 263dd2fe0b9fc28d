"""Which clips of a store train and which test: by whole subjects, cameras, setups or recordings."""

import dataclasses
import json
from collections.abc import Sequence
from typing import Literal

import numpy as np

from symgnn.data.readers.text import shortened
from symgnn.data.store import ABOUT, CLIPS, ClipRecord, Store, clips_table, natural, sha256_of
from symgnn.errors import InputError
from symgnn.files import write_whole


def split_store(
    store: Store, by: Literal["subject", "camera", "setup", "random"], holdout: Sequence[str], seed: int = 0
) -> Store:
    """Write into a store which clips are ``train`` and which ``test``, in place of what was there.

    Args:
        store: the store; only its table of clips changes.
        by: what must not be on both sides. "random" draws recordings, a class after the other, so that the persons and the
            pieces of one recording stay together.
        holdout: the test subjects (cameras, setups); for "random" one number, the part of the recordings to test on.
        seed: of the drawing.

    Returns:
        The store, opened again.

    Raises:
        InputError: a name that no clip has, clips without one, a part that is no fraction, or a side left empty.
    """
    if by == "random":
        test = _drawn(store, holdout, seed)
    else:
        names = {getattr(clip, by) for clip in store.clips}
        if "" in names:
            nameless = [clip.recording for clip in store.clips if not getattr(clip, by)]
            raise InputError(
                f"{store.path}: {len(nameless)} clips have no {by} ({shortened(nameless, 3)}): import the files again and say "
                "it (symgnn data import --help), or split --by random"
            )
        there = sorted(names, key=natural)
        for name in holdout:
            if name not in names:
                raise InputError(f"--holdout {name}: no clip has that {by} (there are: {shortened(there)})")
        test = {index for index, clip in enumerate(store.clips) if getattr(clip, by) in holdout}
    if not 0 < len(test) < len(store.clips):
        raise InputError(f"--holdout: {len(test)} of {len(store.clips)} clips would be test; expected some on both sides")
    records = [dataclasses.replace(clip, split="test" if index in test else "train") for index, clip in enumerate(store.clips)]
    return replace_clips(store, records)


def replace_clips(store: Store, records: Sequence[ClipRecord]) -> Store:
    """Give a store another table of clips; its frames stay."""
    write_whole(store.path / CLIPS, clips_table(records))
    about = dict(store.about)
    about["sha256"] = {**about["sha256"], CLIPS: sha256_of(store.path / CLIPS)}
    write_whole(store.path / ABOUT, json.dumps(about, indent=2, ensure_ascii=False).encode())
    return Store.open(store.path)


def _drawn(store: Store, holdout: Sequence[str], seed: int) -> set[int]:
    """Clips of recordings drawn at random, of each class its part."""
    try:
        (part,) = map(float, holdout)
    except ValueError:
        part = 0.0
    if not 0 < part < 1:
        raise InputError(f"--holdout {' '.join(holdout)}: expected one number between 0 and 1 with --by random, such as 0.2")
    recordings: dict[str, list[int]] = {}
    for index, clip in enumerate(store.clips):
        # Pieces that were cut from one file belong together, and so do its persons.
        recordings.setdefault(clip.source or clip.recording, []).append(index)
    random = np.random.Generator(np.random.PCG64(seed))
    by_class: dict[int, list[str]] = {}
    for name, members in recordings.items():
        labels = [store.clips[index].label for index in members]
        by_class.setdefault(max(set(labels), key=labels.count), []).append(name)
    return {
        index
        for names in by_class.values()
        for place in random.permutation(len(names))[: max(1, round(part * len(names))) if len(names) > 1 else 0]
        for index in recordings[names[place]]
    }
