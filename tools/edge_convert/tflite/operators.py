"""How each ONNX operator is said in TFLite: one function an operator.

Theory of operation. Padding is ``SAME`` where ONNX's numbers mean just that, else an explicit Pad. An
operator that cannot be said is refused by name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from onnx import NodeProto, helper

from edge_convert.tflite.canvas import ALIAS, RELU6, Canvas, Value


def _gemm(canvas: Canvas, node: NodeProto) -> None:
    at = _attributes(node)
    if at.get("transA", 0):
        raise canvas.unsupported(node, "transA")
    weights = canvas.constant(node, 1) * np.float32(at.get("alpha", 1.0))
    weights = weights if at.get("transB", 0) else weights.T
    inputs = [canvas.plain(canvas.value(node)).index, canvas.file.constant(node.input[1], weights)]
    if len(node.input) > 2:
        bias = np.float32(at.get("beta", 1.0)) * canvas.constant(node, 2)
        bias = np.broadcast_to(bias.reshape(-1), (len(weights),))
        inputs.append(canvas.file.constant(node.input[2], bias.astype(np.float32)))
    canvas.emit(node, "FULLY_CONNECTED", inputs, schema.FullyConnectedOptionsT())


def _matmul(canvas: Canvas, node: NodeProto) -> None:
    weights = canvas.constant(node, 1)
    if weights.ndim != 2:
        raise canvas.unsupported(node, f"weights {weights.shape}")
    value = canvas.plain(canvas.value(node))
    options = schema.FullyConnectedOptionsT()
    options.keepNumDims = len(value.shape) > 2
    canvas.emit(
        node, "FULLY_CONNECTED", [value.index, canvas.file.constant(node.input[1], weights.T)], options
    )


def _convolution(canvas: Canvas, node: NodeProto) -> None:
    at = _attributes(node)
    weights = canvas.constant(node, 1)
    value = canvas.value(node)
    if weights.ndim not in (3, 4):
        raise canvas.unsupported(node, f"{weights.ndim - 2} dimensions")
    if weights.ndim == 3:
        weights = weights[:, :, None]
    outputs, per_group, *kernel = weights.shape
    groups = at.get("group", 1)
    strides, dilations = _pair(at.get("strides", [1])), _pair(at.get("dilations", [1]))
    source, padding = _padded(canvas, node, canvas.last(value), kernel, strides, dilations, 0.0)
    if groups == 1:
        options, kind = schema.Conv2DOptionsT(), "CONV_2D"
        weights = weights.transpose(0, 2, 3, 1)
    elif groups == value.shape[1] and per_group == 1:
        options, kind = schema.DepthwiseConv2DOptionsT(), "DEPTHWISE_CONV_2D"
        options.depthMultiplier = outputs // groups
        weights = weights.transpose(1, 2, 3, 0)
    else:
        raise canvas.unsupported(node, f"{groups} groups")
    options.padding = padding
    options.strideH, options.strideW = strides
    options.dilationHFactor, options.dilationWFactor = dilations
    bias = canvas.constant(node, 2) if len(node.input) > 2 else np.zeros(outputs, np.float32)
    bias_name = node.input[2] if len(node.input) > 2 else f"{node.output[0]}{ALIAS}bias"
    inputs = [source, canvas.file.constant(node.input[1], weights), canvas.file.constant(bias_name, bias)]
    canvas.emit(node, kind, inputs, options, last=True)


def _pool(canvas: Canvas, node: NodeProto) -> None:
    at = _attributes(node)
    if at.get("ceil_mode", 0) or any(d != 1 for d in at.get("dilations", [])):
        raise canvas.unsupported(node, "ceil_mode or dilations")
    average = node.op_type == "AveragePool"
    kernel = _pair(at["kernel_shape"])
    strides = _pair(at.get("strides", [1]))
    fill = 0.0 if average and at.get("count_include_pad", 0) else None
    source, padding = _padded(canvas, node, canvas.last(canvas.value(node)), kernel, strides, (1, 1), fill)
    options = schema.Pool2DOptionsT()
    options.padding = padding
    options.strideH, options.strideW = strides
    options.filterHeight, options.filterWidth = kernel
    canvas.emit(node, "AVERAGE_POOL_2D" if average else "MAX_POOL_2D", [source], options, last=True)


def _padded(
    canvas: Canvas,
    node: NodeProto,
    value: Value,
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
        raise canvas.unsupported(node, auto)
    if auto == "VALID" or (auto == "NOTSET" and not any(flat)):
        return value.index, schema.Padding.VALID
    if auto == "SAME_UPPER":
        pads = same
    if pads == same and (fill is None or node.op_type == "Conv"):
        return value.index, schema.Padding.SAME
    if fill is None:
        raise canvas.unsupported(node, f"pads {flat}")
    name = f"{value.name}{ALIAS}{node.name}_pad"
    (top, bottom), (left, right) = pads
    shape = (1, space[0] + top + bottom, space[1] + left + right, value.shape[1])
    amounts = np.array([[0, 0], [top, bottom], [left, right], [0, 0]], dtype=np.int32)
    index = canvas.file.activation(name, shape)
    inputs = [value.index, canvas.file.constant(f"{name}_amounts", amounts)]
    canvas.file.operator("PAD", inputs, index, schema.PadOptionsT())
    return index, schema.Padding.VALID


def _global_average(canvas: Canvas, node: NodeProto) -> None:
    value = canvas.plain(canvas.value(node))
    _mean(canvas, node, value, range(2, len(value.shape)), keep=True)


def _reduce_mean(canvas: Canvas, node: NodeProto) -> None:
    at = _attributes(node)
    value = canvas.plain(canvas.value(node))
    axes = at.get("axes") or (canvas.constant(node, 1).tolist() if len(node.input) > 1 else [])
    if not axes:
        raise canvas.unsupported(node, "a mean over the batch")
    _mean(canvas, node, value, [axis % len(value.shape) for axis in axes], bool(at.get("keepdims", 1)))


def _mean(canvas: Canvas, node: NodeProto, value: Value, axes: Sequence[int], keep: bool) -> None:
    options = schema.ReducerOptionsT()
    options.keepDims = keep
    canvas.emit(node, "MEAN", [value.index, canvas.int32(f"{node.output[0]}{ALIAS}axes", axes)], options)


def _reshape(canvas: Canvas, node: NodeProto) -> None:
    name, value = node.output[0], canvas.plain(canvas.value(node))
    shape = canvas.shapes[name]
    if int(np.prod(shape)) != int(np.prod(value.shape)) or shape[:1] != (1,):
        raise canvas.unsupported(node, f"{value.shape} to {shape} mixes the batch in")
    canvas.values[name] = Value(canvas.reshape(name, value.index, shape), name, shape)


def _transpose(canvas: Canvas, node: NodeProto) -> None:
    name, value = node.output[0], canvas.plain(canvas.value(node))
    order = _attributes(node).get("perm", list(range(len(value.shape)))[::-1])
    if order[0] != 0:
        raise canvas.unsupported(node, f"perm {order} moves the batch")
    canvas.values[name] = canvas.transposed(name, value.index, order, canvas.shapes[name])


def _concatenate(canvas: Canvas, node: NodeProto) -> None:
    values = [canvas.plain(canvas.value(node, position)) for position in range(len(node.input))]
    options = schema.ConcatenationOptionsT()
    options.axis = _attributes(node)["axis"] % len(values[0].shape)
    canvas.emit(node, "CONCATENATION", [value.index for value in values], options)


def _softmax(canvas: Canvas, node: NodeProto) -> None:
    value = canvas.plain(canvas.value(node))
    if _attributes(node).get("axis", -1) % len(value.shape) != len(value.shape) - 1:
        raise canvas.unsupported(node, "not over the last axis")
    options = schema.SoftmaxOptionsT()
    options.beta = 1.0
    canvas.emit(node, "SOFTMAX", [value.index], options)


def _identity(canvas: Canvas, node: NodeProto) -> None:
    canvas.values[node.output[0]] = canvas.value(node)


def _clip(canvas: Canvas, node: NodeProto) -> None:
    kind = canvas.relu_kind(node)
    if kind is None:
        raise canvas.unsupported(node, "bounds other than 0 and 6")
    value = canvas.value(node)
    canvas.emit(node, "RELU6" if kind == RELU6 else "RELU", [value.index], last=value.last)


def _leaky(canvas: Canvas, node: NodeProto) -> None:
    value = canvas.value(node)
    options = schema.LeakyReluOptionsT()
    options.alpha = _attributes(node).get("alpha", 0.01)
    canvas.emit(node, "LEAKY_RELU", [value.index], options, last=value.last)


def _unary(kind: str) -> Callable[[Canvas, NodeProto], None]:
    def translate(canvas: Canvas, node: NodeProto) -> None:
        value = canvas.value(node)
        canvas.emit(node, kind, [value.index], last=value.last)

    return translate


def _binary(kind: str, options: type[Any]) -> Callable[[Canvas, NodeProto], None]:
    def translate(canvas: Canvas, node: NodeProto) -> None:
        inputs = []
        for position, name in enumerate(node.input):
            if name in canvas.values:
                inputs.append(canvas.plain(canvas.values[name]).index)
            else:
                data = canvas.constant(node, position).astype(np.float32)
                inputs.append(canvas.file.constant(f"{name}{ALIAS}{node.name}", data))
        canvas.emit(node, kind, inputs, options())

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


TRANSLATIONS: dict[str, Callable[[Canvas, NodeProto], None]] = {
    "Gemm": _gemm,
    "MatMul": _matmul,
    "Conv": _convolution,
    "MaxPool": _pool,
    "AveragePool": _pool,
    "GlobalAveragePool": _global_average,
    "ReduceMean": _reduce_mean,
    "Flatten": _reshape,
    "Reshape": _reshape,
    "Squeeze": _reshape,
    "Unsqueeze": _reshape,
    "Transpose": _transpose,
    "Concat": _concatenate,
    "Softmax": _softmax,
    "Identity": _identity,
    "Clip": _clip,
    "LeakyRelu": _leaky,
    "Relu": _unary("RELU"),
    "Tanh": _unary("TANH"),
    "Sigmoid": _unary("LOGISTIC"),
    "Elu": _unary("ELU"),
    "Add": _binary("ADD", schema.AddOptionsT),
    "Sub": _binary("SUB", schema.SubOptionsT),
    "Mul": _binary("MUL", schema.MulOptionsT),
    "Div": _binary("DIV", schema.DivOptionsT),
}
