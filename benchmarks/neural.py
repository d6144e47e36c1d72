"""Stepping a population of networks against a raw loop on the same runtime and batch.

The raw loop is what one writes by hand: put the batch in, run, take the outputs out, argmax. A step also
checks the observations, keeps the outputs of every agent and counts ticks. Rounds of the two alternate, and
the least of each is compared: what is left when nothing else is in the way. ``window`` is the cost of a
window of 16 observations an agent against the same network fed with whole windows.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.cases import run, seconds
from benchmarks.figures import LESS, Figure
from edge_agent.neural.model import NeuralModel
from edge_agent.neural.population import NeuralPopulation
from edge_convert import network_bundle
from edge_convert.order import Order

NETWORKS = Path(__file__).parents[1] / "tests" / "data" / "networks"
SHAPES = {"policy": (6,), "conv1d": (2, 16)}
BATCHES = (1, 64, 256, 1000)
TARGET = 1.05
ROUNDS = 40
STEPS = 20


def converted(name: str, target: str, **options: int) -> NeuralModel:
    """Return a network converted here, for inputs like those it was trained on."""
    with tempfile.TemporaryDirectory() as folder:
        x = (2 * np.random.default_rng(1).normal(size=(400, *SHAPES[name]))).astype(np.float32)
        calibration, output = Path(folder) / "x.npz", Path(folder) / f"{name}.eab"
        np.savez(calibration, x=x)
        order = Order(
            source=NETWORKS / f"{name}.onnx",
            output=output,
            name=name,
            calibration=calibration,
            target=target,
            **options,
        )
        network_bundle.write(network_bundle.convert(order, "onnx"))
        return NeuralModel.load(output)


def raw_litert(model: NeuralModel, batch: int) -> Callable[[NDArray[np.float32]], object]:
    """Return the loop body that one writes for LiteRT."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=bytes(model.payload), num_threads=1)
    (put,) = interpreter.get_input_details()
    interpreter.resize_tensor_input(put["index"], [batch, *model.input_shape])
    interpreter.allocate_tensors()
    outputs = [tensor["index"] for tensor in interpreter.get_output_details()]

    def body(x: NDArray[np.float32]) -> object:
        interpreter.set_tensor(put["index"], x)
        interpreter.invoke()
        results = [interpreter.get_tensor(index) for index in outputs]
        return results[0].argmax(axis=1)

    return body


def raw_onnxruntime(model: NeuralModel, batch: int) -> Callable[[NDArray[np.float32]], object]:
    """Return the loop body that one writes for ONNX Runtime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(bytes(model.payload), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda x: session.run(None, {name: x})[0].argmax(axis=1)


RAW = {"litert": raw_litert, "onnxruntime": raw_onnxruntime}


def stepping(target: str, name: str) -> Iterator[Figure]:
    """Compare step and raw loop at each batch."""
    model = converted(name, target)
    for batch in BATCHES:
        x = (2 * np.random.default_rng(2).normal(size=(batch, *model.input_shape))).astype(np.float32)
        raw, population = RAW[target](model, batch), NeuralPopulation(model, batch)
        by_hand, ours = (best(partial(body, x)) for body in (raw, population.step))
        for _ in range(ROUNDS):
            by_hand = min(by_hand, best(partial(raw, x)))
            ours = min(ours, best(partial(population.step, x)))
        ratio = round(ours / by_hand, 3)
        yield Figure(
            f"{target} {name} x{batch}",
            "step",
            round(ours * 1e6, 2),
            "us",
            "raw loop",
            ratio,
            TARGET,
            ratio <= TARGET,
            LESS,
        )


def window(target: str) -> Iterator[Figure]:
    """Compare windows kept by the population with windows that arrive whole."""
    kept, whole = converted("conv1d", target, window=16, window_axis=1), converted("conv1d", target)
    rng = np.random.default_rng(2)
    one = rng.normal(size=(64, 2)).astype(np.float32)
    full = rng.normal(size=(64, 2, 16)).astype(np.float32)
    first, second = NeuralPopulation(kept, 64), NeuralPopulation(whole, 64)
    ours, by_hand = best(partial(first.step, one)), best(partial(second.step, full))
    for _ in range(ROUNDS):
        ours = min(ours, best(partial(first.step, one)))
        by_hand = min(by_hand, best(partial(second.step, full)))
    ratio = round(ours / by_hand, 3)
    yield Figure(
        f"{target} window x64", "step", round(ours * 1e6, 2), "us", "whole windows", ratio, better=LESS
    )


def best(body: Callable[[], object]) -> float:
    """Return the least seconds of one call, over a few calls timed together."""

    def several() -> None:
        for _ in range(STEPS):
            body()

    return seconds(several, rounds=1) / STEPS


CASES: dict[str, Callable[[], Iterator[Figure]]] = {
    f"{target}-{name}": partial(stepping, target, name) for target in RAW for name in SHAPES
} | {f"{target}-window": partial(window, target) for target in RAW}


if __name__ == "__main__":
    sys.exit(run("benchmarks.neural", __doc__, CASES))
