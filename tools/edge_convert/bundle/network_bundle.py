"""From a float32 network to a bundle: calibrate, rank, quantize, measure, decide, write.

Theory of operation. Ranges come from calibration data alone; figures come from data that no range was made
of. The int8 model is measured as the device will run it: by the same runtime, against the float source's
outputs. Golden vectors are evaluation inputs with the int8 model's own outputs. How far an output may be off
on another machine is ``TOLERANCE`` of its extent: two kernels may round one value differently, a broken one
is far away.
"""

from __future__ import annotations

import importlib.metadata
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import ConfigError
from edge_agent.wire import bundle, npz
from edge_agent.wire.bundle_kinds import GOLDEN, KINDS, TFLITE
from edge_convert.bundle.job import Job
from edge_convert.measure import gate
from edge_convert.measure.network_fidelity import NetworkFidelity
from edge_convert.quantize import calibrate
from edge_convert.readers import samples
from edge_convert.readers.detect import Kind
from edge_convert.readers.network import Network, open_network, run
from edge_convert.readers.samples import Split
from edge_convert.sensitivity import network_sensitivity
from edge_convert.sensitivity.network_sensitivity import MixedPrecision, Sensitivity

GOLDEN_INPUTS = 8
TOLERANCE = 0.05


@dataclass(frozen=True)
class NetworkConversion:
    """Everything that is known once the int8 model is good: for the bundle, the table and the report."""

    order: Job
    network: Network
    data: Split
    ranges: dict[str, calibrate.Range]
    ranking: list[Sensitivity]
    mixed: MixedPrecision
    action: dict[str, Any]
    names: dict[str, Any]
    """Of inputs and actions, for the io binding, as agents have them."""

    def figures(self) -> dict[str, Any]:
        """Return the figures of the manifest; they depend on the order alone."""
        return {
            **self.mixed.fidelity.figures(),
            "data": self.data.origin,
            "calibration": self.order.calibrator,
            "float_operators": self.mixed.floats,
            "int8_operators": len(self.ranking) - len(self.mixed.floats),
        }

    def memory(self) -> dict[str, Any]:
        """Return bytes of the model in 8 bits and in float32, in the target's format."""
        return {"model_bytes": len(self.mixed.model), "float_bytes": len(self.network.model)}


def convert(order: Job, kind: Kind) -> NetworkConversion:
    """Return an int8 network that keeps the gate's promises.

    Raises
    ------
    ModelError, ConfigError, ObservationError
        The source or the data is off.
    GateRefusalError
        The network is not good enough with any operator that has weights in int8.
    """
    network = open_network(order.source, kind, order.target)
    shape = network.input[1]
    if not any(kind in network_sensitivity.WEIGHTED for _, kind in network.operators):
        raise ConfigError(f"{order.source}: no operator with weights that could be stored in 8 bits")
    if not 0 <= order.window_axis < len(shape) or order.window < 1 or shape[order.window_axis] % order.window:
        raise ConfigError(
            f"--window: {order.window} on axis {order.window_axis}, expected a divisor of one in {shape}"
        )
    data = samples.split(order.calibration, order.evaluate, shape)
    action = _action(order, network, data.evaluation)
    names = _names(order, shape, network.outputs[action["output"]][1])
    ranges = calibrate.ranges(network.activations(data.calibration), order.calibrator)
    limits = gate.network_limits(order.min_agreement, order.min_sqnr)
    top = action["output"] if action["kind"] != "value" else None

    def good_enough(fidelity: NetworkFidelity) -> bool:
        return not gate.broken(fidelity.figures(), limits)

    ranking = network_sensitivity.rank(network, ranges, data.evaluation)
    mixed = network_sensitivity.fall_back(network, ranges, ranking, data.evaluation, top, good_enough)
    sentences = gate.broken(mixed.fidelity.figures(), limits)
    if sentences:
        causes = [f"{row.kind} {row.operator} alone gives {row.sqnr_db:.1f} dB" for row in ranking]
        raise gate.refuse(str(order.source), sentences, causes)
    return NetworkConversion(order, network, data, ranges, ranking, mixed, action, names)


def write(conversion: NetworkConversion) -> str:
    """Write the bundle and return its digest."""
    order, network = conversion.order, conversion.network
    x = conversion.data.evaluation[:GOLDEN_INPUTS]
    everything = run(network.kind, conversion.mixed.model, conversion.data.evaluation)
    ys = run(network.kind, conversion.mixed.model, x)
    golden: dict[str, NDArray[Any]] = {"x": x}
    golden |= {f"y_{index}": y for index, y in enumerate(ys)}
    golden["tolerance"] = np.array([TOLERANCE * max(float(np.ptp(y)), 1e-6) for y in everything], np.float32)
    name, shape = network.input
    manifest = order.fields(network.kind) | {
        "io": {
            "input": {"name": name, "shape": list(shape)},
            "window": {"length": order.window, "axis": order.window_axis},
            "outputs": [{"name": name, "shape": list(shape)} for name, shape in network.outputs],
            "action": conversion.action,
            **conversion.names,
        },
        "memory": conversion.memory(),
        "evaluation": conversion.figures(),
        "requires": _requires(network.kind),
    }
    entries = {KINDS[network.kind].entry: conversion.mixed.model, GOLDEN: npz.write(golden)}
    return bundle.write(order.output, manifest, entries, order.key)


def _action(order: Job, network: Network, evaluation: NDArray[np.float32]) -> dict[str, Any]:
    """Return the action binding: the first output, chosen by its largest entry where it is a vector."""
    _, shape = network.outputs[0]
    vector = len(shape) == 1 and shape[0] > 1
    kind = order.action or ("argmax" if vector else "value")
    if kind != "value" and not vector:
        raise ConfigError(f"--action: {kind} needs a vector, output {network.outputs[0][0]} is {list(shape)}")
    scores = network.reference(evaluation)[0]
    rows = np.abs(scores.reshape(len(scores), -1).sum(axis=1) - 1.0)
    probabilities = vector and bool((scores >= 0).all() and (rows < 1e-3).all())
    return {"kind": kind, "output": 0, "logits": not probabilities}


def _names(order: Job, shape: tuple[int, ...], scores: tuple[int, ...]) -> dict[str, Any]:
    """Return ``modalities`` and ``controls`` as far as they are named: one a number, one for the action."""
    names: dict[str, Any] = {}
    observed, chosen = math.prod(shape) // order.window, math.prod(scores)
    if order.inputs:
        if len(set(order.inputs)) != observed:
            raise ConfigError(
                f"--inputs: {len(set(order.inputs))} different names, the network observes {observed} numbers"
            )
        names["modalities"] = [{"name": name} for name in order.inputs]
    if order.actions:
        if len(set(order.actions)) != chosen:
            raise ConfigError(
                f"--actions: {len(set(order.actions))} different values, the network has {chosen} actions"
            )
        names["controls"] = [{"name": "action", "values": list(order.actions)}]
    return names


def _requires(kind: str) -> dict[str, str]:
    """Return the runtime, and the version that the figures were made with."""
    runtime, library = ("litert", "ai-edge-litert") if kind == TFLITE.name else ("onnxruntime", "onnxruntime")
    return {"runtime": runtime, "version": importlib.metadata.version(library)}
