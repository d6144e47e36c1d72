"""LiteRT: ``ai-edge-litert``, or ``tflite-runtime`` on the boards that still have only that.

The interpreter may move its tensors when it runs: views are asked for anew each time and let go before.
"""

from __future__ import annotations

import importlib.metadata

import numpy as np

from edge_agent.errors import BundleError, PlatformError
from edge_agent.neural.runtime_port import Runtime

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
    library = f"{_LIBRARY} {importlib.metadata.version(_LIBRARY)}"
    take = tuple(interpreter.tensor(tensor["index"]) for tensor in outputs)
    # Interpreter.invoke without its count of the views that somebody holds, which takes a tenth of a small
    # network's time: whoever drives a Runtime lets them go.
    invoke = interpreter._interpreter.Invoke
    return Runtime(library, batch, interpreter.tensor(put["index"]), invoke, take)


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
