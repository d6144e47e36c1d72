"""Networks from three kinds of exporter, for two runtimes: near their float source, or refused."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_agent.neural.inference import infer
from edge_agent.neural.network import NeuralModel
from edge_convert.bundle import network_bundle
from edge_convert.bundle.job import Job
from edge_convert.measure.network_fidelity import sqnr_db
from edge_convert.readers import onnx_source
from edge_convert.readers.network import open_network
from edge_convert.tflite import writer

NETWORKS = Path(__file__).parents[2] / "data" / "networks"
SHAPES = {
    "mlp_tanh": (6,),
    "mlp_relu": (6,),
    "policy": (6,),
    "conv1d": (2, 16),
    "conv1d_dynamo": (2, 16),
    "conv2d": (1, 8, 8),
}
TARGETS = ("litert", "onnxruntime")


def inputs(name: str, seed: int, count: int = 400) -> NDArray[np.float32]:
    """Draw from the distribution that the networks were trained on (data/networks/make.py)."""
    return (2 * np.random.default_rng(seed).normal(size=(count, *SHAPES[name]))).astype(np.float32)


def order(tmp_path: Path, name: str, **options: Any) -> Job:
    calibration, evaluation = tmp_path / "calibration.npz", tmp_path / "evaluation.npz"
    np.savez(calibration, x=options.pop("x", inputs(name, 1)))
    np.savez(evaluation, x=inputs(name, 2))
    return Job(
        source=NETWORKS / f"{name}.onnx",
        output=tmp_path / f"{name}.eab",
        name=name,
        calibration=calibration,
        evaluate=evaluation,
        **options,
    )


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", SHAPES)
def test_int8_network_acts_like_its_source(name: str, target: str, tmp_path: Path) -> None:
    ordered = order(tmp_path, name, target=target)
    network_bundle.write(network_bundle.convert(ordered, "onnx"))
    x = inputs(name, 3)
    result = infer(NeuralModel.load(ordered.output), x)
    wanted = open_network(ordered.source, "onnx", target).reference(x)
    assert (result["act"][:, 0] == wanted[0].argmax(axis=1)).mean() >= 0.97
    for index, y in enumerate(wanted):
        assert sqnr_db(y, result[f"y_{index}"]) >= 28


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", ["mlp_relu", "conv1d"])
def test_an_outlier_in_the_calibration_data_costs_little(name: str, target: str, tmp_path: Path) -> None:
    clean = network_bundle.convert(order(tmp_path, name, target=target, min_sqnr=0.0), "onnx")
    x = inputs(name, 1)
    x[7] *= 40
    ratios = {}
    for calibrator in ("percentile", "minmax"):
        ordered = order(
            tmp_path, name, target=target, x=x, calibrator=calibrator, min_sqnr=-1.0, min_agreement=0.0
        )
        ratios[calibrator] = min(network_bundle.convert(ordered, "onnx").mixed.fidelity.sqnr_db)
    cost = min(clean.mixed.fidelity.sqnr_db) - ratios["percentile"]
    assert cost <= 3
    assert min(clean.mixed.fidelity.sqnr_db) - ratios["minmax"] > 10  # it is an outlier that breaks things


@pytest.mark.parametrize("target", TARGETS)
def test_operators_that_miss_the_gate_fall_back_to_float_the_worst_first(target: str, tmp_path: Path) -> None:
    all_int8 = network_bundle.convert(order(tmp_path, "policy", target=target), "onnx")
    asked = min(all_int8.mixed.fidelity.sqnr_db) + 1
    conversion = network_bundle.convert(order(tmp_path, "policy", target=target, min_sqnr=asked), "onnx")
    floats = conversion.mixed.floats
    assert min(conversion.mixed.fidelity.sqnr_db) >= asked
    assert all_int8.mixed.floats == []
    assert floats == [row.operator for row in conversion.ranking[: len(floats)]]
    assert floats


@pytest.mark.parametrize("target", TARGETS)
def test_gate_refuses_without_a_file_and_names_three_causes(
    command: Any, target: str, tmp_path: Path
) -> None:
    ordered = order(tmp_path, "mlp_relu")
    status, _, error = command(
        "convert", ordered.source, "-o", ordered.output, "--calibration", ordered.calibration,
        "--min-sqnr", "100", "--target", target,
    )  # fmt: skip
    assert status == 1
    assert "--min-sqnr asks for ≥ 100" in error
    causes = error.split("Worst causes: ")[1].split("; ")
    ratios = [float(found) for cause in causes for found in re.findall(r"([\d.]+) dB", cause)]
    assert len(causes) == 3
    assert ratios == sorted(ratios)
    assert not ordered.output.exists()


@pytest.mark.parametrize("target", TARGETS)
def test_same_input_same_bytes(target: str, tmp_path: Path) -> None:
    ordered = order(tmp_path, "conv1d", target=target)
    made = []
    for _ in range(2):
        network_bundle.write(network_bundle.convert(ordered, "onnx"))
        made.append(ordered.output.read_bytes())
    assert made[0] == made[1]


def test_float_tflite_is_a_source_too(tmp_path: Path) -> None:
    ordered = order(tmp_path, "conv1d")
    source = tmp_path / "conv1d.tflite"
    source.write_bytes(writer.write(onnx_source.read(ordered.source), "conv1d"))
    from_tflite = network_bundle.convert(
        Job(
            source=source,
            output=ordered.output,
            name="n",
            calibration=ordered.calibration,
            evaluate=ordered.evaluate,
        ),
        "tflite",
    )
    from_onnx = network_bundle.convert(ordered, "onnx")
    assert from_tflite.mixed.fidelity.agreement == from_onnx.mixed.fidelity.agreement
    assert min(from_tflite.mixed.fidelity.sqnr_db) == pytest.approx(
        min(from_onnx.mixed.fidelity.sqnr_db), abs=0.1
    )


def test_without_evaluation_data_samples_are_held_out_of_the_calibration(tmp_path: Path) -> None:
    ordered = order(tmp_path, "mlp_tanh")
    held = network_bundle.convert(
        Job(source=ordered.source, output=ordered.output, name="n", calibration=ordered.calibration),
        "onnx",
    )
    assert len(held.data.evaluation) == 80
    assert len(held.data.calibration) == 320
    together = np.concatenate([held.data.calibration, held.data.evaluation])
    assert {row.tobytes() for row in together} == {row.tobytes() for row in inputs("mlp_tanh", 1)}
    assert "held out" in held.figures()["data"]


def test_scikit_learn_classifier_with_a_scaler(tmp_path: Path) -> None:
    from skl2onnx import to_onnx
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rng = np.random.default_rng(0)
    scales = np.array([1.0, 400.0, 20.0, 0.1])  # °C, ppm, %, mm: what sensors give
    x = (scales * rng.normal(size=(600, 4))).astype(np.float32)
    label = (x / scales).argmax(axis=1)
    net = make_pipeline(
        StandardScaler(), MLPClassifier((16,), random_state=0, solver="lbfgs", max_iter=200, tol=1e-2)
    )
    net.fit(x[:400], label[:400])
    source = tmp_path / "classifier.onnx"
    source.write_bytes(to_onnx(net, x[:1]).SerializeToString())  # with its ZipMap
    np.savez(tmp_path / "x.npz", x=x[:400])
    np.savez(tmp_path / "e.npz", x=x[400:])
    for target in TARGETS:
        ordered = Job(
            source=source,
            output=tmp_path / "classifier.eab",
            name="classifier",
            calibration=tmp_path / "x.npz",
            evaluate=tmp_path / "e.npz",
            target=target,
        )
        network_bundle.write(network_bundle.convert(ordered, "onnx"))
        model = NeuralModel.load(ordered.output)
        act = infer(model, x[400:])["act"][:, 0]
        assert (act == net.predict(x[400:])).mean() >= 0.97
        assert not model.logits


def test_report_is_one_file_with_plots(command: Any, tmp_path: Path) -> None:
    ordered, report = order(tmp_path, "policy"), tmp_path / "report.html"
    status, result, _ = command(
        "convert", ordered.source, "-o", ordered.output, "--calibration", ordered.calibration,
        "--evaluate", ordered.evaluate, "--report", report,
    )  # fmt: skip
    assert status == 0
    page = report.read_text()
    assert page.count("data:image/png;base64,") == 6
    assert "http" not in page
    assert result["speed"]["verdict"] in page
    assert result["digest"] in page
    assert command("verify", ordered.output)[0] == 0
    status, again, _ = command("evaluate", ordered.output, ordered.source, "--evaluate", ordered.evaluate)
    assert status == 0
    assert again["evaluation"]["sqnr_db"] == result["evaluation"]["sqnr_db"]
    assert command("inspect", ordered.output)[1]["observation"] == [6]
