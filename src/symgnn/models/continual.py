"""A network that goes on from frame to frame: one frame of every block a tick, in place of a whole window (reading 42)."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from symgnn.config import ModelConfig
from symgnn.errors import InputError
from symgnn.models.backbone import Branch, frames_left, infers_actional, temporal_plan
from symgnn.models.network import RECENT, Features, Network
from symgnn.models.symgnn import SymGNN
from symgnn.nn import ContinualBlock, FoldedBlock, Recent
from symgnn.types import Output


def reach(config: ModelConfig, observed: int) -> int:
    """Frames back from the current one, itself included, on which the features of an unpadded network depend."""
    frames, spacing = 1 + max(config.difference_orders), 1
    for _, kernel, stride in temporal_plan(config):
        frames += (kernel - 1) * spacing
        spacing *= stride
    return frames + (frames_left(config, observed) - 1) * spacing


def why_not_continual(config: ModelConfig, observed: int) -> str | None:
    """What keeps a preset's network from going on from frame to frame; None where nothing does."""
    if not config.joint:
        return "model.joint is false: what a stream shows besides the class is the joints'"
    if config.padding != "none":
        return "model.padding is same: what a block computes depends on where its window starts"
    if infers_actional(config) and config.actional_in != "decoder":
        return "model.actional_in is everywhere: the window's actional graph changes all that the blocks have computed"
    if config.placement != "none":
        return f"model.placement is {config.placement}: coordinates begin anew with each window"
    if reach(config, observed) > observed:
        return f"its features depend on {reach(config, observed)} frames, its window has {observed}"
    return None


@dataclass
class State:
    """Where a stream stands: what its next frame needs of the frames before it."""

    ticks: int
    """Frames taken in."""
    pose: Float[Tensor, "joint channel"]
    """The last one, in the units of the data; a joint that is missing keeps its last value."""
    window: Float[Tensor, "observed joint channel"]
    """A ring of the observed frames of the joints in normalised units, for AGIM."""
    recent: list[Float[Tensor, "recent _ channel"]]
    """The last frames of each network, in normalised units: three, or as many as its prediction head looks back."""
    blocks: list[dict[str, list[Tensor]]]
    """Of each network's blocks, what they remember."""


class ContinualSymGNN(nn.Module):
    """A Sym-GNN whose blocks compute one frame a tick. Its answers are those of the window that ends with the last frame.

    That holds because nothing in a block depends on where a window starts: no padding, no actional graph in the blocks, no
    placement by the window's first frame, and a reach that fits the window. The actional graph of the window is inferred at
    every answer all the same, for the prediction head and for who wants to see it.

    Args:
        network: as ``SymGNN.folded`` gives it.

    Raises:
        InputError: the network cannot go on from frame to frame; the message says why.
    """

    def __init__(self, network: SymGNN):
        super().__init__()
        if reason := why_not_continual(network.config, network.observed):
            raise InputError(f"this network starts anew with every frame: {reason} (train the preset cmu-live, or one like it)")
        self.network = network
        self.recent = max(RECENT, network.config.look_back)
        self.trunks = nn.ModuleList(
            _Trunk(part, network.config, network.observed) for part in network.networks if isinstance(part, Network)
        )

    @torch.inference_mode()
    def start(self) -> State:
        """A stream that has not begun."""
        like, observed = self.network.mean, self.network.observed
        counts = [len(like), len(like) - 1][: len(self.trunks)]
        return State(
            ticks=0,
            pose=like.clone(),
            window=like.new_zeros(observed, *like.shape),
            recent=[like.new_zeros(self.recent, count, like.shape[1]) for count in counts],
            blocks=[trunk.start() for trunk in self._trunks()],
        )

    @torch.inference_mode()
    def push(self, state: State, pose: Float[Tensor, "joint channel"]) -> None:
        """Take in the next frame at the model's rate.

        Args:
            state: is changed.
            pose: in the units of the data, NaN where missing. Missing joints keep their last value; the training mean until
                they have been seen.
        """
        state.pose = torch.where(pose.isnan(), state.pose, pose.to(state.pose.dtype))
        views = self.network.normalise(state.pose[None, None])
        state.window[state.ticks % len(state.window)] = views[0][0, 0]
        for index, trunk in enumerate(self._trunks()):
            view = views[index][0]
            before = view.expand(self.recent - 1, -1, -1) if not state.ticks else state.recent[index][1:]
            state.recent[index] = torch.cat((before, view))
            trunk(_differences(state.recent[index][-RECENT:], trunk.orders), state.blocks[index], state.ticks)
        state.ticks += 1

    @torch.inference_mode()
    def answer(self, state: State, horizon: int) -> Output:
        """Both answers for the window that ends with the last frame, a batch of one; as ``SymGNN.forward`` gives them.

        Raises:
            ValueError: fewer frames were taken in than the window has.
        """
        if state.ticks < len(state.window):
            raise ValueError(f"the model observes {len(state.window)} frames, the stream has had {state.ticks}")
        network = self.network
        joints = network.networks[0]
        assert isinstance(joints, Network)
        actional = None
        if joints.backbone.agim is not None:
            actional = joints.backbone.agim(state.window.roll(-state.ticks, dims=0)[None])
        features = [
            Features(trunk.features(memory, state.ticks - 1).to(recent.dtype), actional if index == 0 else None, recent[None])
            for index, (trunk, memory, recent) in enumerate(zip(self._trunks(), state.blocks, state.recent, strict=True))
        ]
        logits = network.fuse(network.recognise(features))
        futures = network.predict(features[:1], logits, horizon)
        return Output(logits, network.denormalise(futures[0]) if futures else None, actional)

    def _trunks(self) -> list["_Trunk"]:
        return [trunk for trunk in self.trunks if isinstance(trunk, _Trunk)]


def _differences(recent: Float[Tensor, "recent node channel"], orders: tuple[int, ...]) -> Float[Tensor, "branch node channel"]:
    """Eq. (9) at the last of three frames."""
    earlier, before, now = recent
    found = (now, now - before, now - 2 * before + earlier)
    return torch.stack([found[order] for order in orders])


class _Trunk(nn.Module):
    """The branches of one network, side by side: the counterpart of ``Branch`` and of the averages at its end."""

    def __init__(self, network: Network, config: ModelConfig, observed: int):
        super().__init__()
        branches = [branch for branch in network.backbone.branches if isinstance(branch, Branch)]
        self.orders = network.backbone.orders
        self.fuse_after = branches[0].fuse_after
        self.scales = branches[0].scales
        self.joint_blocks, self.part_blocks = nn.ModuleDict(), nn.ModuleDict()
        spacing = 1
        for number, _, stride in temporal_plan(config):
            for blocks, of_branches in (
                (self.joint_blocks, [branch.joint_blocks for branch in branches]),
                (self.part_blocks, [branch.part_blocks for branch in branches]),
            ):
                folded = [each[str(number)] for each in of_branches if str(number) in each]
                if folded:
                    same = [block for block in folded if isinstance(block, FoldedBlock)]
                    blocks[str(number)] = ContinualBlock(same, spacing)
            spacing *= stride
        self.average = Recent(frames_left(config, observed), spacing)

    def start(self) -> dict[str, list[Tensor]]:
        blocks = {f"joint {number}": block for number, block in self.joint_blocks.items()}
        blocks |= {f"part {number}": block for number, block in self.part_blocks.items()}
        return {name: block.start() for name, block in blocks.items() if isinstance(block, ContinualBlock)}

    def forward(self, x: Float[Tensor, "branch node channel"], memory: dict[str, list[Tensor]], tick: int) -> None:
        # The blocks may compute in another precision than what is around them (``SymGNN.folded``).
        x = x.to(self.scales.pooling.dtype)
        joints = parts = None
        if self.joint_blocks:
            joints = self.joint_blocks["1"](x, memory["joint 1"], tick)
        if self.part_blocks:
            parts = self.scales.joint2part(x if joints is None else joints)
        for number in list(self.joint_blocks or self.part_blocks)[1 if self.joint_blocks else 0 :]:
            if joints is not None:
                joints = self.joint_blocks[number](joints, memory[f"joint {number}"], tick)
            if parts is not None:
                parts = self.part_blocks[number](parts, memory[f"part {number}"], tick)
            if int(number) in self.fuse_after:
                assert joints is not None and parts is not None
                joints, parts = (
                    torch.cat((joints, self.scales.part2joint(parts)), dim=-1),
                    torch.cat((parts, self.scales.joint2part(joints)), dim=-1),
                )
        copied = None if parts is None else self.scales.part2joint(parts)
        last = copied if joints is None else joints if copied is None else joints + copied
        assert last is not None
        if "average" not in memory:
            memory["average"] = [self.average.empty(last)]
        self.average(memory["average"][0], last, tick)

    def features(self, memory: dict[str, list[Tensor]], tick: int) -> Float[Tensor, "batch node feature"]:
        """[H0, H1, H2] of the window that ended with this tick."""
        (kept,) = memory["average"]
        places = self.average.places[tick % self.average.length]
        return kept.index_select(2, places).mean(dim=2).transpose(0, 1).flatten(1)[None]
