"""Reads a float32 TFLite file: one input, float32 outputs, finite weights.

The file is walked with the schema's own reader, which tells what is in it, and then loaded by LiteRT, which
tells whether it could run.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from edge_agent.errors import ModelError

_FLOAT32 = schema.TensorType.FLOAT32
Shaped = tuple[str, tuple[int, ...]]


def read(path: Path, data: bytes) -> tuple[Shaped, list[Shaped]]:
    """Return input and outputs, (name, shape without the batch) each.

    Raises
    ------
    ModelError
        The file is damaged, or not a float32 network with one input: one line that names what.
    """
    try:
        model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(data, 0))
        (graph,) = model.subgraphs
        tensors = list(graph.tensors)
        for operator in graph.operators:
            operator.outputs[0]
            for index in (*operator.inputs, *operator.outputs):
                if index >= 0:
                    tensors[index]
        ends = [tensors[index] for index in (*graph.inputs, *graph.outputs)]
        for tensor in tensors:
            _check_constant(path, tensor, model.buffers[tensor.buffer].data)
    except (struct.error, IndexError, TypeError, ValueError, AttributeError, UnicodeDecodeError) as error:
        raise ModelError(f"{path}: not a whole TFLite model with one graph ({error})") from error
    try:
        Interpreter(model_content=data).allocate_tensors()
    except (ValueError, RuntimeError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelError(f"{path}: LiteRT does not take it: {reason}") from error
    if len(graph.inputs) != 1 or len(graph.outputs) < 1:
        raise ModelError(
            f"{path}: {len(graph.inputs)} inputs, {len(graph.outputs)} outputs, expected one, and some"
        )
    for tensor in ends:
        if tensor.type != _FLOAT32 or tensor.shape is None or len(tensor.shape) < 2:
            raise ModelError(f"{path}: {_name(tensor)} is not float32 [batch, ...]: expected a float model")
    shaped = [(_name(tensor), tuple(int(n) for n in tensor.shape[1:])) for tensor in ends]
    return shaped[0], shaped[1:]


def _name(tensor: Any) -> str:
    return tensor.name.decode(errors="replace") if isinstance(tensor.name, bytes) else str(tensor.name)


def _check_constant(path: Path, tensor: Any, data: Any) -> None:
    if data is None or not len(data):
        return
    name = _name(tensor)
    count = int(np.prod(tensor.shape)) if tensor.shape is not None else 1
    if tensor.type == _FLOAT32:
        values = np.asarray(data, dtype=np.uint8).tobytes()
        if len(values) != 4 * count:
            raise ModelError(f"{path}: {name} has {len(values)} bytes, expected {4 * count}")
        if not np.isfinite(np.frombuffer(values, np.float32)).all():
            raise ModelError(f"{path}: {name} is not finite")
    if tensor.type in (schema.TensorType.INT8, schema.TensorType.UINT8, schema.TensorType.FLOAT16):
        raise ModelError(f"{path}: {name} is quantized already, expected a float32 model")
