"""The folded network written as an ONNX graph: the same operations in the order that onnxruntime is fastest with.

The model in PyTorch is the one truth: whatever is written here is compared with it at every export. Values lie in memory as
there, ``(batch, time, joint, channel)``; the two transpositions around a convolution cost nothing, onnxruntime takes them into
the rearranging that its convolutions ask for anyway.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx
import torch
from onnx import TensorProto
from torch import Tensor, nn

from symgnn.models import SymGNN
from symgnn.models.backbone import Backbone, Branch
from symgnn.models.network import Network
from symgnn.models.placement import Placement
from symgnn.models.prediction import PredictionHead
from symgnn.models.recognition import RecognitionHead
from symgnn.nn import ActionalGraphInference, FeatureNorm, FoldedBlock, FoldedGraphConvolution, Scales
from symgnn.nn.actional import EdgeMLP
from symgnn.runtime.onnx_graph import Graph, Value


def write_graph(network: SymGNN, horizon: int, version: str, *, int8: bool = False) -> onnx.ModelProto:
    """The graph of a folded network.

    Inputs: ``observed`` (batch, observed, joints, channels) with NaN where a joint is missing; ``horizon``, the frames to
    predict, where it predicts; ``together`` (batch), number of each row's recording (reading 19), where that can matter. The
    last two may be left out: then it predicts as many frames as in training, and everybody is alone. Outputs, where the model
    has them: ``logits``, ``future``, ``actional``, as in [Output][symgnn.types.Output].

    Args:
        network: of [SymGNN.folded][symgnn.models.SymGNN.folded].
        horizon: frames to predict where a user does not say.
        version: of symgnn, for the file.
        int8: compute the wide products of the backbone in 8-bit integers. Those of the decoder stay as they are: it goes on
            from its own answers, and what was rounded away would add up over the frames.
    """
    graph = Graph(int8=int8)
    joints, channels = network.mean.shape
    config = network.config
    observed = graph.input("observed", TensorProto.FLOAT, ("batch", network.observed, joints, channels))
    count = graph.input("horizon", TensorProto.INT64, (), default=np.array(horizon)) if config.predicts else None
    persons = _Persons(graph) if config.recognition or config.placement != "none" else None

    placed = _Placed(network.placement, observed, persons)
    motion = _fill(placed.apply(observed), network.mean, network.observed, hold=config.padding == "none")
    views = [(motion - network.mean) * (1 / network.scale)]
    if config.bone:
        bones = motion.take(network.bone_children.numpy(), 2) - motion.take(network.bone_parents.numpy(), 2)
        views.append((bones - network.bone_mean) * (1 / network.bone_scale))
    nodes = [joints, joints - 1]  # a bone less than joints
    if not config.joint:
        views, nodes = views[1:], nodes[1:]
    networks = [each for each in network.networks if isinstance(each, Network)]
    features = [_backbone(each.backbone, view, network.observed) for each, view in zip(networks, views, strict=True)]
    hidden, actional = features[0]

    logits = None
    for each, (of_nodes, _), count_of_nodes in zip(networks, features, nodes, strict=False):
        if each.recognition is not None:
            assert persons is not None
            scores = _recognise(each.recognition, of_nodes, persons, count_of_nodes)
            logits = scores if logits is None else logits + scores * config.bone_weight
    if logits is not None:
        graph.output("logits", logits, ("batch", network.classes))
    head = networks[0].prediction
    if head is not None and count is not None:
        labels = None if logits is None else logits.softmax()
        future = _predict(head, hidden, actional, views[0], labels, count, joints, channels)
        future = placed.undo(future * network.scale + network.mean)
        graph.output("future", future, ("batch", "future", joints, channels))
    if actional is not None and config.joint:
        graph.output("actional", actional, ("batch", joints, joints))
    return graph.model("symgnn", version)


# --- the input --------------------------------------------------------------------------------------------------------------


class _Persons:
    """Which rows are persons of one recording (reading 19); where nothing is said of it, everybody is alone."""

    def __init__(self, graph: Graph):
        self.numbers = graph.input("together", TensorProto.INT64, ("persons",), default=np.zeros(0, np.int64))
        self.alone = graph.op("Equal", graph.op("Size", self.numbers), 0)

    def mean(self, values: Value) -> Value:
        """As [mean_of_persons][symgnn.nn.mean_of_persons]; (batch, feature) as it is there."""
        graph, numbers = values.graph, self.numbers

        def together() -> Value:
            shape = graph.op("Shape", values)
            index, zeros, ones = (graph.op("Expand", each, shape) for each in (numbers.unsqueeze(1), 0.0, 1.0))
            sums, counts = (graph.op("ScatterElements", zeros, index, each, axis=0, reduction="add") for each in (values, ones))
            return graph.op("Gather", sums / counts, numbers, axis=0)

        return graph.choose(self.alone, lambda: values, together)

    def of_the_first(self, values: Value) -> Value:
        """In each row what the first person of its recording has."""
        graph, numbers = values.graph, self.numbers

        def together() -> Value:
            same = graph.op("Equal", numbers.unsqueeze(1), numbers.unsqueeze(0)).to(TensorProto.FLOAT)
            return graph.op("Gather", values, graph.op("ArgMax", same, axis=1, keepdims=0), axis=0)

        return graph.choose(self.alone, lambda: values, together)


class _Placed:
    """As [Placed][symgnn.models.placement.Placed], found as [SymGNN.place][symgnn.models.SymGNN.place] finds it."""

    def __init__(self, placement: Placement, observed: Value, persons: _Persons | None):
        self.origin: Value | None = None
        self.turn: Value | None = None
        if placement.kind == "none":
            return
        assert persons is not None
        graph = observed.graph
        missing = graph.op("IsNaN", observed)
        known, present = graph.where(missing, 0.0, observed), graph.where(missing, 0.0, 1.0)
        middle = known.sum(1, 2) / graph.op("Max", present.sum(1, 2), 1.0)
        # Filled, a joint stands in the first frame where it is first seen; one that never is, in the body's middle.
        seen = graph.op("GatherElements", known, graph.op("ArgMax", present, axis=1, keepdims=1), axis=1)
        first = graph.where(graph.op("Greater", present.sum(1), 0.0), seen, middle)
        first = persons.of_the_first(first)
        origin = first.take([placement.root], 2)
        self.origin = origin * np.array([1.0, 1.0, 0.0]) if placement.flat else origin
        if placement.ends is not None:
            self.turn = _axes(*(first.take(joint, 2) for joint in placement.ends))

    def apply(self, motion: Value) -> Value:
        if self.origin is not None:
            motion = motion - self.origin
        return motion if self.turn is None else _turned(motion, self.turn.transpose(0, 2, 1))

    def undo(self, motion: Value) -> Value:
        if self.turn is not None:
            motion = _turned(motion, self.turn)
        return motion if self.origin is None else motion + self.origin


def _turned(motion: Value, turn: Value) -> Value:
    return motion.graph.op("Reshape", motion.reshape(0, -1, 3) @ turn, motion.graph.op("Shape", motion))


def _axes(pelvis: Value, top: Value, right: Value, left: Value) -> Value:
    """The body's own axes (batch, axis, 3) from places (batch, 1, 3)."""
    graph = pelvis.graph

    def length(vector: Value) -> Value:
        return graph.op("ReduceL2", vector, np.array([2]), keepdims=1)

    def unit(vector: Value) -> Value:
        return vector / graph.op("Max", length(vector), 1e-12)

    up, across = top - pelvis, left - right
    z = unit(up)
    x = across - (across * z).sum(2) * z
    long, wide = graph.op("Greater", length(up), 0.0), graph.op("Greater", length(x), length(across) * 1e-3)
    x = unit(x)
    y = z.take([1, 2, 0], 2) * x.take([2, 0, 1], 2) - z.take([2, 0, 1], 2) * x.take([1, 2, 0], 2)
    return graph.where(graph.op("And", long, wide), graph.concat(x, y, z, axis=1), np.eye(3))


def _fill(motion: Value, otherwise: Tensor, frames: int, *, hold: bool = False) -> Value:
    """As [fill_missing][symgnn.nn.fill_missing]; windows without gaps pass as they are."""
    graph = motion.graph
    missing = graph.op("IsNaN", motion)
    gaps = graph.op("Greater", graph.op("ReduceMax", missing.to(TensorProto.FLOAT), keepdims=0), 0.0)
    return graph.choose(gaps, lambda: _filled(motion, missing, otherwise, frames, hold), lambda: motion)


def _filled(motion: Value, missing: Value, otherwise: Tensor, frames: int, hold: bool) -> Value:
    graph = motion.graph
    time = np.arange(frames)[:, None, None]
    # Index of the nearest present frame at or before, and at or after, each frame; -1 and ``frames`` where there is none.
    before, after = graph.where(missing, -1, time), graph.where(missing, frames, time)
    for power in range((frames - 1).bit_length()):
        shift = 1 << power  # after this step the last, or the next, 2 * shift frames are counted in
        before = graph.op("Max", before, graph.concat(before.cut(1, 0, shift), before.cut(1, 0, -shift), axis=1))
        after = graph.op("Min", after, graph.concat(after.cut(1, shift), after.cut(1, -shift), axis=1))
    none_before, none_after = graph.op("Less", before, 0), graph.op("Equal", after, frames)
    known = graph.where(missing, 0.0, motion)
    start = graph.op("Min", graph.where(none_before, after, before), frames - 1)
    end = start if hold else graph.op("Max", graph.where(none_after, before, after), 0)
    left, right = (graph.op("GatherElements", known, index, axis=1) for index in (start, end))
    since, length = graph.op("Sub", time, start), graph.op("Max", end - start, 1)
    between = left + (right - left) * (since.to(TensorProto.FLOAT) / length.to(TensorProto.FLOAT))
    return graph.where(graph.op("And", none_before, none_after), otherwise, between)


# --- the backbone -------------------------------------------------------------------------------------------------------------


def _linear(x: Value, weight: Tensor, bias: Tensor | None, *shape: int, relu: bool = False) -> Value:
    """W x + b of the last axis; ``shape`` is that of the result (-1: the batch), which is left as rows without it."""
    graph = x.graph
    rows = x.reshape(-1, weight.shape[1])
    y = graph.op("Gemm", rows, weight, *([] if bias is None else [bias]), transB=1)
    y = y.relu() if relu else y
    return y.reshape(*shape) if shape else y


def _mlp(layers: nn.Sequential, x: Value, *shape: int) -> Value:
    """Linear layers, each with a ReLU behind it, and the batch norm where there is one."""
    products = [layer for layer in layers if isinstance(layer, nn.Linear)]
    for number, layer in enumerate(products):
        x = _linear(x, layer.weight, layer.bias, *(shape if number == len(products) - 1 else ()), relu=True)
    last = layers[-1]
    return _norm(last, x) if isinstance(last, FeatureNorm) else x


def _norm(norm: FeatureNorm, x: Value) -> Value:
    factor, shift = norm.as_affine()
    return x * factor + shift


def _actional(agim: ActionalGraphInference, motion: Value, nodes: int) -> Value:
    """As [ActionalGraphInference][symgnn.nn.ActionalGraphInference]."""
    p = _mlp(agim.embed, motion.transpose(0, 2, 1, 3), -1, nodes, agim.hidden)
    others = [[other for other in range(nodes) if other != node] for node in range(nodes)]
    for edge, node in zip(agim.edges, agim.nodes, strict=True):
        assert isinstance(edge, EdgeMLP) and isinstance(node, nn.Sequential)
        if nodes == 1:
            collected = p * 0.0
        else:
            first, second = edge.first, edge.second
            of_this, of_other = first.weight.split(first.in_features // 2, dim=1)
            this = _linear(p, of_this, first.bias, -1, nodes, 1, agim.hidden)
            other = _linear(p, of_other, None, -1, nodes, agim.hidden).take(others, 1)
            links = _linear((this + other).relu(), second.weight, second.bias, -1, nodes, nodes - 1, agim.hidden, relu=True)
            collected = _norm(edge.norm, links.mean(2))
        p = _mlp(node, collected, -1, nodes, agim.hidden)
    ends = []
    for mlp, last in (agim.outgoing, agim.incoming):
        assert isinstance(mlp, nn.Sequential) and isinstance(last, nn.Linear)
        ends.append(_linear(_mlp(mlp, p), last.weight, last.bias, -1, nodes, agim.hidden))
    return (ends[0] @ ends[1].transpose(0, 2, 1)).softmax()


def _rows(convolution: FoldedGraphConvolution, actional: Value | None, graph: Graph) -> Value:
    """Rows of all graphs, node by node: (batch or 1, rows, node)."""
    structural = convolution.structural
    if not convolution.has_actional:
        assert structural is not None
        return graph.constant(structural.flatten(0, 1)[None])
    assert actional is not None
    if structural is None:
        return actional
    # A sum with zeros in the other's places: cheaper than repeating the constant graphs for every clip of the batch.
    nodes, graphs, _ = structural.shape
    places = torch.cat((torch.zeros(graphs, 1), torch.ones(1, 1)))
    constant = torch.cat((structural, torch.zeros(nodes, 1, nodes)), dim=1)
    return (actional.unsqueeze(2) * places + constant).reshape(0, -1, nodes)


_NARROW = 16
"""Below so many features a product a frame is slower than a product a clip."""


_WIDE = 32
"""From so many features on a product in 8-bit integers saves more than finding the scale of its input costs."""


@dataclass(frozen=True)
class _Bytes:
    """A value in 8 bits: each clip has a scale of its own, so that no clip changes the answer for another."""

    values: Value
    """uint8."""
    steps: Value
    """Of the clip's values in a unit, (batch, 1, 1, 1)."""
    zero: int

    @classmethod
    def of(cls, x: Value, signed: bool) -> "_Bytes":
        """From (batch, time, node, feature)."""
        graph, axes = x.graph, np.array([1, 2, 3])
        largest = graph.op("ReduceMax", x, axes, keepdims=1)
        if signed:
            largest = graph.op("Max", largest, graph.op("Neg", graph.op("ReduceMin", x, axes, keepdims=1)))
        zero = 128 if signed else 0
        scale = graph.op("Max", largest * (1 / (255 - zero)), 1e-30)
        rows = scale.reshape(-1)
        zeros = graph.op("Expand", np.array([zero], np.uint8), graph.op("Shape", rows))
        return cls(graph.op("QuantizeLinear", x, rows, zeros, axis=0), graph.op("Reciprocal", scale), zero)

    def linear(self, weight: Tensor, bias: Tensor) -> Value:
        """W x + b of the last axis; the weights have a scale for each output."""
        size = weight.abs().amax(dim=1).clamp(min=1e-30) / 127
        whole = (weight / size[:, None]).round().to(torch.int8)
        graph = self.values.graph
        sums = graph.op("MatMulInteger", self.values, whole.t().contiguous(), np.array(self.zero, np.uint8))
        # Divided by the steps a unit has: the product with both scales onnxruntime would take for one of a single clip's.
        return sums.to(TensorProto.FLOAT) / (self.steps * (1 / size)) + bias


def _graph_convolution(convolution: FoldedGraphConvolution, x: Value, actional: Value | None, frames: int, nodes: int) -> Value:
    """As [FoldedGraphConvolution][symgnn.nn.FoldedGraphConvolution], and the ReLU behind it."""
    rows = _rows(convolution, actional, x.graph)
    structural = convolution.structural
    graphs = (0 if structural is None else structural.shape[1]) + convolution.has_actional
    inputs, outputs = convolution.weight.shape[1] // graphs, convolution.weight.shape[0]
    if inputs < _NARROW:
        flat = x.transpose(0, 2, 1, 3).reshape(0, nodes, -1)
        gathered = (rows @ flat).reshape(-1, nodes, graphs, frames, inputs).transpose(0, 3, 1, 2, 4)
    else:
        gathered = rows.unsqueeze(1) @ x
    if x.graph.int8 and inputs >= _WIDE:
        in_bytes = _Bytes.of(gathered.reshape(-1, frames, nodes, graphs * inputs), signed=True)
        return in_bytes.linear(convolution.weight, convolution.bias).relu()
    return _linear(gathered, convolution.weight, convolution.bias, -1, frames, nodes, outputs, relu=True)


def _block(block: FoldedBlock, x: Value, actional: Value | None, frames: int, nodes: int) -> Value:
    """As [FoldedBlock][symgnn.nn.FoldedBlock]."""
    outputs, features, kernel, _ = block.temporal.shape
    after, start = _frames_after(block, frames), 0 if block.padded else (frames - kernel) % block.stride
    padding = kernel // 2 if block.padded else 0
    y = _graph_convolution(block.graph, x.cut(1, start) if start else x, actional, frames - start, nodes)
    if not block.padded:
        # The residual takes what is under the kernels' middle; from here on x is that, at the block's own stride.
        x = x.cut(1, start + kernel // 2, frames - kernel // 2)
    if x.graph.int8 and features >= _WIDE:
        # Behind a ReLU nothing is negative. The frames under the kernel lie side by side: a product, as onnxruntime's
        # convolution of integers is a slow one.
        y = _Bytes.of(y, signed=False)
        padded = x.graph.op("Pad", y.values, np.array([0, padding, 0, 0, 0, padding, 0, 0]), np.array(0, np.uint8))
        span = (after - 1) * block.stride + 1
        taps = [padded.cut(1, tap, tap + span, block.stride) for tap in range(kernel)]
        y = replace(y, values=x.graph.concat(*taps, axis=3))
        y = y.linear(block.temporal[..., 0].transpose(1, 2).flatten(1), block.bias)
        kept = x.cut(1, step=block.stride) if block.stride > 1 else x
        if block.weight is not None and block.shift is not None:
            kept = _linear(kept, block.weight, block.shift, -1, after, nodes, outputs)
        return (y + kept).relu()
    y = y.transpose(0, 3, 1, 2)
    kept = x.transpose(0, 3, 1, 2)
    strides = [block.stride, 1]
    if block.weight is not None and block.shift is not None:
        kept = x.graph.op("Conv", kept, block.weight[..., None, None], block.shift, kernel_shape=[1, 1], strides=strides)
    elif block.stride > 1:
        kept = kept.cut(2, step=block.stride)
    pads = [padding, 0, padding, 0]
    y = x.graph.op("Conv", y, block.temporal, block.bias, kernel_shape=[kernel, 1], strides=strides, pads=pads)
    return (y + kept).relu().transpose(0, 2, 3, 1)


def _frames_after(block: FoldedBlock, frames: int) -> int:
    return -(-frames // block.stride) if block.padded else (frames - block.kernel) // block.stride + 1


def _branch(branch: Branch, x: Value, actional: Value | None, frames: int) -> Value:
    """As [Branch][symgnn.models.backbone.Branch]."""
    graph, scales = x.graph, branch.scales
    parts, nodes = scales.pooling.shape
    of_joints: Value | None = x if branch.joint_blocks else None
    of_parts: Value | None = None if branch.joint_blocks else _pooled(scales, x)
    for number in sorted({*branch.joint_blocks, *branch.part_blocks}, key=int):
        after = frames
        if number in branch.joint_blocks:
            block = branch.joint_blocks[number]
            assert isinstance(block, FoldedBlock) and of_joints is not None
            of_joints = _block(block, of_joints, actional, frames, nodes)
            after = _frames_after(block, frames)
        if number in branch.part_blocks:
            block = branch.part_blocks[number]
            assert isinstance(block, FoldedBlock) and of_parts is not None
            of_parts = _block(block, of_parts, None, frames, parts)
            after = _frames_after(block, frames)
        frames = after
        if number == "1" and branch.part_blocks:
            assert of_joints is not None
            of_parts = _pooled(scales, of_joints)
        if int(number) in branch.fuse_after:
            assert of_joints is not None and of_parts is not None
            of_joints, of_parts = (
                graph.concat(of_joints, of_parts.take(scales.part.numpy(), 2), axis=3),
                graph.concat(of_parts, _pooled(scales, of_joints), axis=3),
            )
    if of_parts is None:
        assert of_joints is not None
        return of_joints.mean(1)
    matched = of_parts.mean(1).take(scales.part.numpy(), 1)
    return matched if of_joints is None else of_joints.mean(1) + matched


def _pooled(scales: Scales, x: Value) -> Value:
    return x.graph.constant(scales.pooling) @ x


def _backbone(backbone: Backbone, motion: Value, frames: int) -> tuple[Value, Value | None]:
    """As [Backbone][symgnn.models.backbone.Backbone]."""
    branches = [branch for branch in backbone.branches if isinstance(branch, Branch)]
    nodes = branches[0].scales.pooling.shape[1]
    actional = None if backbone.agim is None else _actional(backbone.agim, motion, nodes)
    changes = [motion]
    for _ in range(max(backbone.orders)):
        now = changes[-1]
        changes.append(now - motion.graph.concat(now.cut(1, 0, 1), now.cut(1, 0, -1), axis=1))
    hidden = [
        _branch(branch, changes[order], actional, frames) for order, branch in zip(backbone.orders, branches, strict=True)
    ]
    return motion.graph.concat(*hidden, axis=2), actional


# --- the heads ----------------------------------------------------------------------------------------------------------------


def _recognise(head: RecognitionHead, hidden: Value, persons: _Persons, nodes: int) -> Value:
    """As [RecognitionHead][symgnn.models.recognition.RecognitionHead]."""
    features = _mlp(head.fuse, hidden, -1, nodes, head.classify.in_features)
    return _linear(persons.mean(features.mean(1)), head.classify.weight, head.classify.bias)


def _predict(
    head: PredictionHead,
    hidden: Value,
    actional: Value | None,
    view: Value,
    labels: Value | None,
    count: Value,
    nodes: int,
    channels: int,
) -> Value:
    """As [PredictionHead][symgnn.models.PredictionHead], in a loop whose body is one frame."""
    graph, convolution, cell, size = hidden.graph, head.convolution, head.cell, head.cell.hidden_size
    assert isinstance(convolution, FoldedGraphConvolution)
    rows = _rows(convolution, actional, graph)
    per_rate = torch.cat((torch.ones(1), 1 / head.rates)).repeat_interleave(channels)
    of_motion, of_labels = cell.weight_ih.split((3 * channels, cell.input_size - 3 * channels), dim=1)
    of_motion = of_motion * per_rate
    first, _, last = head.displace
    assert isinstance(first, nn.Linear) and isinstance(last, nn.Linear)
    reset_motion, update_motion, new_motion = of_motion.split(size)
    reset_weight, update_weight, new_weight = cell.weight_hh.split(size)
    own_bias = torch.cat((cell.bias_hh[: 2 * size], torch.zeros(size)))
    new_bias = cell.bias_hh[2 * size :]

    if head.look_back:
        # (batch, time, joint, channel) -> (batch, joint, channel, time), a product over time, and to the layer's order.
        frames = view.cut(1, -head.look_back, None) - view.take(np.array([-1]), 1)
        coefficients = (frames.transpose(0, 2, 3, 1) @ graph.constant(head.cosines.T.contiguous())).transpose(0, 1, 3, 2)
        hidden = graph.concat(hidden, coefficients.reshape(-1, nodes, head.look_back * channels), axis=2)
    state = _mlp(head.fuse, hidden)
    constant = graph.constant(cell.bias_ih + own_bias)
    if labels is not None:
        # A row a joint, as the products below take it.
        of_clip = _linear(labels, of_labels, cell.bias_ih + own_bias, -1, 1, 3 * size)
        constant = graph.op("Expand", of_clip, np.array([1, nodes, 1])).reshape(-1, 3 * size)
    of_reset, of_update, of_new = graph.ops("Split", constant, outputs=3, axis=-1, num_outputs=3)

    def frame(state: Value, pose: Value, velocity: Value, last_velocity: Value) -> tuple[Sequence[Value], Value]:
        # All in two axes (batch times joint, feature): every reshape would cost as much as an addition here.
        mixed = _linear(rows @ state.reshape(-1, nodes, size), convolution.weight, convolution.bias)
        motion = graph.concat(pose, velocity, velocity - last_velocity, axis=1)
        both = graph.concat(mixed, motion, axis=1)
        reset, update = (
            graph.op("Sigmoid", graph.op("Gemm", both, torch.cat(weights, dim=1), bias, transB=1))
            for weights, bias in (((reset_weight, reset_motion), of_reset), ((update_weight, update_motion), of_update))
        )
        new = graph.op(
            "Tanh", graph.op("Gemm", motion, new_motion, of_new, transB=1) + reset * _linear(mixed, new_weight, new_bias)
        )
        state = new + update * (mixed - new)
        change = _linear(state, first.weight, first.bias, relu=True)
        change = _linear(change, last.weight * head.rates[0], last.bias * head.rates[0])
        pose = pose + change
        return (state, pose, change, velocity), pose

    recent = [view.take(index, 1).reshape(-1, channels) for index in (-3, -2, -1)]
    motion = recent[2], recent[2] - recent[1], recent[1] - recent[0]
    future = graph.repeat(count, (state, *motion), frame)
    # From (horizon, batch times joint, channel).
    shape = graph.concat(count.reshape(1), graph.constant(np.array([-1, nodes, channels])), axis=0)
    return graph.op("Reshape", future, shape).transpose(1, 0, 2, 3)
