"""Trained models on disk: one file is enough to predict."""

import pickle
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from symgnn.config import Preset, preset_from_dict, preset_to_dict
from symgnn.errors import InputError
from symgnn.files import write_whole
from symgnn.models.baselines import NETWORKS, Baseline, WindowShape
from symgnn.models.continual import ContinualSymGNN, why_not_continual
from symgnn.models.standardised import Standardised
from symgnn.models.symgnn import SymGNN
from symgnn.skeleton import Layout, layout_from_dict, layout_to_dict
from symgnn.types import Output

FORMAT = 1
"""Version of the "symgnn" entry of a checkpoint; a newer one is refused."""

WEIGHTS = Path(__file__).parents[1] / "weights"
"""Models that come with the package, each with a card in Markdown beside it."""

Precision = Literal["float32", "bf16"]

CHANNELS = {"expmap": 3, "xyz": 3, "xyc": 3}
"""Coordinates a joint has in each space."""


@dataclass(frozen=True)
class Card:
    """What a checkpoint knows of its origin: everything but the weights."""

    preset: Preset
    """Window, network and training."""
    layout: Layout
    """The body."""
    class_names: tuple[str, ...]
    """Names in the order of the scores."""
    stored_mean: tuple[tuple[float, ...], ...]
    """Training mean of every stored triple, also of those the model does not predict (protocols: they take the mean)."""
    fps: float
    """Frames a second of the recordings; the model's own rate is ``fps / preset.data.step``."""
    package_version: str
    """Version of symgnn that wrote the file."""
    step: int = 0
    """Optimiser steps behind the weights."""
    selection: str = "last"
    """How the weights were chosen: "last", "validation" (on held-out training data), or "snapshot" (one of all)."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as the checkpoint carries them."""
        return {
            "format": FORMAT,
            "preset": preset_to_dict(self.preset),
            "layout": layout_to_dict(self.layout),
            "class_names": list(self.class_names),
            "stored_mean": [list(row) for row in self.stored_mean],
            "fps": self.fps,
            "package_version": self.package_version,
            "step": self.step,
            "selection": self.selection,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], where: str) -> "Card":
        """Read back what ``to_dict`` gave.

        Raises:
            InputError: written by a newer symgnn, or not by symgnn at all.
        """
        try:
            if values["format"] > FORMAT:
                raise InputError(
                    f"{where}: checkpoint format {values['format']} of symgnn {values['package_version']} is newer than this "
                    f"symgnn reads ({FORMAT}): update symgnn"
                )
            return cls(
                preset=preset_from_dict(values["preset"], where),
                layout=layout_from_dict(values["layout"], where),
                class_names=tuple(values["class_names"]),
                stored_mean=tuple(tuple(row) for row in values["stored_mean"]),
                fps=values["fps"],
                package_version=values["package_version"],
                step=values["step"],
                selection=values["selection"],
            )
        except (KeyError, TypeError) as error:
            raise InputError(f"{where}: its symgnn entry lacks or garbles {error}: not a checkpoint of this program") from None


class Described:
    """A model with its card, whatever runs it: callable on windows, and it knows what its numbers mean."""

    card: Card

    if TYPE_CHECKING:
        __call__: Callable[..., Any]  # windows, horizon -> Output, as SymGNN.forward

    @property
    def preset(self) -> Preset:
        return self.card.preset

    @property
    def layout(self) -> Layout:
        return self.card.layout

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.card.class_names

    @property
    def fps(self) -> float:
        return self.card.fps

    @property
    def stored_mean(self) -> Float[Tensor, "stored channel"]:
        return torch.tensor(self.card.stored_mean)


class TrainedModel(Described, nn.Module):
    """A network with its card: callable on windows, and it knows what its numbers mean."""

    def __init__(self, network: Standardised, card: Card, *, folded: bool = False, precision: Precision = "float32"):
        super().__init__()
        if precision != "float32" and not folded:
            raise ValueError("only a folded model computes in another precision")
        self.network = network.folded(torch.bfloat16 if precision == "bf16" else None) if folded else network
        self.card = card
        self.folded = folded

    @cached_property
    def continual(self) -> ContinualSymGNN | None:
        """The network as streams run it, one frame a tick; None where it needs a whole window at every frame."""
        network = self.network
        if not self.folded or not isinstance(network, SymGNN) or why_not_continual(network.config, network.observed):
            return None
        return ContinualSymGNN(network)

    def forward(
        self,
        observed: Float[Tensor, "batch time joint channel"],
        horizon: int,
        together: Int[Tensor, " batch"] | None = None,
    ) -> Output:
        """See [Standardised.forward][symgnn.models.Standardised.forward]."""
        return self.network(observed, horizon, together)


def build(preset: Preset, layout: Layout, classes: int) -> SymGNN | Baseline:
    """The untrained network of a preset on a body."""
    data, model = preset.data, preset.model
    channels = CHANNELS[data.space]
    if model.network == "sym-gnn":
        return SymGNN(model, layout, observed=data.observed, channels=channels, classes=classes, space=data.space)
    shape = WindowShape(data.observed, data.future, channels, classes, data.space)
    return NETWORKS[model.network](model, layout, shape)


def shipped_names() -> list[str]:
    """Names of the trained models that come with the package."""
    return sorted(path.stem for path in WEIGHTS.glob("*.ckpt"))


def load(
    path: str | Path, device: torch.device | str = "cpu", *, folded: bool = True, precision: Precision = "float32"
) -> TrainedModel:
    """Load a checkpoint of ``symgnn train``, or a model that comes with the package by its name ("cmu"), ready to predict.

    Where the training kept a moving average of the weights, the average is what is loaded. Nothing but tensors and plain
    values is unpickled (``weights_only``).

    Args:
        path: file, or name of a shipped model (a file of that name goes first).
        device: where to put it.
        folded: fold the batch norms away for speed; the answers are the same to rounding. Without it the
            model can be saved and trained further.
        precision: "bf16" computes the blocks in 16 bits: faster on processors and GPUs that have products of them, a little
            less exact (docs/live.md says how much on CMU).

    Raises:
        InputError: no such file, not a checkpoint of symgnn, damaged, or from a newer version.
    """
    if str(path) in shipped_names() and not Path(path).exists():
        path = WEIGHTS / f"{path}.ckpt"
    content = read_checkpoint(path)
    card = Card.from_dict(content["symgnn"], str(path))
    network = build(card.preset, card.layout, len(card.class_names))
    weights: Mapping[str, Tensor] = content["state_dict"]
    prefix = "average.module." if any(name.startswith("average.module.") for name in weights) else "model."
    chosen = {name.removeprefix(prefix): value.float() if value.is_floating_point() else value
              for name, value in weights.items() if name.startswith(prefix)}  # fmt: skip
    try:
        network.load_state_dict(chosen)
    except RuntimeError as error:
        raise InputError(f"{path}: its weights do not fit its preset: {' '.join(str(error).split())[:300]}") from None
    return TrainedModel(network.eval(), card, folded=folded, precision=precision).to(device).eval()


def snapshot_file(run: Path, step: int) -> Path:
    """Where a run whose preset asks for it (``training.snapshots``) keeps the weights of a step."""
    return run / "snapshots" / f"{step}.ckpt"


def snapshot_files(run: Path) -> list[Path]:
    """All snapshots of a run, by step; none where its preset does not ask for them."""
    return sorted((run / "snapshots").glob("*.ckpt"), key=lambda path: (len(path.stem), path.stem))


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """The raw content of a checkpoint, checked to be one of symgnn's."""
    path = Path(path)
    if path.suffix.lower() == ".onnx":
        raise InputError(
            f"{path}: found an exported model, expected the checkpoint it was made from (symgnn.open_onnx opens it)"
        )
    if not path.is_file():
        shipped = (
            f", or the name of a model that comes with the package ({', '.join(names)})" if (names := shipped_names()) else ""
        )
        raise InputError(f"{path}: no such file; expected a checkpoint written by `symgnn train` (RUN/last.ckpt){shipped}")
    try:
        with zipfile.ZipFile(path) as archive:
            # PyTorch itself would read changed bytes as weights.
            damaged = archive.testzip()
        content = None if damaged else torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise InputError(
            f"{path}: not a checkpoint of symgnn: it holds more than tensors and plain values, which could run code"
        ) from None
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError, OSError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(f"{path}: cannot be read as a checkpoint: it is damaged or of another program ({reason})") from None
    if damaged:
        raise InputError(f"{path}: is damaged ({damaged} in it is not what was written): take another copy")
    if not isinstance(content, dict) or not all(isinstance(content.get(part), dict) for part in ("symgnn", "state_dict")):
        raise InputError(f"{path}: a PyTorch file, but not a checkpoint of symgnn (no symgnn entry in it)")
    return content


def save(path: str | Path, model: TrainedModel, *, half: bool = False) -> None:
    """Write a checkpoint for inference: card and weights, no optimiser.

    Args:
        half: store the weights in half precision (half the size; they are read back into float32). Statistics of the data
            stay exact.
    """
    if model.folded:
        raise ValueError("a folded model cannot be saved: load it with folded=False")
    # A half reaches from 6e-8 to 65504: too little for a variance.
    keep = {"mean", "scale", "bone_mean", "bone_scale", "rates", "running_mean", "running_var"}
    weights = {
        f"model.{name}": value.half() if half and value.is_floating_point() and name.split(".")[-1] not in keep else value
        for name, value in model.network.state_dict().items()
    }
    write_checkpoint({"symgnn": model.card.to_dict(), "state_dict": weights}, path)


def write_checkpoint(content: Any, path: str | Path) -> None:
    """``torch.save``, whole or not at all, see [write_whole][symgnn.files.write_whole]; folders above ``path`` are made."""
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror or error}") from None
    write_whole(path, lambda file: _save(content, file))


def _save(content: Any, file: IO[bytes]) -> None:
    try:
        torch.save(content, file)
    except RuntimeError as error:
        # The archive is closed on the way out, which fails again and hides what was wrong with the file.
        if isinstance(error.__context__, OSError):
            raise error.__context__ from None
        raise
