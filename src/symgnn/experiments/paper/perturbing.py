"""Gaussian noise on the input: what becomes of the answers (Fig. 14) and of the actional graph's response (Fig. 15)."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from symgnn.data import Store
from symgnn.data.converting import METRES
from symgnn.errors import InputError
from symgnn.evaluation import Model
from symgnn.models import SymGNN
from symgnn.models.checkpoint import Described, TrainedModel
from symgnn.nn import fill_missing
from symgnn.types import Motion, Output

AT_A_TIME = 64
"""Windows that a network sees at once."""


def sigma_for(store: Store, sigma: float) -> float:
    """The paper's σ in the units of a store (reading 44): radians for rotations, metres for positions in space.

    In an image it stays what it is: its unit is the image's own.
    """
    return sigma / METRES[store.unit] if store.space == "xyz" and store.unit in METRES else sigma


def add_noise(motion: Motion, sigma: float, generator: torch.Generator, channels: int = 3) -> Motion:
    """Motion with noise of N(0, σ²), drawn independently for each frame, joint and coordinate; NaN stays NaN.

    The same generator state gives the same directions whatever σ is.

    Args:
        motion: poses in the units of the data.
        sigma: standard deviation in the same units, 0 or more.
        generator: source of the noise, on the CPU.
        channels: leading channels that are disturbed: 2 where the third one is a detector's confidence.
    """
    if not (sigma >= 0 and math.isfinite(sigma)):
        raise ValueError(f"a standard deviation is 0 or more, not {sigma}")
    noise = torch.randn(motion.shape, generator=generator, dtype=torch.float64)
    noise[..., channels:] = 0
    return motion + sigma * noise.to(motion)


class Perturbed(nn.Module):
    """A model whose observed frames are disturbed before it sees them; targets stay what they are (Fig. 14).

    To [evaluate][symgnn.evaluation.evaluate] it is the model itself, whatever that is: a trained one, a baseline, a function.

    Args:
        model: whom to disturb.
        sigma: standard deviation of the noise in the units of the data, see ``sigma_for``.
        generator: source of the noise, on the CPU; it goes on from call to call.
        channels: leading channels that are disturbed, as in ``add_noise``.
    """

    def __init__(self, model: Model, sigma: float, generator: torch.Generator, channels: int = 3):
        super().__init__()
        self.model, self.sigma, self.generator, self.channels = model, sigma, generator, channels
        self.name = getattr(model, "name", type(model).__name__)
        for attribute in () if isinstance(model, Described) else ("observed", "layout", "class_names", "stored_mean"):
            if hasattr(model, attribute):
                setattr(self, attribute, getattr(model, attribute))

    def forward(self, observed: Motion, horizon: int, *together: Tensor) -> Output:
        """What the model answers to the disturbed frames."""
        return self.model(add_noise(observed, self.sigma, self.generator, self.channels), horizon, *together)


class _PerturbedDescribed(Described, Perturbed):
    """One that has a card."""

    def __init__(self, model: Described, sigma: float, generator: torch.Generator):
        Perturbed.__init__(self, model, sigma, generator, 2 if model.preset.data.space == "xyc" else 3)
        self.card = model.card


def perturbed(model: Model, sigma: float, generator: torch.Generator) -> Perturbed:
    """A model under noise, for ``evaluate``; of one with a card an image's confidence stays as it is."""
    if isinstance(model, Described):
        return _PerturbedDescribed(model, sigma, generator)
    return Perturbed(model, sigma, generator)


@torch.no_grad()
def perturbation_ratio(model: SymGNN | TrainedModel, windows: Motion, sigma: float, generator: torch.Generator) -> float:
    """Ratio of Fig. 15: ‖A*_act X* - A_act X‖_F / ‖X* - X‖_F, the mean over windows (reading 44).

    X are the positions (Δ⁰) of all observed frames as the joint network sees them, in normalised units, a row a joint; A_act is
    the graph of eq. (2) that it infers from them; the star is the same window with noise.

    Args:
        model: a network with an actional graph.
        windows: observed frames in the units of the data, wherever they are.
        sigma: standard deviation of the noise in the units of the data, above 0.
        generator: source of the noise, on the CPU.

    Raises:
        InputError: the network has no actional graph, or σ is not above 0.
    """
    if not sigma > 0:
        raise InputError(f"sigma: found {sigma:g}, expected more than 0: without noise there is no ratio")
    network = model.network if isinstance(model, TrainedModel) else model
    if not isinstance(network, SymGNN):
        raise InputError(f"{network.config.network} has no actional graph: expected sym-gnn")
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        found = [
            _ratios(network, part, add_noise(part, sigma, generator, 2 if network.placement.flat else 3))
            for part in windows.to(network.mean.device).split(AT_A_TIME)
        ]
    finally:
        for module, training in modes:
            module.training = training
    return float(torch.cat(found).mean())


def _ratios(network: SymGNN, clean: Motion, noisy: Motion) -> Float[Tensor, " batch"]:
    (before, response), (after, disturbed) = _response(network, clean), _response(network, noisy)
    return (disturbed - response).flatten(1).norm(dim=1) / (after - before).flatten(1).norm(dim=1)


def _response(
    network: SymGNN, observed: Motion
) -> tuple[Float[Tensor, "batch joint position"], Float[Tensor, "batch joint position"]]:
    """X and A_act X."""
    placed, _ = network.place(observed)
    filled = fill_missing(placed, network.mean, hold=network.config.padding == "none")
    positions = network.normalise(filled)[0].transpose(1, 2).flatten(2).double()
    actional = network.encode(placed)[0].actional if network.config.joint else None
    if actional is None:
        raise InputError(
            "the network has no actional graph of joints (model.graphs structural, parts or bones alone): nothing to compare"
        )
    return positions, actional.double() @ positions
