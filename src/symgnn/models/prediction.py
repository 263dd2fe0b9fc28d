"""The motion-prediction head. Section 5.3."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from symgnn.nn import Dropout, JointGraphConvolution, cosines
from symgnn.nn.precision import as_products_take


class PredictionHead(nn.Module):
    """Motion-prediction head, eq. (10).

    From H⁽⁰⁾ = MLP([H0, H1, H2]), frame after frame,

        H̃⁽ᵗ⁾   = JGC(H⁽ᵗ⁾)                               (10a)
        H⁽ᵗ⁺¹⁾ = GRU([X̂⁽ᵗ⁾, Δ¹X̂⁽ᵗ⁾, Δ²X̂⁽ᵗ⁾, ŷ], H̃⁽ᵗ⁾)      (10b)
        X̂⁽ᵗ⁺¹⁾ = X̂⁽ᵗ⁾ + f_pred(H⁽ᵗ⁺¹⁾)                    (10c)

    Differences are small beside poses, and Adam moves every weight alike, so (10b) would learn to use them late. They are
    therefore divided by their mean absolute value over the training data, and the displacement of (10c) is multiplied by that
    of Δ¹ (``rates``): a change of variables of the first and last weights, the functions are the same (reading 24).

    The gates' order and the use of two biases are those of ``torch.nn.GRUCell``. The last layer of f_pred starts at zero: an
    untrained head predicts that the body stands still. With ``look_back`` the MLP that gives H⁽⁰⁾ also reads the last frames,
    less the current one, as coefficients of the orthonormal cosine transform over time (reading 45). Work that does not change
    from frame to frame is done once: the rows of the graphs and the class labels' share of the gates.

    Args:
        inputs: features of [H0, H1, H2].
        hidden: features of the GRU and of both MLPs (sec. 6.1.2: 256).
        channels: coordinates a node.
        classes: length of ŷ; 0 for a network without recognition.
        convolution: the JGC of (10a), ``hidden`` to ``hidden``.
        dropout: rate.
        look_back: last observed frames that H⁽⁰⁾ is made from besides the features; 0 for none, as in the paper.
    """

    rates: Tensor
    cosines: Tensor

    def __init__(
        self,
        inputs: int,
        hidden: int,
        channels: int,
        classes: int,
        convolution: JointGraphConvolution,
        dropout: float,
        look_back: int = 0,
    ):
        super().__init__()
        self.look_back = look_back
        self.register_buffer("cosines", cosines(look_back) if look_back else None, persistent=False)
        inputs += look_back * channels
        self.fuse = nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), Dropout(dropout), nn.Linear(hidden, hidden), nn.ReLU())
        self.convolution = convolution
        self.register_buffer("rates", torch.ones(2))
        self.cell = nn.GRUCell(3 * channels + classes, hidden)
        self.displace = nn.Sequential(nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, channels))
        last = self.displace[-1]
        assert isinstance(last, nn.Linear)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def forward(
        self,
        hidden: Float[Tensor, "batch joint feature"],
        actional: Float[Tensor, "batch joint joint"] | None,
        recent: Float[Tensor, "batch recent joint channel"],
        soft_labels: Float[Tensor, "batch classes"] | None,
        horizon: int,
    ) -> Float[Tensor, "batch horizon joint channel"]:
        """Predict ``horizon`` frames.

        Args:
            hidden: [H0, H1, H2] of the backbone.
            actional: the clip's actional graph, for (10a).
            recent: the last observed frames in normalised units, three or as many as ``look_back``, the current one last
                (reading 14).
            soft_labels: ŷ, probabilities; None for a network without recognition.
        """
        channels = recent.shape[-1]
        rows, mixing = self.convolution.prepare(actional)
        # The rates go into the weights, once for all frames.
        per_rate = torch.cat((torch.ones_like(self.rates[:1]), 1 / self.rates)).repeat_interleave(channels)
        of_motion, of_labels = self.cell.weight_ih.split((3 * channels, self.cell.input_size - 3 * channels), dim=1)
        of_motion, bias = of_motion * per_rate, self.cell.bias_ih
        if soft_labels is not None:
            bias = nn.functional.linear(soft_labels, of_labels, bias)[:, None]
        first, _, last = self.displace
        assert isinstance(first, nn.Linear) and isinstance(last, nn.Linear)
        step, drift = last.weight * self.rates[0], last.bias * self.rates[0]
        of_motion, step, drift = as_products_take(of_motion, step, drift)  # once for all frames

        state = self.fuse(self.with_path(hidden, recent))
        before, pose = recent[:, -2], recent[:, -1]
        velocity, last_velocity = pose - before, before - recent[:, -3]
        frames = []
        for _ in range(horizon):
            mixed = nn.functional.linear((rows @ state).view(*state.shape[:-1], -1), mixing, self.convolution.bias)
            motion = torch.cat((pose, velocity, velocity - last_velocity), dim=-1)
            gates = nn.functional.linear(motion, of_motion) + bias
            state = self._gru(gates, nn.functional.linear(mixed, self.cell.weight_hh, self.cell.bias_hh), mixed)
            last_velocity = velocity
            velocity = nn.functional.linear(nn.functional.linear(state, first.weight, first.bias).relu_(), step, drift)
            pose = pose + velocity
            frames.append(pose)
        return torch.stack(frames, dim=1)

    def with_path(
        self,
        hidden: Float[Tensor, "batch joint feature"],
        recent: Float[Tensor, "batch recent joint channel"],
    ) -> Float[Tensor, "batch joint input"]:
        """The features beside each node's path to the current pose, as cosine coefficients; as they are without look_back."""
        if not self.look_back:
            return hidden
        path = recent[:, -self.look_back :] - recent[:, -1:]
        coefficients = torch.einsum("kt,btjc->bjkc", self.cosines, path)
        return torch.cat((hidden, coefficients.flatten(2).to(hidden.dtype)), dim=-1)

    @staticmethod
    def _gru(
        inputs: Float[Tensor, "batch joint gates"],
        hiddens: Float[Tensor, "batch joint gates"],
        state: Float[Tensor, "batch joint hidden"],
    ) -> Float[Tensor, "batch joint hidden"]:
        """One step of a gated recurrent unit from the two halves of its gates, ordered reset, update, new."""
        size = state.shape[-1]
        # Split, not sliced: backwards that is one concatenation, in place of zeros and a copy for every slice.
        gates, candidate = inputs.split((2 * size, size), dim=-1)
        own_gates, own_candidate = hiddens.split((2 * size, size), dim=-1)
        reset, update = (gates + own_gates).sigmoid().chunk(2, dim=-1)
        new = torch.addcmul(candidate, reset, own_candidate).tanh()
        # Under mixed precision the two halves of the gates differ in type, as ŷ enters or not.
        return torch.lerp(new, state.to(new.dtype), update.to(new.dtype))
