"""States and effects of the loan protocol."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

from edge_agent.protocol.peers.block_buffer import BlockBuffer
from edge_agent.protocol.ports import Publication
from edge_agent.wire.loan import LoanMessage

Key = tuple[str, int]


class LoanState(enum.Enum):
    """Where a loan stands; see the module's head."""

    OFFERED = "offered"
    ADOPTED = "adopted"
    LENT = "lent"
    RUNNING = "running"
    RECALLED = "recalled"
    RETURNED = "returned"


@dataclass(frozen=True, slots=True)
class Adopt:
    """Effect: make the population ready from these beliefs; it may not act before `Run`."""

    loan: Key
    population: str
    bundle: bytes
    checkpoint: bytes


@dataclass(frozen=True, slots=True)
class Run:
    """Effect: the adopted population acts from now on."""

    loan: Key


@dataclass(frozen=True, slots=True)
class GiveBack:
    """Effect: stop the population and call `Loans.give_back` with its beliefs."""

    loan: Key


@dataclass(frozen=True, slots=True)
class Drop:
    """Effect: stop the population and free its memory."""

    loan: Key


@dataclass(frozen=True, slots=True)
class Resume:
    """Effect: the population is ours again, with these beliefs."""

    population: str
    checkpoint: bytes


Effect = Publication | Adopt | Run | GiveBack | Drop | Resume


@dataclass(frozen=True, slots=True)
class LoanSettings:
    """Times in seconds; ``lease`` must be more than the patience of the roster, 1.5 heartbeats."""

    retry: float = 5.0
    patience: float = 60.0
    lease: float = 90.0


@dataclass(slots=True)
class Loan:
    """One loan: what is repeated until it is answered, and what has arrived."""

    head: LoanMessage
    state: LoanState
    with_whom: str
    since: float
    said_at: float
    heard_at: float
    outgoing: list[LoanMessage] = field(default_factory=list)
    buffer: BlockBuffer | None = None
    checkpoint: bytes = b""
    life: int = -1
    """The owner's incarnation, as the borrower last saw it."""
