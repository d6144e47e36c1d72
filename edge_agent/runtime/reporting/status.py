"""What one can ask a running daemon: its status, its agents, an agent's history. Answers are plain types."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from edge_agent.errors import ConfigError

if TYPE_CHECKING:
    from edge_agent.runtime.daemon import Daemon
    from edge_agent.runtime.population.group import Group
    from edge_agent.runtime.population.shadow import Shadow

MAX_ROWS = 10_000


def answer(daemon: Daemon, request: Mapping[str, Any]) -> dict[str, Any]:
    """Answer ``{"ask": "status"}``, ``"agents"`` or ``"history"``.

    Raises
    ------
    ConfigError
        The question, or what it asks about, is not known.
    """
    kind = request.get("ask")
    if kind == "status":
        return status(daemon)
    if kind == "agents":
        return {"agents": agents(daemon, request.get("population"))}
    if kind == "history":
        return history(daemon, str(request.get("agent")), request.get("population"), request.get("last"))
    raise ConfigError(f"ask: found {kind!r}, expected status, agents or history")


def status(daemon: Daemon) -> dict[str, Any]:
    """Return the state of everything."""
    return {
        "device": daemon.config.device.name,
        "fleet": daemon.config.device.fleet,
        "profile": daemon.config.device.profile,
        "uptime_s": round(daemon.uptime, 3),
        "rss_bytes": daemon.parts.rss(),
        "budget_bytes": daemon.plan.budget,
        "arena_bytes": daemon.roster.arena.nbytes,
        "arena_used_bytes": daemon.roster.arena.used,
        "broker": _broker(daemon),
        "telemetry": None if daemon.parts.uplink is None else daemon.parts.uplink.status(),
        "hub": None if daemon.parts.following is None else daemon.parts.following.status(),
        "peers": None if daemon.parts.peering is None else daemon.parts.peering.status(),
        "unknown_topics": daemon.subscriptions.unknown,
        "governor": _governor(daemon),
        "checkpoint": None if daemon.parts.checkpoints is None else asdict(daemon.parts.checkpoints.counters),
        "recorder": None if daemon.parts.recorder is None else asdict(daemon.parts.recorder.counters),
        "step_us": _step_us(daemon),
        "populations": {name: _population(daemon, name, group) for name, group in daemon.groups.items()},
    }


def summary(daemon: Daemon) -> str:
    """Return one line for the service manager: rung of the governor, agents a population, broker."""
    governor = daemon.parts.governor
    rung = "full" if governor is None else governor.name
    sizes = ", ".join(f"{name} {len(group.names)}" for name, group in daemon.groups.items())
    broker = "none" if daemon.link is None else daemon.link.session.state.value
    return f"{rung}; {sizes}; broker {broker}"


def agents(daemon: Daemon, population: str | None) -> list[dict[str, Any]]:
    """Return one entry an agent: what it observes now and was last told."""
    rows: list[dict[str, Any]] = []
    for name, group in chosen(daemon, population).items():
        for index, agent in enumerate(group.names):
            if len(rows) >= MAX_ROWS:
                return rows
            rows.append(
                {
                    "population": name,
                    "agent": agent,
                    "observes": group.observations.latest(index),
                    "acts": [actuator.told(index) for actuator in group.actuators],
                    "free_energy": round(float(group.stepper.free_energy[index]), 4),
                }
            )
    return rows


def history(daemon: Daemon, agent: str, population: str | None, last: Any) -> dict[str, Any]:
    """Return the records of one agent, oldest first, with the names of their columns."""
    if last is not None and (not isinstance(last, int) or isinstance(last, bool) or last < 1):
        raise ConfigError(f"last: found {last!r}, expected a number of records from 1")
    for name, group in chosen(daemon, population).items():
        index = group.names.find(agent)
        if index is not None:
            return _records(name, group, index, min(last or MAX_ROWS, MAX_ROWS))
    first = next(iter(daemon.groups.values())).names[0]
    raise ConfigError(f"agent: found {agent!r}, expected one like {first!r} (edge-agent agents lists them)")


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


def chosen(daemon: Daemon, population: Any) -> Mapping[str, Group]:
    """Return the population of that name, or all of them."""
    if population is None:
        return daemon.groups
    if not isinstance(population, str) or population not in daemon.groups:
        raise ConfigError(f"population: found {population!r}, expected one of {', '.join(daemon.groups)}")
    return {population: daemon.groups[population]}


def _population(daemon: Daemon, name: str, group: Group) -> dict[str, Any]:
    size = len(group.names)
    return {
        "agents": size,
        "bundle": group.digest,
        "suspended": group.suspended,
        "shadow": None if group.shadow is None else _shadow(group.shadow),
        **asdict(group.counters),
        "contradictions": group.stepper.contradictions,
        "faults": {fault.value: count for fault, count in group.intake.faults.items() if count},
        "missed": daemon.pacing.missed(name),
        "jitter_p99_ms": round(group.jitter.quantile(0.99) * 1e3, 3),
        "latency_p50_ms": round(group.latency.quantile(0.50) * 1e3, 3),
        "latency_p99_ms": round(group.latency.quantile(0.99) * 1e3, 3),
        "latency_max_ms": round(group.latency.largest * 1e3, 3),
        "bytes_an_agent": round(group.stepper.nbytes / max(size, 1), 1),
        "history_records": group.history.held,
    }


def _shadow(shadow: Shadow) -> dict[str, Any]:
    return {"bundle": shadow.digest, "steps": shadow.steps, "agreed": shadow.agreed}


def _broker(daemon: Daemon) -> dict[str, Any]:
    if daemon.link is None:
        return {"state": "none", "reason": ""}
    session = daemon.link.session
    return {
        "state": session.state.value,
        "reason": session.reason,
        "version": session.version,
        "coalesced": daemon.link.coalesced,
        **asdict(session.counters),
        **daemon.link.kept_out(),
    }


def _governor(daemon: Daemon) -> dict[str, Any]:
    governor = daemon.parts.governor
    if governor is None:
        return {"rung": 0, "name": "full", "cause": "", "moves": 0}
    return {
        "rung": governor.rung,
        "name": governor.name,
        "cause": governor.cause,
        "moves": governor.moves,
    }


def _step_us(daemon: Daemon) -> float:
    stepping = daemon.stepping
    return round(stepping.busy_s * 1e6 / stepping.stepped, 3) if stepping.stepped else 0.0
