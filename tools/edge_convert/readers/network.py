"""A network as its source describes it: float32, in the format of the runtime it is going to.

``Network`` is the face that calibration, sensitivity and fall-back work on; whether operators are ONNX nodes
or TFLite operators is told by the functions in it. The reference is always the float source itself, run by
its own runtime: a network that came as ONNX and leaves as TFLite is measured against ONNX Runtime's float32
outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import BundleError, ModelError
from edge_agent.neural.onnx import REFUSALS
from edge_agent.neural.runtimes import open_runtime
from edge_convert.quantize import onnx_qdq, tflite_int8
from edge_convert.quantize.calibrate import Range
from edge_convert.readers import onnx_source, tflite_source
from edge_convert.tflite import writer

Float = NDArray[np.float32]
Shaped = tuple[str, tuple[int, ...]]


@dataclass(frozen=True)
class Network:
    """A float32 network.

    Parameters
    ----------
    kind : str
        ``tflite`` or ``onnx``: format of ``model``, and of the int8 model.
    input, outputs : (name, shape)
        Shapes without the batch.
    model : bytes
        The float32 model in the target's format.
    source : (kind, bytes)
        The float32 model that outputs are compared with.
    operators : list of (name, kind)
        What can be quantized.
    quantize : callable
        (ranges, names of operators) to the int8 model.
    activations : callable
        Inputs [n, *shape] to the values [n, ...] of every activation.
    """

    kind: str
    input: Shaped
    outputs: list[Shaped]
    model: bytes
    source: tuple[str, bytes]
    operators: list[tuple[str, str]]
    quantize: Callable[[Mapping[str, Range], Collection[str]], bytes]
    activations: Callable[[Float], dict[str, Float]]

    def reference(self, x: Float) -> list[Float]:
        """Return the float source's outputs [n, *shape] for inputs [n, *shape]."""
        kind, payload = self.source
        return run(kind, payload, x)


def open_network(path: Path, kind: str, target: str | None) -> Network:
    """Read an ONNX or TFLite file for a target (``litert`` by default).

    Raises
    ------
    ModelError
        The file is no network that can be converted, or not to this target.
    """
    if target == "engine":
        raise ModelError(
            f"{path}: a network, --target engine takes discrete agents; expected litert or onnxruntime"
        )
    if kind == "tflite":
        if target == "onnxruntime":
            raise ModelError(f"{path}: TFLite, --target onnxruntime takes ONNX; expected litert")
        model = path.read_bytes()
        put, outputs = tflite_source.read(path, model)
        return _tflite(put, outputs, model, ("tflite", model), partial(tflite_int8.activations, model))
    graph = onnx_source.read(path)
    put, outputs = onnx_source.input_of(graph), onnx_source.outputs_of(graph)
    float_onnx = graph.SerializeToString(deterministic=True)
    activations = partial(onnx_qdq.activations, graph)
    if target == "onnxruntime":
        return Network(
            kind="onnx",
            input=put,
            outputs=outputs,
            model=float_onnx,
            source=("onnx", float_onnx),
            operators=onnx_qdq.operators(graph),
            quantize=partial(onnx_qdq.quantize, graph),
            activations=activations,
        )
    written = writer.write(graph, str(path))
    return _tflite(put, outputs, written, ("onnx", float_onnx), activations)


def run(kind: str, payload: bytes, x: Float) -> list[Float]:
    """Return the outputs [n, *shape] of a model for inputs [n, *shape]."""
    try:
        runtime = open_runtime(kind, payload, x.shape[1:], len(x))
        return list(runtime.run(np.ascontiguousarray(x)))
    except (BundleError, ValueError, RuntimeError, *REFUSALS) as error:
        raise ModelError(f"{kind} model cannot be run: {str(error).strip().splitlines()[0]}") from error


def _tflite(
    put: Shaped,
    outputs: list[Shaped],
    model: bytes,
    source: tuple[str, bytes],
    activations: Callable[[Float], dict[str, Float]],
) -> Network:
    return Network(
        kind="tflite",
        input=put,
        outputs=outputs,
        model=model,
        source=source,
        operators=tflite_int8.operators(model),
        quantize=partial(tflite_int8.quantize, model),
        activations=activations,
    )
