"""Sym-GNN, the whole model: from poses in the units of the data to both answers. Section 5, Fig. 1."""

from collections.abc import Iterator, Sequence
from copy import deepcopy

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from symgnn.config import ModelConfig
from symgnn.errors import InputError
from symgnn.models.backbone import frames_left
from symgnn.models.network import Features, Network
from symgnn.models.standardised import Standardised
from symgnn.nn import GraphTemporalBlock, JointGraphConvolution, fill_missing
from symgnn.skeleton import Layout, Space, bone_graph, joint_graph
from symgnn.types import Output


class SymGNN(Standardised):
    """Symbiotic graph neural networks: a joint network and its dual bone network, unless the preset leaves one of them out.

    The model owns its preprocessing: it normalises each coordinate by the training data's mean and scale (buffers), fills
    missing joints, derives the bones, and turns its predictions back into the units of the data. Training, streaming and export
    share it. The bone network sees the bones of the filled pose, child minus parent (reading 15), normalised by their own
    statistics; its scores are added to the joint network's before the softmax. Alone it recognises: neither its future nor its
    actional graph is of joints (reading 48).

    Args:
        config: the preset's network.
        layout: the body.
        observed: frames of the window.
        channels: coordinates a joint (3 for positions and for exponential maps).
        classes: number of classes.
        space: what the coordinates are, for ``config.placement``.
    """

    bone_mean: Tensor
    bone_scale: Tensor
    bone_parents: Tensor
    bone_children: Tensor

    def __init__(
        self, config: ModelConfig, layout: Layout, *, observed: int, channels: int, classes: int, space: Space = "xyz"
    ):
        super().__init__(config, layout, observed, channels, classes, space)
        if not (config.recognition or config.prediction):
            raise ValueError("a model needs a recognition head, a prediction head, or both")
        if observed < 3:
            raise ValueError(f"a window needs 3 observed frames for its accelerations, not {observed}")
        if frames_left(config, observed) < 1:
            raise InputError(
                f"model.padding: found none with kernels {config.kernels} and strides {config.strides}, which need more than "
                f"the {observed} observed frames of the window: expected smaller kernels, or padding same"
            )
        if config.look_back > observed:
            raise InputError(f"model.look_back: found {config.look_back}, but the window has {observed} observed frames")
        bones = layout.num_nodes - 1
        self.register_buffer("bone_mean", torch.zeros(bones, channels))
        self.register_buffer("bone_scale", torch.ones(bones, channels))
        parents, children = torch.tensor(layout.edges).reshape(-1, 2).unbind(dim=1)
        self.register_buffer("bone_parents", parents, persistent=False)
        self.register_buffer("bone_children", children, persistent=False)
        # The bone network keeps its name where it is alone: weights fit whatever stands beside them.
        joints = Network(config, joint_graph(layout), observed, channels, classes) if config.joint else nn.Identity()
        self.networks = nn.ModuleList([joints])
        if config.bone:
            self.networks.append(Network(config, bone_graph(layout), observed, channels, classes))

    # -- units -----------------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def fit_normalisation(self, recordings: Sequence[Float[Tensor, "_ joint channel"]]) -> None:
        """Set the mean and scale of every coordinate of joints and bones, and the prediction heads' rates, from training data.

        Coordinates that hardly vary (standard deviation below 1e-4) get scale 1, as the published preprocessing has it.

        Args:
            recordings: poses at the model's frame rate, placed as the model sees them; NaN is left out.
        """
        super().fit_normalisation(recordings)
        self.set_statistics(self.bone_mean, self.bone_scale, self.bones(torch.cat(list(recordings)).double()))
        views = [self.normalise(recording[None]) for recording in recordings]
        for index, network in enumerate(self._networks()):
            if network.prediction is None:
                continue
            for order in (1, 2):
                changes = torch.cat([view[index][0].diff(n=order, dim=0) for view in views])
                size = changes.abs().nanmean()  # not squared: exponential maps jump by 2π now and then
                network.prediction.rates[order - 1] = size if size > 0 else 1.0

    def normalise(self, motion: Float[Tensor, "batch time joint channel"]) -> list[Float[Tensor, "batch time node channel"]]:
        """The motion as each network sees it: joints, then bones, in normalised units and the precision of the weights.

        NaN where a joint is missing; a bone is missing where one of its ends is.
        """
        views = super().normalise(motion)
        if self.config.bone:
            views.append((self.bones(motion.to(self.mean.dtype)) - self.bone_mean) / self.bone_scale)
        return views if self.config.joint else views[1:]

    def bones(self, motion: Float[Tensor, "*axes joint channel"]) -> Float[Tensor, "*axes bone channel"]:
        """Child minus parent of every edge (reading 15)."""
        # Not a product with the incidence matrix: there, one missing joint would make every bone NaN.
        return motion.index_select(-2, self.bone_children) - motion.index_select(-2, self.bone_parents)

    # -- the parts of a step ------------------------------------------------------------------------------------------------

    def encode(self, observed: Float[Tensor, "batch time joint channel"]) -> list[Features]:
        """Backbone features of each network: the joints', then the bones'.

        Args:
            observed: windows in their bodies' own coordinates, see ``place``.

        Raises:
            ValueError: another number of frames than the model was made for.
        """
        self.check_window(observed)
        views = self.normalise(fill_missing(observed, self.mean, hold=self.config.padding == "none"))
        return [network.encode(view) for network, view in zip(self._networks(), views, strict=True)]

    def recognise(
        self, features: Sequence[Features], together: Int[Tensor, " batch"] | None = None
    ) -> list[Float[Tensor, "batch classes"]]:
        """Class scores of each network (empty without recognition heads)."""
        return [
            network.recognition(each.hidden, together)
            for network, each in zip(self._networks(), features, strict=True)
            if network.recognition is not None
        ]

    def fuse(self, scores: Sequence[Float[Tensor, "batch classes"]]) -> Float[Tensor, "batch classes"] | None:
        """Weighted sum of the networks' scores, before the softmax (sec. 5.5; reading 15)."""
        if not scores:
            return None
        return scores[0] if len(scores) == 1 else scores[0] + self.config.bone_weight * scores[1]

    def predict(
        self, features: Sequence[Features], logits: Float[Tensor, "batch classes"] | None, horizon: int
    ) -> list[Float[Tensor, "batch horizon node channel"]]:
        """Futures in normalised units of the networks whose features are given (empty without prediction heads).

        ŷ enters as the softmax of the fused scores, with its gradient stopped (reading 14).
        """
        labels = None if logits is None else logits.detach().softmax(dim=-1)
        return [
            network.prediction(each.hidden, each.actional, each.recent, labels, horizon)
            for network, each in zip(self._networks(), features, strict=False)
            if network.prediction is not None
        ]

    def answer(
        self, observed: Float[Tensor, "batch time joint channel"], horizon: int, together: Int[Tensor, " batch"] | None = None
    ) -> Output:
        features = self.encode(observed)
        logits = self.fuse(self.recognise(features, together))
        if not self.config.joint:
            return Output(logits, None, None)  # reading 48
        # The bone network's future is a training target and nothing else (reading 15): only the joints' is computed here.
        futures = self.predict(features[:1], logits, horizon)
        return Output(logits, futures[0] if futures else None, features[0].actional)

    @torch.no_grad()
    def folded(self, precision: torch.dtype | None = None) -> "SymGNN":
        """A copy for inference: the batch norms of the blocks and all else that does not depend on the input computed once.

        Its answers are those of this model in evaluation mode; it can neither be trained nor saved.

        Args:
            precision: of the products in the blocks, such as ``torch.bfloat16``; by default the weights' own. Differences, AGIM
                and the heads keep theirs: there, products are too small to gain.
        """
        copy = deepcopy(self).eval().requires_grad_(False)
        for module in list(copy.modules()):
            for name, child in list(module.named_children()):
                if isinstance(child, (GraphTemporalBlock, JointGraphConvolution)):
                    setattr(module, name, child.folded())
        for module in copy.modules():
            if isinstance(module, nn.Linear):
                # The layout in memory that a product of few rows reads fastest.
                module.weight.data = module.weight.data.t().contiguous().t()
        for network in copy._networks():
            network.backbone.branches.to(precision)
        return copy

    # -- parameters ---------------------------------------------------------------------------------------------------------

    def backbone_parameters(self) -> list[nn.Parameter]:
        """θ_bk of eq. (15): AGIM and the branches of every network."""
        return [parameter for network in self._networks() for parameter in network.backbone.parameters()]

    def head_parameters(self) -> list[nn.Parameter]:
        """θ_recg and θ_pred of every network."""
        heads = (head for network in self._networks() for head in (network.recognition, network.prediction))
        return [parameter for head in heads if head is not None for parameter in head.parameters()]

    def _networks(self) -> Iterator[Network]:
        return (network for network in self.networks if isinstance(network, Network))
