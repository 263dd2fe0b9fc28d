"""Exported models: one ONNX file that holds the whole model and its card, run by onnxruntime without PyTorch's operators."""

import json
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from symgnn.errors import InputError
from symgnn.models.checkpoint import CHANNELS, Card, Described, TrainedModel, load
from symgnn.runtime.answering import Answers, Windows
from symgnn.types import Output

if TYPE_CHECKING:
    import onnx
    import onnxruntime

SUFFIX = ".onnx"
FORMAT = 1
"""Version of the "symgnn" entry of an exported file; a newer one is refused."""

_ENTRY = "symgnn"
_SEAL = "symgnn_crc32"
_LARGEST = 1 << 31
"""Bytes of the largest file ONNX allows."""


class OnnxModel(Described):
    """An exported model with its card; an [Engine][symgnn.runtime.answering.Engine], and callable as a checkpoint is.

    Made by [open_onnx][symgnn.runtime.onnx_model.open_onnx]. Several threads may use one at the same time.
    """

    def __init__(self, session: "onnxruntime.InferenceSession", card: Card, precision: str):
        self.card = card
        self.precision = precision
        """float32 or int8."""
        self._session = session
        self._outputs = [output.name for output in session.get_outputs()]

    def answer(self, windows: Windows, horizon: int, together: Int[np.ndarray, " batch"] | None = None) -> Answers:
        """See [answer][symgnn.runtime.answering.answer]."""
        found = self._run(windows, horizon, together)
        logits = found.get("logits")
        return Answers(
            probabilities=None if logits is None else torch.from_numpy(logits).double().softmax(dim=-1).numpy(),
            futures=found.get("future"),
            actional=found.get("actional"),
        )

    def __call__(
        self, observed: Float[Tensor, "batch time joint channel"], horizon: int, together: Int[Tensor, " batch"] | None = None
    ) -> Output:
        """See [SymGNN.forward][symgnn.models.SymGNN.forward]."""
        windows = observed.detach().cpu().float().numpy()
        found = self._run(windows, horizon, None if together is None else together.cpu().numpy())
        parts = (found.get(name) for name in ("logits", "future", "actional"))
        return Output(*(None if part is None else torch.from_numpy(part).to(observed.device) for part in parts))

    def _run(self, windows: Windows, horizon: int, together: np.ndarray | None) -> dict[str, np.ndarray]:
        data = self.preset.data
        expected = (data.observed, self.layout.num_nodes, CHANNELS[data.space])
        if windows.shape[1:] != expected:
            raise ValueError(f"the model takes windows of (frames, joints, channels) {expected}, found {windows.shape[1:]}")
        if horizon < 1:
            raise ValueError(f"a horizon is at least 1 frame, not {horizon}")
        feed: dict[str, np.ndarray] = {"observed": np.ascontiguousarray(windows)}
        if self.preset.model.predicts:
            feed["horizon"] = np.array(horizon, np.int64)
        if together is not None and sees_persons(self.card):
            feed["together"] = together.astype(np.int64)
        return dict(zip(self._outputs, cast(list[np.ndarray], self._session.run(None, feed)), strict=True))


def load_model(path: str | Path, threads: int | None = None) -> TrainedModel | OnnxModel:
    """Whatever answers windows: a checkpoint (on the GPU where there is one), a shipped model by its name, or an exported file.

    Args:
        path: see [load][symgnn.models.checkpoint.load] and [open_onnx][symgnn.runtime.onnx_model.open_onnx].
        threads: processor threads of an answer; by default as many as PyTorch takes.

    Raises:
        InputError: it cannot be read as one, or there is not one thread.
    """
    if threads is not None and threads < 1:
        raise InputError(f"--threads: found {threads}, expected a number of at least 1")
    if Path(path).suffix.lower() == SUFFIX:
        return open_onnx(path, threads)
    if threads is not None:
        torch.set_num_threads(threads)
    return load(path, "cuda" if torch.cuda.is_available() else "cpu")


def open_onnx(path: str | Path, threads: int | None = None) -> OnnxModel:
    """Open a file of ``symgnn export``.

    Nothing in a file can run code: it may hold ONNX's own operators only, and no weights outside itself.

    Args:
        path: file.
        threads: processor threads of an answer; by default as many as PyTorch takes.

    Raises:
        InputError: no such file, not one of ``symgnn export``, damaged, changed, or from a newer version; or onnxruntime is not
            installed.
    """
    path = Path(path)
    if threads is not None and threads < 1:
        raise InputError(f"threads: found {threads}, expected a number of at least 1")
    if not path.is_file():
        raise InputError(f"{path}: no such file; expected a model written by `symgnn export`")
    try:
        if path.stat().st_size > _LARGEST:
            raise InputError(f"{path}: has {path.stat().st_size:,} bytes, more than an ONNX file can have")
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None
    return open_content(content, str(path), threads)


def open_content(content: bytes, where: str, threads: int | None = None) -> OnnxModel:
    """Open what an exported file holds; ``where`` names it in messages."""
    with wants_packages():
        import onnx
        import onnxruntime

        errors = import_module("onnxruntime.capi.onnxruntime_pybind11_state")
        broken = import_module("google.protobuf.message").DecodeError  # of what onnx itself reads files with

    try:
        proto = onnx.load_model_from_string(content)
    except broken:
        raise InputError(f"{where}: cannot be read as an ONNX file: it is damaged or of another program") from None
    entry = next((each.value for each in proto.metadata_props if each.key == _ENTRY), None)
    if entry is None:
        raise InputError(f"{where}: an ONNX file, but not one of symgnn export (no {_ENTRY} entry in it)")
    if not content.endswith(_seal(content[: -len(_seal(b""))])):
        raise InputError(f"{where}: is not as symgnn export wrote it, it was cut off or changed: export the checkpoint again")
    card, precision = _read_entry(entry, where)
    _look_at_graph(proto, card, where)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.intra_op_num_threads = torch.get_num_threads() if threads is None else threads
    options.log_severity_level = 3  # errors: it warns of inputs that have a default
    try:
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except (errors.Fail, errors.InvalidArgument, errors.InvalidGraph, errors.InvalidProtobuf, errors.NotImplemented,
            errors.RuntimeException) as error:  # fmt: skip
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(f"{where}: onnxruntime {onnxruntime.__version__} cannot run it: {reason}") from None
    return OnnxModel(session, card, precision)


def sealed_content(proto: "onnx.ModelProto", card: Card, precision: str) -> bytes:
    """An exported file: the graph, the card, and at the end a checksum of all before it."""
    entry = {"format": FORMAT, "precision": precision, "card": card.to_dict()}
    _add_entry(proto, _ENTRY, json.dumps(entry, ensure_ascii=False))
    body = proto.SerializeToString()
    return body + _seal(body)


@contextmanager
def wants_packages() -> Iterator[None]:
    """Say how to install the packages of the extra ``export`` where one is not there."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] not in ("onnx", "onnxruntime"):
            raise
        raise InputError(f"exported models need the package {error.name}: pip install 'symgnn[export]'") from None


def _seal(body: bytes) -> bytes:
    """The checksum, as a piece of an ONNX file: such pieces one after the other are read as one file."""
    import onnx

    piece = onnx.ModelProto()
    _add_entry(piece, _SEAL, f"{zlib.crc32(body):08x}")
    return piece.SerializeToString()


def _add_entry(proto: "onnx.ModelProto", key: str, value: str) -> None:
    entry = proto.metadata_props.add()
    entry.key, entry.value = key, value


def _read_entry(text: str, where: str) -> tuple[Card, str]:
    try:
        entry: Mapping[str, Any] = json.loads(text)
        if entry["format"] > FORMAT:
            raise InputError(
                f"{where}: export format {entry['format']} of symgnn {entry['card']['package_version']} is newer than this "
                f"symgnn reads ({FORMAT}): update symgnn"
            )
        return Card.from_dict(entry["card"], where), str(entry["precision"])
    except InputError:
        raise
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise InputError(f"{where}: its {_ENTRY} entry lacks or garbles {error}: not a file of symgnn export") from None


def sees_persons(card: Card) -> bool:
    """Whether it matters which rows are persons of one recording: for the scores, or for where bodies stand to each other."""
    return card.preset.model.recognition or card.preset.model.placement != "none"


_Signature = dict[str, tuple[int, tuple[str | int, ...]]]
"""Element type and axes of each input or output."""


def _look_at_graph(proto: "onnx.ModelProto", card: Card, where: str) -> None:
    """Inputs and outputs are those of the card's model; nothing comes from outside the file."""
    from onnx import TensorProto

    data, model = card.preset.data, card.preset.model
    joints = card.layout.num_nodes, CHANNELS[data.space]
    inputs: _Signature = {"observed": (TensorProto.FLOAT, ("batch", data.observed, *joints))}
    if model.predicts:
        inputs["horizon"] = (TensorProto.INT64, ())
    if sees_persons(card):
        inputs["together"] = (TensorProto.INT64, ("persons",))
    outputs: _Signature = {}
    if model.recognition:
        outputs["logits"] = (TensorProto.FLOAT, ("batch", len(card.class_names)))
    if model.predicts:
        outputs["future"] = (TensorProto.FLOAT, ("batch", "future", *joints))
    if model.joint and model.graphs != "structural" and model.scales != "part":
        outputs["actional"] = (TensorProto.FLOAT, ("batch", joints[0], joints[0]))
    for what, values, expected in (("inputs", proto.graph.input, inputs), ("outputs", proto.graph.output, outputs)):
        found = {
            value.name: (
                value.type.tensor_type.elem_type,
                tuple(axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim),
            )
            for value in values
        }
        if found != expected:
            raise InputError(
                f"{where}: has the {what} {_told(found)}, expected {_told(expected)} for preset {card.preset.name}: "
                "not a file of symgnn export"
            )
    domains = {node.domain for graph in _graphs(proto.graph) for node in graph.node} - {"", "ai.onnx"}
    if domains or proto.functions or proto.training_info:
        raise InputError(f"{where}: has operators of its own ({', '.join(sorted(domains)) or 'functions'}), which are not run")
    if any(tensor.data_location == TensorProto.EXTERNAL for graph in _graphs(proto.graph) for tensor in _tensors(graph)):
        raise InputError(f"{where}: keeps weights in another file, which is not read: export the checkpoint again")


def _told(values: _Signature) -> str:
    from onnx import TensorProto

    return ", ".join(
        f"{name} {TensorProto.DataType.Name(kind).lower()} ({', '.join(map(str, shape))})"
        for name, (kind, shape) in values.items()
    )


def _graphs(graph: "onnx.GraphProto") -> Iterator["onnx.GraphProto"]:
    """A graph and those inside its nodes."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])):
                yield from _graphs(inner)


def _tensors(graph: "onnx.GraphProto") -> Iterator["onnx.TensorProto"]:
    """Constants of a graph, those in its nodes too."""
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                yield from (sparse.values, sparse.indices)
