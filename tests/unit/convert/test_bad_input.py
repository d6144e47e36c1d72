"""Bad input: one line that names file, place, what was found and expected; status 2; nothing written."""

import io
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import onnx
import pytest
from ai_edge_litert import schema_py_generated as schema
from onnx import TensorProto, helper, numpy_helper

from edge_agent.errors import BundleError
from edge_agent.wire import bundle
from edge_convert.readers import onnx_source
from edge_convert.tflite import writer

NETWORKS = Path(__file__).parents[2] / "data" / "networks"


@pytest.fixture
def refused(command: Any, tmp_path: Path) -> Callable[..., str]:
    """Convert, check that it was bad input and left nothing, and return the one line."""

    def convert(source: Path, *options: object) -> str:
        out = tmp_path / "refused" / "out.eab"
        out.parent.mkdir(exist_ok=True)
        status, result, error = command("convert", source, "-o", out, *options)
        assert (status, result) == (2, None)
        assert list(out.parent.iterdir()) == []
        (line,) = [line for line in error.splitlines() if line.startswith("edge-convert:")]
        return str(line)

    return convert


def npy(array: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.save(out, array, allow_pickle=True)
    return out.getvalue()


# What is no model at all.


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "0 bytes, expected 1 to"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "expected a pymdp .npz, GMN (text or JSON), ONNX or TFLite"),
        (b"PK\x03\x04" + bytes(50), "not a whole .npz file"),
        (b"\x08\x07\x12\x07pytorch" + bytes(9), "not a whole ONNX model"),
        (b"\x08\x07", "an ONNX model without a graph"),
        (b"\x1c\x00\x00\x00TFL3", "not a whole TFLite model"),
        (b"{'nodes': 1}", "not JSON"),
        (b"[nodes]\nlocation state", "line 2: found 'location state', expected 'id: type {properties}'"),
    ],
)
@pytest.mark.parametrize("name", ["model.npz", "model.onnx", "model.tflite"])
def test_content_counts_and_not_the_name(
    refused: Any, tmp_path: Path, content: bytes, words: str, name: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    assert words in refused(path)
    assert str(path) in refused(path)


def test_missing_file_and_folder_are_said(refused: Any, command: Any, source: Path, tmp_path: Path) -> None:
    assert "No such file" in refused(tmp_path / "none.npz")
    status, _, error = command("convert", source, "-o", tmp_path / "none" / "o.eab")
    assert (status, "--output" in error) == (2, True)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("name", ["mlp_relu.onnx", "conv1d.tflite", "light.npz"])
def test_truncated_model_is_refused(
    refused: Any, tmp_path: Path, source: Path, share: float, name: str
) -> None:
    if name == "conv1d.tflite":
        from edge_convert.readers import onnx_source
        from edge_convert.tflite import writer

        whole = writer.write(onnx_source.read(NETWORKS / "conv1d.onnx"), "conv1d")
    else:
        whole = (source if name == "light.npz" else NETWORKS / name).read_bytes()
    path = tmp_path / name
    path.write_bytes(whole[: int(len(whole) * share)])
    np.savez(tmp_path / "x.npz", x=np.zeros((20, 2, 16) if "conv1d" in name else (20, 6)))
    assert str(path) in refused(path, "--calibration", tmp_path / "x.npz")


# Archives that lie.


def test_encrypted_archive_is_refused(refused: Any, source: Path) -> None:
    raw = bytearray(source.read_bytes())
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        start = raw.find(signature)
        while start >= 0:
            raw[start + flags] |= 1
            start = raw.find(signature, start + 4)
    source.write_bytes(raw)
    assert "is encrypted" in refused(source)


def test_two_gigabytes_are_not_unpacked(refused: Any, tmp_path: Path) -> None:
    head = npy(np.zeros((1, 1)))
    claimed = head.replace(b"(1, 1)", b"(16384, 16384)")[: len(head)]
    path = tmp_path / "header.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("A_0.npy", claimed)
    assert "A_0" in refused(path)
    bomb = tmp_path / "bomb.npz"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("A_0.npy", head)
    raw = bytearray(bomb.read_bytes())
    struct.pack_into("<I", raw, raw.index(b"PK\x01\x02") + 24, 2**31)
    bomb.write_bytes(raw)
    assert "claims 2147483648 bytes, at most 1073741824 are read" in refused(bomb)


def test_pickled_arrays_are_never_unpickled(refused: Any, tmp_path: Path, light: dict[str, Any]) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "sprung",))

    assert pickle.loads(pickle.dumps(Trap())) is None  # the trap works
    (tmp_path / "sprung").unlink()
    path = tmp_path / "trap.npz"
    np.savez(path, **light | {"A_0": np.array([Trap()], dtype=object)})
    assert "A_0 holds Python objects, expected numbers or text; nothing is unpickled" in refused(path)
    assert not (tmp_path / "sprung").exists()


# Agents that are none.


def bad(**changes: Any) -> dict[str, Any]:
    return changes


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"A_0": np.array([[0.9, np.nan], [0.1, 0.8]])}, "A_0: entry (0, 1) is nan"),
        ({"A_0": np.array([[0.9, 0.3], [0.1, 0.8]])}, "A_0: column (1,) sums to 1.1, expected 1"),
        ({"A_0": np.array([[1.1, 0.2], [-0.1, 0.8]])}, "A_0: entry (1, 0) is -0.1"),
        ({"A_0": np.full((2, 3), 0.5)}, "A_0: shape (2, 3), expected (2, 2)"),
        ({"A_0": np.array([["a"]])}, "A_0 holds <U1, expected numbers"),
        ({"B_0": np.full((2, 2), 0.5)}, "B_0: shape (2, 2)"),
        ({"B_0": np.full((2, 2, 1), 0.4)}, "B_0: column (0, 0) sums to 0.8"),
        ({"C_0": np.array([0.0, np.inf])}, "C_0: entry (1,) is inf"),
        ({"C_0": np.zeros(3)}, "C_0: shape (3,)"),
        ({"D_0": np.array([0.5, 0.6])}, "D_0: column (0,) sums to 1.1"),
        ({"A_2": np.eye(2)}, "A_1 is missing"),
        ({"D_1": np.array([1.0])}, "D: 2 tensors, expected 1"),
        ({"E": np.array([0.5, 0.4])}, "E: column"),
        ({"policies": np.array([[[2]]])}, "policies: entry (0, 0, 0) is 2, expected 0 to 1"),
        ({"policies": np.array([[[0.5]]])}, "policies: float64"),
        ({"A_deps": np.array("[[1]]")}, "A_deps[0]: [1], expected distinct factors from 0 to 0"),
        ({"A_deps": np.array("[[0]")}, "A_deps is not JSON"),
        ({"A_deps": np.array('[["0"]]')}, "A_deps is [['0']], expected a list of lists of factor numbers"),
        ({"gamma": np.float64(-1)}, "gamma: -1.0, expected a number from 0 to 1e+06"),
        ({"gamma": np.zeros(2)}, "gamma is float64 (2,), expected one value"),
        ({"policy_len": np.float64(1.5)}, "policy_len is float64 (), expected one int"),
        ({"policy_len": np.int64(0)}, "policy_len: 0, expected an integer from 1"),
        ({"policy_len": np.int64(40)}, "policy_len: 40 makes"),
        ({"meta": np.array("[]")}, "meta is list, expected a JSON object"),
        ({"weights": np.eye(2)}, "weights is not a key of pymdp models"),
    ],
)
def test_broken_agent_is_named_by_tensor_index_and_rule(
    refused: Any, tmp_path: Path, light: dict[str, Any], changes: dict[str, Any], words: str
) -> None:
    path = tmp_path / "broken.npz"
    np.savez(path, **light | changes)
    assert refused(path).startswith(f"edge-convert: {path}: {words}")


def test_missing_tensors_are_said(refused: Any, tmp_path: Path, light: dict[str, Any]) -> None:
    for key in ("A_0", "B_0"):
        path = tmp_path / "m.npz"
        np.savez(path, **{name: array for name, array in light.items() if name != key})
        assert f"{key} is missing" in refused(path)


@pytest.mark.parametrize(
    ("trace", "words"),
    [
        ({"x": np.zeros(3)}, "obs is missing, found x"),
        ({"obs": np.zeros((4, 2), int)}, "obs is int64 (4, 2), expected integers (T, 1) or (T, N, 1)"),
        ({"obs": np.zeros((4, 1))}, "obs is float64 (4, 1)"),
        ({"obs": np.array([[0], [2]])}, "obs: step 1, agent 0, column 0 is 2, expected -1 to 1"),
        ({"obs": np.array([[0], [1]]), "act": np.array([[0], [-1]])}, "act: step 1, agent 0, column 0 is -1"),
        ({"obs": np.array([[0], [1]]), "act": np.array([[0]])}, "act is (1, 1, 1), expected (2, 1)"),
    ],
)
def test_recording_that_is_not_the_models_is_refused(
    refused: Any, tmp_path: Path, source: Path, trace: dict[str, Any], words: str
) -> None:
    path = tmp_path / "trace.npz"
    np.savez(path, **trace)
    assert f"{path}: {words}" in refused(source, "--evaluate", path)


# Networks that are none, or that nothing is known of.


def test_no_calibration_data_is_refused_and_never_random(refused: Any) -> None:
    assert "--calibration: missing" in refused(NETWORKS / "mlp_relu.onnx")


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"x": np.zeros((20, 7))}, "x is float64 (20, 7), expected float32 (n, 6)"),
        ({"x": np.zeros((0, 6))}, "x is float64 (0, 6)"),
        ({"x": np.array([["a"] * 6])}, "x is <U1 (1, 6)"),
        ({"y": np.zeros((20, 6))}, "x is missing, found y"),
        ({"x": np.full((20, 6), np.nan)}, "x: sample 0 is not finite"),
        ({"x": np.zeros((4, 6))}, "x has 4 samples, expected at least 5"),
    ],
)
def test_calibration_data_that_is_not_the_networks_is_refused(
    refused: Any, tmp_path: Path, arrays: dict[str, Any], words: str
) -> None:
    path = tmp_path / "x.npz"
    np.savez(path, **arrays)
    assert f"{path}: {words}" in refused(NETWORKS / "mlp_relu.onnx", "--calibration", path)


def mlp(**changes: Any) -> onnx.ModelProto:
    """A valid network of one layer, with fields of the graph changed."""
    parts: dict[str, Any] = {
        "nodes": [helper.make_node("Gemm", ["x", "w"], ["y"])],
        "inputs": [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3])],
        "outputs": [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 2])],
        "weights": [numpy_helper.from_array(np.ones((3, 2), np.float32), "w")],
    } | changes
    graph = helper.make_graph(parts["nodes"], "g", parts["inputs"], parts["outputs"], parts["weights"])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def external(location: str) -> onnx.ModelProto:
    tensor = numpy_helper.from_array(np.ones((3, 2), np.float32), "w")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    return mlp(weights=[tensor])


@pytest.mark.parametrize(
    "location", ["../secret.bin", "/etc/hostname", "link.bin", "folder/../../secret.bin"]
)
def test_external_data_outside_the_models_folder_is_refused(
    refused: Any, tmp_path: Path, location: str
) -> None:
    folder = tmp_path / "model"
    (folder / "folder").mkdir(parents=True)
    (tmp_path / "secret.bin").write_bytes(np.ones(6, np.float32).tobytes())
    (folder / "link.bin").symlink_to(tmp_path / "secret.bin")
    path = folder / "m.onnx"
    path.write_bytes(external(location).SerializeToString())
    assert f"{path}: w: external data in {location!r}, outside the model's folder" in refused(path)


def test_external_data_beside_the_model_is_read(command: Any, tmp_path: Path) -> None:
    (tmp_path / "weights.bin").write_bytes(np.array([1, 0, -1, 1, 0, 2], np.float32).tobytes())
    path = tmp_path / "m.onnx"
    path.write_bytes(external("weights.bin").SerializeToString())
    np.savez(tmp_path / "x.npz", x=np.random.default_rng(0).normal(size=(50, 3)))
    status, _, error = command("convert", path, "-o", tmp_path / "o.eab", "--calibration", tmp_path / "x.npz")
    assert (status, error.count("edge-convert:")) == (0, 0)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (external("none.bin"), "w: external data in 'none.bin', which is not there"),
        (mlp(weights=[]), "not a valid ONNX model"),
        (
            mlp(weights=[numpy_helper.from_array(np.array([[1, 1], [1, np.inf], [1, 1]], np.float32), "w")]),
            "w: entry (1, 1) is inf, expected a finite number",
        ),
        (
            mlp(inputs=[helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", "m"])]),
            "input x is FLOAT ['n', 'm'], expected FLOAT [batch, known ...]",
        ),
        (
            mlp(inputs=[helper.make_tensor_value_info("x", TensorProto.DOUBLE, ["n", 3])]),
            "input x is DOUBLE",
        ),
        (
            mlp(
                nodes=[helper.make_node("Add", ["x", "z"], ["y"])],
                inputs=[
                    helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 3]) for name in ("x", "z")
                ],
                weights=[],
            ),
            "inputs x, z, expected one",
        ),
        (
            mlp(
                nodes=[helper.make_node("ArgMax", ["x"], ["y"])],
                outputs=[helper.make_tensor_value_info("y", TensorProto.INT64, ["n", 1])],
                weights=[],
            ),
            "no float32 output among y",
        ),
        (mlp(nodes=[helper.make_node("Relu", ["x"], ["y"])], weights=[]), "no operator with weights"),
    ],
)
def test_onnx_that_is_no_policy_is_refused(
    refused: Any, tmp_path: Path, model: onnx.ModelProto, words: str
) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(model.SerializeToString())
    np.savez(tmp_path / "x.npz", x=np.zeros((20, 3)))
    assert f"{path}: {words}" in refused(path, "--calibration", tmp_path / "x.npz")


def test_target_of_the_other_kind_is_refused(refused: Any, source: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x=np.zeros((20, 6)))
    assert "expected engine" in refused(source, "--target", "litert")
    network = NETWORKS / "mlp_relu.onnx"
    assert "expected litert or onnxruntime" in refused(
        network, "--target", "engine", "--calibration", tmp_path / "x.npz"
    )


@pytest.mark.parametrize(
    "options",
    [
        ("--name", "a/b"),
        ("--min-agreement", "nan"),
        ("--max-kl", "-1"),
        ("--sign", "none"),
        ("--window", "4"),
        ("--inputs", "a,b,c"),
        ("--actions", "on,on,on,on"),
    ],
)
def test_bad_options_are_named(refused: Any, tmp_path: Path, options: tuple[str, str]) -> None:
    np.savez(tmp_path / "x.npz", x=np.random.default_rng(0).normal(size=(50, 6)))
    error = refused(NETWORKS / "mlp_relu.onnx", "--calibration", tmp_path / "x.npz", *options)
    assert options[0] in error or options[1] in error


# Bundles that were touched.


def test_no_flipped_byte_of_a_bundle_verifies(command: Any, source: Path, tmp_path: Path) -> None:
    key, out = tmp_path / "key", tmp_path / "light.eab"
    command("keygen", key)
    command("convert", source, "-o", out, "--sign", key)
    assert command("verify", out)[0] == 0
    raw = out.read_bytes()
    flipped = tmp_path / "flipped.eab"
    for position in range(len(raw)):
        changed = bytearray(raw)
        changed[position] ^= 1 << (position % 8)
        flipped.write_bytes(changed)
        with pytest.raises(BundleError, match=r"flipped\.eab"):
            bundle.read(flipped)
        if position % 500 == 0:
            status, _, error = command("verify", flipped)
            assert (status, str(flipped) in error) == (2, True)


def test_a_bundle_is_no_source(refused: Any, command: Any, source: Path, tmp_path: Path) -> None:
    command("convert", source, "-o", tmp_path / "light.eab")
    assert "is a bundle already" in refused(tmp_path / "light.eab")


# What damages a file in ways that only its runtime notices.


def damaged_tflite(path: Path, damage: Callable[[Any], None]) -> Path:
    """Write conv1d as TFLite, with ``damage`` done to its tables."""
    whole = writer.write(onnx_source.read(NETWORKS / "conv1d.onnx"), "conv1d")
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(whole, 0))
    damage(model)
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    path.write_bytes(builder.Output())
    return path


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        # An order of axes that is left out: LiteRT 2.3 ends by SIGSEGV.
        (lambda graph: setattr(graph.operators[0], "inputs", [0, -1]), "LiteRT does not take it: "),
        (lambda graph: setattr(graph.operators[0], "inputs", [0, 10**6]), "not a whole TFLite model"),
        (lambda graph: setattr(graph.tensors[1], "name", b"\xbd\xff"), "not a whole TFLite model"),
    ],
)
def test_tables_that_point_nowhere_are_refused(
    refused: Any, tmp_path: Path, damage: Callable[[Any], None], words: str
) -> None:
    path = damaged_tflite(tmp_path / "m.tflite", lambda model: damage(model.subgraphs[0]))
    np.savez(tmp_path / "x.npz", x=np.zeros((20, 2, 16), np.float32))
    assert words in refused(path, "--calibration", tmp_path / "x.npz")


def test_element_types_that_onnx_does_not_know_are_refused(refused: Any, tmp_path: Path) -> None:
    model = onnx.load(NETWORKS / "mlp_relu.onnx")
    model.graph.initializer[0].data_type = 65
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    np.savez(tmp_path / "x.npz", x=np.zeros((20, 6), np.float32))
    assert str(tmp_path / "m.onnx") in refused(tmp_path / "m.onnx", "--calibration", tmp_path / "x.npz")
