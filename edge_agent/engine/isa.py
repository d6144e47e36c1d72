"""Which of the kernel's instruction sets runs: the widest the CPU has, or the one EDGE_AGENT_ISA names."""

from __future__ import annotations

import os
from typing import NamedTuple

import edge_agent.engine._kernel as _kernel
from edge_agent.errors import ConfigError

VARIABLE = "EDGE_AGENT_ISA"


class Isa(NamedTuple):
    """``lanes``: agents that one strip of it steps together."""

    name: str
    lanes: int


def available() -> tuple[Isa, ...]:
    """Return what the kernel was built for and this CPU has, the widest first."""
    return tuple(Isa(name, lanes) for name, supported, lanes in _kernel.isas() if supported)


def chosen() -> Isa:
    """Return the instruction set to use.

    Raises
    ------
    ConfigError
        EDGE_AGENT_ISA names one that is unknown or that this CPU does not have.
    """
    found = available()
    wanted = os.environ.get(VARIABLE)
    if wanted is None:
        return found[0]
    for isa in found:
        if isa.name == wanted:
            return isa
    known = [name for name, _, _ in _kernel.isas()]
    state = "is not on this CPU" if wanted in known else "is unknown"
    names = ", ".join(isa.name for isa in found)
    raise ConfigError(f"{VARIABLE}: {wanted} {state}, expected one of {names}")
