"""Thousands of int8 active-inference agents inside a fixed byte budget on Raspberry-Pi-class boards.

``from edge_agent import Model, Population`` is the library; it is imported on first use, so that commands
which run no agent do not pay for it.
"""

from __future__ import annotations

import importlib
from typing import Any

from edge_agent.version import __version__

__all__ = ["Model", "Population", "__version__"]


def __getattr__(name: str) -> Any:
    if name in ("Model", "Population"):
        return importlib.import_module("edge_agent.engine").__dict__[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
