"""Builds a TFLite flatbuffer out of tensors and operators: the container, without any meaning.

The schema is the one that LiteRT ships (``ai_edge_litert.schema_py_generated``). Tensors have batch 1;
whoever opens the file resizes the input to the batch that is wanted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

_TYPES = {np.dtype(np.float32): schema.TensorType.FLOAT32, np.dtype(np.int32): schema.TensorType.INT32}
_VERSION = 3
_SIGNATURE = "serving_default"


class TfliteFile:
    """A model that grows by tensors and operators, in the order in which they are added."""

    def __init__(self) -> None:
        self._codes: list[int] = []
        self._graph = schema.SubGraphT()
        self._graph.name = "main"
        self._graph.tensors = []
        self._graph.operators = []
        self._buffers = [schema.BufferT()]  # by convention the first one is empty

    def activation(self, name: str, shape: Sequence[int]) -> int:
        """Add a float32 tensor that an operator writes, and return its index."""
        return self._tensor(name, shape, schema.TensorType.FLOAT32, 0)

    def constant(self, name: str, data: NDArray[Any]) -> int:
        """Add a constant, float32 or int32, and return its index."""
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(np.ascontiguousarray(data).tobytes(), np.uint8)
        self._buffers.append(buffer)
        return self._tensor(name, data.shape, _TYPES[data.dtype], len(self._buffers) - 1)

    def operator(self, kind: str, inputs: Sequence[int], output: int, options: Any = None) -> None:
        """Add an operator; ``kind`` is a name in ``BuiltinOperator``, ``options`` an option table."""
        code = getattr(schema.BuiltinOperator, kind)
        if code not in self._codes:
            self._codes.append(code)
        operator = schema.OperatorT()
        operator.opcodeIndex = self._codes.index(code)
        operator.inputs = list(inputs)
        operator.outputs = [output]
        if options is not None:
            table = type(options).__name__.removesuffix("T")
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, table)
            operator.builtinOptions = options
        self._graph.operators.append(operator)

    def finish(self, inputs: Sequence[int], outputs: Sequence[int]) -> bytes:
        """Return the file."""
        self._graph.inputs, self._graph.outputs = list(inputs), list(outputs)
        model = schema.ModelT()
        model.version = _VERSION
        model.operatorCodes = [_code(code) for code in self._codes]
        model.subgraphs = [self._graph]
        model.buffers = self._buffers
        model.signatureDefs = [self._signature()]
        builder = flatbuffers.Builder(1024)
        builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
        return bytes(builder.Output())

    def _tensor(self, name: str, shape: Sequence[int], kind: int, buffer: int) -> int:
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.type, tensor.buffer = name, list(shape), kind, buffer
        self._graph.tensors.append(tensor)
        return len(self._graph.tensors) - 1

    def _signature(self) -> Any:
        signature = schema.SignatureDefT()
        signature.signatureKey = _SIGNATURE
        signature.subgraphIndex = 0
        signature.inputs = [self._map(index) for index in self._graph.inputs]
        signature.outputs = [self._map(index) for index in self._graph.outputs]
        return signature

    def _map(self, index: int) -> Any:
        entry = schema.TensorMapT()
        entry.name, entry.tensorIndex = self._graph.tensors[index].name, index
        return entry


def _code(code: int) -> Any:
    operator_code = schema.OperatorCodeT()
    operator_code.builtinCode = code
    operator_code.deprecatedBuiltinCode = min(code, 127)
    operator_code.version = 1
    return operator_code
