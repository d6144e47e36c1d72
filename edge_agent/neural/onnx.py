"""ONNX Runtime, set up for little memory: no arena, no spinning threads.

The arena keeps buffers for sizes that may come back; here one size comes all the time, and policies are
small. Spinning threads burn a core of a board between two ticks. Inputs and outputs are arrays that are bound
once: a run reads and writes them in place.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from edge_agent.errors import BundleError, PlatformError
from edge_agent.neural.runtime_port import Float, Runtime

try:
    import onnxruntime
    from onnxruntime.capi import onnxruntime_pybind11_state as state
except ImportError as error:
    raise PlatformError("no ONNX Runtime here: pip install 'edge-agent[onnx]'") from error

_FATAL = 4
_EXACT_SUMS = "session.x64quantprecision"
_CPUINFO = Path("/proc/cpuinfo")
REFUSALS = (
    state.Fail,
    state.InvalidArgument,
    state.InvalidGraph,
    state.InvalidProtobuf,
    state.NotImplemented,
    state.RuntimeException,
)


def open_onnx(payload: bytes, shape: tuple[int, ...], batch: int, threads: int) -> Runtime:
    """Return a runtime for an ONNX model with one float32 input; see ``runtimes.open_runtime``."""
    options = session_options(threads, cpuinfo(_CPUINFO))
    try:
        session = onnxruntime.InferenceSession(payload, options, providers=["CPUExecutionProvider"])
        (put,) = session.get_inputs()
        outputs = session.get_outputs()
        for tensor in (put, *outputs):
            if tensor.type != "tensor(float)":
                raise BundleError(f"model.onnx: {tensor.name} is {tensor.type}, expected tensor(float)")
        x = np.zeros((batch, *shape), np.float32)
        ys = session.run([tensor.name for tensor in outputs], {put.name: x})  # tells the outputs' shapes
    except REFUSALS as error:
        raise BundleError(f"model.onnx: {str(error).splitlines()[0]}") from error
    for tensor, y in zip(outputs, ys, strict=True):
        if y.shape[:1] != (batch,):
            raise BundleError(f"model.onnx: {tensor.name} is {y.shape}, expected {batch} rows")
    binding = session.io_binding()
    binding.bind_ortvalue_input(put.name, onnxruntime.OrtValue.ortvalue_from_numpy(x))
    for tensor, y in zip(outputs, ys, strict=True):
        binding.bind_ortvalue_output(tensor.name, onnxruntime.OrtValue.ortvalue_from_numpy(y))
    return Runtime(
        f"onnxruntime {onnxruntime.__version__}",
        batch,
        partial(_same, x),
        partial(session.run_with_iobinding, binding),
        tuple(partial(_same, y) for y in ys),
    )


def cpuinfo(path: Path) -> str:
    """Return the description of the processor; "" where the system hides it, as ``ProcSubset=pid`` does."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def session_options(threads: int, processor: str) -> onnxruntime.SessionOptions:
    """Return the options of a session; ``processor`` is what /proc/cpuinfo says of it."""
    options = onnxruntime.SessionOptions()
    options.enable_cpu_mem_arena = False
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _FATAL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Without VNNI instructions x86-64 adds products of int8 in 16 bits, which overflow, unless weights are
    # taken as uint8: a network that is right on a board would then seem wrong on a host. With them it would
    # only take longer, by a quarter. ONNX Runtime ignores it on other architectures.
    if "vnni" not in processor:
        options.add_session_config_entry(_EXACT_SUMS, "1")
    return options


def _same(array: Float) -> Float:
    return array
