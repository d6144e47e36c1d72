"""Reads an ONNX file and brings it to the form that calibration, quantization and the TFLite writer share.

Theory of operation. Exporters differ in how they spell the same network: PyTorch's two exporters, skl2onnx
and others leave constants in nodes, batch normalisations unfolded, products and sums unfused, label maps
behind the scores. The normal form has one float32 input [batch, ...], float32 outputs alone, named nodes, and
is what ONNX Runtime's basic optimizations make of it (constants folded, batch normalisation folded into
convolutions, MatMul + Add fused into Gemm). Scaler, the one operator of ``ai.onnx.ml`` in numeric policies,
is spelt as Sub and Mul.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from google.protobuf.message import DecodeError
from onnx import ModelProto, TensorProto, helper, numpy_helper, shape_inference

from edge_agent.errors import ModelError
from edge_agent.neural.onnx import REFUSALS

_FLOAT = TensorProto.FLOAT
_FATAL = 4


def read(path: Path) -> ModelProto:
    """Return the network in ``path`` in its normal form.

    Raises
    ------
    ModelError
        The file is no ONNX model, its weights are missing, outside its folder or not finite, or its inputs
        and outputs are not those of a policy: one line that names the file, the place and the rule.
    """
    try:
        return _normal(path)
    except UnicodeDecodeError as error:  # texts are decoded when they are first looked at
        raise ModelError(f"{path}: not a valid ONNX model: a name in it is not UTF-8") from error


def _normal(path: Path) -> ModelProto:
    try:
        model = onnx.load_model_from_string(path.read_bytes())
    except DecodeError as error:
        raise ModelError(f"{path}: not a whole ONNX model ({error})") from error
    if not model.graph.node or not model.opset_import:
        raise ModelError(f"{path}: an ONNX model without a graph")
    _load_external(path, model)
    try:
        onnx.checker.check_model(model)
    except (onnx.checker.ValidationError, ValueError) as error:
        raise ModelError(f"{path}: not a valid ONNX model: {str(error).splitlines()[0]}") from error
    _check_weights(path, model)
    _spell_scalers(path, model)
    _keep_scores(path, model)
    _fix_input(path, model)
    return _optimized(path, model)


def input_of(model: ModelProto) -> tuple[str, tuple[int, ...]]:
    """Return name and shape (without the batch) of the input of a network in normal form."""
    return _shaped(model.graph.input[0])


def outputs_of(model: ModelProto) -> list[tuple[str, tuple[int, ...]]]:
    """Return names and shapes (without the batch) of the outputs."""
    return [_shaped(value) for value in model.graph.output]


def _shaped(value: onnx.ValueInfoProto) -> tuple[str, tuple[int, ...]]:
    return value.name, tuple(d.dim_value for d in value.type.tensor_type.shape.dim[1:])


def _load_external(path: Path, model: ModelProto) -> None:
    folder = path.parent.resolve()
    for tensor in _tensors(model):
        if tensor.data_location != TensorProto.EXTERNAL:
            continue
        location = {entry.key: entry.value for entry in tensor.external_data}.get("location", "")
        file = (folder / location).resolve()
        if not location or not file.is_relative_to(folder):
            raise ModelError(
                f"{path}: {tensor.name}: external data in {location!r}, outside the model's folder"
            )
        if not file.is_file():
            raise ModelError(f"{path}: {tensor.name}: external data in {location!r}, which is not there")
    try:
        onnx.external_data_helper.load_external_data_for_model(model, str(folder))
    except (ValueError, OSError, onnx.checker.ValidationError) as error:
        raise ModelError(f"{path}: external data cannot be read: {str(error).splitlines()[0]}") from error


def _tensors(model: ModelProto) -> list[TensorProto]:
    constants = [
        attribute.t
        for node in model.graph.node
        for attribute in node.attribute
        if attribute.type == onnx.AttributeProto.TENSOR
    ]
    return [*model.graph.initializer, *constants]


def _check_weights(path: Path, model: ModelProto) -> None:
    for tensor in _tensors(model):
        try:
            array = numpy_helper.to_array(tensor)
        except (ValueError, TypeError, KeyError) as error:
            raise ModelError(
                f"{path}: {tensor.name} does not have the bytes of its shape ({error})"
            ) from error
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            where = tuple(np.argwhere(~np.isfinite(array))[0].tolist())
            raise ModelError(
                f"{path}: {tensor.name}: entry {where} is {array[where]}, expected a finite number"
            )


def _spell_scalers(path: Path, model: ModelProto) -> None:
    nodes = []
    for node in model.graph.node:
        if node.op_type != "Scaler":
            nodes.append(node)
            continue
        values = {a.name: np.array(a.floats, np.float32) for a in node.attribute}
        if not {"offset", "scale"} <= set(values) or len(node.input) != 1 or len(node.output) != 1:
            raise ModelError(f"{path}: Scaler {node.name} without input, output, offset or scale")
        constants = {f"{node.output[0]}/minus": values["offset"], f"{node.output[0]}/times": values["scale"]}
        model.graph.initializer.extend(numpy_helper.from_array(v, k) for k, v in constants.items())
        offset, scale = constants
        middle = f"{node.output[0]}/centred"
        nodes.append(helper.make_node("Sub", [node.input[0], offset], [middle]))
        nodes.append(helper.make_node("Mul", [middle, scale], [node.output[0]]))
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _keep_scores(path: Path, model: ModelProto) -> None:
    """Keep float outputs, and of a label map what it is made of; drop the nodes that nothing needs then."""
    graph = model.graph
    maker = {name: node for node in graph.node for name in node.output}
    kept: list[str] = []
    for value in graph.output:
        node = maker.get(value.name)
        if node is not None and node.op_type == "ZipMap":
            kept.append(node.input[0])
        elif value.type.tensor_type.elem_type == _FLOAT:
            kept.append(value.name)
    if not kept:
        found = ", ".join(value.name for value in graph.output)
        raise ModelError(f"{path}: no float32 output among {found}")
    needed: set[str] = set()
    queue = list(kept)
    while queue:
        wanted = queue.pop()
        if wanted not in needed:
            needed.add(wanted)
            queue.extend(maker[wanted].input if wanted in maker else ())
    nodes = [node for node in graph.node if needed & set(node.output)]
    del graph.node[:]
    graph.node.extend(nodes)
    initializers = [tensor for tensor in graph.initializer if tensor.name in needed]
    del graph.initializer[:]
    graph.initializer.extend(initializers)
    inputs = [value for value in graph.input if value.name in needed]
    constants = {tensor.name for tensor in initializers}
    del graph.input[:]
    graph.input.extend(value for value in inputs if value.name not in constants)
    del graph.output[:]
    graph.output.extend(helper.make_tensor_value_info(name, _FLOAT, None) for name in kept)


def _fix_input(path: Path, model: ModelProto) -> None:
    """Make the one input [batch, ...] with everything but the batch known."""
    graph = model.graph
    if len(graph.input) != 1:
        found = ", ".join(value.name for value in graph.input) or "none"
        raise ModelError(f"{path}: inputs {found}, expected one")
    tensor = graph.input[0].type.tensor_type
    dims = tensor.shape.dim
    if tensor.elem_type != _FLOAT or len(dims) < 2 or any(d.dim_value < 1 for d in dims[1:]):
        shape = [d.dim_value or d.dim_param or "?" for d in dims]
        kind = {number: name for name, number in TensorProto.DataType.items()}.get(tensor.elem_type, "?")
        raise ModelError(
            f"{path}: input {graph.input[0].name} is {kind} {shape}, expected FLOAT [batch, known ...]"
        )
    dims[0].ClearField("dim_value")
    dims[0].dim_param = "batch"


def _optimized(path: Path, model: ModelProto) -> ModelProto:
    """Let ONNX Runtime fold and fuse, then name every node and infer the shapes."""
    del model.graph.value_info[:]
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.log_severity_level = _FATAL
    with tempfile.TemporaryDirectory() as folder:
        options.optimized_model_filepath = str(Path(folder) / "model.onnx")
        try:
            inferred = shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
            onnxruntime.InferenceSession(
                inferred.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
        except (*REFUSALS, shape_inference.InferenceError) as error:
            raise ModelError(f"{path}: {str(error).splitlines()[0]}") from error
        result = onnx.load_model(options.optimized_model_filepath)
    del result.graph.value_info[:]  # the optimizations leave values in it that they removed
    for index, node in enumerate(result.graph.node):
        node.name = f"{index:03d}_{node.op_type}"
    _flatten_biases(result)
    result = shape_inference.infer_shapes(result, strict_mode=True, data_prop=True)
    for name, shape in outputs_of(result):
        if not shape or min(shape) < 1:
            raise ModelError(
                f"{path}: output {name} is [batch, {', '.join(map(str, shape))}], expected a known shape"
            )
    return result


def _flatten_biases(model: ModelProto) -> None:
    """Make biases [1, n] of Gemm [n]: quantizers count channels along the first axis."""
    biases = {node.input[2] for node in model.graph.node if node.op_type == "Gemm" and len(node.input) > 2}
    for tensor in model.graph.initializer:
        if tensor.name in biases and len(tensor.dims) == 2 and tensor.dims[0] == 1:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor)[0], tensor.name))
