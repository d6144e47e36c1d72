"""Chooses the bins of each modality from the training readings, and turns readings into bins.

Edges are those of the template, those of the bands of a factor, and quantiles. Readings become bins by the
device's own `Modality`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_agent.engine.binding import Modality
from edge_agent.errors import ConfigError
from edge_agent.wire.readings import NOT_OBSERVED, ModalityNames, Readings
from edge_convert.fit.template import ModalityTemplate, Template
from edge_convert.fit.ticks import Segment

DEFAULT_QUANTILES = 6
SIGNIFICANT_DIGITS = 4
FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class BinnedSegment:
    """Consecutive ticks of one agent: bins (T, M), -1 not observed, actions (T, C), raw values (T, M)."""

    bins: IntArray
    actions: IntArray
    values: FloatArray

    def __len__(self) -> int:
        return len(self.bins)


def choose(template: Template, readings: Readings, segments: Sequence[Segment], where: str) -> list[Modality]:
    """Return the modalities of the model with their bins.

    Raises
    ------
    ConfigError
        The readings of a modality do not allow the bins.
    """
    return [
        _modality(template, entry, readings, _values(segments, m), where, _binned(segments, m))
        for m, entry in enumerate(template.modality)
    ]


def binned(modalities: Sequence[Modality], segments: Sequence[Segment]) -> tuple[list[BinnedSegment], int]:
    """Return the segments in bins, and how many readings were no value of their modality."""
    found, refused = [], 0
    for segment in segments:
        bins = np.empty_like(segment.codes)
        for m, modality in enumerate(modalities):
            codes, wrong = modality.encode_column(segment.values[:, m])  # type: ignore[arg-type]
            bins[:, m] = np.where(codes == NOT_OBSERVED, segment.codes[:, m], codes)
            refused += wrong
        found.append(BinnedSegment(bins, segment.actions, segment.values))
    return found, refused


def _values(segments: Sequence[Segment], m: int) -> FloatArray:
    values = np.concatenate([segment.values[:, m] for segment in segments])
    return np.asarray(values[~np.isnan(values)])


def _binned(segments: Sequence[Segment], m: int) -> bool:
    """Whether only bins of a modality were recorded."""
    return any((segment.codes[:, m] >= 0).any() for segment in segments)


def _modality(
    template: Template,
    entry: ModalityTemplate,
    readings: Readings,
    values: FloatArray,
    where: str,
    coded: bool,
) -> Modality:
    name = entry.reading or entry.name
    recorded = next((m for m in readings.modalities if m.name in (name, entry.name)), ModalityNames(name))
    unit = entry.unit or recorded.unit
    if coded:
        return _recorded(entry, recorded, unit, where)
    labels = entry.labels or (() if entry.edges or entry.quantiles else recorded.labels)
    if labels:
        return Modality(entry.name, len(labels), unit, entry.edges, labels)
    bands = [edge for factor in template.factor if factor.of == entry.name for edge in factor.bands]
    edges = np.unique([*entry.edges, *bands, *_quantiles(entry, values)])
    if not len(edges):
        found = "no readings" if not len(values) else f"readings that are all {values[0]:g}"
        raise ConfigError(f"{where}: {name}: found {found} before held_out; expected two values or more")
    return Modality(entry.name, len(edges) + 1, unit, edges.tolist(), ())


def _recorded(entry: ModalityTemplate, recorded: ModalityNames, unit: str, where: str) -> Modality:
    """Return the bins of the device that made the recording."""
    size = len(recorded.edges) + 1 if recorded.edges else len(recorded.labels)
    if not size:
        raise ConfigError(f"{where}: {recorded.name}: found bins without edges or labels; expected either")
    differs = (entry.edges and entry.edges != recorded.edges) or entry.quantiles
    if differs or (entry.labels and entry.labels != recorded.labels):
        expected = "the template to name no others"
        raise ConfigError(f"{where}: {recorded.name}: found the bins of a device's model only; {expected}")
    return Modality(entry.name, size, unit, recorded.edges, recorded.labels)


def _quantiles(entry: ModalityTemplate, values: FloatArray) -> FloatArray:
    count = entry.quantiles
    if count is None:
        if entry.edges or not len(values):
            return np.empty(0)
        count = DEFAULT_QUANTILES
    if entry.edges:
        values = values[values >= entry.edges[-1]]
    if not len(values):
        return np.empty(0)
    edges = np.quantile(values, np.arange(1, count) / count)
    if entry.decimals is not None:
        rounded = np.round(edges, entry.decimals)
    else:
        rounded = np.array([float(f"{edge:.{SIGNIFICANT_DIGITS}g}") for edge in edges])
    low = values.min()
    return np.asarray(rounded[rounded > low])  # nothing would lie below an edge at the lowest value
