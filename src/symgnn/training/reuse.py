"""Fine-tuning: what of a trained model carries over to other classes, another body or another window."""

from dataclasses import dataclass

import torch
from torch import Tensor

from symgnn.models import Standardised
from symgnn.models.checkpoint import TrainedModel
from symgnn.skeleton import Layout


@dataclass(frozen=True)
class Reused:
    """What became of each tensor of a network."""

    reused: tuple[str, ...]
    """Taken over whole."""
    part: tuple[str, ...]
    """Taken over but for what belongs to other classes."""
    new: tuple[str, ...]
    """As a training from nothing begins."""
    shared: int
    """Parameters taken over."""
    total: int
    """Parameters of the network."""

    def sentences(self) -> list[str]:
        """To be told to whoever trains."""
        lines = [f"reused: {self.shared:,} of {self.total:,} parameters ({len(self.reused)} tensors whole)"]
        if self.part:
            lines.append(f"reused but for the classes: {_shortened(self.part)}")
        if self.new:
            lines.append(f"new: {_shortened(self.new)}")
        return lines


@torch.no_grad()
def reuse(network: Standardised, trained: TrainedModel, layout: Layout, class_names: tuple[str, ...]) -> Reused:
    """Start a network from a trained one, as far as they fit.

    A parameter is taken over where it has the same name and shape; weights between joints where the joints in use are the
    same; scores and the decoder's label inputs of classes by the names of the classes. Statistics of the data (mean, scale)
    are not parameters and stay those of the new data.

    Args:
        network: the network to train, its normalisation fitted.
        trained: where to start from, not folded.
        layout: the body of the new data.
        class_names: classes of the new data.
    """
    old = dict(trained.network.named_parameters())
    same_body = trained.layout.node_names == layout.node_names and trained.layout.edges == layout.edges
    same_parts = (trained.layout.part_names, trained.layout.part_edges) == (layout.part_names, layout.part_edges)
    same_classes = [
        (place, trained.class_names.index(name)) for place, name in enumerate(class_names) if name in trained.class_names
    ]
    all_classes = class_names == trained.class_names
    whole, part, new, shared = [], [], [], 0
    for name, parameter in network.named_parameters():
        before = old.get(name)
        of_classes = not all_classes and (".recognition.classify." in name or name.endswith(".cell.weight_ih"))
        fits = same_parts if ".part_blocks." in name else same_body
        if (
            before is not None
            and of_classes
            and _without_classes(name, parameter).shape == _without_classes(name, before).shape
        ):
            shared += _take_classes(name, parameter, before, same_classes, len(class_names), len(trained.class_names))
            part.append(name)
        elif (
            before is not None and before.shape == parameter.shape and not of_classes and (fits or not name.endswith(".edges"))
        ):
            parameter.copy_(before)
            shared += parameter.numel()
            whole.append(name)
        else:
            new.append(name)
    for name, buffer in network.named_buffers():
        before = dict(trained.network.named_buffers()).get(name)
        if name.split(".")[-1].startswith("running") and before is not None and before.shape == buffer.shape:
            buffer.copy_(before)
    total = sum(parameter.numel() for parameter in network.parameters())
    return Reused(tuple(whole), tuple(part), tuple(new), shared, total)


def _without_classes(name: str, tensor: Tensor) -> Tensor:
    """A tensor of the shape that does not depend on the number of classes."""
    return tensor[:1] if ".recognition." in name else tensor[:, :1]


def _take_classes(
    name: str, parameter: Tensor, before: Tensor, same: list[tuple[int, int]], classes: int, old_classes: int
) -> int:
    """Rows (of the scores) or columns (of the decoder's label inputs) of the classes that have one name; number of values."""
    if ".recognition." in name:
        for place, old_place in same:
            parameter[place] = before[old_place]
        return len(same) * parameter[0].numel()
    motion = parameter.shape[1] - classes
    parameter[:, :motion] = before[:, : before.shape[1] - old_classes]
    for place, old_place in same:
        parameter[:, motion + place] = before[:, before.shape[1] - old_classes + old_place]
    return (motion + len(same)) * parameter.shape[0]


def _shortened(names: tuple[str, ...]) -> str:
    short = [name.removeprefix("networks.") for name in names]
    return ", ".join(short[:6]) + (f" and {len(short) - 6} more" if len(short) > 6 else "")
