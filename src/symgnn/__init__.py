"""Symbiotic graph neural networks: what a moving body is doing, and where each joint will be.

    model = symgnn.load("runs/mine/last.ckpt")      # a checkpoint of ``symgnn train``; it carries all that predicting needs
    output = model(observed, horizon=25)            # (batch, time, joint, channel) -> .logits and .future

The names below are loaded when they are first used: ``import symgnn`` itself takes no time, and none of them loads Lightning.
"""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from symgnn.config import Preset as Preset
    from symgnn.config import load_preset as load_preset
    from symgnn.config import preset_names as preset_names
    from symgnn.data import Store as Store
    from symgnn.data import make_motion as make_motion
    from symgnn.data import open_data as open_data
    from symgnn.data import write_store as write_store
    from symgnn.errors import InputError as InputError
    from symgnn.evaluation import evaluate as evaluate
    from symgnn.evaluation import load_protocol as load_protocol
    from symgnn.models.checkpoint import TrainedModel as TrainedModel
    from symgnn.models.checkpoint import load as load
    from symgnn.runtime import Answer as Answer
    from symgnn.runtime import Prediction as Prediction
    from symgnn.runtime import Stream as Stream
    from symgnn.runtime import Streams as Streams
    from symgnn.runtime import export as export
    from symgnn.runtime import open_onnx as open_onnx
    from symgnn.runtime import predict as predict
    from symgnn.runtime import read_clips as read_clips
    from symgnn.skeleton import load_layout as load_layout
    from symgnn.types import Output as Output

_HOME = {
    "Answer": "runtime",
    "InputError": "errors",
    "Output": "types",
    "Prediction": "runtime",
    "Preset": "config",
    "Store": "data",
    "Stream": "runtime",
    "Streams": "runtime",
    "TrainedModel": "models.checkpoint",
    "evaluate": "evaluation",
    "export": "runtime",
    "load": "models.checkpoint",
    "load_layout": "skeleton",
    "load_preset": "config",
    "load_protocol": "evaluation",
    "make_motion": "data",
    "open_data": "data",
    "open_onnx": "runtime",
    "predict": "runtime",
    "preset_names": "config",
    "read_clips": "runtime",
    "write_store": "data",
}
"""Module of each public name."""

__version__ = version("symgnn")
__all__ = [*_HOME, "__version__"]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'symgnn' has no attribute {name!r}")
    value = getattr(import_module(f"symgnn.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
