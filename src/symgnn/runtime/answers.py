"""Predictions to files: JSON, arrays, a page to look at."""

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from symgnn.errors import InputError
from symgnn.files import write_whole
from symgnn.models.checkpoint import Described
from symgnn.runtime.predict import Prediction
from symgnn.viz.body import body_of, positions
from symgnn.viz.clip import ClipView, clip_page


def write_predictions(path: str | Path, predictions: Sequence[Prediction], names: Sequence[str], model: Described) -> None:
    """Write predictions to a ``.json`` or ``.npz`` file, whole or not at all.

    JSON: what the model is, its joints, the time of each future pose, and for each clip its label, probabilities, padding and
    future, indexed [frame][joint][channel]. Arrays: ``clips``, ``classes``, ``joints``, ``milliseconds``, ``padded`` (clips),
    ``labels`` (clips), ``probabilities`` (clips, classes), ``future`` (clips, frames, joints, channels); what the model does
    not answer is left out. Of a model that looks at whole clips each clip has times of its own: in JSON they stand with the
    clip, and ``milliseconds`` is (clips, frames).

    Raises:
        InputError: another suffix, or the file cannot be written.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix == ".json":
        text = json.dumps(predictions_to_dict(predictions, names, model), ensure_ascii=False, allow_nan=False)
        write_whole(path, text.encode() + b"\n")
    elif suffix == ".npz":
        memory = io.BytesIO()
        np.savez_compressed(memory, allow_pickle=False, **_arrays(predictions, names, model))
        write_whole(path, memory.getvalue())
    else:
        raise InputError(f"{path}: found the suffix {path.suffix!r}, expected .json or .npz")


def predictions_to_dict(predictions: Sequence[Prediction], names: Sequence[str], model: Described) -> dict[str, Any]:
    """Plain values of predictions: what the JSON file holds."""
    return {
        "model": {
            "preset": model.preset.name,
            "layout": model.layout.name,
            "space": model.preset.data.space,
            "selection": model.card.selection,
            "step": model.card.step,
            "symgnn": model.card.package_version,
        },
        "frames_a_second": None if _whole(model) else model.fps / model.preset.data.step,
        "observed_frames": model.preset.data.observed,
        "joints": list(model.layout.node_names),
        "milliseconds": None if _whole(model) else _times(predictions[:1]),
        "clips": [
            {
                "clip": name,
                "label": prediction.label,
                "probabilities": prediction.probabilities,
                "padded": prediction.padded,
                **({"milliseconds": _times([prediction])} if _whole(model) else {}),
                "future": None if prediction.future is None else shortest(prediction.future),
            }
            for name, prediction in zip(names, predictions, strict=True)
        ],
    }


def prediction_page(predictions: Sequence[Prediction], names: Sequence[str], model: Described) -> str:
    """The HTML page of ``symgnn predict --html``: probabilities and an animation of each clip.

    Missing joints are not drawn in positions; with exponential maps they are drawn at their training mean.

    Raises:
        InputError: the model's layout has no offsets, so that rotations cannot be drawn as a body.
    """
    layout, space = model.layout, model.preset.data.space
    mean = model.stored_mean.cpu().numpy()

    def places(motion: np.ndarray) -> np.ndarray:
        return positions(motion, layout, space, mean)

    views = [
        ClipView(
            name=name,
            observed=places(prediction.observed[prediction.padded :]),
            predicted=None if prediction.future is None else places(prediction.future),
            frame_ms=prediction.frame_ms,
            padded=prediction.padded,
            probabilities=prediction.probabilities,
            whole=_whole(model),
        )
        for name, prediction in zip(names, predictions, strict=True)
    ]
    return clip_page(body_of(layout, space), views)


def _whole(model: Described) -> bool:
    """Whether it looks at all of a clip, so that its times depend on how long a clip is."""
    return model.preset.data.sampling == "whole"


def _times(predictions: Sequence[Prediction]) -> list[float]:
    return [round(time, 3) for prediction in predictions for time in prediction.milliseconds]


def _arrays(predictions: Sequence[Prediction], names: Sequence[str], model: Described) -> dict[str, np.ndarray]:
    arrays = {
        "clips": np.array(list(names), dtype=np.str_),
        "classes": np.array(model.class_names, dtype=np.str_),
        "joints": np.array(model.layout.node_names, dtype=np.str_),
        "milliseconds": np.array([_times([prediction]) for prediction in predictions])
        if _whole(model)
        else np.array(_times(predictions[:1])),
        "padded": np.array([prediction.padded for prediction in predictions]),
    }
    if all(prediction.label is not None for prediction in predictions):
        arrays["labels"] = np.array([prediction.label for prediction in predictions], dtype=np.str_)
        arrays["probabilities"] = np.array([list(prediction.probabilities.values()) for prediction in predictions])
    futures = [prediction.future for prediction in predictions if prediction.future is not None]
    if len(futures) == len(predictions):
        arrays["future"] = np.array(futures)
    return arrays


def shortest(array: np.ndarray) -> Any:
    """Nested lists whose numbers print with as many digits as float32 needs, and no more."""
    return np.array([float(str(value)) for value in array.astype(np.float32).flat]).reshape(array.shape).tolist()
