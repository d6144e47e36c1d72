r"""A rollout on the device: changes the bundle of a population in stages, and rolls back if a gate fails.

Theory of operation. States and what moves between them::

    FETCHING --fetched--> VERIFYING --verified--> SHADOWING --gates kept--> TRIAL --gates kept--> COMMITTED
        \____________________\______________________\______________________/
                     refused, gate broken, no observations, restarted too often: ROLLED_BACK (with the reason)

Verified means: digest, signature, memory plan and golden vectors (the daemon does it and says how it
went). In the shadow run the new bundle sees the live observations and its actions go nowhere; in the
trial it acts and the old one stays loaded. Gates are checked on every report of `Health`, as soon as
``steps`` make them meaningful, and at the end. The bundle that acts after a restart is the one that was
committed last. After a power cut the stages are gone through again from what is on the disk, the trial at
most once more, the others `MAX_RESTARTS` times; then the rollout is given up, since a bundle that takes the
board down never gets to say so.

An update of the daemon (`wire.package`) goes the same way, with three differences: it is verified by the
installer alone, it has no shadow run, and its trial is the installer's, which restarts the daemon. So a
restart in the trial counts for nothing; the trial ends with the installer's answer (`Rollout.committed`,
`Rollout.failed`), or `INSTALLER_SECONDS` after its length.

The daemon carries the effects out. `Rollout.state` must be stored before that.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from edge_agent.errors import PeerError
from edge_agent.wire.fields import check_text, integer, mapping, text
from edge_agent.wire.package import POPULATION

MAX_TEXT = 10_000
MAX_TRIALS = 2
MAX_RESTARTS = 5
"""A rollout in whose verification and shadow run the device restarted so often is given up."""
PATIENCE = 10.0
"""A stage that has too few steps is given up after so many times its length."""
INSTALLER_SECONDS = 3600.0
"""What installing a package, or restoring the one before, may take beside the trial."""


class Stage(enum.Enum):
    """Where a rollout stands."""

    FETCHING = "fetching"
    VERIFYING = "verifying"
    SHADOWING = "shadowing"
    TRIAL = "trial"
    COMMITTED = "committed"
    ROLLED_BACK = "rolled-back"


ENDED = frozenset({Stage.COMMITTED, Stage.ROLLED_BACK})


@dataclass(frozen=True, slots=True)
class Gates:
    """Limits that a new bundle must keep; the desired document's ``gates`` overrides them by name.

    Lengths in seconds; ``steps`` is the fewest agent-steps a verdict needs; rates are a tick (missed
    deadlines) and per agent-step (contradictions); ``free_energy_rise`` in nats per step over the old bundle;
    ``agreement`` is the share of equal actions in the shadow run; ``held_rise`` is the rise of the share of
    agents at their safe values (a configuration's trial); ``memory`` in bytes, 0 leaves it to the plan.
    """

    shadow_seconds: float = 60.0
    trial_seconds: float = 300.0
    steps: int = 100
    agreement: float = 0.0
    missed_rate: float = 0.01
    contradiction_rate: float = 0.05
    free_energy_rise: float = 1.0
    held_rise: float = 0.1
    memory: int = 0

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Gates:
        """Return the gates that a desired document asks for; unknown names are ignored.

        Raises
        ------
        PeerError
            A value is not a number of 0 or more.
        """
        known = {f.name for f in fields(cls)}
        for name, value in values.items():
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if name in known and (not number or not 0 <= value < float("inf")):
                raise PeerError(f"gates.{name}: found {value!r}, expected a number of 0 or more")
        return cls(**{name: value for name, value in values.items() if name in known})


@dataclass(frozen=True, slots=True)
class Health:
    """How the new bundle did since the stage began, beside the old one on the same observations.

    ``free_energy`` and ``old_free_energy`` are means per step in nats; ``agreed`` counts steps with equal
    actions (shadow run only); ``memory`` is the daemon's RSS in bytes; ``held_rise`` is how much larger the
    share of agents at their safe values is than before.
    """

    steps: int
    ticks: int
    missed: int
    contradictions: int
    free_energy: float
    old_free_energy: float
    agreed: int = 0
    memory: int = 0
    held_rise: float = 0.0


@dataclass(frozen=True, slots=True)
class Verify:
    """Effect: check the fetched bundle and call ``verified`` or ``failed``."""

    population: str
    bundle: str


@dataclass(frozen=True, slots=True)
class StartShadow:
    """Effect: run the bundle beside the one that acts, and report `Health`."""

    population: str
    bundle: str


@dataclass(frozen=True, slots=True)
class Trial:
    """Effect: let the bundle act, keep the old one loaded, and report `Health`."""

    population: str
    bundle: str


@dataclass(frozen=True, slots=True)
class Commit:
    """Effect: the old bundle may go."""

    population: str
    bundle: str


@dataclass(frozen=True, slots=True)
class RollBack:
    """Effect: ``bundle`` (the old one; empty if there was none) acts; the new one may go."""

    population: str
    bundle: str
    reason: str


RolloutEffect = Verify | StartShadow | Trial | Commit | RollBack


class Rollout:
    """The state machine; see the module's head.

    Parameters
    ----------
    population, bundle, old : str
        Who moves, to which bundle digest, from which ("" if it has none).
    gates : Gates
        Limits.
    """

    def __init__(self, population: str, bundle: str, old: str, gates: Gates) -> None:
        self.population = population
        self.bundle = bundle
        self.old = old
        self.gates = gates
        self.stage = Stage.FETCHING
        self.reason = ""
        self.deadline: float | None = None
        self._trials = 0
        self._restarts = 0
        self._began = 0.0
        self._health: Health | None = None

    @property
    def package(self) -> bool:
        """Whether it is an update of the daemon."""
        return self.population == POPULATION

    def state(self) -> dict[str, Any]:
        """Return what must survive a restart, as JSON."""
        return {
            "population": self.population,
            "bundle": self.bundle,
            "old": self.old,
            "gates": {f.name: getattr(self.gates, f.name) for f in fields(self.gates)},
            "stage": self.stage.value,
            "reason": self.reason,
            "trials": self._trials,
            "restarts": self._restarts,
        }

    @classmethod
    def of_state(cls, state: Mapping[str, Any]) -> Rollout:
        """Return the rollout that `state` was made of; call `resume` next."""
        population, bundle, old, reason = (
            text(state, key, MAX_TEXT) for key in ("population", "bundle", "old", "reason")
        )
        rollout = cls(population, bundle, old, Gates.of(state["gates"]))
        rollout.stage = Stage(state["stage"])
        rollout.reason = reason
        rollout._trials = integer(state, "trials", 0, 2**31)
        rollout._restarts = integer(state, "restarts", 0, 2**31, 0)
        return rollout

    def resume(self, now: float) -> list[RolloutEffect]:
        """Go on after a restart; unless it ended, ``fetched`` is to be called once the file is complete.

        All stages begin again with the file: the state is kept before blocks are written, so a stage past
        fetching does not prove that the last block survived.
        """
        if self.stage in ENDED:
            return []
        if self.stage is Stage.TRIAL and self.package:
            return self._enter(Stage.TRIAL, now)  # asks again, unless the installer has answered
        if self.stage is Stage.TRIAL and self._trials >= MAX_TRIALS:
            return self.failed(f"the device restarted in {self._trials} trials", now)
        if self.stage in (Stage.VERIFYING, Stage.SHADOWING):
            self._restarts += 1
            if self._restarts >= MAX_RESTARTS:
                return self.failed(f"{self.stage.value}: the device restarted {self._restarts} times", now)
        self.stage = Stage.FETCHING
        return []

    def fetched(self, now: float) -> list[RolloutEffect]:
        """Take note that the bundle's file is complete."""
        return self._enter(Stage.VERIFYING, now) if self.stage is Stage.FETCHING else []

    def verified(self, now: float) -> list[RolloutEffect]:
        """Take note that the bundle is sound, fits and is loaded."""
        if self.stage is not Stage.VERIFYING:
            return []
        # Nothing to compare with: a population's first bundle goes on trial at once, and so does a package.
        return self._enter(Stage.SHADOWING if self.old and not self.package else Stage.TRIAL, now)

    def committed(self, now: float) -> list[RolloutEffect]:
        """End the trial: the installer found the package healthy."""
        return self._enter(Stage.COMMITTED, now) if self.stage is Stage.TRIAL else []

    def failed(self, reason: str, now: float) -> list[RolloutEffect]:
        """Give up: the bundle was refused, or somebody decided so."""
        if self.stage in ENDED:
            return []
        self.reason = reason
        return self._enter(Stage.ROLLED_BACK, now)

    def health(self, health: Health, now: float) -> list[RolloutEffect]:
        """Take in how the new bundle does."""
        if self.stage not in (Stage.SHADOWING, Stage.TRIAL):
            return []
        self._health = health
        if health.steps < max(self.gates.steps, 1):
            return self.tick(now)
        reason = breach(self.gates, health, self.stage)
        if reason:
            return self.failed(f"{self.stage.value}: {reason}", now)
        return self.tick(now)

    def tick(self, now: float) -> list[RolloutEffect]:
        """End the stage if its time is over and it has seen enough."""
        if self.deadline is None or now < self.deadline:
            return []
        if self.package:
            return self.failed("the installer (edge-agent-update.service) did not answer", now)
        steps = self._health.steps if self._health else 0
        if steps >= self.gates.steps:
            return self._enter(Stage.TRIAL if self.stage is Stage.SHADOWING else Stage.COMMITTED, now)
        length = self._length()
        if now - self._began >= PATIENCE * max(length, 1.0):
            return self.failed(f"{self.stage.value}: {steps} steps, {self.gates.steps} expected", now)
        self.deadline = now + max(length, 1.0) / 4
        return []

    def _length(self) -> float:
        return self.gates.shadow_seconds if self.stage is Stage.SHADOWING else self.gates.trial_seconds

    def _enter(self, stage: Stage, now: float) -> list[RolloutEffect]:
        self.stage, self.deadline, self._health, self._began = stage, None, None, now
        match stage:
            case Stage.VERIFYING:
                return [Verify(self.population, self.bundle)]
            case Stage.SHADOWING:
                self.deadline = now + self._length()
                return [StartShadow(self.population, self.bundle)]
            case Stage.TRIAL:
                self._trials += 1
                self.deadline = now + self._length() + (INSTALLER_SECONDS if self.package else 0.0)
                return [Trial(self.population, self.bundle)]
            case Stage.COMMITTED:
                return [Commit(self.population, self.bundle)]
            case _:
                return [RollBack(self.population, self.old, self.reason)]


def active_of(state: Mapping[str, Any]) -> dict[str, str]:
    """Return which bundle each population runs, by the kept state of a hub client.

    Raises
    ------
    PeerError
        It says something else than names and digests.
    """
    return {
        check_text("active", name, 64): check_text("active", digest, 64)
        for name, digest in mapping(state, "active").items()
    }


def breach(gates: Gates, health: Health, stage: Stage) -> str:
    """Return which gate is broken and by how much, "" if none is; of one step at least."""
    missed = health.missed / max(health.ticks, 1)
    contradictions = health.contradictions / health.steps
    agreement = health.agreed / health.steps
    rise = health.free_energy - health.old_free_energy
    if missed > gates.missed_rate:
        return f"missed_rate {missed:.3g}, at most {gates.missed_rate:g}"
    if contradictions > gates.contradiction_rate:
        return f"contradiction_rate {contradictions:.3g}, at most {gates.contradiction_rate:g}"
    if not rise <= gates.free_energy_rise:  # NaN breaks the gate too
        return f"free_energy_rise {rise:.3g} nats, at most {gates.free_energy_rise:g}"
    if health.held_rise > gates.held_rise:
        return f"held_rise {health.held_rise:.3g}, at most {gates.held_rise:g}"
    if gates.memory and health.memory > gates.memory:
        return f"memory {health.memory} bytes, at most {gates.memory}"
    if stage is Stage.SHADOWING and agreement < gates.agreement:
        return f"agreement {agreement:.3g}, at least {gates.agreement:g}"
    return ""
