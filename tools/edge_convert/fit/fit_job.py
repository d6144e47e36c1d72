"""``edge-convert fit``: from recorded readings and a template to a float model, and how well it predicts.

The last ticks are held out. The model is fitted to those before, and must then give the held-out readings a
higher likelihood than independent histograms of the same training readings do.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edge_agent.engine.binding import Modality
from edge_agent.errors import ConfigError
from edge_agent.wire import readings as readings_file
from edge_agent.wire import readings_csv
from edge_agent.wire.readings import Readings
from edge_convert.fit import bins, layout, model_file, template_file, ticks
from edge_convert.fit.bins import BinnedSegment
from edge_convert.fit.estimate import Report, fit, log_likelihood
from edge_convert.fit.parameters import Estimator
from edge_convert.fit.template import Template

ZIP = b"PK"
LEAST_TICKS = 20


@dataclass(frozen=True, slots=True)
class FitResult:
    """The arrays of a model file, the report for people and machines, and what to know, one line each."""

    arrays: dict[str, Any]
    report: dict[str, Any]
    warnings: list[str]


def load_readings(path: Path, template: Template) -> Readings:
    """Read recorded readings: an ``.npz`` of ``edge-agent record``, or a table as CSV.

    Raises
    ------
    ConfigError
        It is neither, or not what the template needs.
    """
    try:
        with path.open("rb") as file:
            start = file.read(len(ZIP))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    if start == ZIP:
        return readings_file.read(path)
    sensors = {m.reading or m.name: m.reading or m.name for m in template.modality}
    actions = {c.reading or c.name: c.reading or f"action:{c.name}" for c in template.control}
    optional = {m.reading or m.name for m in template.modality if m.likelihood != "learned"}
    columns = readings_csv.Columns(
        sensors, actions, frozenset(optional | set(actions.values())), template.time
    )
    return readings_csv.read(path, columns)


def run(source: Path, template_path: Path, starts: int, report: Report) -> FitResult:
    """Fit a model.

    Raises
    ------
    ConfigError
        Readings or template are not as they should be, or do not fit each other.
    """
    began = time.perf_counter()
    template = template_file.load(template_path)
    plan = layout.layout(template, str(template_path))
    readings = load_readings(source, template)
    where = str(source)
    segments = ticks.segments(readings, template, where)
    boundary = ticks.held_out_tick(readings, template, segments, str(template_path))
    before, after = ticks.split_at(segments, boundary)
    if sum(len(segment) for segment in before) < LEAST_TICKS or not after:
        count = sum(len(segment) for segment in before)
        expected = f"{LEAST_TICKS} or more, and some after it"
        raise ConfigError(f"{where}: found {count} ticks before held_out; expected {expected}")
    modalities = bins.choose(template, readings, before, where)
    _check_sizes(template, modalities, str(template_path))
    seen, refused = bins.binned(modalities, before)
    unseen, refused_later = bins.binned(modalities, after)
    estimator = Estimator(template, plan, modalities, seen, str(template_path))
    found = fit(estimator, plan, seen, starts, report)
    counts = [_counts(seen, m, modality.size) for m, modality in enumerate(modalities)]
    arrays = model_file.build(template, plan, found.parameters, modalities, counts, str(template_path))
    held_out = log_likelihood(found.parameters, plan, unseen) / _observed(unseen)
    figures: dict[str, Any] = {
        "agents": len(readings.agents),
        "readings": len(readings.time),
        "out_of_range": refused + refused_later,
        "ticks": {"training": sum(map(len, seen)), "held_out": sum(map(len, unseen))},
        "modalities": [
            {"modality": m.name, "bins": m.size, "edges": list(m.edges), "unit": m.unit} for m in modalities
        ],
        "actions": _actions(template, seen),
        "sources": [
            {
                "factor": template.factor[f].name,
                "rate_per_hour": source.rate,
                "source_per_hour": source.mean.tolist(),
            }
            for f, source in found.parameters.sources.items()
        ],
        "iterations": len(found.course),
        "nats_per_tick": {
            "training": found.course[-1] if found.course else None,
            "held_out": held_out,
            "histograms": histograms(template, modalities, seen, unseen) / _observed(unseen),
        },
        "seconds": round(time.perf_counter() - began, 2),
    }
    return FitResult(arrays, figures, warnings(template, figures))


def histograms(
    template: Template,
    modalities: Sequence[Modality],
    seen: Sequence[BinnedSegment],
    unseen: Sequence[BinnedSegment],
) -> float:
    """Return the log-likelihood of ``unseen`` under independent smoothed histograms of ``seen``, nats."""
    total = 0.0
    for m, (entry, modality) in enumerate(zip(template.modality, modalities, strict=True)):
        train, test = (np.concatenate([s.bins[:, m] for s in part]) for part in (seen, unseen))
        counts = np.bincount(train[train >= 0], minlength=modality.size) + entry.count / modality.size
        total += float(np.log(counts / counts.sum())[test[test >= 0]].sum())
    return total


def warnings(template: Template, report: dict[str, Any]) -> list[str]:
    """Return what the user should know about a fit, one line each."""
    learned = {f.control for f in template.factor if f.follows is None and f.balance is None}
    lines = []
    figures = report["nats_per_tick"]
    if figures["held_out"] <= figures["histograms"]:
        lines.append(
            f"held-out readings: {figures['held_out']:.3f} nats per tick, independent histograms "
            f"{figures['histograms']:.3f}: the model predicts no better than they do"
        )
    if report["out_of_range"]:
        lines.append(f"{report['out_of_range']} readings are no value of their modality; they do not count")
    for entry in report["actions"]:
        never = [value for value, count in entry["ticks"].items() if not count]
        if never and entry["control"] in learned:
            said = f"{', '.join(never)} never stood: transitions with it are those of the prior"
            lines.append(f"control {entry['control']}: {said}")
    return lines


def _check_sizes(template: Template, modalities: Sequence[Modality], where: str) -> None:
    for m, (entry, modality) in enumerate(zip(template.modality, modalities, strict=True)):
        if entry.preference and len(entry.preference) != modality.size:
            expected = f"{modality.size}, one for each bin"
            raise ConfigError(
                f"{where}: modality[{m}].preference: found {len(entry.preference)}, expected {expected}"
            )


def _counts(segments: Sequence[BinnedSegment], m: int, size: int) -> list[int]:
    """Return in how many ticks each bin of modality ``m`` was observed."""
    found = np.concatenate([segment.bins[:, m] for segment in segments])
    return [int(count) for count in np.bincount(found[found >= 0], minlength=size)]


def _observed(segments: Sequence[BinnedSegment]) -> int:
    """Return in how many ticks anything was observed."""
    return max(1, sum(int((segment.bins >= 0).any(axis=1).sum()) for segment in segments))


def _actions(template: Template, segments: Sequence[BinnedSegment]) -> list[dict[str, Any]]:
    counts = []
    for c, control in enumerate(template.control):
        actions = np.concatenate([segment.actions[:, c] for segment in segments])
        ticks_of = np.bincount(actions, minlength=len(control.values)).tolist()
        counts.append({"control": control.name, "ticks": dict(zip(control.values, ticks_of, strict=True))})
    return counts
