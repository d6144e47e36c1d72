"""The ONNX reader: up to the normal form that quantization and the TFLite writer start from."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from edge_convert.readers import onnx_source
from tests.fuzz.files import written


def decode(data: bytes) -> None:
    """Read a network."""
    with written(data, "fuzzed.onnx") as path:
        onnx_source.read(path)


def _network(*nodes: str, scaler: bool = False) -> bytes:
    w = np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3)
    constants = [numpy_helper.from_array(w, "w"), numpy_helper.from_array(w[0], "b")]
    made = []
    last = "x"
    if scaler:
        scale = {"offset": [0.5, 0.5], "scale": [2.0, 2.0], "domain": "ai.onnx.ml"}
        made.append(helper.make_node("Scaler", [last], ["s"], **scale))
        last = "s"
    for number, kind in enumerate(nodes):
        name = f"t{number}"
        inputs = {"Gemm": [last, "w", "b"], "MatMul": [last, "w"]}.get(kind, [last])
        made.append(helper.make_node(kind, inputs, [name]))
        last = name
    put = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 2])
    out = helper.make_tensor_value_info(last, TensorProto.FLOAT, ["n", 3])
    graph = helper.make_graph(made, "net", [put], [out], constants)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()


def seed() -> bytes:
    """Return one input that is right."""
    return _network("Gemm", "Relu")


def seeds() -> Iterator[bytes]:
    """Yield inputs to start from."""
    yield seed()
    yield _network("MatMul", "Tanh", "Softmax")
    yield _network("Gemm", scaler=True)
