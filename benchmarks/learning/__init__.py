"""Figures of learning, of a device and of a fleet: ``python -m benchmarks.learning [--json]``."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from functools import partial

from benchmarks.figures import Figure


def _figures(name: str) -> Iterable[Figure]:
    found: Iterable[Figure] = importlib.import_module(f"benchmarks.learning.{name}").figures()
    return found


CASES = {name: partial(_figures, name) for name in ("device", "size", "fleet", "poison", "merge")}
"""Files of this folder, each with ``figures()``, which are imported when they are measured."""
