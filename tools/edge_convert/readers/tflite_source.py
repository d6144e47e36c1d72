"""Reads a float32 TFLite file: one input, float32 outputs, finite weights.

The file is walked with the schema's own reader, which tells what is in it, and then loaded by LiteRT, which
tells whether it could run.
"""

from __future__ import annotations

import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edge_agent.errors import ModelError

_RUN = """
import sys
from ai_edge_litert.interpreter import Interpreter

interpreter = Interpreter(model_content=sys.stdin.buffer.read())
interpreter.allocate_tensors()
interpreter.invoke()
"""
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
            bytes(tensor.name).decode()  # the runtime's Python face reads no other names
            _check_constant(path, tensor, model.buffers[tensor.buffer].data)
    except (struct.error, IndexError, TypeError, ValueError, AttributeError, UnicodeDecodeError) as error:
        raise ModelError(f"{path}: not a whole TFLite model with one graph ({error})") from error
    _try(path, data)
    if len(graph.inputs) != 1 or len(graph.outputs) < 1:
        raise ModelError(
            f"{path}: {len(graph.inputs)} inputs, {len(graph.outputs)} outputs, expected one, and some"
        )
    for tensor in ends:
        if tensor.type != _FLOAT32 or tensor.shape is None or len(tensor.shape) < 2:
            raise ModelError(f"{path}: {_name(tensor)} is not float32 [batch, ...]: expected a float model")
    shaped = [(_name(tensor), tuple(int(n) for n in tensor.shape[1:])) for tensor in ends]
    return shaped[0], shaped[1:]


def _try(path: Path, data: bytes) -> None:
    """Let LiteRT load and run the model in a process of its own: on some damaged files it crashes."""
    done = subprocess.run([sys.executable, "-c", _RUN], input=data, capture_output=True, check=False)
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        why = said[-1] if done.returncode > 0 and said else f"it ends by signal {-done.returncode}"
        raise ModelError(f"{path}: LiteRT does not take it: {why.removeprefix('RuntimeError: ')}")


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
