"""Writes a network in ONNX normal form as float32 TFLite, without TensorFlow.

Theory of operation. Operators are translated one by one, in order. What differs between the two formats:

- layout: ONNX has channels first, TFLite's convolutions and pools have them last. A value remembers how it
  lies; it is transposed where an operator needs it the other way, and element-wise operators take it as it
  comes. One-dimensional convolutions are two-dimensional ones of height 1.
- activations: a Relu or Clip(0, 6) whose input nobody else reads is fused into the operator before it.
- padding: ``SAME`` where ONNX's numbers mean just that, else an explicit Pad.

Names of ONNX values are names of TFLite tensors, and helpers' names end in ``ALIAS`` + something: so ranges
that were calibrated on one apply to the other (``onnx_name``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, helper, numpy_helper

from edge_agent.errors import ModelError
from edge_convert.tflite_file import TfliteFile

ALIAS = "//"
_NONE, _RELU, _RELU6 = 0, 1, 3


@dataclass(frozen=True)
class _Value:
    """A tensor of the TFLite file. ``shape`` is ONNX's, with batch 1; ``last``: it lies [N, H, W, C]."""

    index: int
    name: str
    shape: tuple[int, ...]
    last: bool = False


def onnx_name(tensor: str) -> str:
    """Return the ONNX value whose range a TFLite tensor has."""
    return tensor.split(ALIAS)[0]


def write(model: ModelProto, where: str) -> bytes:
    """Return the TFLite file of a network in normal form.

    Raises
    ------
    ModelError
        An operator cannot be expressed: it is named, and ONNX Runtime is offered.
    """
    return _Writer(model, where).write()


class _Writer:
    def __init__(self, model: ModelProto, where: str) -> None:
        graph = model.graph
        self._graph = graph
        self._where = where
        self._file = TfliteFile()
        self._constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
        self._shapes = {
            value.name: tuple(
                d.dim_value if d.HasField("dim_value") else 1 for d in value.type.tensor_type.shape.dim
            )
            for value in (*graph.input, *graph.output, *graph.value_info)
        }
        self._outputs = {value.name for value in graph.output}
        self._readers: dict[str, list[NodeProto]] = {}
        for node in graph.node:
            for name in node.input:
                self._readers.setdefault(name, []).append(node)
        self._values: dict[str, _Value] = {}
        self._fused: set[str] = set()

    def write(self) -> bytes:
        name = self._graph.input[0].name
        self._values[name] = _Value(self._file.activation(name, self._shapes[name]), name, self._shapes[name])
        for node in self._graph.node:
            if node.name in self._fused:
                continue
            translate = _TRANSLATIONS.get(node.op_type)
            if translate is None:
                raise self._unsupported(node, "no such operator")
            translate(self, node)
        outputs = [self._plain(self._values[value.name]).index for value in self._graph.output]
        return self._file.finish([self._values[name].index], outputs)

    # What translations are made of.

    def _unsupported(self, node: NodeProto, why: str) -> ModelError:
        return ModelError(
            f"{self._where}: {node.op_type} ({node.output[0]}) cannot be written as TFLite: {why}; "
            "use --target onnxruntime"
        )

    def _constant(self, node: NodeProto, position: int) -> NDArray[Any]:
        array = self._constants.get(node.input[position])
        if array is None:
            raise self._unsupported(node, f"input {node.input[position]} is not constant")
        return array

    def _value(self, node: NodeProto, position: int = 0) -> _Value:
        name = node.input[position]
        if name not in self._values:
            raise self._unsupported(node, f"input {name} is constant")
        return self._values[name]

    def _int32(self, name: str, numbers: Sequence[int]) -> int:
        return self._file.constant(name, np.array(numbers, dtype=np.int32))

    def _plain(self, value: _Value) -> _Value:
        """Return ``value`` in ONNX's layout."""
        if not value.last:
            return value
        name = f"{value.name}{ALIAS}plain"
        if name not in self._values:
            shape = value.shape
            source = value.index
            if len(shape) == 3:  # [N, 1, L, C] to [N, L, C]
                source = self._reshape(f"{name}_3", source, (1, shape[2], shape[1]))
            order = (0, 3, 1, 2) if len(shape) == 4 else (0, 2, 1)
            self._values[name] = self._transposed(name, source, order, shape)
        return self._values[name]

    def _last(self, value: _Value) -> _Value:
        """Return ``value`` [N, C, H, W] or [N, C, L] as [N, H, W, C]."""
        if value.last:
            return value
        name = f"{value.name}{ALIAS}last"
        if name not in self._values:
            n, c, *space = value.shape
            order = (0, 2, 3, 1) if len(space) == 2 else (0, 2, 1)
            moved = self._transposed(
                f"{name}_t" if len(space) == 1 else name, value.index, order, (n, *space, c)
            )
            if len(space) == 1:
                index = self._reshape(name, moved.index, (1, 1, *space, c))
                moved = _Value(index, name, value.shape)
            self._values[name] = replace(moved, shape=value.shape, last=True)
        return self._values[name]

    def _transposed(self, name: str, source: int, order: Sequence[int], shape: tuple[int, ...]) -> _Value:
        index = self._file.activation(name, shape)
        self._file.operator(
            "TRANSPOSE", [source, self._int32(f"{name}_order", order)], index, schema.TransposeOptionsT()
        )
        return _Value(index, name, shape)

    def _reshape(self, name: str, source: int, shape: tuple[int, ...]) -> int:
        index = self._file.activation(name, shape)
        options = schema.ReshapeOptionsT()
        options.newShape = [-1, *shape[1:]]  # the batch may be resized
        self._file.operator(
            "RESHAPE", [source, self._int32(f"{name}_shape", options.newShape)], index, options
        )
        return index

    def _emit(
        self, node: NodeProto, kind: str, inputs: Sequence[int], options: Any = None, last: bool = False
    ) -> None:
        """Add an operator whose output is the node's, or that of the activation that is fused into it."""
        name = node.output[0]
        if options is not None and "fusedActivationFunction" in vars(options):
            options.fusedActivationFunction, name = self._activation(node)
        shape = self._shapes[name]
        if last:
            n, c, *space = shape
            physical = (n, *([1] * (2 - len(space))), *space, c)
        else:
            physical = shape
        index = self._file.activation(name, physical)
        self._file.operator(kind, inputs, index, options)
        self._values[name] = _Value(index, name, shape, last)

    def _activation(self, node: NodeProto) -> tuple[int, str]:
        """Return the activation that can be fused into ``node``, and the name of the output then."""
        name = node.output[0]
        readers = self._readers.get(name, [])
        if len(readers) != 1 or name in self._outputs:
            return _NONE, name
        kind = self._relu_kind(readers[0])
        if kind is None:
            return _NONE, name
        self._fused.add(readers[0].name)
        return kind, readers[0].output[0]

    def _relu_kind(self, node: NodeProto) -> int | None:
        if node.op_type == "Relu":
            return _RELU
        if node.op_type != "Clip" or len(node.input) < 3:
            return None
        low, high = (self._constants.get(name) for name in node.input[1:3])
        return _RELU6 if low is not None and high is not None and low == 0 and high == 6 else None

    # Translations.

    def gemm(self, node: NodeProto) -> None:
        at = _attributes(node)
        if at.get("transA", 0):
            raise self._unsupported(node, "transA")
        weights = self._constant(node, 1) * np.float32(at.get("alpha", 1.0))
        weights = weights if at.get("transB", 0) else weights.T
        inputs = [self._plain(self._value(node)).index, self._file.constant(node.input[1], weights)]
        if len(node.input) > 2:
            bias = np.float32(at.get("beta", 1.0)) * self._constant(node, 2)
            bias = np.broadcast_to(bias.reshape(-1), (len(weights),))
            inputs.append(self._file.constant(node.input[2], bias.astype(np.float32)))
        self._emit(node, "FULLY_CONNECTED", inputs, schema.FullyConnectedOptionsT())

    def matmul(self, node: NodeProto) -> None:
        weights = self._constant(node, 1)
        if weights.ndim != 2:
            raise self._unsupported(node, f"weights {weights.shape}")
        value = self._plain(self._value(node))
        options = schema.FullyConnectedOptionsT()
        options.keepNumDims = len(value.shape) > 2
        self._emit(
            node, "FULLY_CONNECTED", [value.index, self._file.constant(node.input[1], weights.T)], options
        )

    def convolution(self, node: NodeProto) -> None:
        at = _attributes(node)
        weights = self._constant(node, 1)
        value = self._value(node)
        if weights.ndim not in (3, 4):
            raise self._unsupported(node, f"{weights.ndim - 2} dimensions")
        if weights.ndim == 3:
            weights = weights[:, :, None]
        outputs, per_group, *kernel = weights.shape
        groups = at.get("group", 1)
        strides, dilations = _pair(at.get("strides", [1])), _pair(at.get("dilations", [1]))
        source, padding = self._padded(node, self._last(value), kernel, strides, dilations, 0.0)
        if groups == 1:
            options, kind = schema.Conv2DOptionsT(), "CONV_2D"
            weights = weights.transpose(0, 2, 3, 1)
        elif groups == value.shape[1] and per_group == 1:
            options, kind = schema.DepthwiseConv2DOptionsT(), "DEPTHWISE_CONV_2D"
            options.depthMultiplier = outputs // groups
            weights = weights.transpose(1, 2, 3, 0)
        else:
            raise self._unsupported(node, f"{groups} groups")
        options.padding = padding
        options.strideH, options.strideW = strides
        options.dilationHFactor, options.dilationWFactor = dilations
        bias = self._constant(node, 2) if len(node.input) > 2 else np.zeros(outputs, np.float32)
        bias_name = node.input[2] if len(node.input) > 2 else f"{node.output[0]}{ALIAS}bias"
        inputs = [source, self._file.constant(node.input[1], weights), self._file.constant(bias_name, bias)]
        self._emit(node, kind, inputs, options, last=True)

    def pool(self, node: NodeProto) -> None:
        at = _attributes(node)
        if at.get("ceil_mode", 0) or any(d != 1 for d in at.get("dilations", [])):
            raise self._unsupported(node, "ceil_mode or dilations")
        average = node.op_type == "AveragePool"
        kernel = _pair(at["kernel_shape"])
        strides = _pair(at.get("strides", [1]))
        fill = 0.0 if average and at.get("count_include_pad", 0) else None
        source, padding = self._padded(node, self._last(self._value(node)), kernel, strides, (1, 1), fill)
        options = schema.Pool2DOptionsT()
        options.padding = padding
        options.strideH, options.strideW = strides
        options.filterHeight, options.filterWidth = kernel
        self._emit(node, "AVERAGE_POOL_2D" if average else "MAX_POOL_2D", [source], options, last=True)

    def _padded(
        self,
        node: NodeProto,
        value: _Value,
        kernel: Sequence[int],
        strides: Sequence[int],
        dilations: Sequence[int],
        fill: float | None,
    ) -> tuple[int, int]:
        """Return the input and the padding scheme; pads that are not SAME are written out, of ``fill``."""
        at = _attributes(node)
        space = [1] * (4 - len(value.shape)) + list(value.shape[2:])
        same = [_same(*axis) for axis in zip(space, kernel, strides, dilations, strict=True)]
        auto = at.get("auto_pad", b"NOTSET").decode()
        flat = at.get("pads", [0] * 2 * (len(value.shape) - 2))
        half = len(flat) // 2
        pads = [(0, 0)] * (2 - half) + list(zip(flat[:half], flat[half:], strict=True))
        if auto == "SAME_LOWER":
            raise self._unsupported(node, auto)
        if auto == "VALID" or (auto == "NOTSET" and not any(flat)):
            return value.index, schema.Padding.VALID
        if fill is None and (auto == "SAME_UPPER" or pads == same):
            return value.index, schema.Padding.SAME
        if fill == 0.0 and node.op_type == "Conv" and (auto == "SAME_UPPER" or pads == same):
            return value.index, schema.Padding.SAME
        if fill is None:
            raise self._unsupported(node, f"pads {flat}")
        name = f"{value.name}{ALIAS}{node.name}_pad"
        (top, bottom), (left, right) = pads
        shape = (1, space[0] + top + bottom, space[1] + left + right, value.shape[1])
        amounts = np.array([[0, 0], [top, bottom], [left, right], [0, 0]], dtype=np.int32)
        index = self._file.activation(name, shape)
        inputs = [value.index, self._file.constant(f"{name}_amounts", amounts)]
        self._file.operator("PAD", inputs, index, schema.PadOptionsT())
        return index, schema.Padding.VALID

    def global_average(self, node: NodeProto) -> None:
        value = self._plain(self._value(node))
        self._mean(node, value, range(2, len(value.shape)), keep=True)

    def reduce_mean(self, node: NodeProto) -> None:
        at = _attributes(node)
        value = self._plain(self._value(node))
        axes = at.get("axes") or (self._constant(node, 1).tolist() if len(node.input) > 1 else [])
        if not axes:
            raise self._unsupported(node, "a mean over the batch")
        self._mean(node, value, [axis % len(value.shape) for axis in axes], bool(at.get("keepdims", 1)))

    def _mean(self, node: NodeProto, value: _Value, axes: Sequence[int], keep: bool) -> None:
        options = schema.ReducerOptionsT()
        options.keepDims = keep
        self._emit(node, "MEAN", [value.index, self._int32(f"{node.output[0]}{ALIAS}axes", axes)], options)

    def reshape(self, node: NodeProto) -> None:
        name, value = node.output[0], self._plain(self._value(node))
        shape = self._shapes[name]
        if int(np.prod(shape)) != int(np.prod(value.shape)) or shape[:1] != (1,):
            raise self._unsupported(node, f"{value.shape} to {shape} mixes the batch in")
        self._values[name] = _Value(self._reshape(name, value.index, shape), name, shape)

    def transpose(self, node: NodeProto) -> None:
        name, value = node.output[0], self._plain(self._value(node))
        order = _attributes(node).get("perm", list(range(len(value.shape)))[::-1])
        if order[0] != 0:
            raise self._unsupported(node, f"perm {order} moves the batch")
        self._values[name] = self._transposed(name, value.index, order, self._shapes[name])

    def concatenate(self, node: NodeProto) -> None:
        values = [self._plain(self._value(node, position)) for position in range(len(node.input))]
        options = schema.ConcatenationOptionsT()
        options.axis = _attributes(node)["axis"] % len(values[0].shape)
        self._emit(node, "CONCATENATION", [value.index for value in values], options)

    def softmax(self, node: NodeProto) -> None:
        value = self._plain(self._value(node))
        if _attributes(node).get("axis", -1) % len(value.shape) != len(value.shape) - 1:
            raise self._unsupported(node, "not over the last axis")
        options = schema.SoftmaxOptionsT()
        options.beta = 1.0
        self._emit(node, "SOFTMAX", [value.index], options)

    def identity(self, node: NodeProto) -> None:
        self._values[node.output[0]] = self._value(node)

    def clip(self, node: NodeProto) -> None:
        kind = self._relu_kind(node)
        if kind is None:
            raise self._unsupported(node, "bounds other than 0 and 6")
        value = self._value(node)
        self._emit(node, "RELU6" if kind == _RELU6 else "RELU", [value.index], last=value.last)

    def leaky(self, node: NodeProto) -> None:
        value = self._value(node)
        options = schema.LeakyReluOptionsT()
        options.alpha = _attributes(node).get("alpha", 0.01)
        self._emit(node, "LEAKY_RELU", [value.index], options, last=value.last)


def _unary(kind: str) -> Callable[[_Writer, NodeProto], None]:
    def translate(writer: _Writer, node: NodeProto) -> None:
        value = writer._value(node)
        writer._emit(node, kind, [value.index], last=value.last)

    return translate


def _binary(kind: str, options: type[Any]) -> Callable[[_Writer, NodeProto], None]:
    def translate(writer: _Writer, node: NodeProto) -> None:
        inputs = []
        for position, name in enumerate(node.input):
            if name in writer._values:
                inputs.append(writer._plain(writer._values[name]).index)
            else:
                data = writer._constant(node, position).astype(np.float32)
                inputs.append(writer._file.constant(f"{name}{ALIAS}{node.name}", data))
        writer._emit(node, kind, inputs, options())

    return translate


def _attributes(node: NodeProto) -> dict[str, Any]:
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


def _pair(numbers: Sequence[int]) -> tuple[int, int]:
    """Return (vertical, horizontal): one-dimensional operators have height 1."""
    return (1, numbers[0]) if len(numbers) == 1 else (numbers[0], numbers[1])


def _same(size: int, kernel: int, stride: int, dilation: int) -> tuple[int, int]:
    """Return the pads before and after that TFLite's SAME means."""
    total = max((-(-size // stride) - 1) * stride + (kernel - 1) * dilation + 1 - size, 0)
    return total // 2, total - total // 2


_TRANSLATIONS: dict[str, Callable[[_Writer, NodeProto], None]] = {
    "Gemm": _Writer.gemm,
    "MatMul": _Writer.matmul,
    "Conv": _Writer.convolution,
    "MaxPool": _Writer.pool,
    "AveragePool": _Writer.pool,
    "GlobalAveragePool": _Writer.global_average,
    "ReduceMean": _Writer.reduce_mean,
    "Flatten": _Writer.reshape,
    "Reshape": _Writer.reshape,
    "Squeeze": _Writer.reshape,
    "Unsqueeze": _Writer.reshape,
    "Transpose": _Writer.transpose,
    "Concat": _Writer.concatenate,
    "Softmax": _Writer.softmax,
    "Identity": _Writer.identity,
    "Clip": _Writer.clip,
    "LeakyRelu": _Writer.leaky,
    "Relu": _unary("RELU"),
    "Tanh": _unary("TANH"),
    "Sigmoid": _unary("LOGISTIC"),
    "Elu": _unary("ELU"),
    "Add": _binary("ADD", schema.AddOptionsT),
    "Sub": _binary("SUB", schema.SubOptionsT),
    "Mul": _binary("MUL", schema.MulOptionsT),
    "Div": _binary("DIV", schema.DivOptionsT),
}
