"""The template of a model that is fitted: sensors, hidden factors, what a control moves, what is preferred.

Records with pydantic's annotations; ``template_file`` reads and checks them.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import Field

from edge_agent.config.strict import CHECKED

Text = Annotated[str, Field(min_length=1, max_length=200)]
Positive = Annotated[float, Field(gt=0.0)]
NotNegative = Annotated[float, Field(ge=0.0)]
Probability = Annotated[float, Field(ge=0.0, le=1.0)]
Bins = Annotated[int, Field(ge=2, le=1000)]
Share = Annotated[float, Field(ge=0.05, le=0.9)]
Precision = Annotated[float, Field(ge=0.0, le=10_000.0)]
PolicyLen = Annotated[int, Field(ge=1, le=8)]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModalityTemplate:
    """One kind of observation."""

    __pydantic_config__ = CHECKED

    name: Text
    """Name of the modality in the model."""
    sees: tuple[Text, ...]
    """Factors that its readings depend on."""
    reading: str = ""
    """Name of the modality, or of the column, in the readings, where it is not ``name``."""
    unit: str = ""
    """Unit of the readings."""
    edges: tuple[float, ...] = ()
    """Edges between bins that are given: limits that matter."""
    quantiles: Bins | None = None
    """Number of bins that share equally the readings above the last edge (without edges: all readings)."""
    decimals: Annotated[int, Field(ge=-6, le=9)] | None = None
    """Decimals to which edges from the readings are rounded; default: four significant digits."""
    labels: tuple[Text, ...] = ()
    """Names of the bins, for readings that are texts or numbers of a list."""
    likelihood: Literal["learned", "identity"] | dict[str, Any] = "learned"
    """learned; identity: the bin is the state of the one factor; or a table that gives, for each label, the
    probabilities by the states of ``sees``; one label may be left out and gets the rest.
    """
    alike: tuple[tuple[Text, ...], ...] = ()
    """Groups of states of the one factor whose readings are distributed alike."""
    preference: tuple[float, ...] = ()
    """Log-preference for each bin (C), up to a constant; default: none."""
    reduce: Literal["last", "mean", "max"] = "last"
    """Which reading stands for a tick with several."""
    silence: Literal["unknown", "unchanged"] = "unknown"
    """What no reading in a tick means; unchanged: the value before, for sensors that report on change."""
    stale_s: Positive = 3600.0
    """How long, in seconds, an unchanged value stands."""
    count: Positive = 1.0
    """Weight of the prior for each state, in readings spread over all bins."""
    band_count: NotNegative = 20.0
    """Weight of the prior that a reading is in the band of its state, for factors with ``bands``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BalanceTemplate:
    """Prior of a quantity x with a first-order balance: dx/dt = source - rate * (x - outside)."""

    __pydantic_config__ = CHECKED

    outside: float
    """Value of x that it falls to without a source, in the modality's unit."""
    source: Text
    """Factor whose state says how strong the source is."""
    emission: dict[str, NotNegative]
    """Expected source of each state, in the unit per hour."""
    rates: dict[str, NotNegative] = field(default_factory=dict)
    """Exchange that each value of the control adds, per hour."""
    rate: Positive | None = None
    """Exchange without a control, per hour; default: fitted to falls while ``idle``."""
    idle: IdleTemplate | None = None
    """When there is no source."""
    noise: Positive = 1.0
    """Noise of the sensor, in the unit."""
    spread: Positive = 0.4
    """Standard deviation of a source as a share of its expected value."""
    source_count: Positive = 20.0
    """Weight of the expected sources, in ticks."""
    count: Positive = 10.0
    """Weight of the balance for each band, in ticks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IdleTemplate:
    """When nothing is emitted."""

    __pydantic_config__ = CHECKED

    modality: Text
    """Modality that tells."""
    below: float
    """Its readings are below this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FactorTemplate:
    """One hidden factor."""

    __pydantic_config__ = CHECKED

    name: Text
    """Name of the factor."""
    states: tuple[Text, ...] = ()
    """Names of its states, in rising order of the first modality that sees the factor alone."""
    bands: tuple[float, ...] = ()
    """Instead of ``states``: edges of the bands of a modality, which are the states."""
    of: str = ""
    """Modality of ``bands``."""
    depends_on: tuple[Text, ...] = ()
    """Other factors that its next state depends on."""
    control: str = ""
    """Control that moves it."""
    follows: Probability | None = None
    """Probability with which its next state is the control's value; its transitions are then not learned."""
    stay: NotNegative = 10.0
    """Weight of the prior that it stays in its state, in ticks for each state."""
    move: Positive = 0.5
    """Weight of the prior for each other transition, in ticks."""
    balance: BalanceTemplate | None = None
    """Prior of a factor with ``bands``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlTemplate:
    """One kind of action."""

    __pydantic_config__ = CHECKED

    name: Text
    """Name of the control."""
    values: tuple[Text, ...]
    """Values of its actions."""
    reading: str = ""
    """Name of the control, or of the column, in the readings, where it is not ``name``."""
    default: str = ""
    """Value that stands before the first recorded action (default: the first value)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinTemplate:
    """Factors that become one in the model, whose states are their combinations."""

    __pydantic_config__ = CHECKED

    name: Text
    """Name of the joined factor."""
    factors: tuple[Text, ...]
    """Factors, the slowest index first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """A whole template."""

    __pydantic_config__ = CHECKED

    tick_seconds: Positive
    """Seconds per tick of the model."""
    modality: tuple[ModalityTemplate, ...]
    """Observations, in the model's order."""
    factor: tuple[FactorTemplate, ...]
    """Hidden factors."""
    control: tuple[ControlTemplate, ...] = ()
    """Actions."""
    join: tuple[JoinTemplate, ...] = ()
    """Factors that become one in the model."""
    time: str = "time"
    """Column of the times, for readings in a CSV file."""
    held_out: Share | str = 0.2
    """Share of the ticks at the end that the model is tested on, or the time at which they begin."""
    policy_len: PolicyLen = 1
    """Actions per policy."""
    gamma: Precision = 16.0
    """Precision of the policies."""
    alpha: Precision = 16.0
    """Precision of the actions."""

    def factor_named(self, name: str) -> FactorTemplate:
        """Return a factor."""
        return next(factor for factor in self.factor if factor.name == name)

    def control_named(self, name: str) -> ControlTemplate:
        """Return a control."""
        return next(control for control in self.control if control.name == name)

    def states(self, factor: FactorTemplate) -> list[str]:
        """Return the names of a factor's states; bands are named by their edges and unit."""
        if not factor.bands:
            return list(factor.states)
        unit = next(m.unit for m in self.modality if m.name == factor.of)
        edges = [f"{edge:g}" for edge in factor.bands]
        between = [f"{a} to {b}" for a, b in itertools.pairwise(edges)]
        texts = [f"under {edges[0]}", *between, edges[-1]]
        names = [f"{text} {unit}".rstrip() for text in texts]
        return [*names[:-1], f"{names[-1]} and over"]


def seconds_since_1970(text: str) -> float:
    """Return the time that ISO 8601 text says, UTC where it has no offset; ValueError if it says none."""
    stamp = datetime.fromisoformat(text)
    return (stamp if stamp.tzinfo else stamp.replace(tzinfo=UTC)).timestamp()
