"""The gate: figures of an int8 model against the limits it must keep, and the causes when it does not.

A refusal writes no file. It says which limit was missed by how much, and names the worst three causes: the
tensors, layers or steps that contribute most to the error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from edge_agent.errors import EdgeAgentError

AIM_KL = 0.001


class GateRefusalError(EdgeAgentError):
    """The int8 model is not good enough: no bundle is written."""


@dataclass(frozen=True)
class Limit:
    """One promise: ``figure`` must be at least ``bound`` (``floor``), or at most (not ``floor``)."""

    figure: str
    option: str
    bound: float
    floor: bool

    def holds(self, value: float) -> bool:
        """Whether ``value`` keeps the promise; a value that is no number does not."""
        return value >= self.bound if self.floor else value <= self.bound

    def broken(self, value: float) -> str:
        """Return the words for a ``value`` that does not keep it."""
        sign = "≥" if self.floor else "≤"
        return f"{self.figure} is {value:.4g}, {self.option} asks for {sign} {self.bound:.4g}"


def agent_limits(
    min_agreement: float | None, max_kl: float | None, max_regret: float | None
) -> tuple[Limit, ...]:
    """Return the limits of a discrete agent.

    None is the default: of the clear decisions at most one in 2,000 another one, regret ≤ 0.1 nats (a choice
    that has 0.9 of the best one's probability), posterior KL ≤ 0.01 nats. Ties break no limit.
    """
    return (
        Limit("clear_agreement", "--min-agreement", 0.9995 if min_agreement is None else min_agreement, True),
        Limit("max_regret", "--max-regret", 0.1 if max_regret is None else max_regret, False),
        Limit("max_posterior_kl", "--max-kl", 0.01 if max_kl is None else max_kl, False),
    )


def agent_aims(limits: Sequence[Limit], max_kl: float | None) -> tuple[Limit, ...]:
    """Return the limits that bits are bought for: a posterior KL of 0.001 nats, where the user asks for
    none.
    """
    if max_kl is not None:
        return tuple(limits)
    return tuple(
        replace(limit, bound=AIM_KL) if limit.figure == "max_posterior_kl" else limit for limit in limits
    )


def network_limits(min_agreement: float | None, min_sqnr: float | None) -> tuple[Limit, ...]:
    """Return the limits of a network; None is the default: top-1 agreement ≥ 0.97, SQNR ≥ 28 dB."""
    return (
        Limit("action_agreement", "--min-agreement", 0.97 if min_agreement is None else min_agreement, True),
        Limit("min_sqnr_db", "--min-sqnr", 28.0 if min_sqnr is None else min_sqnr, True),
    )


def broken(figures: Mapping[str, float], limits: Sequence[Limit], where: str = "") -> list[str]:
    """Return a sentence for each limit that ``figures`` miss; ``where`` says what they were measured
    against.
    """
    return [
        limit.broken(figures[limit.figure]) + (f" ({where})" if where else "")
        for limit in limits
        if limit.figure in figures and not limit.holds(figures[limit.figure])
    ]


def refuse(
    what: str, sentences: Sequence[str], causes: Sequence[str], advice: Sequence[str] = ()
) -> GateRefusalError:
    """Return the error that says why, on one line, and what would help."""
    worst = "; ".join(causes[:3])
    remedy = f". What would help: {'; '.join(advice)}" if advice else ""
    return GateRefusalError(f"{what}: refused: {', '.join(sentences)}. Worst causes: {worst}{remedy}")
