"""ONNX Runtime, set up for little memory: no arena, no spinning threads.

The arena keeps buffers for sizes that may come back; here one size comes all the time, and policies are
small. Spinning threads burn a core of a board between two ticks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from edge_agent.errors import BundleError, PlatformError
from edge_agent.neural.runtimes import Float, Runtime

try:
    import onnxruntime
    from onnxruntime.capi import onnxruntime_pybind11_state as state
except ImportError as error:
    raise PlatformError("no ONNX Runtime here: pip install 'edge-agent[onnx]'") from error

_FATAL = 4
REFUSALS = (
    state.Fail,
    state.InvalidArgument,
    state.InvalidGraph,
    state.InvalidProtobuf,
    state.NotImplemented,
    state.RuntimeException,
)


def open_onnx(payload: bytes, batch: int, threads: int) -> Runtime:
    """Return a runtime for an ONNX model with one float32 input; see ``runtimes.open_runtime``."""
    options = onnxruntime.SessionOptions()
    options.enable_cpu_mem_arena = False
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _FATAL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = onnxruntime.InferenceSession(payload, options, providers=["CPUExecutionProvider"])
    except REFUSALS as error:
        raise BundleError(f"model.onnx: {str(error).splitlines()[0]}") from error
    (put,) = session.get_inputs()
    outputs = session.get_outputs()
    for tensor in (put, *outputs):
        if tensor.type != "tensor(float)":
            raise BundleError(f"model.onnx: {tensor.name} is {tensor.type}, expected tensor(float)")
    names = [tensor.name for tensor in outputs]
    source, session_run = put.name, session.run

    def run(x: Float) -> Sequence[NDArray[Any]]:
        results: Sequence[NDArray[Any]] = session_run(names, {source: x})
        return results

    return Runtime(f"onnxruntime {onnxruntime.__version__}", batch, run)
