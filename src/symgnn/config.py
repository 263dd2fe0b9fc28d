"""Presets: everything that distinguishes one run from another, as data.

A preset is a YAML file in ``symgnn/presets`` (or the user's own), read into the frozen records below. A preset may name another
one with ``extends`` and state only what differs. The docstring under each field says where its number comes from;
``symgnn info`` and ``--help`` print it.
"""

import ast
import difflib
import functools
import inspect
import textwrap
from collections.abc import Mapping
from dataclasses import asdict, field
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, dataclass_transform

import pydantic
import yaml
from pydantic import ConfigDict, Field, TypeAdapter, field_validator
from pydantic.dataclasses import dataclass as checked_dataclass

from symgnn.errors import InputError
from symgnn.files import read_extending

Fraction = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
Amount = Annotated[float, Field(ge=0)]

Sampling = Literal["window", "whole", "repeat"]

Network = Literal["sym-gnn", "res-sup", "csm", "dct-gcn", "simlpe", "st-gcn", "hcn", "2s-agcn", "ctr-gcn"]

PREDICTORS = ("zero-velocity", "running-average-2", "running-average-4")
"""Baselines of prediction without parameters."""
CLASSIFIERS = ("linear", "nearest")
"""Baselines of recognition that are fitted, not trained."""


_Record = TypeVar("_Record")


@dataclass_transform(frozen_default=True)
def _settings(record: type[_Record]) -> type[_Record]:
    """A frozen record whose fields are checked however it is made: from a file, an option, or its name.

    Pydantic's own words for a wrong field (its error's type, an address on the web) say nothing to whoever gave an option.
    """
    # Defaults are checked too: a field that is left out must fit those that are given.
    made: Any = checked_dataclass(frozen=True, config=ConfigDict(extra="forbid", validate_default=True))(record)
    initialise = made.__init__

    @functools.wraps(initialise)
    def explained(self: Any, *values: Any, **fields: Any) -> None:
        try:
            initialise(self, *values, **fields)
        except pydantic.ValidationError as error:
            raise InputError(_explain(error)) from None

    made.__init__ = explained
    return made


@_settings
class DataConfig:
    """What a window of motion is."""

    layout: str = "cmu"
    """Name of a built-in layout or path of a layout's YAML file; "own" is whatever the store has."""
    space: Literal["xyz", "expmap", "xyc"] = "expmap"
    """What a joint's channels are: positions, exponential maps (sec. 6.1.1), or a place in an image and the detector's
    confidence, which is seen and not predicted (reading 6)."""
    sampling: Sampling = "window"
    """A window is a stretch of a recording at its own rate; or a whole clip in so many frames (how long it was is lost; reading
    40); or a clip from its beginning, again and again until the window is full (reading 4)."""
    ratio: Annotated[float, Field(gt=0, le=1)] | None = None
    """Part of a clip that is observed, its beginning; the frames after it are predicted (Fig. 9; reading 21). For "whole" and
    "repeat"; without it a window is as full as it can be."""
    persons: Count = 1
    """Persons of a recording that are recognised together, at most (sec. 6.1.1: NTU has one or two; reading 19). With 1 each is
    a clip of its own."""
    step: Count = 2
    """Keep every n-th frame of a recording (sec. 6.1.1: "We downsample all sequences by two")."""
    observed: Annotated[int, Field(ge=3)] = 50
    """Frames the model sees, the current one included (Table 18; reading 1)."""
    future: Count = 25
    """Frames it predicts: 10 for the short horizon, 25 for the long one."""
    skip: Annotated[int, Field(ge=0)] = 0
    """Leading rows of each recording that training leaves out (1 on CMU: the release's T-pose; reading 5)."""

    @field_validator("ratio")
    @classmethod
    def _of_whole_clips(cls, value: float | None, info: Any) -> float | None:
        if value is not None and info.data.get("sampling", "whole") == "window":
            raise ValueError("is a part of a whole clip: expected sampling whole or repeat")
        return value


@_settings
class ModelConfig:
    """The network of sections 4 and 5, or a baseline."""

    network: Network = "sym-gnn"
    """Sym-GNN, or a baseline from its own paper, which of the fields below reads width, dropout, scaling and placement alone
    (``symgnn train PRESET --model NAME`` also takes over its published training; docs/experiments.md)."""
    graph_channels: Annotated[tuple[Count, ...], Field(min_length=1)] = (32, 32, 128, 256)
    """Features after the graph convolution of each block (Table 18)."""
    channels: tuple[Count, ...] = (32, 64, 128, 256)
    """Features after the temporal convolution of each block (Table 18)."""
    strides: tuple[Count, ...] = (1, 2, 2, 2)
    """Temporal stride of each block (sec. 6.1.2)."""
    kernels: tuple[Count, ...] = (9, 9, 9, 7)
    """Temporal kernel of each block (Table 18; reading 13)."""
    padding: Literal["same", "none"] = "same"
    """Temporal convolutions pad a window with zeros, as the paper's do; or take whole kernels only, so that a feature depends
    on a stretch of motion and not on where the window starts: a stream then keeps what it has computed (reading 42)."""
    fuse_after: tuple[Count, ...] = (2, 3)
    """Blocks after which the two scales are exchanged (reading 13)."""
    width: Annotated[float, Field(gt=0)] = 1.0
    """Factor on every number of features, heads and AGIM included (1 is the paper; less is faster)."""
    hop: Count = 3
    """Highest power of the skeleton graph, the paper's Γ (Table 12: 3 on H3.6M and CMU; Table 11: 4 on NTU and Kinetics)."""
    agim_iterations: Annotated[int, Field(ge=0)] = 2
    """Node-edge propagations of AGIM, the paper's K (Fig. 8 sweeps it; reading 7)."""
    agim_hidden: Count = 128
    """Features inside AGIM (Table 16)."""
    actional_weight: Amount = 1.0
    """Weight of the actional graph in eq. (5), the paper's λ_act (sec. 6.1.2: 1.0 on H3.6M, CMU, 0.5 on NTU, Kinetics)."""
    difference_orders: Annotated[tuple[Literal[0, 1, 2], ...], Field(min_length=1)] = (0, 1, 2)
    """Orders of eq. (9), one branch each (sec. 4.3; Tables 13 and 14)."""
    graphs: Literal["both", "structural", "actional"] = "both"
    """Terms of eq. (5) that are present (Tables 1 and 12: "Only J-S", "Only J-A")."""
    actional_in: Literal["everywhere", "decoder"] = "everywhere"
    """Where the actional graph is used: in every J-GTC block too, or in the prediction head's JGC (10a) alone. The graph of a
    window changes with each frame, and with it all that the blocks have computed (reading 42)."""
    scales: Literal["both", "joint", "part"] = "both"
    """Scales of the backbone (Tables 3 and 12: "Only J", "Only P"; reading 16)."""
    bone: bool = True
    """Add the dual bone network of section 5.5 (Table 3: "No bone")."""
    bone_weight: Amount = 1.0
    """Weight of the bone network's scores in the fused ones (reading 15)."""
    look_back: Annotated[int, Field(ge=0)] = 0
    """Last observed frames that the prediction head reads besides [H0, H1, H2], which are averages over time: as cosine
    coefficients of each node's path to the current pose (not in the paper; reading 45)."""
    recognition: bool = True
    """Have a recognition head (Table 7: "No recg")."""
    prediction: bool = True
    """Have a prediction head (Table 3: "No pred")."""
    joint: bool = True
    """Have the joint network (Table 15: "Only Bone"). The bone network alone is trained as it is beside it and recognises; the
    bones it predicts are no answer (reading 48)."""
    hidden: Count = 256
    """Hidden features of both heads and of the GRU (sec. 6.1.2)."""
    scaling: Literal["coordinate", "body"] = "coordinate"
    """Inputs and targets are divided by each coordinate's own deviation (reading 3), or all by the body's mean deviation, so
    that a joint weighs in the loss as it does in the error (reading 25)."""
    placement: Literal["none", "centre", "body"] = "none"
    """Coordinates as the data has them, relative to the body's root in the window's first frame, or also turned with the body
    (back to z, shoulders to x, as usual on NTU RGB+D)."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Dropout in blocks and AGIM (Tables 16 to 18 place it; the paper gives no rate)."""

    # ``info`` is pydantic's ValidationInfo, whose ``data`` holds the fields before this one.

    @field_validator("channels", "strides", "kernels")
    @classmethod
    def _one_entry_a_block(cls, value: tuple[int, ...], info: Any) -> tuple[int, ...]:
        blocks = info.data.get("graph_channels", value)  # absent where it is wrong itself
        if len(value) != len(blocks):
            raise ValueError(f"expected one entry a block, {len(blocks)} as in graph_channels")
        return value

    @field_validator("kernels")
    @classmethod
    def _centred_on_a_frame(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if any(kernel % 2 == 0 for kernel in value):
            raise ValueError("expected odd kernels, which are centred on a frame")
        return value

    @field_validator("fuse_after")
    @classmethod
    def _between_two_blocks(cls, value: tuple[int, ...], info: Any) -> tuple[int, ...]:
        last = len(info.data.get("graph_channels", ())) or 1 + max(value, default=1)
        if any(not 1 < block < last for block in value):
            raise ValueError(f"expected blocks after the first, where the part scale starts, and before the last ({last})")
        if list(value) != sorted(set(value)):
            raise ValueError("expected increasing numbers of blocks")
        return value

    @field_validator("difference_orders")
    @classmethod
    def _each_once(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(value)) != len(value):
            raise ValueError("expected each order once")
        return value

    @field_validator("actional_in")
    @classmethod
    def _leaves_blocks_a_graph(cls, value: str, info: Any) -> str:
        if value == "decoder" and info.data.get("graphs") == "actional":
            raise ValueError("graphs are the actional one alone, without which blocks have none: expected everywhere")
        return value

    @field_validator("scales")
    @classmethod
    def _has_a_block(cls, value: str, info: Any) -> str:
        if value == "part" and len(info.data.get("graph_channels", (1, 2))) == 1:
            raise ValueError("the part scale starts at block 2: expected two blocks or more in graph_channels")
        return value

    @property
    def predicts(self) -> bool:
        """Whether it answers where each joint will be."""
        return self.prediction and self.joint

    @field_validator("joint")
    @classmethod
    def _leaves_bones_that_recognise(cls, value: bool, info: Any) -> bool:
        for other, why in (("bone", "there is no network"), ("recognition", "nothing is answered")):
            if not value and not info.data.get(other, True):
                raise ValueError(f"without the joint network and with {other} false {why}: expected {other} true")
        return value

    @field_validator("prediction")
    @classmethod
    def _answers_something(cls, value: bool, info: Any) -> bool:
        if not (value or info.data.get("recognition", True)):
            raise ValueError("a model needs a recognition head, a prediction head, or both")
        return value


@_settings
class TrainingConfig:
    """How the parameters are found."""

    steps: Count = 100_000
    """Optimiser steps (sec. 6.1.2: 10^5 on H3.6M and CMU)."""
    batch: Count = 64
    """Windows a step, over all processes (sec. 6.1.2)."""
    optimizer: Literal["adam", "sgd"] = "adam"
    """Adam on H3.6M and CMU, SGD on NTU and Kinetics (sec. 6.1.2); its Nesterov momentum of 0.9 is not in the paper."""
    learning_rate: Annotated[float, Field(gt=0)] = 1e-4
    """Adam 1e-4 (sec. 6.1.2 lost a minus sign; reading 18), SGD 0.1."""
    weight_decay: Amount = 0.0
    """Weight decay, decoupled from the gradient under "adam" (not in the paper)."""
    schedule: Literal["constant", "step", "cosine"] = "constant"
    """Rate over time: constant; divided by 10 at each milestone; or cosine to zero after a warm-up."""
    milestones: tuple[Fraction, ...] = ()
    """Fractions of the steps at which "step" divides the rate by 10 (NTU: epochs 30, 60, 90 of 100)."""
    warm_up: Fraction = 0.0
    """Fraction of the steps over which the rate rises linearly from zero."""
    weighting: Literal["features", "exact", "fixed"] = "features"
    """How λ of eq. (15) is found: on the features the heads share, exactly over the backbone's parameters, or fixed
    (reading 18)."""
    recognition_weight: Fraction = 0.5
    """λ where the weighting is "fixed"."""
    distance: Literal["l1", "frame"] = "l1"
    """Between a predicted future and the true one: eq. (12)'s, coordinate by coordinate; or frame by frame the Euclidean norm
    over all coordinates, as the benchmarks' angle error is one (not in the paper; reading 46). The curve named L1 shows
    it; what is held out is always judged by L1."""
    velocity_weight: Amount = 0.0
    """Weight of the distance between predicted and true frame-to-frame differences, added to eq. (12) (not in the paper)."""
    nearness: Amount = 0.0
    """Frame t of the future counts in proportion to t to the power of -nearness, the mean weight being one: errors grow with t,
    so that the last frames would have most of the loss (not in the paper; reading 47). What is held out is judged without."""
    time_reversal: Fraction = 0.0
    """Probability that a training window is played backwards (not in the paper)."""
    mirror: Fraction = 0.0
    """Probability that a training window is mirrored left to right (not in the paper)."""
    tempo: Amount = 0.0
    """Training windows are played up to 1 + tempo times as fast or as slow, at random (not in the paper)."""
    crop: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """A whole clip (``data.sampling``) loses up to this part of its frames in training, at its ends (not in the paper)."""
    rotation: Amount = 0.0
    """Training windows are turned about the vertical by up to so many degrees (in an image: within it; not in the paper)."""
    scale: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Training windows are made up to this part larger or smaller (not in the paper)."""
    joint_dropping: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Probability that a joint is missing from a training window's observed frames (not in the paper)."""
    jitter: Amount = 0.0
    """Training windows' observed frames get Gaussian noise, each window of a standard deviation between 0 and this, in the
    units of the data: for a sensor whose joints tremble (not in the paper)."""
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of eq. (11)'s target that is spread evenly over all classes (not in the paper)."""
    noisy_labels: Fraction = 0.0
    """Fraction of the training recordings whose classes are exchanged among them, once for the whole training (Table 10;
    reading 43)."""
    noisy_targets: Fraction = 0.0
    """Fraction of the training windows whose future is another one's, at every step anew (Table 9; reading 43)."""
    average: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Decay of the exponential moving average of the weights that is reported (0: the weights themselves, as in the paper).
    It rises to this value as (1 + step) / (10 + step)."""
    clip_norm: Amount = 0.0
    """Largest gradient norm (0: no clipping)."""
    precision: Literal["32-true", "bf16-mixed", "64-true"] = "32-true"
    """Arithmetic of the training step."""
    recorded: bool = False
    """Record a step as a CUDA graph and replay it: on one GPU, where a step of a small network is some thousand kernels that
    take less time than their launch. Not tried over a whole training yet."""
    validation: Fraction = 0.1
    """Fraction of the training recordings held out, whole, for the ``validation`` checkpoint."""
    validate_every: Count = 1_000
    """Steps between two validations (and two checkpoints)."""
    snapshots: bool = False
    """Keep the weights of every validation, not only the last and the best: ``--selection per-cell-minimum`` needs them."""
    seed: int = 0
    """Seed of the weights, the windows, the split and the dropout."""


@_settings
class Preset:
    """One experiment: a window, a network, a training and the protocol that judges it."""

    name: str
    """What ``symgnn train`` calls it."""
    description: str
    """One line for ``symgnn info``."""
    protocol: str
    """Default protocol of ``symgnn evaluate``."""
    data: DataConfig = field(default_factory=DataConfig)
    """The window."""
    model: ModelConfig = field(default_factory=ModelConfig)
    """The network."""
    training: TrainingConfig = field(default_factory=TrainingConfig)
    """The training."""


Selection = Literal["last", "validation", "per-cell-minimum"]
"""Which weights of a training are judged: the final ones, those that did best on what was held out, or for each figure those
that did best in it on test data."""

OWN = "own"
"""The layout that a store brings along."""

PRESETS = Path(__file__).parent / "presets"
NETWORKS = PRESETS / "networks"
"""A YAML file for each baseline: what of a preset it changes."""


def preset_names() -> list[str]:
    """Names of the presets that ship with the package."""
    return sorted(path.stem for path in PRESETS.glob("*.yaml"))


def network_names() -> list[str]:
    """Names of the networks a preset can be trained with: Sym-GNN and the baselines."""
    return ["sym-gnn", *sorted(path.stem for path in NETWORKS.glob("*.yaml"))]


def load_preset(name: str, network: str = "sym-gnn") -> Preset:
    """Read a preset by name, or from the path of a YAML file.

    Args:
        name: of the preset.
        network: another network in its place: the fields of its YAML file are laid over the preset's.

    Raises:
        InputError: no such preset or network (the nearest name is given), or a field that does not exist or does not fit.
    """
    values = read_extending(name, _find, _overlay, "the fields of a preset")
    where = f"preset {name}"
    if network != "sym-gnn":
        if network not in network_names():
            near = difflib.get_close_matches(network, network_names(), n=1, cutoff=0.4)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise InputError(f"no network {network!r}{hint} (there are: {', '.join(network_names())})")
        over = yaml.safe_load((NETWORKS / f"{network}.yaml").read_text(encoding="utf-8"))
        about = f"{values['description'].rstrip('.')}; network {network}."
        values = _overlay(values, {**over, "name": f"{values['name']}-{network}", "description": about})
        where += f" with network {network}"
    return preset_from_dict(values, where)


def preset_from_dict(values: Mapping[str, Any], where: str) -> Preset:
    """Check plain values (of a YAML file, of a checkpoint) and make a preset of them.

    Args:
        values: nested mappings with the fields of [Preset][symgnn.config.Preset].
        where: what the values came from, for the error message.
    """
    try:
        return TypeAdapter(Preset).validate_python(dict(values))
    except pydantic.ValidationError as error:
        raise InputError(f"{where}: {_explain(error)}") from None


def preset_to_dict(preset: Preset) -> dict[str, Any]:
    """Plain nested values of a preset: what checkpoints carry and ``preset_from_dict`` reads back."""
    return asdict(preset)


@functools.cache
def field_sources(record: type) -> dict[str, str]:
    """The docstring under each field of a record: what it is and where its number comes from."""
    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(record))).body
    assert isinstance(definition, ast.ClassDef)
    found: dict[str, str] = {}
    for statement, after in zip(definition.body, definition.body[1:], strict=False):
        match statement, after:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                found[name] = " ".join(text.split())
    return found


def _find(name: str, _chain: tuple[str, ...]) -> Path:
    path = Path(name) if name.endswith((".yaml", ".yml")) else PRESETS / f"{name}.yaml"
    if not path.is_file():
        if path == Path(name):
            raise InputError(f"{name}: no such file; expected a preset's YAML file, or the name of a preset that comes along")
        near = difflib.get_close_matches(name, preset_names(), n=1, cutoff=0.4)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise InputError(f"no preset {name!r}{hint} (there are: {', '.join(preset_names())})")
    return path


def _overlay(below: dict[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(below)
    for key, value in above.items():
        old = result.get(key)
        result[key] = _overlay(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return result


def _explain(error: pydantic.ValidationError) -> str:
    lines = []
    for problem in error.errors():
        place = ".".join(str(part) for part in problem["loc"])
        found = "" if problem["type"] in {"missing", "unexpected_keyword_argument"} else f" (found {problem['input']!r})"
        lines.append(f"{place}: {problem['msg'].removeprefix('Value error, ')}{found}")
    return "; ".join(lines)
