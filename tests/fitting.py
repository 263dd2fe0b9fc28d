"""Between the package and the oracles: random weights for a module, and a module's weights as the oracles take them.

Only here do the oracle tests know how the package names its parts. The order of layers is not read from the package: the
oracles state it, and these functions hand over weights.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

import oracles
from oracles import Array
from symgnn.nn import ActionalGraphInference, GraphTemporalBlock, JointGraphConvolution, PartGraphConvolution

torch.set_num_threads(1)

M = TypeVar("M", bound=nn.Module)


def randomise(module: M, seed: int = 0) -> M:
    """The module in float64 at inference, every parameter and running statistic drawn anew: no term is invisible."""
    generator = torch.Generator().manual_seed(seed)
    module.double().eval()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64) * 0.7)
        for name, buffer in module.named_buffers():
            if name.endswith("running_mean"):
                buffer.copy_(torch.randn(buffer.shape, generator=generator, dtype=torch.float64))
            if name.endswith("running_var"):
                buffer.copy_(0.5 + 1.5 * torch.rand(buffer.shape, generator=generator, dtype=torch.float64))
    return module


def awaken(module: M, *inputs: Tensor | None, seed: int = 5) -> M:
    """Running statistics near (not at) those of these inputs.

    With random ones a deep stack dies: its ReLUs close, its softmax is uniform or saturated, and any two networks agree.
    """
    generator = torch.Generator().manual_seed(seed)

    def settle(part: nn.Module, given: tuple[Tensor, ...]) -> None:
        assert isinstance(part, nn.BatchNorm1d) and part.running_mean is not None and part.running_var is not None
        rows = given[0].reshape(-1, given[0].shape[-1])
        off = 0.2 * torch.randn(rows.shape[1], generator=generator, dtype=torch.float64)
        part.running_mean.copy_(rows.mean(dim=0) + off * rows.std(dim=0))
        part.running_var.copy_(rows.var(dim=0) * (0.5 + torch.rand(rows.shape[1], generator=generator, dtype=torch.float64)))

    hooks = [part.register_forward_pre_hook(settle) for part in module.modules() if isinstance(part, nn.BatchNorm1d)]
    with torch.no_grad():
        module.eval()(*inputs)
    for hook in hooks:
        hook.remove()
    return module


def noise(*shape: int, seed: int = 1) -> Tensor:
    """Standard normal numbers in float64."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def directed_graphs(batch: int, nodes: int, seed: int = 2) -> Tensor:
    """Actional graphs as (2) makes them: positive, rows sum to one, not symmetric."""
    return (2 * noise(batch, nodes, nodes, seed=seed)).softmax(dim=2)


def tree(nodes: int, seed: int = 3) -> Tensor:
    """Adjacency of a random tree with self-loops."""
    draw = np.random.default_rng(seed)
    adjacency = torch.eye(nodes, dtype=torch.float64)
    for child in range(1, nodes):
        parent = int(draw.integers(child))
        adjacency[child, parent] = adjacency[parent, child] = 1
    return adjacency


def tree_powers(nodes: int, hop: int, seed: int = 3) -> Tensor:
    """Powers of the normalised adjacency of a random tree."""
    return torch.from_numpy(oracles.powers(array(tree(nodes, seed)), hop))


def permutation(nodes: int, seed: int = 4) -> Tensor:
    """A relabelling of nodes: new node i is the old node permutation[i]; never the identity."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        order = torch.randperm(nodes, generator=generator)
        if bool((order != torch.arange(nodes)).any()):
            return order


def relabel(graph: Tensor, order: Tensor) -> Tensor:
    """A graph (..., node, node) on the relabelled nodes."""
    return graph[..., order, :][..., order]


def array(tensor: Tensor) -> Array:
    """A tensor's values in float64."""
    return tensor.detach().double().numpy().copy()


def close(ours: Tensor, oracle: Array, tolerance: float = 1e-10) -> None:
    """Same shape and the same numbers within an absolute and relative tolerance, and numbers they are."""
    assert tuple(ours.shape) == oracle.shape
    assert np.isfinite(oracle).all()
    np.testing.assert_allclose(array(ours), oracle, rtol=tolerance, atol=tolerance)


def gradients_agree(module: nn.Module, *inputs: Tensor, fast: bool = False) -> bool:
    """Gradcheck in float64 of the module's output by every input and by every parameter."""
    names = [name for name, _ in module.named_parameters()]
    values = [parameter.detach().clone().requires_grad_() for parameter in module.parameters()]
    given = [value.clone().requires_grad_() for value in inputs]

    def run(*everything: Tensor) -> Tensor:
        parameters = dict(zip(names, everything[len(given) :], strict=True))
        return torch.func.functional_call(module, parameters, everything[: len(given)])

    return torch.autograd.gradcheck(run, (*given, *values), fast_mode=fast)


def linears(module: nn.Module) -> list[oracles.Linear]:
    """Every Linear inside, in order; a missing bias is zero."""
    found = [part for part in module.modules() if isinstance(part, nn.Linear)]
    return [
        oracles.Linear(array(part.weight), np.zeros(len(part.weight)) if part.bias is None else array(part.bias))
        for part in found
    ]


def norms(module: nn.Module) -> list[oracles.Norm]:
    """Every batch norm inside, in order."""
    result = []
    for part in module.modules():
        if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
            assert part.running_mean is not None and part.running_var is not None
            result.append(oracles.Norm(array(part.running_mean), array(part.running_var), array(part.weight), array(part.bias)))
    return result


def mlp(module: nn.Module) -> oracles.Mlp:
    """A module with two Linear layers and at most one batch norm."""
    first, second = linears(module)
    norm = norms(module)
    assert len(norm) <= 1
    return oracles.Mlp(first, second, norm[0] if norm else None)


def agim(module: ActionalGraphInference) -> oracles.Agim:
    """Weights of AGIM; the embeddings are an MLP and a last Linear each."""

    def embedding(part: nn.Module) -> tuple[oracles.Mlp, oracles.Linear]:
        first, second, last = linears(part)
        (norm,) = norms(part)
        return oracles.Mlp(first, second, norm), last

    return oracles.Agim(
        first=mlp(module.embed),
        edges=[mlp(part) for part in module.edges],
        nodes=[mlp(part) for part in module.nodes],
        outgoing=embedding(module.outgoing),
        incoming=embedding(module.incoming),
    )


def joint_convolution(module: JointGraphConvolution, actional: Tensor | None) -> Callable[[Array], Array]:
    """The JGC oracle with this module's weights: structural orders first, the actional one last."""
    has_actional = module.actional_weight is not None
    weight = array(module.weight)
    return lambda x: oracles.jgc(
        x,
        actional=None if actional is None else array(actional),
        actional_weight=module.actional_weight,
        weight_act=weight[-1] if has_actional else None,
        powers=None if module.powers is None else array(module.powers),
        edges=None if module.edges is None else array(module.edges),
        weight_str=None if module.powers is None else weight[: len(module.powers)],
        bias=array(module.bias),
    )


def part_convolution(module: PartGraphConvolution) -> Callable[[Array], Array]:
    """The PGC oracle with this module's weights."""
    return lambda x: oracles.pgc(x, array(module.adjacency), array(module.edges), array(module.weight), array(module.bias))


def block(module: GraphTemporalBlock, actional: Tensor | None = None) -> oracles.Block:
    """Weights of a J-GTC or P-GTC block."""
    graph = module.graph
    shortcut = None
    residual_linear = linears(module.residual)
    if residual_linear:
        ((matrix,), (norm,)) = residual_linear, norms(module.residual)
        shortcut = (matrix.weight, matrix.bias, norm)
    return oracles.Block(
        graph=joint_convolution(graph, actional) if isinstance(graph, JointGraphConvolution) else part_convolution(graph),
        graph_norm=norms(module.graph_norm)[0],
        weight=array(module.temporal.weight),
        bias=array(module.temporal.bias),
        stride=module.stride,
        time_norm=norms(module.temporal_norm)[0],
        shortcut=shortcut,
    )


def blocks(modules: Sequence[nn.Module], actional: Tensor | None = None) -> list[oracles.Block]:
    """Weights of several blocks."""
    result = []
    for module in modules:
        assert isinstance(module, GraphTemporalBlock)
        result.append(block(module, actional))
    return result
