"""float32 ONNX to int8 with ONNX Runtime's static quantization (QDQ), given our ranges.

Activations and weights are int8, weights a channel. The ranges reach the library through its calibration
cache, so it runs no calibration of its own. Nodes that are not in ``quantized`` stay float.
"""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper
from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.calibrate import TensorData, TensorsData, save_tensors_data
from onnxruntime.quantization.registry import QDQRegistry

from edge_convert.quantize.calibrate import Range

_SCALINGS = frozenset(
    {"Add", "Sub", "Mul", "Div"}
)  # by constants: no weights to save, features' units to lose


def operators(model: ModelProto) -> list[tuple[str, str]]:
    """Return (name, kind) of the nodes that can be quantized."""
    constants = {tensor.name for tensor in model.graph.initializer}
    return [
        (node.name, node.op_type)
        for node in model.graph.node
        if node.op_type in QDQRegistry and not (node.op_type in _SCALINGS and constants & set(node.input))
    ]


def quantize(model: ModelProto, ranges: Mapping[str, Range], quantized: Collection[str]) -> bytes:
    """Return the int8 model.

    Parameters
    ----------
    model : ModelProto
        In normal form.
    ranges : mapping
        Range of every activation by name.
    quantized : collection of str
        Names of the nodes that become int8.
    """
    if not quantized:
        return bytes(model.SerializeToString(deterministic=True))
    data = {
        name: TensorData(lowest=np.float32(low), highest=np.float32(high))
        for name, (low, high) in ranges.items()
    }
    prepared = ModelProto()
    prepared.CopyFrom(model)
    helper.set_model_props(
        prepared, {"onnx.quant.pre_process": "onnxruntime.quant"}
    )  # the normal form is just that
    with tempfile.TemporaryDirectory() as folder:
        cache, output = Path(folder) / "ranges.json", Path(folder) / "int8.onnx"
        save_tensors_data(TensorsData(CalibrationMethod.MinMax, data), cache)
        quantize_static(
            prepared,
            output,
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
            nodes_to_quantize=sorted(quantized),
            calibration_cache_path=cache,
        )
        result = onnx.load_model(output)
    del result.metadata_props[:]
    return bytes(result.SerializeToString(deterministic=True))


def activations(model: ModelProto, x: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    """Return the values [n, ...] of every float activation for inputs [n, *shape]."""
    every = ModelProto()
    every.CopyFrom(model)
    shown = {value.name for value in every.graph.output}
    floats = {
        value.name
        for value in every.graph.value_info
        if value.type.tensor_type.elem_type == TensorProto.FLOAT
    }
    constants = {tensor.name for tensor in every.graph.initializer}
    every.graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
        for name in sorted(floats - shown - constants)
    )
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(
        every.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    (put,) = session.get_inputs()
    names = [value.name for value in session.get_outputs()]
    return {put.name: x} | dict(zip(names, session.run(names, {put.name: x}), strict=True))
