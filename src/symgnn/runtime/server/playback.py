"""What is played where nobody streams: clips of a store, or the built-in motion on the model's body."""

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from symgnn.data import Store, open_data
from symgnn.data.conforming import conform
from symgnn.data.recording import Recording
from symgnn.data.synthetic import FPS, MOVEMENTS, perform, perform_rotations
from symgnn.errors import InputError
from symgnn.models.checkpoint import Described
from symgnn.runtime.answering import Answers
from symgnn.runtime.clips import read_clips
from symgnn.runtime.server.batching import Batcher, Waiting
from symgnn.runtime.server.watching import PLAYBACK, Hub, Shown
from symgnn.runtime.stream import Stream, Window
from symgnn.skeleton import load_layout

_logger = logging.getLogger("symgnn.server")

_ANSWERS = 30.0
"""Answers a second at most: more, nobody sees."""
_UNIT = 2.0
"""Times that the built-in body is larger or smaller than the model's from which on it is scaled."""


@dataclass(frozen=True, eq=False)
class Played:
    """A clip to play."""

    name: str
    frames: Float32[np.ndarray, "time joint channel"]
    fps: float
    truth: str | None
    """What it is labelled."""


Programme = Sequence[Callable[[], Played]]
"""Clips, each made when its turn comes."""


def programme(play: str | None, model: Described) -> Programme:
    """What is played to a model's onlookers.

    Args:
        play: ``STORE``, ``STORE:7``, or another clip that ``symgnn predict`` takes; None for the built-in motion.
        model: who answers.

    Returns:
        The clips; none where the built-in motion does not fit the model's body.

    Raises:
        InputError: there is no such clip, or the first one is not of the model's body.
    """
    if play is None:
        made = [partial(_built_in, movement, model) for movement in MOVEMENTS]
        try:
            made[0]()
        except InputError as error:
            _logger.info("the built-in motion is not played: %s", error)
            return ()
        return made
    folder, _, index = play.rpartition(":")
    chosen = [int(index)] if index.isdigit() and Path(folder).is_dir() and not Path(play).exists() else None
    source = play if chosen is None else folder
    if not Path(source).is_dir():
        clips = read_clips(source, model)
        return [partial(Played, clip.name, clip.frames, model.fps, None) for clip in clips]
    store = open_data(source, model.layout)
    made = [partial(_stored, store, source, clip, model) for clip in chosen or range(len(store.clips))]
    made[0]()
    return made


def _stored(store: Store, folder: str, index: int, model: Described) -> Played:
    clip = read_clips(f"{folder}:{index}", model)[0]
    record = store.clips[index]
    truth = store.class_names[record.label] if record.label >= 0 else None
    return Played(record.recording, clip.frames, model.fps, truth)


def _built_in(movement: str, model: Described) -> Played:
    """One of the built-in movements on the body of a model.

    Raises:
        InputError: they have nothing in common.
    """
    layout, space = model.layout, model.preset.data.space
    body = load_layout("cmu")
    match space:
        case "expmap" if layout.joints == body.joints:
            frames = perform_rotations(movement)
        case "xyz":
            frames = _fitted(
                conform(Recording(frames=perform(movement), joints=body.joints), layout, FPS, _logger.debug, files=body), model
            )
        case _:
            raise InputError(f"the built-in motion has no {space} of layout {layout.name}")
    return Played(movement, frames[:, list(layout.columns(space))], FPS, movement)


def _fitted(frames: Float32[np.ndarray, "time joint 3"], model: Described) -> Float32[np.ndarray, "time joint 3"]:
    """Motion in metres, y upwards, turned to the layout's way up, in its unit and where its bodies are."""
    up = model.layout.up
    sign = -1.0 if up.startswith("-") else 1.0
    turn = {
        "x": [[0, sign, 0], [-sign, 0, 0], [0, 0, 1]],
        "y": [[1, 0, 0], [0, sign, 0], [0, 0, sign]],
        "z": [[1, 0, 0], [0, 0, -sign], [0, sign, 0]],
    }[up[-1]]
    frames = frames @ np.array(turn, np.float32).T
    nodes, axis = list(model.layout.columns("xyz")), "xyz".index(up[-1])
    # Of joints that the built-in body lacks nothing is known.
    known = [node for node in nodes if np.isfinite(frames[:, node]).all()]
    mean = model.stored_mean.numpy()[known]
    tall, usual = np.ptp(frames[:, known, axis].mean(axis=0)), np.ptp(mean[:, axis])
    if tall > 0 and usual > 0 and not 1 / _UNIT < usual / tall < _UNIT:
        frames = frames * np.float32(usual / tall)
    there = frames[:, known].mean(axis=(0, 1))
    return frames + (mean.mean(axis=0) - there).astype(np.float32)


class Playback:
    """Plays a programme in real time, through the model, while somebody looks.

    Args:
        clips: in their order, again and again.
        model: who answers.
        batcher: the door to the model.
        hub: of the onlookers.
    """

    def __init__(self, clips: Programme, model: Described, batcher: Batcher, hub: Hub):
        self._clips, self._model, self._batcher, self._hub = clips, model, batcher, hub

    async def run(self) -> None:
        """Play until cancelled."""
        for make in self._forever():
            await self._hub.playing.wait()
            try:
                clip = await asyncio.to_thread(make)
                self._hub.played(clip.truth or clip.name)
                await self._play(clip)
            except InputError as error:
                _logger.warning("a clip cannot be played: %s", error)
                await asyncio.sleep(1.0)
            finally:
                self._batcher.forget(self)

    def _forever(self) -> Iterator[Callable[[], Played]]:
        while self._clips:
            yield from self._clips

    async def _play(self, clip: Played) -> None:
        loop = asyncio.get_running_loop()
        stream = Stream(self._model, warm_up="repeat")
        begun, answered, dropped = loop.time(), -1.0, 0

        def done(window: Window, outcome: Answers | Exception) -> None:
            if isinstance(outcome, Exception):
                _logger.warning("the model failed on %s: %s", clip.name, outcome)
                return
            answer = stream.settle(window, outcome, 0)
            self._hub.show(PLAYBACK, Shown(None, answer, window.frames[-1], outcome.futures, dropped, clip.truth))

        for number, pose in enumerate(clip.frames):
            if not self._hub.playing.is_set():
                return
            time = number / clip.fps
            # After a standstill of the machine the clip goes on from there.
            begun = max(begun, loop.time() - time - 1.0)
            await asyncio.sleep(begun + time - loop.time())
            window = stream.add(pose, time)
            if window is None or time - answered < 0.99 / _ANSWERS:
                continue
            answered = time
            horizon = max(self._hub.ghosts(PLAYBACK), 1)
            dropped += self._batcher.submit(self, None, Waiting(window.frames, horizon, partial(done, window)))
