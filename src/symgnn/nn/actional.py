"""Actional graphs: their inference (AGIM) and the convolution over them (AGC). Section 4.1.1."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from symgnn.nn.dropout import Dropout
from symgnn.nn.norm import FeatureNorm


class _MLP(nn.Sequential):
    """Two layers as Table 16 writes them: linear-relu-dropout-linear-relu-bn."""

    def __init__(self, inputs: int, hidden: int, dropout: float):
        super().__init__(
            nn.Linear(inputs, hidden), nn.ReLU(), Dropout(dropout), nn.Linear(hidden, hidden), nn.ReLU(), FeatureNorm(hidden)
        )


class EdgeMLP(nn.Module):
    """f_e of eq. (1a) and the mean of eq. (1b): mean over j ≠ i of MLP([p_i, p_j]).

    The first layer acts on a concatenation, so W [p_i, p_j] = W_1 p_i + W_2 p_j: two products over joints and a broadcast
    sum instead of one over pairs. The pairs with j ≠ i are laid out as ``(i, i+1), ..., (i, i+M-1)`` modulo M, which is a
    strided view of the joints written twice; the statistics of the batch norm then see the M² - M links of Table 16 only.
    """

    def __init__(self, inputs: int, hidden: int, dropout: float):
        super().__init__()
        self.first = nn.Linear(2 * inputs, hidden)
        self.dropout = Dropout(dropout)
        self.second = nn.Linear(hidden, hidden)
        self.norm = FeatureNorm(hidden)

    def forward(self, joints: Float[Tensor, "batch joint feature"]) -> Float[Tensor, "batch joint hidden"]:
        count, inputs = joints.shape[1:]
        if count == 1:
            return joints.new_zeros(len(joints), 1, self.second.out_features)  # no pair, nothing to collect
        this = nn.functional.linear(joints, self.first.weight[:, :inputs], self.first.bias)
        other = nn.functional.linear(joints, self.first.weight[:, inputs:])
        others = torch.cat((other[:, 1:], other[:, :-1]), dim=1).unfold(1, count - 1, 1).transpose(2, 3)
        edges = self.second(self.dropout((this[:, :, None] + others).relu_())).relu_()
        if self.training:
            return self.norm(edges).mean(dim=2)
        return self.norm(edges.mean(dim=2))  # an affine map with known statistics: the mean goes first


class ActionalGraphInference(nn.Module):
    """Actional graph inference module (AGIM), eqs. (1) and (2), Table 16.

    p⁰_i = f⁰_v(x_i); K times q_ij = f_e([p_i, p_j]) and p_i = f_v(mean of q_ij over j ≠ i); then
    A_ij = softmax over j of f_emb(p_i)ᵀ g_emb(p_j). Each iteration has its own weights (reading 7).

    Args:
        features: length of x_i, observed frames times channels.
        hidden: features of every layer (Table 16: 128).
        iterations: K; 0 leaves the embeddings of p⁰ alone.
        dropout: probability, where Table 16 places it.
    """

    def __init__(self, features: int, hidden: int = 128, iterations: int = 2, dropout: float = 0.1):
        super().__init__()
        self.features, self.hidden = features, hidden
        self.embed = _MLP(features, hidden, dropout)
        self.edges = nn.ModuleList(EdgeMLP(hidden, hidden, dropout) for _ in range(iterations))
        self.nodes = nn.ModuleList(_MLP(hidden, hidden, dropout) for _ in range(iterations))
        self.outgoing = nn.Sequential(_MLP(hidden, hidden, dropout), nn.Linear(hidden, hidden))
        self.incoming = nn.Sequential(_MLP(hidden, hidden, dropout), nn.Linear(hidden, hidden))

    def forward(self, motion: Float[Tensor, "batch time joint channel"]) -> Float[Tensor, "batch joint joint"]:
        """Infer the graph of each clip from its positions.

        Returns:
            Directed weights; row i is the softmax over the other end j (eq. 2), so rows sum to one.
        """
        joints = motion.transpose(1, 2).flatten(2)
        if joints.shape[2] != self.features:
            raise ValueError(
                f"AGIM was made for {self.features} numbers a joint (frames x channels), the window has "
                f"{motion.shape[1]} x {motion.shape[3]} = {joints.shape[2]}"
            )
        p = self.embed(joints)
        for edge, node in zip(self.edges, self.nodes, strict=True):
            p = node(edge(p))
        # The softmax stays in float32 under mixed precision: its arguments are unscaled products of 128 features.
        scores = self.outgoing(p) @ self.incoming(p).transpose(1, 2)
        return scores.float().softmax(dim=2) if scores.dtype in (torch.bfloat16, torch.float16) else scores.softmax(dim=2)


class ActionalGraphConvolution(nn.Module):
    """Actional graph convolution (AGC), eq. (3): Y = A_act X Wᵀ, frame by frame."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs))
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))

    def forward(
        self, x: Float[Tensor, "batch time joint inputs"], actional: Float[Tensor, "batch joint joint"]
    ) -> Float[Tensor, "batch time joint outputs"]:
        return nn.functional.linear(actional[:, None] @ x, self.weight)
