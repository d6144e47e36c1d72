"""Quality, size and time of conversions.

Cases. ``agents``: the five golden models compared with their float64 sources, and seconds per conversion.
``networks``: the networks in ``tests/data/networks`` on both runtimes: top-1 agreement, SQNR, size.
``outlier``: the loss by one wrong calibration sample (40 times too large) with the default calibrator, and
with min-max. ``ring``: 5,000 states in a ring and three controls, given by their entries: processor time
and memory of reading, converting and writing, and one step of one agent.
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import cases
from benchmarks.figures import LESS, Figure, at_least, at_most
from edge_agent.engine import Population
from edge_agent.wire import npz
from edge_convert.bundle import agent_bundle, network_bundle
from edge_convert.bundle.job import Job
from edge_convert.bundle.network_bundle import NetworkConversion

TESTS = Path(__file__).parents[1] / "tests"
SHAPES = {
    "mlp_tanh": (6,),
    "mlp_relu": (6,),
    "policy": (6,),
    "conv1d": (2, 16),
    "conv1d_dynamo": (2, 16),
    "conv2d": (1, 8, 8),
}
TARGETS = ("litert", "onnxruntime")
MAX_KL = 1e-3
MAX_SECONDS = 10.0
MIN_AGREEMENT = 0.97
MIN_SQNR = 28.0
MAX_COST = 3.0
SAMPLES = 400
BROKEN, FACTOR = 7, 40.0
RING, SLIP = 5000, 0.1
RING_SECONDS, RING_MB = 5.0, 500.0


def agents() -> Iterator[Figure]:
    """Convert every golden model; the gate is open, the figures are what counts."""
    for source in sorted((TESTS / "golden" / "models").glob("*.npz")):
        with tempfile.TemporaryDirectory() as folder:
            output = Path(folder) / "out.eab"
            order = Job(source=source, output=output, name="model", max_kl=1e9, min_agreement=0.0)
            start = time.perf_counter()
            conversion = agent_bundle.convert(order, "pymdp")
            agent_bundle.write(conversion)
            seconds = time.perf_counter() - start
            size = output.stat().st_size
        figures = conversion.fidelity.figures()
        yield at_most(source.stem, "max posterior KL", figures["max_posterior_kl"], "nats", MAX_KL)
        yield at_least(source.stem, "action agreement", figures["action_agreement"], "", 0.99)
        yield Figure(source.stem, "mean policy TV", float(f"{figures['mean_policy_tv']:.3g}"), "")
        yield at_most(source.stem, "conversion", seconds, "s", MAX_SECONDS)
        ratio = round(size / conversion.source.nbytes, 3)
        yield Figure(source.stem, "bundle", size, "bytes", "float64 tensors", ratio, better=LESS)


def networks() -> Iterator[Figure]:
    """Convert every network for both runtimes."""
    for name in SHAPES:
        for target in TARGETS:
            conversion = converted(name, target, samples(name, 1))
            case, fidelity = f"{name} {target}", conversion.mixed.fidelity
            if fidelity.agreement is not None:
                yield at_least(case, "top-1 agreement", fidelity.agreement, "", MIN_AGREEMENT)
            yield at_least(case, "SQNR", min(fidelity.sqnr_db), "dB", MIN_SQNR)
            size, whole = len(conversion.mixed.model), len(conversion.network.model)
            yield Figure(case, "model", size, "bytes", "float32", round(size / whole, 3), better=LESS)
            yield Figure(case, "float operators", len(conversion.mixed.floats), "")


def outlier() -> Iterator[Figure]:
    """Break one calibration sample."""
    for name in SHAPES:
        clean, broken = samples(name, 1), samples(name, 1)
        broken[BROKEN] *= FACTOR
        reference = lowest(converted(name, "litert", clean))
        for calibrator in ("percentile", "minmax"):
            found = lowest(converted(name, "litert", broken, calibrator=calibrator))
            cost = round(reference - found, 2)
            limit = (MAX_COST, cost <= MAX_COST) if calibrator == "percentile" else (None, None)
            yield Figure(f"{name} litert", f"outlier, {calibrator}", cost, "dB", None, None, *limit)


def ring() -> Iterator[Figure]:
    """Convert a ring by its entries; step one agent on it."""
    with tempfile.TemporaryDirectory() as folder:
        source, output = Path(folder) / "ring.npz", Path(folder) / "ring.eab"
        source.write_bytes(npz.write(ring_entries()))
        start = time.process_time()
        conversion = agent_bundle.convert(Job(source=source, output=output, name="ring"), "pymdp")
        agent_bundle.write(conversion)
        seconds = time.process_time() - start
        size = output.stat().st_size
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    yield at_most("ring", "conversion, processor time", seconds, "s", RING_SECONDS)
    yield at_most("ring", "peak memory", peak, "MB", RING_MB)
    yield Figure("ring", "bundle", size, "bytes", better=LESS)
    population = Population(conversion.model, 1)
    step_ms = cases.seconds(lambda: population.step([[3]])) * 1e3
    yield Figure("ring", "step of one agent", round(step_ms, 3), "ms", better=LESS)


def ring_entries() -> dict[str, NDArray[Any]]:
    """Return the entries of B [RING, RING, 3] (back, stay, forth; a slip stays) and A (ten states each)."""
    states = np.arange(RING)
    rows, previous, controls, chances = [], [], [], []
    for control, by in enumerate((-1, 0, 1)):
        moves = ((states + by) % RING, 1 - SLIP), (states, SLIP)
        for to, chance in moves if by else ((states, 1.0),):
            rows.append(to)
            previous.append(states)
            controls.append(np.full(RING, control))
            chances.append(np.full(RING, chance))
    coords = np.stack([np.concatenate(part) for part in (rows, previous, controls)])
    preferences = np.zeros(RING // 10)
    preferences[7] = 3.0
    return {
        "A_0.format": np.array("coo"),
        "A_0.shape": np.array([RING // 10, RING]),
        "A_0.data": np.ones(RING),
        "A_0.coords": np.stack([states // 10, states]),
        "B_0.format": np.array("coo"),
        "B_0.shape": np.array([RING, RING, 3]),
        "B_0.data": np.concatenate(chances),
        "B_0.coords": coords,
        "C_0": preferences,
    }


def samples(name: str, seed: int) -> NDArray[np.float32]:
    """Draw inputs like those that the networks were trained on."""
    return (2 * np.random.default_rng(seed).normal(size=(SAMPLES, *SHAPES[name]))).astype(np.float32)


def converted(name: str, target: str, x: NDArray[np.float32], **options: Any) -> NetworkConversion:
    """Convert a network, the gate open only where the figures are asked for all the same."""
    with tempfile.TemporaryDirectory() as folder:
        calibration, evaluation = Path(folder) / "x.npz", Path(folder) / "e.npz"
        np.savez(calibration, x=x)
        np.savez(evaluation, x=samples(name, 2))
        order = Job(
            source=TESTS / "data" / "networks" / f"{name}.onnx",
            output=Path(folder) / "out.eab",
            name=name,
            calibration=calibration,
            evaluate=evaluation,
            target=target,
            min_agreement=0.0,
            min_sqnr=0.0,
            **options,
        )
        return network_bundle.convert(order, "onnx")


def lowest(conversion: NetworkConversion) -> float:
    """Return the ratio of the worst output, dB."""
    return min(conversion.mixed.fidelity.sqnr_db)


CASES = {"agents": agents, "networks": networks, "outlier": outlier, "ring": ring}


if __name__ == "__main__":
    sys.exit(cases.run("benchmarks.convert", __doc__, CASES))
