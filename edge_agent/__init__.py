"""int8 active-inference agents within a fixed memory budget on Raspberry-Pi-class boards.

``from edge_agent import Model, Population`` is the library. It is imported on first use, so that commands
that run no agents start without it.
"""

from __future__ import annotations

import importlib
from typing import Any

from edge_agent.version import __version__

__all__ = ["Model", "Population", "__version__"]


def __getattr__(name: str) -> Any:
    if name in ("Model", "Population"):
        return getattr(importlib.import_module("edge_agent.engine"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
