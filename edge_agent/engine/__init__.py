"""Floor 2: a pure library of discrete active-inference agents in 8 bits.

``Model`` and ``Population`` are imported on first use, so that a module of the library can be imported alone.
"""

from __future__ import annotations

import importlib
from typing import Any

__all__ = ["Model", "Population"]

_MODULES = {"Model": "edge_agent.engine.model", "Population": "edge_agent.engine.population"}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(_MODULES[name]).__dict__[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
