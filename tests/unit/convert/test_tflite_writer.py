"""The TFLite writer: every operator gives what ONNX Runtime gives for the same network, at any batch."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import NodeProto, TensorProto, helper, numpy_helper, shape_inference

from edge_agent.errors import ModelError
from edge_convert.readers import onnx_source
from edge_convert.readers.network import run
from edge_convert.tflite import writer

RNG = np.random.default_rng(5)
F = np.float32


def weights(*shape: int) -> Any:
    return RNG.normal(size=shape).astype(F)


def node(kind: str, *inputs: str, out: str = "y", **attributes: Any) -> NodeProto:
    return helper.make_node(kind, inputs, [out], **attributes)


IMAGE, SIGNAL, VECTOR = (3, 8, 7), (4, 12), (10,)
CASES: dict[str, tuple[tuple[int, ...], list[NodeProto], dict[str, Any]]] = {
    "Gemm": (VECTOR, [node("Gemm", "x", "w", "b", transB=1)], {"w": weights(5, 10), "b": weights(5)}),
    "Gemm, scaled": (
        VECTOR,
        [node("Gemm", "x", "w", "b", alpha=0.5, beta=2.0)],
        {"w": weights(10, 5), "b": weights(5)},
    ),
    "Gemm, no bias": (VECTOR, [node("Gemm", "x", "w")], {"w": weights(10, 5)}),
    "MatMul": (VECTOR, [node("MatMul", "x", "w")], {"w": weights(10, 5)}),
    "MatMul of a sequence": (SIGNAL, [node("MatMul", "x", "w")], {"w": weights(12, 5)}),
    "fused Relu": (
        VECTOR,
        [node("Gemm", "x", "w", out="h"), node("Relu", "h")],
        {"w": weights(10, 5)},
    ),
    "Relu that is also an output": (VECTOR, [node("Relu", "x", out="h"), node("Tanh", "h")], {}),
    "Relu6": (SIGNAL, [node("Clip", "x", "lo", "hi")], {"lo": F(0), "hi": F(6)}),
    "Tanh": (VECTOR, [node("Tanh", "x")], {}),
    "Sigmoid": (VECTOR, [node("Sigmoid", "x")], {}),
    "Elu": (VECTOR, [node("Elu", "x")], {}),
    "LeakyRelu": (VECTOR, [node("LeakyRelu", "x", alpha=0.2)], {}),
    "Softmax": (VECTOR, [node("Softmax", "x", axis=1)], {}),
    "Conv": (IMAGE, [node("Conv", "x", "w", "b")], {"w": weights(4, 3, 3, 2), "b": weights(4)}),
    "Conv, same padding": (
        IMAGE,
        [node("Conv", "x", "w", pads=[1, 1, 1, 1])],
        {"w": weights(4, 3, 3, 3)},
    ),
    "Conv, same padding at one end": (
        IMAGE,
        [node("Conv", "x", "w", pads=[0, 1, 1, 1], strides=[2, 2])],
        {"w": weights(4, 3, 3, 3)},
    ),
    "Conv, same padding at the other end": (
        IMAGE,
        [node("Conv", "x", "w", pads=[1, 1, 0, 1], strides=[2, 2])],
        {"w": weights(4, 3, 3, 3)},
    ),
    "Conv, auto_pad": (
        IMAGE,
        [node("Conv", "x", "w", auto_pad="SAME_UPPER", strides=[2, 2])],
        {"w": weights(4, 3, 3, 3)},
    ),
    "AveragePool, auto_pad, counted": (
        IMAGE,
        [node("AveragePool", "x", kernel_shape=[3, 3], auto_pad="SAME_UPPER", count_include_pad=1)],
        {},
    ),
    "Conv, strides and odd padding": (
        IMAGE,
        [node("Conv", "x", "w", pads=[2, 1, 0, 1], strides=[2, 3])],
        {"w": weights(4, 3, 3, 3)},
    ),
    "Conv, dilated": (
        IMAGE,
        [node("Conv", "x", "w", dilations=[2, 2], pads=[2, 2, 2, 2])],
        {"w": weights(4, 3, 3, 3)},
    ),
    "Conv, depthwise": (IMAGE, [node("Conv", "x", "w", group=3)], {"w": weights(6, 1, 3, 3)}),
    "Conv, 1-D": (SIGNAL, [node("Conv", "x", "w", pads=[1, 1])], {"w": weights(5, 4, 3)}),
    "Conv, 1-D, strided": (
        SIGNAL,
        [node("Conv", "x", "w", pads=[1, 1], strides=[2])],
        {"w": weights(5, 4, 3)},
    ),
    "Conv and batch normalisation": (
        IMAGE,
        [node("Conv", "x", "w", out="h"), node("BatchNormalization", "h", "s", "o", "m", "v")],
        {
            "w": weights(4, 3, 3, 3),
            "s": weights(4),
            "o": weights(4),
            "m": weights(4),
            "v": np.abs(weights(4)),
        },
    ),
    "MaxPool": (IMAGE, [node("MaxPool", "x", kernel_shape=[2, 2], strides=[2, 2])], {}),
    "MaxPool, 1-D": (SIGNAL, [node("MaxPool", "x", kernel_shape=[3], strides=[2])], {}),
    "AveragePool": (IMAGE, [node("AveragePool", "x", kernel_shape=[2, 3])], {}),
    "GlobalAveragePool": (IMAGE, [node("GlobalAveragePool", "x")], {}),
    "ReduceMean": (IMAGE, [node("ReduceMean", "x", "a", keepdims=0)], {"a": np.array([2, 3])}),
    "Conv, then flat": (
        IMAGE,
        [node("Conv", "x", "w", out="h"), node("Flatten", "h")],
        {"w": weights(4, 3, 3, 3)},
    ),
    "Reshape": (IMAGE, [node("Reshape", "x", "s")], {"s": np.array([0, -1])}),
    "Transpose": (IMAGE, [node("Transpose", "x", perm=[0, 3, 1, 2])], {}),
    "Concat of two branches": (
        SIGNAL,
        [
            node("Conv", "x", "w", out="h"),
            node("Relu", "h", out="r"),
            node("Concat", "h", "r", axis=1),
        ],
        {"w": weights(5, 4, 3)},
    ),
    "Add, Sub, Mul, Div": (
        VECTOR,
        [
            node("Add", "x", "c", out="h1"),
            node("Sub", "d", "h1", out="h2"),
            node("Mul", "h2", "x", out="h3"),
            node("Div", "h3", "c"),
        ],
        {"c": np.abs(weights(10)) + F(1), "d": weights(1)},
    ),
    "residual around a convolution": (
        IMAGE,
        [node("Conv", "x", "w", out="h", pads=[1, 1, 1, 1]), node("Add", "h", "x")],
        {"w": weights(3, 3, 3, 3)},
    ),
}


def network(
    path: Path, shape: tuple[int, ...], nodes: Sequence[NodeProto], constants: dict[str, Any]
) -> Path:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", *shape])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    path.write_bytes(shape_inference.infer_shapes(model).SerializeToString())
    return path


@pytest.mark.parametrize("case", CASES)
def test_operator_gives_what_onnx_runtime_gives(case: str, tmp_path: Path) -> None:
    shape, nodes, constants = CASES[case]
    model = onnx_source.read(network(tmp_path / "m.onnx", shape, nodes, constants))
    tflite = writer.write(model, "m.onnx")
    for batch in (1, 5):
        x = RNG.normal(size=(batch, *shape)).astype(F) * 3
        (wanted,) = run("onnx", model.SerializeToString(), x)
        (found,) = run("tflite", tflite, x)
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("node_", "shape", "constants"),
    [
        (node("Sin", "x"), VECTOR, {}),
        (node("Gemm", "x", "w", transA=1), (3,), {"w": weights(3, 5)}),
        (node("Softmax", "x", axis=0), VECTOR, {}),
        (node("Clip", "x", "lo", "hi"), VECTOR, {"lo": F(-1), "hi": F(1)}),
        (node("MatMul", "x", "w"), SIGNAL, {"w": weights(1, 12, 5)}),
        (node("Conv", "x", "w"), (3, 4, 4, 4), {"w": weights(2, 3, 2, 2, 2)}),
        (node("Conv", "x", "w", group=2), (4, 8, 8), {"w": weights(4, 2, 3, 3)}),
        (node("Conv", "x", "w", auto_pad="SAME_LOWER"), IMAGE, {"w": weights(4, 3, 3, 2)}),
        (node("MaxPool", "x", kernel_shape=[2, 2], ceil_mode=1), IMAGE, {}),
        (node("MaxPool", "x", kernel_shape=[3, 3], pads=[2, 1, 0, 1]), IMAGE, {}),
        (node("ReduceMean", "x"), SIGNAL, {}),
        (node("Reshape", "x", "to"), VECTOR, {"to": np.array([-1, 5])}),
    ],
)
def test_operator_that_cannot_be_written_is_named_and_onnx_runtime_offered(
    node_: NodeProto, shape: tuple[int, ...], constants: dict[str, Any], tmp_path: Path
) -> None:
    source = network(tmp_path / "m.onnx", shape, [node_], constants)
    with pytest.raises(ModelError, match=rf"m\.onnx: {node_.op_type} \(y\).*--target onnxruntime"):
        writer.write(onnx_source.read(source), str(source))
