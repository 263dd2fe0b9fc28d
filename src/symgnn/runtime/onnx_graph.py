"""ONNX graphs in the making: values that are added, multiplied and sliced as tensors are, each step a node of the graph."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor

OPSET = 18
"""Version of ONNX's operators: the first whose reductions all take their axes as an input."""
IR = 10
"""Version of the file's structure, one that onnxruntime 1.20 reads."""

Constant = Tensor | np.ndarray | float | int


@dataclass(frozen=True, eq=False)
class Value:
    """What a node gives."""

    graph: "Graph"
    name: str

    def __add__(self, other: "Value | Constant") -> "Value":
        return self.graph.op("Add", self, other)

    def __sub__(self, other: "Value | Constant") -> "Value":
        return self.graph.op("Sub", self, other)

    def __mul__(self, other: "Value | Constant") -> "Value":
        return self.graph.op("Mul", self, other)

    def __truediv__(self, other: "Value | Constant") -> "Value":
        return self.graph.op("Div", self, other)

    def __matmul__(self, other: "Value | Constant") -> "Value":
        return self.graph.op("MatMul", self, other)

    def relu(self) -> "Value":
        return self.graph.op("Relu", self)

    def to(self, kind: int) -> "Value":
        """Cast to a type of ``TensorProto``."""
        return self.graph.op("Cast", self, to=kind)

    def reshape(self, *shape: int) -> "Value":
        """0 keeps the length of that axis, -1 stands for what is left."""
        return self.graph.op("Reshape", self, np.array(shape, np.int64))

    def transpose(self, *axes: int) -> "Value":
        return self.graph.op("Transpose", self, perm=axes)

    def unsqueeze(self, *axes: int) -> "Value":
        return self.graph.op("Unsqueeze", self, np.array(axes))

    def take(self, indices: Sequence[Any] | np.ndarray | int, axis: int) -> "Value":
        """The entries at ``indices`` of an axis; a number takes the axis away."""
        return self.graph.op("Gather", self, np.array(indices), axis=axis)

    def cut(self, axis: int, start: int = 0, stop: int | None = None, step: int = 1) -> "Value":
        """``[start:stop:step]`` of an axis."""
        stop = np.iinfo(np.int64).max if stop is None else stop
        return self.graph.op("Slice", self, *(np.array([number]) for number in (start, stop, axis, step)))

    def sum(self, *axes: int) -> "Value":
        """Over axes, which stay with length 1."""
        return self.graph.op("ReduceSum", self, np.array(axes), keepdims=1)

    def mean(self, axis: int) -> "Value":
        """Over an axis, which goes."""
        return self.graph.op("ReduceMean", self, np.array([axis]), keepdims=0)

    def softmax(self) -> "Value":
        """Over the last axis."""
        return self.graph.op("Softmax", self, axis=-1)


class Graph:
    """The nodes and constants of a model; nodes of loops and branches see everything outside them."""

    def __init__(self, *, int8: bool = False) -> None:
        self.int8 = int8
        """Whether wide products are to be in 8-bit integers."""
        self._nodes: list[list[onnx.NodeProto]] = [[]]
        self._constants: dict[tuple[object, ...], str] = {}
        self._tensors: list[onnx.TensorProto] = []
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []
        self._count = 0

    # -- the outside -------------------------------------------------------------------------------------------------------

    def input(self, name: str, kind: int, shape: Sequence[int | str], default: np.ndarray | None = None) -> Value:
        """An input; one with a default need not be given."""
        self._inputs.append(helper.make_tensor_value_info(name, kind, shape))
        if default is not None:
            self._tensors.append(numpy_helper.from_array(default, name))
        return Value(self, name)

    def output(self, name: str, value: Value, shape: Sequence[int | str]) -> None:
        """Give a float32 value to the outside."""
        self._nodes[-1].append(helper.make_node("Identity", [value.name], [name]))
        self._outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))

    def model(self, producer: str, version: str) -> onnx.ModelProto:
        (nodes,) = self._nodes
        return helper.make_model(
            helper.make_graph(nodes, producer, self._inputs, self._outputs, self._tensors),
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR,
            producer_name=producer,
            producer_version=version,
        )

    # -- nodes ---------------------------------------------------------------------------------------------------------------

    def constant(self, value: Constant) -> Value:
        """A number or an array; the same one twice is kept once. Floating point numbers are float32."""
        array = value.detach().cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)
        array = np.ascontiguousarray(array, np.float32 if array.dtype.kind == "f" else array.dtype)
        array = array.reshape(np.shape(value))
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._constants:
            self._constants[key] = self._name("c")
            self._tensors.append(numpy_helper.from_array(array, self._constants[key]))
        return Value(self, self._constants[key])

    def op(self, kind: str, *inputs: Value | Constant, **attributes: Any) -> Value:
        """A node with one output."""
        (output,) = self.ops(kind, *inputs, outputs=1, **attributes)
        return output

    def ops(self, kind: str, *inputs: Value | Constant, outputs: int, **attributes: Any) -> list[Value]:
        """A node with several outputs."""
        names = [(each if isinstance(each, Value) else self.constant(each)).name for each in inputs]
        found = [self._name(kind) for _ in range(outputs)]
        self._nodes[-1].append(helper.make_node(kind, names, found, **attributes))
        return [Value(self, name) for name in found]

    def concat(self, *values: Value, axis: int) -> Value:
        return self.op("Concat", *values, axis=axis)

    def where(self, condition: Value, then: Value | Constant, otherwise: Value | Constant) -> Value:
        return self.op("Where", condition, then, otherwise)

    def choose(self, condition: Value, then: Callable[[], Value], otherwise: Callable[[], Value]) -> Value:
        """One float32 value or the other; what the other one needs is not computed."""
        branches = [self._body(lambda make=make: [make()], ()) for make in (then, otherwise)]
        return self.op("If", condition, then_branch=branches[0], else_branch=branches[1])

    def repeat(self, count: Value, state: Sequence[Value], step: Callable[..., tuple[Sequence[Value], Value]]) -> Value:
        """Run ``step`` on a float32 state so many times.

        Args:
            count: int64 scalar.
            state: what the first step gets.
            step: from the state to the next one and a value.

        Returns:
            The values of all steps, on a new first axis.
        """
        inputs = (
            helper.make_tensor_value_info(self._name("step"), TensorProto.INT64, []),
            helper.make_tensor_value_info(self._name("more"), TensorProto.BOOL, []),
            *(helper.make_tensor_value_info(self._name("state"), TensorProto.FLOAT, None) for _ in state),
        )

        def make() -> list[Value]:
            following, value = step(*(Value(self, each.name) for each in inputs[2:]))
            return [*following, value]

        body = self._body(make, inputs)
        body.output.insert(0, helper.make_tensor_value_info(self._name("more"), TensorProto.BOOL, []))
        body.node.append(helper.make_node("Identity", [inputs[1].name], [body.output[0].name]))
        found = self.ops("Loop", count, self.constant(np.array(True)), *state, outputs=len(state) + 1, body=body)
        return found[-1]

    def _body(self, make: Callable[[], Sequence[Value]], inputs: Sequence[onnx.ValueInfoProto]) -> onnx.GraphProto:
        """A graph inside a node, with float32 outputs of its own."""
        self._nodes.append([])
        try:
            outputs = [self.op("Identity", value) for value in make()]
        finally:
            nodes = self._nodes.pop()
        return helper.make_graph(
            nodes,
            self._name("body"),
            inputs,
            [helper.make_tensor_value_info(value.name, TensorProto.FLOAT, None) for value in outputs],
        )

    def _name(self, kind: str) -> str:
        self._count += 1
        return f"{kind}_{self._count}"
