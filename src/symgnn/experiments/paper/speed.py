"""How fast a network answers one clip after another: the horizontal axis of Fig. 8."""

import time

import torch

from symgnn.models.checkpoint import TrainedModel

AHEAD = 10
"""Frames predicted: 400 ms."""
ROUNDS = 30


@torch.inference_mode()
def frames_in(milliseconds: float, model: TrainedModel) -> dict[str, float]:
    """Frames generated in a time when 400 ms are predicted, one clip at a time, folded, the median of several.

    Args:
        milliseconds: the time.
        model: folded.
    """
    window = torch.zeros(1, model.preset.data.observed, *model.network.mean.shape, device=model.network.mean.device)
    times = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        output = model(window, AHEAD)
        float((output.logits if output.future is None else output.future).sum())  # waits for the device
        times.append(time.perf_counter() - began)
    each = 1000 * sorted(times)[ROUNDS // 2]
    return {"frames": AHEAD * milliseconds / each, "milliseconds": each}
