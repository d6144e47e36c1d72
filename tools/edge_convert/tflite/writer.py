"""Writes a network in ONNX normal form as float32 TFLite, without TensorFlow.

Theory of operation. Operators are translated one by one, in order (``tflite_operators``), onto a canvas that
knows values and layouts (``tflite_canvas``) and ends in a flatbuffer (``tflite_file``).
"""

from __future__ import annotations

from onnx import ModelProto

from edge_convert.tflite.canvas import Canvas
from edge_convert.tflite.operators import TRANSLATIONS


def write(model: ModelProto, where: str) -> bytes:
    """Return the TFLite file of a network in normal form.

    Raises
    ------
    ModelError
        An operator cannot be expressed: it is named, and ONNX Runtime is offered.
    """
    canvas = Canvas(model, where)
    for node in model.graph.node:
        if node.name in canvas.fused:
            continue
        translate = TRANSLATIONS.get(node.op_type)
        if translate is None:
            raise canvas.unsupported(node, "no such operator")
        translate(canvas, node)
    return canvas.finish()
