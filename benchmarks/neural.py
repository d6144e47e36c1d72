"""Stepping a population of networks against a raw loop on the same runtime and batch.

The raw loop is the shortest that does the job by hand, everything looked up beforehand. LiteRT:
``set_tensor``, ``invoke``, ``get_tensor`` of every output, ``argmax`` of the scores; ONNX Runtime: copy the
batch into an input that is bound once, ``run_with_iobinding``, copy every output out, ``argmax``. It
checks nothing. A window of 16 observations is, by hand, a ring written twice, [n, channels, 32], of which the
last 16 columns in order are always one slice; it goes in like a batch. A step takes the same batch or
observation and returns the same actions; it also checks shape, type and that every number is finite, and
counts ticks.

Each case is a process of its own. Rounds of the two alternate; a figure is the median of a step over the
rounds, its ratio the median over pairs of neighbouring rounds, and ``spread`` is how far apart the
quartiles of that ratio are.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.cases import run, seconds
from benchmarks.figures import LESS, Figure
from edge_agent.neural.network import NeuralModel
from edge_agent.neural.network_population import NeuralPopulation
from edge_convert.bundle import network_bundle
from edge_convert.bundle.job import Job

NETWORKS = Path(__file__).parents[1] / "tests" / "data" / "networks"
SHAPES = {"policy": (6,), "conv1d": (2, 16)}
BATCHES = (1, 16, 64, 256, 1024)
TARGET = 1.05
ROUNDS = 31
ROUND_S = 0.01
Loop = Callable[[NDArray[np.float32]], object]


def converted(name: str, target: str, window: int = 1, window_axis: int = 0) -> NeuralModel:
    """Return a network converted here, for inputs like those it was trained on."""
    with tempfile.TemporaryDirectory() as folder:
        x = (2 * np.random.default_rng(1).normal(size=(400, *SHAPES[name]))).astype(np.float32)
        calibration, output = Path(folder) / "x.npz", Path(folder) / f"{name}.eab"
        np.savez(calibration, x=x)
        order = Job(
            source=NETWORKS / f"{name}.onnx",
            output=output,
            name=name,
            calibration=calibration,
            target=target,
            window=window,
            window_axis=window_axis,
        )
        network_bundle.write(network_bundle.convert(order, "onnx"))
        return NeuralModel.load(output)


def raw_litert(model: NeuralModel, batch: int) -> Loop:
    """Return the loop body that one writes for LiteRT."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=bytes(model.payload), num_threads=1)
    (put,) = interpreter.get_input_details()
    interpreter.resize_tensor_input(put["index"], [batch, *model.input_shape])
    interpreter.allocate_tensors()
    source, (scores, *others) = put["index"], [t["index"] for t in interpreter.get_output_details()]
    set_tensor, invoke, get_tensor = interpreter.set_tensor, interpreter.invoke, interpreter.get_tensor

    def body(x: NDArray[np.float32]) -> object:
        set_tensor(source, x)
        invoke()
        y = get_tensor(scores)
        for index in others:
            get_tensor(index)
        return y.argmax(axis=1)

    return body


def raw_onnxruntime(model: NeuralModel, batch: int) -> Loop:
    """Return the loop body that one writes for ONNX Runtime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(bytes(model.payload), options, providers=["CPUExecutionProvider"])
    binding, held = session.io_binding(), onnxruntime.OrtValue.ortvalue_from_numpy
    put = np.zeros((batch, *model.input_shape), np.float32)
    binding.bind_ortvalue_input(session.get_inputs()[0].name, held(put))
    bound = [np.zeros((batch, *shape), np.float32) for shape in model.output_shapes]
    for output, y in zip(session.get_outputs(), bound, strict=True):
        binding.bind_ortvalue_output(output.name, held(y))
    scores, *others = bound
    run_with_iobinding = session.run_with_iobinding

    def body(x: NDArray[np.float32]) -> object:
        put[...] = x
        run_with_iobinding(binding)
        y = scores.copy()
        for other in others:
            other.copy()
        return y.argmax(axis=1)

    return body


def ring(body: Loop, batch: int, channels: int, length: int) -> Loop:
    """Return a loop body that keeps windows [batch, channels, length] for another."""
    twice, at = np.zeros((batch, channels, 2 * length), np.float32), -1

    def push(x: NDArray[np.float32]) -> object:
        nonlocal at
        at = (at + 1) % length
        twice[:, :, at] = twice[:, :, at + length] = x
        return body(twice[:, :, at + 1 : at + 1 + length])

    return push


RAW = {"litert": raw_litert, "onnxruntime": raw_onnxruntime}


def stepping(target: str, name: str, batch: int) -> Iterator[Figure]:
    """Compare step and raw loop."""
    model = converted(name, target)
    x = (2 * np.random.default_rng(2).normal(size=(batch, *model.input_shape))).astype(np.float32)
    raw, population = RAW[target](model, batch), NeuralPopulation(model, batch)
    yield from compared(f"{target} {name} x{batch}", partial(raw, x), partial(population.step, x))


def window(target: str, batch: int) -> Iterator[Figure]:
    """Compare windows kept by the population with windows kept by hand."""
    model = converted("conv1d", target, window=16, window_axis=1)
    x = np.random.default_rng(2).normal(size=(batch, 2)).astype(np.float32)
    raw, population = ring(RAW[target](model, batch), batch, 2, 16), NeuralPopulation(model, batch)
    yield from compared(f"{target} window x{batch}", partial(raw, x), partial(population.step, x))


def compared(case: str, raw: Callable[[], object], ours: Callable[[], object]) -> Iterator[Figure]:
    """Time the two in turn."""
    once = max(seconds(ours, rounds=20), 1e-7)
    steps = max(1, int(ROUND_S / once))

    def timed(body: Callable[[], object]) -> float:
        def several() -> None:
            for _ in range(steps):
                body()

        return seconds(several, rounds=1) / steps

    pairs = [(timed(raw), timed(ours)) for _ in range(ROUNDS + 1)][1:]
    low, middle, high = np.quantile([own / by_hand for by_hand, own in pairs], (0.25, 0.5, 0.75)).round(3)
    step_us = round(float(np.median([own for _, own in pairs])) * 1e6, 2)
    yield Figure(case, "step", step_us, "us", "raw loop", float(middle), TARGET, bool(middle <= TARGET), LESS)
    yield Figure(case, "spread", round(float(high - low), 3), "of the ratio")


CASES: Mapping[str, Callable[[], Iterator[Figure]]] = {
    f"{target}-{name}-{batch}": partial(stepping, target, name, batch)
    for target in RAW
    for name in SHAPES
    for batch in BATCHES
} | {f"{target}-window-{batch}": partial(window, target, batch) for target in RAW for batch in BATCHES}


if __name__ == "__main__":
    sys.exit(run("benchmarks.neural", __doc__, CASES))
