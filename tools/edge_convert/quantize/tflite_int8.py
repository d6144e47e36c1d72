"""float32 TFLite to int8 with ai-edge-quantizer, given our ranges: int8 activations, int8 weights a channel.

Inputs and outputs stay float32: a policy is fed and read in the float model's units. An operator is named by
its output tensor; whatever is not in ``quantized`` stays float.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Collection, Mapping

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from ai_edge_quantizer import algorithm_manager, qtyping, quantizer
from numpy.typing import NDArray

from edge_agent.errors import ModelError
from edge_convert.quantize.calibrate import Range
from edge_convert.tflite.canvas import onnx_name

_BITS = 8
_NOT = algorithm_manager.AlgorithmName.NO_QUANTIZE
_SCALINGS = frozenset(
    {"ADD", "SUB", "MUL", "DIV"}
)  # by constants: no weights to save, features' units to lose
_EVERY = qtyping.TFLOperationName.ALL_SUPPORTED


def operators(model: bytes) -> list[tuple[str, str]]:
    """Return (name, kind) of the operators that can be quantized; the name is that of the output tensor."""
    interpreter = Interpreter(model_content=model)
    tensors = {tensor["index"]: tensor["name"] for tensor in interpreter.get_tensor_details()}
    known = {name.value for name in qtyping.TFLOperationName}
    every = interpreter._get_ops_details()
    written = {int(index) for operator in every for index in operator["outputs"]}
    written.add(interpreter.get_input_details()[0]["index"])
    return [
        (tensors[int(operator["outputs"][0])], operator["op_name"])
        for operator in every
        if operator["op_name"] in known
        and not (operator["op_name"] in _SCALINGS and not written.issuperset(operator["inputs"].tolist()))
    ]


def quantize(model: bytes, ranges: Mapping[str, Range], quantized: Collection[str]) -> bytes:
    """Return the int8 model.

    Parameters
    ----------
    model : bytes
        float32 TFLite.
    ranges : mapping
        Range of every activation, by ONNX or TFLite name.
    quantized : collection of str
        Names of the operators that become int8.
    """
    work = quantizer.Quantizer(model)
    for name in quantized:
        work.add_static_config(f"^{re.escape(name)};?$", _EVERY, _BITS, _BITS)
    for end in (qtyping.TFLOperationName.INPUT, qtyping.TFLOperationName.OUTPUT):
        work.update_quantization_recipe(".*", end, algorithm_key=_NOT)
    if not quantized:
        return model
    with warnings.catch_warnings():  # it opens the model with an option "intended for debugging"
        warnings.simplefilter("ignore", UserWarning)
        result = work.quantize(
            _statistics(model, ranges), enable_progress_bar=False, enable_progress_report=False
        )
    return bytes(result.quantized_model)


def activations(model: bytes, x: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    """Return the values [n, ...] of every activation of a float model for inputs [n, *shape]."""
    interpreter = Interpreter(
        model_content=model,
        experimental_preserve_all_tensors=True,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    (put,) = interpreter.get_input_details()
    try:
        interpreter.resize_tensor_input(put["index"], x.shape)
        interpreter.allocate_tensors()
        interpreter.set_tensor(put["index"], x)
        interpreter.invoke()
    except (ValueError, RuntimeError) as error:
        raise ModelError(f"tflite model cannot be run: {str(error).strip().splitlines()[0]}") from error
    found = {put["name"]: x}
    names = {tensor["index"]: tensor for tensor in interpreter.get_tensor_details()}
    for operator in interpreter._get_ops_details():
        for index in operator["outputs"]:
            if names[int(index)]["dtype"] is np.float32:
                found[names[int(index)]["name"]] = interpreter.get_tensor(int(index))
    return found


def _statistics(model: bytes, ranges: Mapping[str, Range]) -> dict[str, dict[str, NDArray[np.float32]]]:
    statistics = {}
    for tensor in Interpreter(model_content=model).get_tensor_details():
        name = tensor["name"]
        found = ranges.get(name, ranges.get(onnx_name(name)))
        if found is not None and tensor["dtype"] is np.float32:
            ones = (1,) * len(tensor["shape"])
            statistics[name] = {
                "min": np.full(ones, found[0], dtype=np.float32),
                "max": np.full(ones, found[1], dtype=np.float32),
            }
    return statistics
