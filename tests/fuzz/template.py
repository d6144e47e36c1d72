"""Templates of ``edge-convert fit``, up to what is estimated of a few readings."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache

import numpy as np

from edge_agent.wire.readings import ControlNames, ModalityNames, Readings
from edge_convert.fit import bins, layout, template_file, ticks
from edge_convert.fit.parameters import Estimator
from edge_convert.fit.template import Template
from tests.fuzz.files import ROOT, written

READINGS = 40
MINIMAL = b"""\
tick_seconds = 60
[[factor]]
name = "f"
states = ["a", "b"]
[[modality]]
name = "m"
sees = ["f"]
edges = [100.0]
"""
LEAST_TICK_S = 0.1
"""Shorter ticks make so many of the readings that they take more than an input may."""


def decode(data: bytes) -> None:
    """Read a template, and prepare a fit to readings."""
    with written(data, "fuzzed.toml") as path:
        template = template_file.load(path)
    plan = layout.layout(template, "fuzzed.toml")
    if template.tick_seconds < LEAST_TICK_S:
        return
    readings = _readings(template)
    segments = ticks.segments(readings, template, "readings")
    before, _ = ticks.split_at(segments, ticks.held_out_tick(readings, template, segments, "fuzzed.toml"))
    modalities = bins.choose(template, readings, before, "readings")
    seen, _ = bins.binned(modalities, before)
    estimator = Estimator(template, plan, modalities, seen, "fuzzed.toml")
    estimator.estimate(estimator.zero_counts())


def _readings(template: Template) -> Readings:
    """Return readings of the template's modalities, an hour in all, and an action of each control."""
    names = tuple(
        ModalityNames(name, labels=m.labels)
        for name, m in {m.reading or m.name: m for m in template.modality}.items()
    )
    controls = tuple(
        ControlNames(name, tuple(map(str, c.values)))
        for name, c in {c.reading or c.name: c for c in template.control}.items()
    )
    modality = np.arange(READINGS) % len(names)
    labels = [len(names[m].labels) for m in modality]
    value = [min(n % 3, most - 1) if most else 17.0 * n for n, most in enumerate(labels)]
    acted, nothing = np.arange(len(controls)), np.zeros(READINGS, np.int64)
    return Readings(
        ("a",),
        names,
        controls,
        np.linspace(0.0, 3600.0, READINGS),
        nothing,
        modality,
        np.array(value, float),
        np.full(READINGS, -1),
        np.zeros(len(controls)),
        0 * acted,
        acted,
        0 * acted,
    )


@cache
def _examples() -> tuple[bytes, ...]:
    names = ("pipeline/water.toml", "office/office.toml")
    texts = ((ROOT / "examples" / name).read_bytes() for name in names)
    return tuple(re.sub(rb"held_out = .*", b"", text) for text in texts)  # the readings are of another time


def seed() -> bytes:
    """Return one input that is right."""
    return _examples()[0]


def seeds() -> Iterator[bytes]:
    """Yield inputs to start from."""
    yield from _examples()
    yield MINIMAL
