"""A TFLite file as translations of ONNX operators draw it: values, their layout, and fused activations.

Theory of operation. ONNX has channels first, TFLite's convolutions and pools have them last. A value
remembers how it lies; it is transposed where an operator needs it the other way, and element-wise operators
take it as it comes. One-dimensional convolutions are two-dimensional ones of height 1. A Relu or Clip(0, 6)
whose input nobody else reads is fused into the operator before it.

Names of ONNX values are names of TFLite tensors, and helpers' names end in ``ALIAS`` + something: so ranges
that were calibrated on one apply to the other (``onnx_name``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, numpy_helper

from edge_agent.errors import ModelError
from edge_convert.tflite.flatbuffer import TfliteFile

ALIAS = "//"
NONE, RELU, RELU6 = 0, 1, 3


@dataclass(frozen=True)
class Value:
    """A tensor of the TFLite file. ``shape`` is ONNX's, with batch 1; ``last``: it lies [N, H, W, C]."""

    index: int
    name: str
    shape: tuple[int, ...]
    last: bool = False


def onnx_name(tensor: str) -> str:
    """Return the ONNX value whose range a TFLite tensor has."""
    return tensor.split(ALIAS)[0]


class Canvas:
    """The file, the values written so far, and how they lie; translations draw on it.

    Parameters
    ----------
    model : ModelProto
        The network in normal form.
    where : str
        Its file, for messages.
    """

    def __init__(self, model: ModelProto, where: str) -> None:
        graph = model.graph
        self._where = where
        self.file = TfliteFile()
        self.constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
        self.shapes = {
            value.name: tuple(
                d.dim_value if d.HasField("dim_value") else 1 for d in value.type.tensor_type.shape.dim
            )
            for value in (*graph.input, *graph.output, *graph.value_info)
        }
        self._outputs = [value.name for value in graph.output]
        self._readers: dict[str, list[NodeProto]] = {}
        for node in graph.node:
            for name in node.input:
                self._readers.setdefault(name, []).append(node)
        self.values: dict[str, Value] = {}
        self.fused: set[str] = set()
        name = self._input = graph.input[0].name
        self.values[name] = Value(self.file.activation(name, self.shapes[name]), name, self.shapes[name])

    def finish(self) -> bytes:
        """Return the file."""
        outputs = [self.plain(self.values[name]).index for name in self._outputs]
        return self.file.finish([self.values[self._input].index], outputs)

    def unsupported(self, node: NodeProto, why: str) -> ModelError:
        """Return the refusal of an operator, by name."""
        return ModelError(
            f"{self._where}: {node.op_type} ({node.output[0]}) cannot be written as TFLite: {why}; "
            "use --target onnxruntime"
        )

    def constant(self, node: NodeProto, position: int) -> NDArray[Any]:
        """Return a constant input."""
        array = self.constants.get(node.input[position])
        if array is None:
            raise self.unsupported(node, f"input {node.input[position]} is not constant")
        return array

    def value(self, node: NodeProto, position: int = 0) -> Value:
        """Return an input that is not constant."""
        name = node.input[position]
        if name not in self.values:
            raise self.unsupported(node, f"input {name} is constant")
        return self.values[name]

    def int32(self, name: str, numbers: Sequence[int]) -> int:
        """Add a constant of integers and return its index."""
        return self.file.constant(name, np.array(numbers, dtype=np.int32))

    def plain(self, value: Value) -> Value:
        """Return ``value`` in ONNX's layout."""
        if not value.last:
            return value
        name = f"{value.name}{ALIAS}plain"
        if name not in self.values:
            shape = value.shape
            source = value.index
            if len(shape) == 3:  # [N, 1, L, C] to [N, L, C]
                source = self.reshape(f"{name}_3", source, (1, shape[2], shape[1]))
            order = (0, 3, 1, 2) if len(shape) == 4 else (0, 2, 1)
            self.values[name] = self.transposed(name, source, order, shape)
        return self.values[name]

    def last(self, value: Value) -> Value:
        """Return ``value`` [N, C, H, W] or [N, C, L] as [N, H, W, C]."""
        if value.last:
            return value
        name = f"{value.name}{ALIAS}last"
        if name not in self.values:
            n, c, *space = value.shape
            order = (0, 2, 3, 1) if len(space) == 2 else (0, 2, 1)
            moved = self.transposed(
                f"{name}_t" if len(space) == 1 else name, value.index, order, (n, *space, c)
            )
            if len(space) == 1:
                index = self.reshape(name, moved.index, (1, 1, *space, c))
                moved = Value(index, name, value.shape)
            self.values[name] = replace(moved, shape=value.shape, last=True)
        return self.values[name]

    def transposed(self, name: str, source: int, order: Sequence[int], shape: tuple[int, ...]) -> Value:
        """Return a tensor in another order of axes."""
        index = self.file.activation(name, shape)
        self.file.operator(
            "TRANSPOSE", [source, self.int32(f"{name}_order", order)], index, schema.TransposeOptionsT()
        )
        return Value(index, name, shape)

    def reshape(self, name: str, source: int, shape: tuple[int, ...]) -> int:
        """Return the index of a tensor in another shape; the batch may be resized."""
        index = self.file.activation(name, shape)
        options = schema.ReshapeOptionsT()
        options.newShape = [-1, *shape[1:]]  # the batch may be resized
        self.file.operator("RESHAPE", [source, self.int32(f"{name}_shape", options.newShape)], index, options)
        return index

    def emit(
        self, node: NodeProto, kind: str, inputs: Sequence[int], options: Any = None, last: bool = False
    ) -> None:
        """Add an operator whose output is the node's, or that of the activation that is fused into it."""
        name = node.output[0]
        if options is not None and "fusedActivationFunction" in vars(options):
            options.fusedActivationFunction, name = self.activation(node)
        shape = self.shapes[name]
        if last:
            n, c, *space = shape
            physical = (n, *([1] * (2 - len(space))), *space, c)
        else:
            physical = shape
        index = self.file.activation(name, physical)
        self.file.operator(kind, inputs, index, options)
        self.values[name] = Value(index, name, shape, last)

    def activation(self, node: NodeProto) -> tuple[int, str]:
        """Return the activation that can be fused into ``node``, and the name of the output then."""
        name = node.output[0]
        readers = self._readers.get(name, [])
        if len(readers) != 1 or name in self._outputs:
            return NONE, name
        kind = self.relu_kind(readers[0])
        if kind is None:
            return NONE, name
        self.fused.add(readers[0].name)
        return kind, readers[0].output[0]

    def relu_kind(self, node: NodeProto) -> int | None:
        """Return which activation an operator is, None for one that cannot be fused."""
        if node.op_type == "Relu":
            return RELU
        if node.op_type != "Clip" or len(node.input) < 3:
            return None
        low, high = (self.constants.get(name) for name in node.input[1:3])
        return RELU6 if low is not None and high is not None and low == 0 and high == 6 else None
