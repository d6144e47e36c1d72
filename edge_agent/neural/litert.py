"""LiteRT: ``ai-edge-litert``, or ``tflite-runtime`` on the boards that still have only that.

The interpreter refuses to run while somebody holds a view of its tensors, so inputs and outputs are copies.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import BundleError, PlatformError
from edge_agent.neural.runtimes import Float, Runtime

try:
    from ai_edge_litert.interpreter import Interpreter

    _LIBRARY = "ai-edge-litert"
except ImportError:
    try:
        from tflite_runtime.interpreter import Interpreter

        _LIBRARY = "tflite-runtime"
    except ImportError as error:
        raise PlatformError("no LiteRT here: pip install 'edge-agent[litert]'") from error


def open_litert(payload: bytes, shape: tuple[int, ...], batch: int, threads: int) -> Runtime:
    """Return a runtime for a TFLite model with one float32 input; see ``runtimes.open_runtime``."""
    try:
        interpreter = Interpreter(model_content=payload, num_threads=threads)
        (put,) = interpreter.get_input_details()
        interpreter.resize_tensor_input(put["index"], [batch, *shape])
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise BundleError(f"model.tflite: {_first_line(error)}") from error
    (put,) = interpreter.get_input_details()
    outputs = interpreter.get_output_details()
    for tensor in (put, *outputs):
        if tensor["dtype"] is not np.float32:
            raise BundleError(
                f"model.tflite: {tensor['name']} is {tensor['dtype'].__name__}, expected float32"
            )
        if tuple(tensor["shape"])[:1] != (batch,):
            raise BundleError(
                f"model.tflite: {tensor['name']} is {tuple(tensor['shape'])}, expected {batch} rows"
            )
    source, indices = put["index"], [tensor["index"] for tensor in outputs]
    set_tensor, invoke, get_tensor = interpreter.set_tensor, interpreter.invoke, interpreter.get_tensor

    def run(x: Float) -> Sequence[NDArray[Any]]:
        set_tensor(source, x)
        invoke()
        return [get_tensor(index) for index in indices]

    return Runtime(f"{_LIBRARY} {importlib.metadata.version(_LIBRARY)}", batch, run)


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
