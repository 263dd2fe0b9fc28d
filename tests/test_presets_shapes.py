"""The presets against Tables 16, 17 and 18: every row's weight and feature shapes, the row named in the test.

The tables write weights as [outputs, 1, kernel, inputs] and features as [nodes, frames, features]. "x 2" stands for the
graphs of a JGC with Γ = 1; a JGC has Γ + 1 of them (reading 9). Misprints, each visible from its neighbours: Table 17's part
column ends blocks 2-3 with 120 frames (150), Table 18's block 2 lets 25 frames into a temporal convolution of stride 2 that
gives 25 (50), and several part rows say M for M_p. Shapes come from a pass on torch's "meta" device, which computes shapes
and nothing else.
"""

from dataclasses import dataclass, replace
from functools import cache

import pytest
import torch
from torch import Tensor, nn

from symgnn.config import ModelConfig, load_preset
from symgnn.models import Backbone, Branch, Network
from symgnn.nn import ActionalGraphInference, GraphTemporalBlock, JointGraphConvolution, PartGraphConvolution
from symgnn.skeleton import joint_graph, load_layout

CLASSES = 8


@dataclass(frozen=True)
class Row:
    """One cell of Table 17 or 18: a block of one scale."""

    table: int
    block: int
    scale: str
    graph: tuple[int, int]
    """Outputs and inputs of the graph convolution: [outputs, 1, 1, inputs]."""
    temporal: tuple[int, int, int]
    """Outputs, kernel and inputs: [outputs, 1, kernel, inputs]."""
    stride: int
    frames: tuple[int, int]
    """Before and after the temporal convolution."""

    def __str__(self) -> str:
        (first, into), (outputs, kernel, inside) = self.graph, self.temporal
        return (
            f"Table {self.table}, block {self.block}, {self.scale}-scale: [{first},1,1,{into}], "
            f"[{outputs},1,{kernel},{inside}], stride {self.stride}, {self.frames[0]} to {self.frames[1]} frames"
        )


def both(
    table: int, block: int, graph: tuple[int, int], temporal: tuple[int, int, int], stride: int, *frames: int
) -> list[Row]:
    """The joint-scale and the part-scale cell, which say the same but in block 1, where there is no part scale."""
    scales = ("joint",) if block == 1 else ("joint", "part")
    return [Row(table, block, scale, graph, temporal, stride, (frames[0], frames[1])) for scale in scales]


TABLE_17 = [
    *both(17, 1, (64, 3), (64, 9, 64), 1, 300, 300),
    *both(17, 2, (64, 64), (64, 9, 64), 1, 300, 300),
    *both(17, 3, (64, 64), (128, 9, 64), 2, 300, 150),
    *both(17, 4, (128, 256), (128, 9, 128), 1, 150, 150),
    *both(17, 5, (128, 128), (128, 9, 128), 1, 150, 150),
    *both(17, 6, (128, 128), (256, 9, 128), 2, 150, 75),
    *both(17, 7, (256, 512), (256, 9, 256), 1, 75, 75),
    *both(17, 8, (256, 256), (256, 9, 256), 1, 75, 75),
    *both(17, 9, (256, 256), (256, 9, 256), 1, 75, 75),
]
TABLE_18 = [
    *both(18, 1, (32, 3), (32, 9, 32), 1, 50, 50),
    *both(18, 2, (32, 32), (64, 9, 32), 2, 50, 25),
    *both(18, 3, (128, 128), (128, 9, 128), 2, 25, 13),
    *both(18, 4, (256, 256), (256, 7, 256), 2, 13, 7),
]
PRESET = {17: "deep", 18: "light"}
FRAMES = {17: 300, 18: 50}


@dataclass(frozen=True)
class Seen:
    """A backbone and the shapes (time, node, feature) that passed through each of its blocks."""

    backbone: Backbone
    nodes: dict[str, int]
    shapes: dict[tuple[int, str, int], tuple[tuple[int, ...], ...]]
    """By branch, scale and block: into the block, after the graph convolution, after the temporal one, out of the block."""
    hidden: Tensor
    actional: Tensor


def blocks_of(branch: nn.Module) -> dict[tuple[str, int], GraphTemporalBlock]:
    """Blocks by scale and number."""
    assert isinstance(branch, Branch)
    found = {}
    for scale, modules in (("joint", branch.joint_blocks), ("part", branch.part_blocks)):
        for number, module in modules.items():
            assert isinstance(module, GraphTemporalBlock)
            found[scale, int(number)] = module
    return found


def passed_through(config: ModelConfig, layout_name: str, frames: int) -> Seen:
    """Send one window through on the meta device and write down every shape."""
    layout = load_layout(layout_name)
    backbone = Backbone(config, joint_graph(layout), frames, 3).to("meta").eval()
    shapes: dict[tuple[int, str, int], tuple[tuple[int, ...], ...]] = {}

    def watch(key: tuple[int, str, int], block: GraphTemporalBlock) -> None:
        inner: list[tuple[int, ...]] = []
        for part in (block.graph, block.temporal):
            part.register_forward_hook(lambda _part, _inputs, output: inner.append(tuple(output.shape[1:])))
        block.register_forward_hook(
            lambda _block, inputs, output: shapes.update({key: (tuple(inputs[0].shape[1:]), *inner, tuple(output.shape[1:]))})
        )

    for order, branch in enumerate(backbone.branches):
        for (scale, number), block in blocks_of(branch).items():
            watch((order, scale, number), block)
    hidden, actional = backbone(torch.empty(1, frames, layout.num_nodes, 3, device="meta"))
    assert actional is not None
    return Seen(backbone, {"joint": layout.num_nodes, "part": len(layout.parts)}, shapes, hidden, actional)


@cache
def seen(table: int) -> Seen:
    """The preset of a table on its own layout, with the table's number of frames."""
    preset = load_preset(PRESET[table])
    return passed_through(preset.model, preset.data.layout, FRAMES[table])


@pytest.mark.parametrize("row", TABLE_17 + TABLE_18, ids=str)
def test_row(row):
    """Weights and features of one cell, in every branch ("The three branches have identical network architectures")."""
    found, config = seen(row.table), load_preset(PRESET[row.table]).model
    nodes, (before, after) = found.nodes[row.scale], row.frames
    for order, branch in enumerate(found.backbone.branches):
        block = blocks_of(branch)[row.scale, row.block]
        outputs, kernel, inputs = row.temporal
        assert tuple(block.temporal.weight.shape) == (outputs, inputs, kernel)
        assert block.temporal.stride == block.stride == row.stride
        if row.scale == "joint":
            assert isinstance(block.graph, JointGraphConvolution)
            assert tuple(block.graph.weight.shape) == (config.hop + 1, *row.graph)
            assert block.graph.edges is not None and tuple(block.graph.edges.shape) == (config.hop, nodes, nodes)
        else:
            assert isinstance(block.graph, PartGraphConvolution)
            assert tuple(block.graph.weight.shape) == row.graph
            assert tuple(block.graph.edges.shape) == (nodes, nodes)
        assert found.shapes[order, row.scale, row.block] == (
            (before, nodes, row.graph[1]),
            (before, nodes, row.graph[0]),
            (after, nodes, outputs),
            (after, nodes, outputs),
        )


@pytest.mark.parametrize(("table", "joint_blocks", "part_blocks", "branches"), [(17, 9, 8, 2), (18, 4, 3, 3)])
def test_number_of_blocks(table, joint_blocks, part_blocks, branches):
    """Appendix C.2 and C.3; the deep preset has the difference orders 0 and 1 (reading 11)."""
    found = seen(table)
    assert len(found.backbone.branches) == branches
    for branch in found.backbone.branches:
        scales = [scale for scale, _ in blocks_of(branch)]
        assert (scales.count("joint"), scales.count("part")) == (joint_blocks, part_blocks)


@pytest.mark.parametrize(("table", "joints"), [(17, 25), (18, 26)])
def test_last_row(table, joints):
    """Tables 17 and 18 end with summation and temporal average pooling: [256, M] of each branch; ten parts (section 4.2.1)."""
    found = seen(table)
    assert found.nodes == {"joint": joints, "part": 10}
    assert tuple(found.hidden.shape) == (1, joints, 256 * len(found.backbone.branches))
    assert tuple(found.actional.shape) == (1, joints, joints)


@pytest.mark.parametrize("table", [17, 18])
def test_times_two_is_hop_one(table):
    """Reading 9: the tables' "x 2" is one structural graph and the actional one."""
    preset = load_preset(PRESET[table])
    found = passed_through(replace(preset.model, hop=1), preset.data.layout, FRAMES[table])
    for branch in found.backbone.branches:
        for (scale, _), block in blocks_of(branch).items():
            if scale == "joint":
                assert block.graph.weight.shape[0] == 2


def test_deep_preset_observes_290_frames():
    """Reading 1: of 300 frames the last ten are the target, so Table 17's 300, 150, 75 are 290, 145, 73."""
    preset = load_preset("deep")
    found = passed_through(preset.model, preset.data.layout, preset.data.observed)
    assert [found.shapes[0, "joint", number][-1][0] for number in (1, 3, 6, 9)] == [290, 145, 73, 73]


@pytest.mark.parametrize(
    ("name", "values"),
    [
        (
            "light",
            {"hop": 3, "actional_weight": 1.0, "fuse_after": (2, 3), "difference_orders": (0, 1, 2), "agim_iterations": 2},
        ),
        ("deep", {"hop": 4, "actional_weight": 0.5, "fuse_after": (3, 6), "difference_orders": (0, 1), "agim_iterations": 2}),
    ],
)
def test_settings_of_section_6(name, values):
    """Section 6.1.2, Tables 11 to 13 and readings 7 to 13."""
    config = load_preset(name).model
    assert {field: getattr(config, field) for field in values} == values


# --- Table 16 and the heads ---------------------------------------------------------------------------------------------


def widths(module: nn.Module) -> list[tuple[int, int]]:
    """(inputs, outputs) of every Linear inside, in order."""
    return [(part.in_features, part.out_features) for part in module.modules() if isinstance(part, nn.Linear)]


def inference_of(preset: str, observed: int | None = None) -> ActionalGraphInference:
    """AGIM of a preset."""
    found = load_preset(preset)
    backbone = Backbone(found.model, joint_graph(load_layout(found.data.layout)), observed or found.data.observed, 3)
    assert backbone.agim is not None
    return backbone.agim


@pytest.mark.parametrize("preset", ["light", "deep"])
@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ("embed", [(147, 128), (128, 128)]),
        ("edges", [(256, 128), (128, 128)] * 2),
        ("nodes", [(128, 128), (128, 128)] * 2),
        ("outgoing", [(128, 128)] * 3),
        ("incoming", [(128, 128)] * 3),
    ],
    ids=[
        "Table 16, step 1, 147-128-relu-dropout-128-relu-bn",
        "Table 16, step 1, 256-128-relu-dropout-128-relu-bn",
        "Table 16, step 3, 128-128-relu-dropout-128-relu-bn",
        "Table 16, step 4, f_emb 128-128-relu-dropout-128-relu-bn-128",
        "Table 16, step 4, g_emb 128-128-relu-dropout-128-relu-bn-128",
    ],
)
def test_agim_row(preset, part, expected):
    """49 frames of 3 coordinates as the table prints them; edges and nodes twice, K = 2 (reading 7); batch norm on all 128."""
    module = getattr(inference_of(preset, 49), part)
    assert widths(module) == expected
    norms = [each.num_features for each in module.modules() if isinstance(each, nn.BatchNorm1d)]
    assert norms == [128] * (2 if part in ("edges", "nodes") else 1)


@pytest.mark.parametrize(("preset", "features"), [("light", 150), ("deep", 870)])
def test_agim_reads_the_whole_window(preset, features):
    """Reading 1: 3 x 50 and 3 x 290."""
    assert widths(inference_of(preset).embed)[0] == (features, 128)


@pytest.mark.parametrize(("preset", "hidden"), [("light", 768), ("deep", 512)])
def test_heads_are_256_wide(preset, hidden):
    """Section 6.1.2: a 2-layer MLP, GRU and output MLP of 256; y and three poses enter the GRU."""
    found = load_preset(preset)
    network = Network(found.model, joint_graph(load_layout(found.data.layout)), found.data.observed, 3, CLASSES)
    assert network.recognition is not None and network.prediction is not None
    assert widths(network.recognition.fuse) == [(hidden, 256), (256, 256)]
    assert widths(network.recognition.classify) == [(256, CLASSES)]
    assert widths(network.prediction.fuse) == [(hidden, 256), (256, 256)]
    assert network.prediction.cell.input_size == 3 * 3 + CLASSES and network.prediction.cell.hidden_size == 256
    assert widths(network.prediction.displace) == [(256, 256), (256, 3)]
    assert tuple(network.prediction.convolution.weight.shape) == (found.model.hop + 1, 256, 256)
