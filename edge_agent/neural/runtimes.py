"""Opens a neural runtime; its library is imported only then."""

from __future__ import annotations

from edge_agent.errors import BundleError
from edge_agent.neural.runtime_port import Runtime
from edge_agent.wire.bundle_kinds import ONNX, TFLITE


def open_runtime(
    kind: str, payload: bytes | memoryview, shape: tuple[int, ...], batch: int, threads: int = 1
) -> Runtime:
    """Return the runtime for a payload.

    Parameters
    ----------
    kind : str
        ``tflite`` or ``onnx``, the bundle's kind.
    payload : bytes
        The model.
    shape : tuple of int
        One input, without the batch.
    batch : int
        Agents a run.
    threads : int
        Threads of the runtime.

    Raises
    ------
    BundleError
        The payload is not a model that the runtime takes.
    PlatformError
        The runtime is not installed.
    """
    if kind == TFLITE.name:
        from edge_agent.neural.litert import open_litert

        return open_litert(bytes(payload), shape, batch, threads)
    if kind == ONNX.name:
        from edge_agent.neural.onnx import open_onnx

        return open_onnx(bytes(payload), shape, batch, threads)
    raise BundleError(f"kind is {kind!r}, expected tflite or onnx")
