"""Queries of the running daemon: status, agents, an agent's history. Answers are plain types."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from edge_agent.errors import ConfigError
from edge_agent.protocol.ports import Clock
from edge_agent.runtime.mqtt_dispatch import MqttDispatch
from edge_agent.runtime.population import models
from edge_agent.runtime.population.drift import DriftWindow
from edge_agent.runtime.population.group import Group
from edge_agent.runtime.population.shadow import Shadow
from edge_agent.runtime.population.subscriptions import Subscriptions
from edge_agent.runtime.populations import Populations
from edge_agent.runtime.recording.recorder import Recorder
from edge_agent.runtime.step_schedule import StepSchedule
from edge_agent.runtime.tick import PopulationTick

MAX_ROWS = 10_000
MAX_NAMED = 20
MAX_LINES = 500
FULL = {"rung": 0, "name": "full", "cause": "", "moves": 0}
Section = Callable[[], Mapping[str, Any]]


class Status:
    """Answers questions about the daemon.

    Parameters
    ----------
    populations, schedule, tick, recorder, clock
        What it tells about.
    rss : callable
        Returns the bytes of the process in memory.
    dispatch, subscriptions : MqttDispatch, Subscriptions, optional
        The broker's side, if there is a broker.
    """

    def __init__(
        self,
        populations: Populations,
        schedule: StepSchedule,
        tick: PopulationTick,
        recorder: Recorder,
        clock: Clock,
        rss: Callable[[], int],
        dispatch: MqttDispatch | None = None,
        subscriptions: Subscriptions | None = None,
    ) -> None:
        self.sections: dict[str, Section] = {}
        """Parts that not every device has: ``telemetry``, ``hub``, ``peers``, ``governor``,
        ``checkpoint``, ``overrides``.
        """
        self.log_lines: Callable[[int], list[str]] = lambda _most: []
        """Returns the newest lines of the daemon's log."""
        self._populations = populations
        self._schedule = schedule
        self._tick = tick
        self._recorder = recorder
        self._clock = clock
        self._rss = rss
        self._dispatch = dispatch
        self._subscriptions = subscriptions
        self._started = clock.monotonic()

    def answer(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Answer ``{"ask": "status"}``, ``"agents"``, ``"history"`` or ``"log"``.

        Raises
        ------
        ConfigError
            The question, or what it asks about, is not known.
        """
        kind = request.get("ask")
        if kind == "status":
            return self.status()
        if kind == "agents":
            return {"agents": self.agents(request.get("population"))}
        if kind == "history":
            return self.history(str(request.get("agent")), request.get("population"), request.get("last"))
        if kind == "log":
            return {"lines": self.log_lines(MAX_LINES)}
        raise ConfigError(f"ask: found {kind!r}, expected status, agents, history or log")

    def status(self) -> dict[str, Any]:
        """Return the state of everything."""
        populations, recorder = self._populations, self._recorder
        device = populations.config.device
        return {
            "device": device.name,
            "fleet": device.fleet,
            "profile": device.profile,
            "uptime_s": round(self._clock.monotonic() - self._started, 3),
            "rss_bytes": self._rss(),
            "budget_bytes": populations.plan.budget,
            "arena_bytes": populations.arena.nbytes,
            "arena_used_bytes": populations.arena.used,
            "broker": self._broker(),
            "telemetry": self._section("telemetry"),
            "hub": self._section("hub"),
            "peers": self._section("peers"),
            "unknown_topics": 0 if self._subscriptions is None else self._subscriptions.unknown,
            "overrides": self._section("overrides"),
            "governor": self._section("governor") or FULL,
            "checkpoint": self._section("checkpoint"),
            "recorder": asdict(recorder.counters) if recorder.counters.segments else None,
            "step_us": self._tick.step_us,
            "populations": {
                name: self._population(name, group) for name, group in populations.groups.items()
            },
        }

    def summary(self) -> str:
        """Return one line for the service manager and the log: rung of the governor, agents, broker."""
        rung = (self._section("governor") or FULL)["name"]
        groups = self._populations.groups
        if len(groups) <= MAX_NAMED:
            sizes = ", ".join(f"{name} {len(group.names)}" for name, group in groups.items())
        else:
            agents = sum(len(group.names) for group in groups.values())
            sizes = f"{agents} agents in {len(groups)} populations"
        return f"{rung}; {sizes}; broker {self._broker()['state']}"

    def agents(self, population: Any) -> list[dict[str, Any]]:
        """Return one entry per agent: its present observations and last actions."""
        rows: list[dict[str, Any]] = []
        for name, group in self._populations.chosen(population).items():
            for index, agent in enumerate(group.names):
                if len(rows) >= MAX_ROWS:
                    return rows
                rows.append(
                    {
                        "population": name,
                        "agent": agent,
                        "observes": group.observations.latest(index),
                        "acts": [actuator.last_value(index) for actuator in group.actuators],
                        "free_energy": round(float(group.model_port.free_energy[index]), 4),
                    }
                )
        return rows

    def history(self, agent: str, population: Any, last: Any) -> dict[str, Any]:
        """Return the records of one agent, oldest first, with the names of their columns."""
        if last is not None and (not isinstance(last, int) or isinstance(last, bool) or last < 1):
            raise ConfigError(f"last: found {last!r}, expected a number of records from 1")
        name, index = self.find_agent(agent, population)
        return _records(name, self._populations.groups[name], index, min(last or MAX_ROWS, MAX_ROWS))

    def find_agent(self, agent: str, population: Any) -> tuple[str, int]:
        """Return the population and the number of an agent; raises ConfigError if there is none."""
        for name, group in self._populations.chosen(population).items():
            index = group.names.find(agent)
            if index is not None:
                return name, index
        first = next(iter(self._populations.groups.values())).names[0]
        raise ConfigError(
            f"agent: found {agent!r}, expected one like {first!r} (edge-agent agents lists them)"
        )

    def _section(self, name: str) -> Mapping[str, Any] | None:
        section = self.sections.get(name)
        return None if section is None else section()

    def _broker(self) -> dict[str, Any]:
        if self._dispatch is None:
            return {"state": "none", "reason": ""}
        session = self._dispatch.session
        return {
            "state": session.state.value,
            "reason": session.reason,
            "last_reason": session.last_reason,
            "version": session.version,
            "coalesced": self._dispatch.coalesced,
            **asdict(session.counters),
            **self._dispatch.kept_out(),
        }

    def _population(self, name: str, group: Group) -> dict[str, Any]:
        size = len(group.names)
        return {
            "agents": size,
            "bundle": group.digest,
            "suspended": group.suspended,
            "reasons": sorted(reason.value for reason in group.reasons),
            "shadow": None if group.shadow is None else _shadow(group.shadow),
            **asdict(group.counters),
            "contradictions": group.model_port.contradictions,
            "learned": models.learned(group.model_port),
            "faults": {fault.value: count for fault, count in group.inputs.faults.items() if count},
            "tick_s": 1.0 / group.rate_hz,
            "late": group.observations.late,
            "passed": group.passed,
            "lost": group.lost,
            "delayed": group.delayed,
            "went_offline": group.inputs.went_offline,
            "unavailable": sorted(group.inputs.unavailable)[:MAX_NAMED],
            "missed": self._schedule.missed(name),
            "jitter_p99_ms": round(group.jitter.quantile(0.99) * 1e3, 3),
            "latency_p50_ms": round(group.latency.quantile(0.50) * 1e3, 3),
            "latency_p99_ms": round(group.latency.quantile(0.99) * 1e3, 3),
            "latency_max_ms": round(group.latency.largest * 1e3, 3),
            "bytes_per_agent": round(group.model_port.nbytes / max(size, 1), 1),
            "history_records": group.history.held,
            "drift": None if group.drift is None else _drift(group, group.drift),
        }


def _records(name: str, group: Group, index: int, last: int) -> dict[str, Any]:
    records = group.history.select(index, last)
    return {
        "population": name,
        "agent": group.names[index],
        "modalities": [modality.name for modality in group.binding.modalities],
        "controls": [control.name for control in group.binding.controls],
        "tick": records["tick"].tolist(),
        "time": [stamp / 1000.0 for stamp in records["time"].tolist()],
        "observation": [
            [modality.text(code) for modality, code in zip(group.binding.modalities, row, strict=True)]
            for row in records["observation"].tolist()
        ],
        "action": [
            [
                control.values[code] if code >= 0 else None
                for control, code in zip(group.binding.controls, row, strict=True)
            ]
            for row in records["action"].tolist()
        ],
        "free_energy": [round(float(value), 4) for value in records["free_energy"]],
    }


def _drift(group: Group, drift: DriftWindow) -> dict[str, Any]:
    """Return the index, and of each modality the readings that the model was made of beside those of the last
    window.
    """
    return {
        "index": None if drift.figure is None else round(drift.figure, 4),
        "modalities": [
            {
                "modality": (modality := group.binding.modalities[column]).name,
                "bins": [modality.text(code) for code in range(modality.size)],
                "expected": expected,
                "found": found,
            }
            for column, expected, found in drift.modalities()
        ],
    }


def _shadow(shadow: Shadow) -> dict[str, Any]:
    return {"bundle": shadow.digest, "steps": shadow.steps, "agreed": shadow.agreed}
