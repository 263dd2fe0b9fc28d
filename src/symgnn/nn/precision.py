"""Mixed precision: casting once what many products share."""

import torch
from torch import Tensor


def as_products_take(*tensors: Tensor) -> list[Tensor]:
    """The tensors in the precision autocast would cast them to at every product; as they are where it is off."""
    kind = tensors[0].device.type
    # Of devices without autocast ("meta", which has shapes alone) torch refuses to say whether it is on.
    if torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind):
        return [tensor.to(torch.get_autocast_dtype(kind)) for tensor in tensors]
    return list(tensors)
