"""From a checkpoint to one ONNX file, run at once against the model it was made from."""

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from symgnn.errors import InputError
from symgnn.files import write_whole
from symgnn.models import SymGNN
from symgnn.models.checkpoint import TrainedModel
from symgnn.runtime.onnx_model import SUFFIX, OnnxModel, open_content, sealed_content, sees_persons, wants_packages

TOLERANCE = {"float32": 1e-4, "int8": 0.1}
"""Largest difference from the model in PyTorch, relative to its largest answer, that is rounding and not a mistake."""


@dataclass(frozen=True)
class Exported:
    """A file that was written."""

    path: Path
    size: int
    """Bytes."""
    differences: dict[str, float]
    """Largest difference from the model in PyTorch for each output, relative to the largest value of that output."""
    windows: int
    """Random windows that were compared."""


def export(model: TrainedModel, path: str | Path, *, int8: bool = False) -> Exported:
    """Write a model as one ONNX file that holds everything: the way from poses in the units of the data to both answers.

    Batch and horizon are chosen when it runs. It is compared with the model in PyTorch on random windows with and without
    missing joints, alone and together, and written only if they agree; in 8 bits, roughly.

    Args:
        model: of [load][symgnn.models.checkpoint.load].
        path: of the file, ending in .onnx.
        int8: compute the backbone's wide products in 8-bit integers, with scales found as it runs: faster, and less exact.

    Raises:
        InputError: another suffix, the file cannot be written, the packages of the extra ``export`` are not installed, or the
            file would answer differently; nothing is written then.
    """
    path = Path(path)
    if path.suffix.lower() != SUFFIX:
        raise InputError(f"{path}: found the suffix {path.suffix!r}, expected {SUFFIX}")
    if not isinstance(model.network, SymGNN):
        raise InputError(
            f"{path}: found a model of network {model.preset.model.network}, expected sym-gnn: export is for it alone"
        )
    network = deepcopy(model.network) if model.folded else model.network.folded()
    network = network.to("cpu", torch.float32).eval()
    with wants_packages():
        from symgnn.runtime.onnx_network import write_graph

        proto = write_graph(network, model.preset.data.future, version("symgnn"), int8=int8)
    precision = "int8" if int8 else "float32"
    content = sealed_content(proto, model.card, precision)
    exported = open_content(content, str(path))
    differences, windows = compare(network, exported)
    for name, difference in differences.items():
        if not difference <= TOLERANCE[precision]:  # NaN is not
            raise InputError(
                f"{path}: is not written: under onnxruntime {name} differs from PyTorch's by {difference:.1e} of its largest "
                f"value, expected at most {TOLERANCE[precision]:.0e}; please report this with the checkpoint"
            )
    write_whole(path, content)
    return Exported(path, len(content), differences, windows)


@torch.inference_mode()
def compare(network: SymGNN, exported: OnnxModel) -> tuple[dict[str, float], int]:
    """Largest difference of each output, relative to the largest value of that output, and how many windows were looked at."""
    differences: dict[str, float] = {}
    count = 0
    for observed, horizon, together in _cases(network, exported):
        count += len(observed)
        expected, found = network(observed, horizon, together), exported(observed, horizon, together)
        for name in ("logits", "future", "actional"):
            one, other = getattr(expected, name), getattr(found, name)
            if one is None or other is None or one.shape != other.shape:
                if one is not other:
                    differences[name] = float("nan")
                continue
            difference = float((other - one).abs().max() / one.abs().max().clamp(min=1e-30))
            differences[name] = max(difference, differences.get(name, 0.0), key=lambda value: (value != value, value))
    return differences, count


def _cases(network: SymGNN, exported: OnnxModel) -> Iterator[tuple[Tensor, int, Tensor | None]]:
    """Windows, horizons and who is seen together."""
    generator = torch.Generator().manual_seed(0)
    yield _windows(network, 1, generator), exported.preset.data.future, None
    yield _with_gaps(_windows(network, 3, generator), generator), 1, None
    together = torch.tensor([0, 0, 1, 2]) if sees_persons(exported.card) else None
    yield _with_gaps(_windows(network, 4, generator), generator), 40, together


def _windows(network: SymGNN, batch: int, generator: torch.Generator) -> Float[Tensor, "batch time joint channel"]:
    """Smooth motion about the mean pose, each coordinate as large as in the training data."""
    joints, channels = network.mean.shape
    time = torch.linspace(0, 1, network.observed)[:, None, None]
    waves = [
        torch.randn(batch, 1, joints, channels, generator=generator)
        * torch.sin(2 * torch.pi * (number * time + torch.rand(batch, 1, joints, channels, generator=generator)))
        for number in (0.5, 1, 3)
    ]
    return network.mean + network.scale * torch.stack(waves).sum(dim=0)


def _with_gaps(windows: Tensor, generator: torch.Generator) -> Tensor:
    """Joints missing now and then, one in the first half, one in the second, one throughout."""
    gaps = torch.rand(windows.shape[:3], generator=generator) < 0.1
    half, joints = windows.shape[1] // 2, windows.shape[2]
    gaps[:, :half, 0] = True
    gaps[:, half:, 1 % joints] = True
    gaps[:, :, joints - 1] = True
    return windows.masked_fill(gaps[..., None], torch.nan)
