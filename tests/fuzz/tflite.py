"""The TFLite reader. LiteRT itself runs in a separate process and is not fuzzed here."""

from __future__ import annotations

from collections.abc import Iterator
from unittest.mock import patch

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edge_convert.readers import tflite_source
from edge_convert.tflite.flatbuffer import TfliteFile
from tests.fuzz.files import written


def decode(data: bytes) -> None:
    """Read a network."""
    with written(data, "fuzzed.tflite") as path, patch.object(tflite_source, "_try"):
        tflite_source.read(path, data)


def _network(kind: str, options: object = None) -> bytes:
    file = TfliteFile()
    x = file.activation("x", [1, 2])
    w = file.constant("w", np.linspace(-1, 1, 6, dtype=np.float32).reshape(3, 2))
    b = file.constant("b", np.zeros(3, np.float32))
    h = file.activation("h", [1, 3])
    file.operator("FULLY_CONNECTED", [x, w, b], h, schema.FullyConnectedOptionsT())
    y = file.activation("y", [1, 3])
    file.operator(kind, [h], y, options)
    return file.finish([x], [y])


def seed() -> bytes:
    """Return one input that is right."""
    return _network("TANH")


def seeds() -> Iterator[bytes]:
    """Yield inputs to start from."""
    yield seed()
    yield _network("RELU")
    softmax = schema.SoftmaxOptionsT()
    softmax.beta = 1.0
    yield _network("SOFTMAX", softmax)
