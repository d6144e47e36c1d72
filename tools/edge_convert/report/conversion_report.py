"""The report of a conversion: what was measured, on what, and what it means; one HTML file for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_convert.bundle.agent_bundle import AgentConversion
from edge_convert.bundle.network_bundle import NetworkConversion
from edge_convert.measure.decisions import CLEAR
from edge_convert.quantize.calibrate import LEVELS
from edge_convert.readers.network import run
from edge_convert.report import plots
from edge_convert.report.page import Page
from edge_convert.sensitivity import agent_sensitivity

_WINDOW = 25  # samples of a moving average
Result = Mapping[str, Any]


def agent_report(conversion: AgentConversion, result: Result) -> str:
    """Return the page of a converted agent; ``result`` is what the command shows."""
    page = _begun(conversion.order.name, result)
    fidelity = conversion.fidelity
    _measured(page, conversion)
    curve = fidelity.agent or fidelity.reference
    page.section("Belief and decisions over time", f"{curve.origin}. Means over agents at each step.")
    curves = [
        ("posterior KL, nats", curve.kl.mean(axis=1), True),
        ("policy TV", curve.tv.mean(axis=1), False),
        ("action agreement", curve.agree.mean(axis=1), False),
    ]
    page.image(plots.over_time(curves), "posterior KL, policy TV and action agreement by step")
    page.section("Actions", "Rows: the float64 reference. Columns: the bundle. The diagonal is agreement.")
    page.image(_actions(conversion), "confusion of actions")
    ranking = agent_sensitivity.rank(conversion.source.arrays, conversion.model, fidelity.history)
    page.section(
        "Sensitivity", "Largest posterior KL when one tensor alone, or beliefs alone, are in 8 bits."
    )
    page.image(
        plots.bars({row.tensor: row.max_kl for row in ranking}, "max KL, nats"), "sensitivity of tensors"
    )
    page.rows([row._asdict() for row in ranking])
    page.section("Errors of the stored tensors", "Stored value less source value, entry by entry; log scale.")
    page.image(plots.histograms(_weight_errors(conversion)), "histograms of errors of stored tensors")
    _size_and_speed(page, result, ("reference_us_per_step", "int8_us_per_agent_step"), True)
    return page.html()


def network_report(conversion: NetworkConversion, result: Result) -> str:
    """Return the page of a converted network; ``result`` is what the command shows."""
    page = _begun(conversion.order.name, result)
    page.verdict(result["speed"]["verdict"])
    network, x = conversion.network, conversion.data.evaluation
    reference, found = network.reference(x), run(network.kind, conversion.mixed.model, x)
    output = conversion.action["output"]
    noise = np.abs(reference[output] - found[output]).reshape(len(x), -1).max(axis=1).astype(np.float64)
    curves = [("largest error", noise, False)]
    if conversion.mixed.fidelity.agreement is not None:
        same = (reference[output].argmax(axis=-1) == found[output].argmax(axis=-1)).astype(np.float64)
        width = min(_WINDOW, len(same))
        curves.append(
            ("agreement, moving average", np.convolve(same, np.ones(width) / width, "valid"), False)
        )
    page.section("Errors and decisions by sample", conversion.data.origin)
    page.image(plots.over_time(curves), "largest error and agreement by sample")
    if conversion.mixed.fidelity.agreement is not None:
        page.section("Actions", "Rows: the float32 source. Columns: int8. The diagonal is agreement.")
        labels = [str(i) for i in range(reference[output].shape[-1])]
        counts = _counts(reference[output].argmax(axis=-1), found[output].argmax(axis=-1), len(labels))
        page.image(plots.confusion(counts, labels), "confusion of actions")
    page.section(
        "Sensitivity", "SQNR of the worst output when one operator alone is int8. Red: it stayed float."
    )
    bars = {row.operator: row.sqnr_db for row in conversion.ranking}
    page.image(plots.bars(bars, "dB", conversion.mixed.floats), "sensitivity of operators")
    page.section(
        "Errors of tensors",
        "Value after rounding to its int8 range less value, on calibration data; log scale.",
    )
    page.image(plots.histograms(_activation_errors(conversion)), "histograms of errors of activations")
    _size_and_speed(page, result, ("float_us", "int8_us"), False)
    return page.html()


def _measured(page: Page, conversion: AgentConversion) -> None:
    """Add the two lines that the verdict rests on, what was tried, and what is not the live agent's."""
    page.section(
        "Decisions",
        f"A decision is clear where the best choice leads by more than {CLEAR:g} in probability. A tie "
        "is named, and breaks no limit. Regret: ln of the best choice's probability less ln of that of the "
        "choice made.",
    )
    page.rows(conversion.fidelity.lines())
    source = conversion.source
    if source.allowed:
        page.verdict(f"Exported without {', '.join(source.allowed)}: the live agent was run without, too.")
    if source.altered:
        page.verdict(
            f"{', '.join(source.altered)} is not the live agent's: the verdict rests on the float64 "
            "reference, and the line against your agent says how far the two are apart."
        )
    if conversion.forks is not None:
        page.verdict(f"{conversion.forks.words()}.")
    page.section("Precision", "What was tried, in order: bytes of the model, and the figures of the verdict.")
    page.rows(conversion.tries())


def _begun(name: str, result: Result) -> Page:
    page = Page(f"{name}: from float to 8 bits")
    page.facts({key: result[key] for key in ("bundle", "digest", "source", "signed by", "kind")})
    page.section("Figures")
    page.facts(result["evaluation"])
    return page


def _size_and_speed(page: Page, result: Result, times: tuple[str, str], logarithmic: bool) -> None:
    page.section(
        "Size and speed", "On the machine that made this report; measure on the board: edge-agent bench."
    )
    memory, speed = result["memory"], result["speed"]
    page.image(
        plots.bars({key: memory[key] for key in ("float_bytes", "model_bytes")}, "bytes"),
        "bytes of source and bundle",
    )
    page.image(
        plots.bars({key: speed[key] for key in times}, "µs", logarithmic=logarithmic), "microseconds a step"
    )
    page.facts({**memory, **speed})


def _actions(conversion: AgentConversion) -> bytes:
    source, fidelity = conversion.source.arrays, conversion.fidelity.reference
    shape = source.num_controls
    wanted, found = (
        np.ravel_multi_index(tuple(np.moveaxis(actions, -1, 0)), shape).ravel()
        for actions in (fidelity.wanted, fidelity.found)
    )
    used = np.unique(np.concatenate([wanted, found]))
    counts = _counts(np.searchsorted(used, wanted), np.searchsorted(used, found), len(used))
    labels = [",".join(str(int(u)) for u in np.unravel_index(action, shape)) for action in used]
    return plots.confusion(counts, labels)


def _counts(wanted: NDArray[Any], found: NDArray[Any], size: int) -> NDArray[np.int64]:
    counts = np.zeros((size, size), dtype=np.int64)
    np.add.at(counts, (wanted, found), 1)
    return counts


def _weight_errors(conversion: AgentConversion) -> dict[str, NDArray[np.float64]]:
    source, stored = conversion.source.arrays, conversion.model.arrays()
    pairs = [(f"A_{i}", a, b) for i, (a, b) in enumerate(zip(source.A, stored.A, strict=True))]
    pairs += [(f"B_{i}", a, b) for i, (a, b) in enumerate(zip(source.B, stored.B, strict=True))]
    # What float32 palettes lose is no loss of 8 bits.
    return {name: np.where(np.isclose(b, a, rtol=1e-6), 0.0, b - a).ravel() for name, a, b in pairs}


def _activation_errors(conversion: NetworkConversion) -> dict[str, NDArray[np.float64]]:
    errors = {}
    for name, values in conversion.network.activations(conversion.data.calibration).items():
        low, high = conversion.ranges[name]
        step = (high - low) / (LEVELS - 1)
        flat = values.ravel().astype(np.float64)
        errors[name] = np.clip(np.round(flat / step), round(low / step), round(high / step)) * step - flat
    return errors
