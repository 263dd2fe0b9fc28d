"""The equations of the paper once more, as slow loops: what the tests hold the package against.

Every function is written from the paper alone (equation or table named in its docstring), in float64 numpy, one scalar
or one small vector at a time, and knows nothing of the package: weights come in as plain arrays. Where the paper leaves
something open the docstring says what is taken and why.

Axes: motion (batch, time, node, channel); graphs (node, node), entry [i, j] is the weight with which i reads j.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

EPSILON = 1e-5
"""What batch norm adds to the variance (the paper gives none; the value every framework uses)."""


# --- small pieces -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Norm:
    """Batch norm at inference: running statistics and affine parameters, one value a feature."""

    mean: Array
    variance: Array
    scale: Array
    shift: Array

    def __call__(self, vector: Array) -> Array:
        return self.scale * (vector - self.mean) / np.sqrt(self.variance + EPSILON) + self.shift


@dataclass(frozen=True)
class Linear:
    """x -> W x + b for one vector; W is (outputs, inputs)."""

    weight: Array
    bias: Array

    def __call__(self, vector: Array) -> Array:
        result = np.zeros(self.weight.shape[0])
        for row in range(self.weight.shape[0]):
            result[row] = sum(self.weight[row, column] * vector[column] for column in range(len(vector))) + self.bias[row]
        return result


def relu(x: Array) -> Array:
    """max(0, x) on each entry."""
    return np.where(x > 0, x, 0.0)


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x)) on each entry."""
    return 1 / (1 + np.exp(-x))


def softmax(x: Array) -> Array:
    """exp(x) over its sum, of one vector."""
    raised = np.exp(x - x.max())
    return raised / raised.sum()


@dataclass(frozen=True)
class Mlp:
    """Two layers as every row of Table 16 writes them: Linear, ReLU, (dropout), Linear, ReLU, batch norm.

    Dropout is the identity at inference. The MLPs of the two heads have the same layers; the paper gives them no batch norm
    (norm None), and whether MLP_recg and MLP_pred end with a ReLU it does not say: they do here, as in Table 16.
    """

    first: Linear
    second: Linear
    norm: Norm | None = None

    def __call__(self, vector: Array) -> Array:
        activated = relu(self.second(relu(self.first(vector))))
        return activated if self.norm is None else self.norm(activated)


# --- section 4.1: joints ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Agim:
    """Weights of AGIM, Table 16.

    Step 1's first row is f_v<0>: Linear, ReLU, dropout, Linear, ReLU, batch norm. Its "concat / edge MLP / edge mean" rows and
    step 3's node MLP are (1a) and (1b): Table 16 prints them once, with "Iterating for K times" between them, and does not say
    where the loop begins. (1) does: iteration k is f_e<k> on pairs of p<k-1>, the mean, then f_v<k>, each with its own weights.
    So there are K edge MLPs and K node MLPs, and with K = 0 the embeddings act on p<0>.
    """

    first: Mlp
    edges: Sequence[Mlp]
    nodes: Sequence[Mlp]
    outgoing: tuple[Mlp, Linear]
    """f_emb, step 4: an MLP of its own and a last Linear without activation ("-bn-128")."""
    incoming: tuple[Mlp, Linear]
    """g_emb."""


def agim(motion: Array, weights: Agim) -> Array:
    """Actional graphs inference module, (1) and (2): (batch, time, node, channel) -> (batch, node, node).

    x_i = vec(X[:, i, :]): time outer, channel inner. p_i collects the edges that it is the first end of: (1b) averages
    q_{i,j} over j != i, and (1a) puts p_i before p_j. No factor 1/sqrt(D) in (2); row i is the softmax over j.
    """
    batch, _, count, _ = motion.shape
    graph = np.zeros((batch, count, count))
    for b in range(batch):
        p = [weights.first(motion[b, :, i, :].reshape(-1)) for i in range(count)]
        for edge, node in zip(weights.edges, weights.nodes, strict=True):
            following = []
            for i in range(count):
                total = np.zeros(1)
                for j in range(count):
                    if j != i:
                        total = total + edge(np.concatenate([p[i], p[j]]))
                following.append(node(total / (count - 1)))
            p = following
        f = [weights.outgoing[1](weights.outgoing[0](vector)) for vector in p]
        g = [weights.incoming[1](weights.incoming[0](vector)) for vector in p]
        for i in range(count):
            graph[b, i] = softmax(np.array([f[i] @ g[j] for j in range(count)]))
    return graph


def normalised(adjacency: Array) -> Array:
    """D^-1 A of section 4.1.2."""
    result = np.zeros_like(adjacency, dtype=float)
    for i in range(len(adjacency)):
        degree = sum(adjacency[i])
        for j in range(len(adjacency)):
            result[i, j] = adjacency[i, j] / degree
    return result


def powers(adjacency: Array, hop: int) -> Array:
    """(D^-1 A)^1 .. (D^-1 A)^hop, by paths: entry [i, j] of the next power sums over the last stop before j."""
    one = normalised(adjacency)
    count = len(one)
    result = [one]
    while len(result) < hop:
        last = result[-1]
        following = np.zeros_like(one)
        for i in range(count):
            for j in range(count):
                following[i, j] = sum(last[i, k] * one[k, j] for k in range(count))
        result.append(following)
    return np.stack(result)


def hops(adjacency: Array) -> NDArray[np.int64]:
    """Number of bones between two joints, by breadth-first search (a large number where there is no way)."""
    count = len(adjacency)
    distance = np.full((count, count), 10**6)
    for start in range(count):
        distance[start, start] = 0
        front = [start]
        while front:
            here = front.pop(0)
            for there in range(count):
                if adjacency[here, there] and distance[start, there] == 10**6:
                    distance[start, there] = distance[start, here] + 1
                    front.append(there)
    return distance


def aggregate(graph: Array, x: Array, weight: Array) -> Array:
    """G X W^T for one frame, entry by entry: graph (n, n), x (n, inputs), weight (outputs, inputs)."""
    count, outputs = len(graph), len(weight)
    result = np.zeros((count, outputs))
    for i in range(count):
        for o in range(outputs):
            for j in range(count):
                for c in range(x.shape[1]):
                    result[i, o] += graph[i, j] * x[j, c] * weight[o, c]
    return result


def agc(x: Array, actional: Array, weight: Array) -> Array:
    """Actional graph convolution, (3): A_act X W_act^T at every frame; actional (batch, node, node)."""
    return np.array([[aggregate(actional[b], frame, weight) for frame in clip] for b, clip in enumerate(x)])


def sgc(x: Array, powers: Array, edges: Array, weight: Array) -> Array:
    """Structural graph convolution, (4): sum over o of (A^o . M^(o)) X W^(o)T; weight (order, outputs, inputs)."""
    orders = range(len(powers))
    return np.array([[sum(aggregate(powers[o] * edges[o], frame, weight[o]) for o in orders) for frame in clip] for clip in x])


def jgc(
    x: Array,
    *,
    actional: Array | None,
    actional_weight: float | None,
    weight_act: Array | None,
    powers: Array | None,
    edges: Array | None,
    weight_str: Array | None,
    bias: Array,
) -> Array:
    """Joint-scale graph convolution, (5): lambda_act AGC + SGC; a term whose weights are None is absent (reading 16).

    (5) has no bias. One is added to each output feature, the same for every joint and frame, as a convolution has.
    """
    result = np.zeros(())
    if weight_act is not None:
        assert actional is not None and actional_weight is not None
        result = result + actional_weight * agc(x, actional, weight_act)
    if weight_str is not None:
        assert powers is not None and edges is not None
        result = result + sgc(x, powers, edges, weight_str)
    return result + bias


# --- section 4.2: parts -------------------------------------------------------------------------------------------------


def pgc(x: Array, adjacency: Array, edges: Array, weight: Array, bias: Array) -> Array:
    """Part-scale graph convolution, (7): ((D_p^-1 A_p) . M_p) X_p W_part^T, a bias as in `jgc`; adjacency is normalised."""
    return np.array([[aggregate(adjacency * edges, frame, weight) + bias for frame in clip] for clip in x])


def joint2part(x: Array, membership: Array) -> Array:
    """Joint2part pooling, section 5.1.2: a part is the average of its joints."""
    batch, time, _, channels = x.shape
    result = np.zeros((batch, time, len(membership), channels))
    for p, row in enumerate(membership):
        members = [i for i in range(len(row)) if row[i]]
        for b in range(batch):
            for t in range(time):
                for c in range(channels):
                    result[b, t, p, c] = sum(x[b, t, i, c] for i in members) / len(members)
    return result


def part2joint(x: Array, membership: Array) -> Array:
    """Part2joint matching, section 5.1.2: a joint gets a copy of its part."""
    batch, time, _, channels = x.shape
    joints = membership.shape[1]
    result = np.zeros((batch, time, joints, channels))
    for i in range(joints):
        (part,) = [p for p in range(len(membership)) if membership[p, i]]
        result[:, :, i, :] = x[:, :, part, :]
    return result


# --- time ---------------------------------------------------------------------------------------------------------------


def difference(motion: Array, order: int) -> Array:
    """Difference operator, (9): D^(b+1) X(t) = D^b X(t) - D^b X(t-1), zero at the first frame for every order (reading 2).

    "We use zero paddings" could also mean X(first - 1) = 0, which would make the first difference the pose itself. Reading 2
    takes the padding on the difference: the missing earlier frame gives zero.
    """
    result = motion.astype(float)
    for _ in range(order):
        before = result
        result = np.zeros_like(before)
        for t in range(1, motion.shape[1]):
            result[:, t] = before[:, t] - before[:, t - 1]
    return result


def temporal(x: Array, weight: Array, bias: Array, stride: int) -> Array:
    """Temporal convolution of (6b), nodes apart: (batch, time, node, inputs) -> (batch, ceil(time / stride), node, outputs).

    weight (outputs, inputs, kernel), kernel odd. Output frame t looks at input frames centred on stride * t; frames outside the
    window are zero. As in every framework the kernel is not flipped.
    """
    batch, time, nodes, inputs = x.shape
    outputs, _, kernel = weight.shape
    length = -(-time // stride)
    result = np.zeros((batch, length, nodes, outputs))
    for t in range(length):
        for k in range(kernel):
            source = stride * t + k - (kernel - 1) // 2
            if 0 <= source < time:
                for o in range(outputs):
                    for c in range(inputs):
                        result[:, t, :, o] += weight[o, c, k] * x[:, source, :, c]
    return result + bias


@dataclass(frozen=True)
class Block:
    """Weights of a J-GTC or P-GTC block, Fig. 4: the graph convolution as a function, everything else as arrays."""

    graph: Callable[[Array], Array]
    graph_norm: Norm
    weight: Array
    bias: Array
    stride: int
    time_norm: Norm
    shortcut: tuple[Array, Array, Norm] | None
    """None: identity. Else weight (outputs, inputs), bias and batch norm of the 1x1 convolution (reading 12)."""


def block(x: Array, weights: Block) -> Array:
    """J-GTC (6) or P-GTC (8) block at inference, in the order of Fig. 4 and Table 17.

    graph convolution, bn, ReLU; temporal convolution, bn, (dropout); + residual; ReLU. The figure draws the sum before the
    last ReLU.
    """
    inner = relu(weights.graph_norm(weights.graph(x)))
    outer = weights.time_norm(temporal(inner, weights.weight, weights.bias, weights.stride))
    if weights.shortcut is None:
        kept = x
    else:
        matrix, bias, norm = weights.shortcut
        kept = norm(temporal(x, matrix[:, :, None], bias, weights.stride))
    return relu(outer + kept)


def branch(x: Array, joint: Sequence[Block], part: Sequence[Block], fuse_after: Sequence[int], membership: Array) -> Array:
    """One branch of the backbone with both scales, Fig. 6: (batch, time, joint, channel) -> (batch, joint, features).

    Joint block 1; its output pooled is the first part block's input. Blocks b = 2.. run on both scales. After the blocks in
    `fuse_after` each scale gets the other one's features *of before the exchange* concatenated behind its own. After the last
    block the part features are copied to their joints and added; the average over time ends the branch (reading 13).
    """
    joints = block(x, joint[0])
    parts = joint2part(joints, membership)
    for number, (joint_block, part_block) in enumerate(zip(joint[1:], part, strict=True), start=2):
        joints, parts = block(joints, joint_block), block(parts, part_block)
        if number in fuse_after:
            joints, parts = (
                np.concatenate([joints, part2joint(parts, membership)], axis=-1),
                np.concatenate([parts, joint2part(joints, membership)], axis=-1),
            )
    return (joints + part2joint(parts, membership)).mean(axis=1)


# --- section 5: heads ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Gru:
    """Weights of a GRU cell; rows are reset, update, candidate, a third each (the layout of torch and cuDNN)."""

    weight_input: Array
    weight_hidden: Array
    bias_input: Array
    bias_hidden: Array


def gru_cell(x: Array, hidden: Array, weights: Gru) -> Array:
    """One step of a gated recurrent unit for one node.

    The paper gives no formula. Taken: r = s(W_r x + U_r h), z = s(W_z x + U_z h), n = tanh(W_n x + r . (U_n h + b)),
    h' = (1 - z) . n + z . h; the reset gate acts after the matrix, as in the framework the authors name.
    """
    size = len(hidden)
    rows = [slice(k * size, (k + 1) * size) for k in range(3)]
    from_input = [Linear(weights.weight_input[row], weights.bias_input[row])(x) for row in rows]
    from_hidden = [Linear(weights.weight_hidden[row], weights.bias_hidden[row])(hidden) for row in rows]
    reset = sigmoid(from_input[0] + from_hidden[0])
    update = sigmoid(from_input[1] + from_hidden[1])
    candidate = np.tanh(from_input[2] + reset * from_hidden[2])
    return (1 - update) * candidate + update * hidden


def recognition(hidden: Array, fuse: Mlp, last: Linear) -> Array:
    """Recognition head, section 5.2: MLP on each node's [H0, H1, H2], average over nodes, one layer: (b, n, f) -> (b, c)."""
    result = []
    for clip in hidden:
        total = sum(fuse(node) for node in clip)
        result.append(last(np.asarray(total) / len(clip)))
    return np.array(result)


def prediction(
    hidden: Array,
    recent: Array,
    labels: Array | None,
    horizon: int,
    *,
    fuse: Mlp,
    graph: Callable[[Array], Array],
    gru: Gru,
    output: tuple[Linear, Linear],
) -> Array:
    """Prediction head, (10): (batch, node, features) -> (batch, horizon, node, channel).

    recent (batch, 3, node, channel): the last three observed poses, the current one last; both differences continue from
    them, D1 X(t) = X(t) - X(t-1), D2 X(t) = X(t) - 2 X(t-1) + X(t-2) (reading 14). `graph` is the JGC of (10a) on
    (batch, 1, node, feature). The GRU's input is [X, D1 X, D2 X, y] in the order of (10b); every node gets the same y. Without
    labels y is absent (reading 16). f_pred is Linear, ReLU, Linear ("the hidden dimensions of GRU and output MLP are 256").
    (10a) shows no activation: none here.
    """
    batch, nodes, _ = hidden.shape
    state = np.array([[fuse(hidden[b, i]) for i in range(nodes)] for b in range(batch)])
    poses = [recent[:, k] for k in range(3)]
    for _ in range(horizon):
        mixed = graph(state[:, None])[:, 0]
        older, old, now = poses[-3:]
        state, pose = np.zeros_like(state), np.zeros_like(now)
        for b in range(batch):
            for i in range(nodes):
                pieces = [now[b, i], now[b, i] - old[b, i], now[b, i] - 2 * old[b, i] + older[b, i]]
                if labels is not None:
                    pieces.append(labels[b])
                state[b, i] = gru_cell(np.concatenate(pieces), mixed[b, i], gru)
                pose[b, i] = now[b, i] + output[1](relu(output[0](state[b, i])))
        poses.append(pose)
    return np.stack(poses[3:], axis=1)


# --- appendices ---------------------------------------------------------------------------------------------------------


def stability_bound(
    *,
    distance: float,
    actional_distance: float,
    actional_weight: float,
    weight_act: Array | None,
    adjacency: Array,
    edges: Array,
    weight_str: Array,
) -> float:
    """Right side of Theorem 1 as its proof (13) ends: sqrt(Dx Dy) (lambda mu_act C eps^q + eps sum_o sqrt(|A^o|_0) eta_o mu_o).

    distance is eps, actional_distance is C eps^q (any upper bound of |A*X* - A X|_F). The zero norm counts pairs of joints that
    are within o bones of each other.
    """
    outputs, inputs = weight_str.shape[1:]
    total = 0.0
    if weight_act is not None:
        total += actional_weight * np.abs(weight_act).max() * actional_distance
    apart = hops(adjacency)
    for order in range(1, len(edges) + 1):
        pairs = int((apart <= order).sum())
        total += distance * pairs**0.5 * np.abs(edges[order - 1]).max() * np.abs(weight_str[order - 1]).max()
    return float((inputs * outputs) ** 0.5 * total)


def two_task_weight(recognition_gradient: Array, prediction_gradient: Array) -> float:
    """lambda* of (15) by search: where |lambda g_r + (1 - lambda) g_p|^2 is least on [0, 1].

    The function is convex. Its slope (up to a factor 2) is evaluated at 1001 points; the gap in which it changes sign is
    searched again in the same way, until the gap is below 1e-13. No sign change: the end it falls towards. Flat: 1/2.
    """
    low, high = 0.0, 1.0
    while True:
        points = np.linspace(low, high, 1001)
        gap = recognition_gradient - prediction_gradient
        slopes = [float(np.dot(p * recognition_gradient + (1 - p) * prediction_gradient, gap)) for p in points]
        if all(slope == 0 for slope in slopes):
            return float((low + high) / 2)
        if slopes[0] >= 0:
            return float(low)
        if slopes[-1] <= 0:
            return float(high)
        after = next(k for k, slope in enumerate(slopes) if slope >= 0)
        low, high = float(points[after - 1]), float(points[after])
        if high - low < 1e-13:
            return float((low + high) / 2)
