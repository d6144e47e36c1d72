"""Commands of the hub, carried out on a running daemon. That they are signed, meant for this device, not
expired and new was found out before (``protocol.command_guard``).

================  =========================================================  ==============================
name              arguments                                                  result
================  =========================================================  ==============================
status                                                                       the status, as on the socket
reset             population (default: all)                                  agents: how many began anew
set-rate          population, rate_hz; until the next start                  rate_hz
record            on (true or false)                                         recording
replay-window     agent, population (optional), last (at most 100 records)   the records, oldest first
reload                                                                       asked: true; the log has more
send-learned      population (default: all that send)                        messages of each
reset-learned     population (default: all that learn)                       updates that each forgot
explain           agent, population (optional)                               why the agent decides as it does
counters          agent, population (optional), seconds (1 to 60)            steps, free energy, latency …
log               lines (1 to 500; default: 200)                             lines, oldest first
support-bundle    profile (seconds, 0 to 60; default: 0)                     name, bytes, data (base64)
================  =========================================================  ==============================
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from edge_agent.errors import ConfigError
from edge_agent.protocol.command_guard import Command
from edge_agent.protocol.ports import Clock
from edge_agent.runtime.population import models
from edge_agent.runtime.populations import Populations
from edge_agent.runtime.recording.agent_counters import MAX_SECONDS, AgentCounters
from edge_agent.runtime.recording.decision_watch import Answer, DecisionWatch
from edge_agent.runtime.recording.recorder import Recorder, RecordingFile
from edge_agent.runtime.reporting.status import Status
from edge_agent.runtime.step_schedule import StepSchedule

MAX_RECORDS = 100
MAX_LINES = 500
LATER = frozenset({"explain", "counters", "support-bundle"})
"""Commands whose results come later than the turn of the loop in which they begin."""
MAX_PROFILE_S = 60


class SupportPort(Protocol):
    """Makes support bundles, one at a time."""

    def begin(self, profile_s: int, answer: Answer) -> None:
        """Begin one; `run_once` answers. Raises ConfigError if one is being made."""

    def run_once(self) -> None:
        """Answer what is ready."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandTools:
    """What commands need of the outside.

    ``reload`` asks for the configuration to be read again, ``recording_file`` opens the file of a new
    recording (None: the configuration names none), ``max_rate_hz`` is the board's limit in steps per second.
    ``send_learned`` sends what a population, or each, has learned, and returns the messages of each.
    ``log_lines`` returns the newest lines of the log, ``support`` makes support bundles.
    """

    reload: Callable[[], None]
    recording_file: Callable[[], RecordingFile | None]
    max_rate_hz: float
    send_learned: Callable[[str | None], Mapping[str, int]]
    log_lines: Callable[[int], list[str]]
    support: SupportPort


class CommandHandlers:
    """Carries commands out.

    Parameters
    ----------
    populations, schedule, recorder, status
        What commands act on and tell about.
    tools : CommandTools
        The outside.
    watch : DecisionWatch
        Explains decisions.
    counters : AgentCounters
        Counts single agents.
    clock : Clock
        Monotonic time.
    """

    def __init__(
        self,
        populations: Populations,
        schedule: StepSchedule,
        recorder: Recorder,
        status: Status,
        tools: CommandTools,
        watch: DecisionWatch,
        counters: AgentCounters,
        clock: Clock,
    ) -> None:
        self._watch = watch
        self._counters = counters
        self._clock = clock
        self._populations = populations
        self._schedule = schedule
        self._recorder = recorder
        self._status = status
        self._tools = tools

    def run_command(self, command: Command) -> dict[str, Any]:
        """Carry ``command`` out and return its result.

        Raises
        ------
        ConfigError
            An argument is missing, wrong, or names what is not there; nothing was done.
        """
        arguments = command.arguments
        match command.name:
            case "status":
                return self._status.status()
            case "reset":
                return self._reset(arguments)
            case "set-rate":
                return self._set_rate(arguments)
            case "record":
                return self._record(arguments)
            case "replay-window":
                return self._replay_window(arguments)
            case "reload":
                self._tools.reload()
                return {"asked": True}
            case "send-learned":
                return self._send_learned(arguments)
            case "reset-learned":
                return self._reset_learned(arguments)
            case "log":
                return {"lines": self._tools.log_lines(_count(arguments, "lines", 1, MAX_LINES, 200))}
        raise ConfigError(f"command: found {command.name!r}, which this version does not know")

    @property
    def deadline(self) -> float:
        """When `run_once` has something to do, monotonic seconds."""
        return min(self._watch.deadline, self._counters.deadline)

    def begin(self, command: Command, answer: Answer) -> None:
        """Begin a command of `LATER`; ``answer`` gets the result from `run_once`.

        Raises
        ------
        ConfigError
            An argument is wrong or names what is not there, or too many are under way.
        """
        arguments = command.arguments
        if command.name == "support-bundle":
            self._tools.support.begin(_count(arguments, "profile", 0, MAX_PROFILE_S, 0), answer)
            return
        name, index = self._status.find_agent(str(arguments.get("agent")), arguments.get("population"))
        group = self._populations.groups[name]
        if command.name == "explain":
            self._watch.ask(name, group, index, answer, self._clock.monotonic())
        else:
            self._counters.ask(name, group, index, _count(arguments, "seconds", 1, MAX_SECONDS, 10), answer)

    def run_once(self) -> None:
        """Answer commands whose answers come later."""
        self._watch.run_once(self._populations.groups.get, self._clock.monotonic())
        self._counters.run_once()
        self._tools.support.run_once()

    def _reset(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        chosen = self._populations.chosen(arguments.get("population"))
        for name in chosen:
            self._populations.reset(name)
        return {"agents": sum(len(group.names) for group in chosen.values())}

    def _set_rate(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        name, rate, limit = arguments.get("population"), arguments.get("rate_hz"), self._tools.max_rate_hz
        if not isinstance(rate, (int, float)) or isinstance(rate, bool) or not 0 < rate <= limit:
            raise ConfigError(f"rate_hz: found {rate!r}, expected more than 0, at most {limit:g}")
        if not isinstance(name, str):
            groups = ", ".join(self._populations.groups)
            raise ConfigError(f"population: found {name!r}, expected one of {groups}")
        self._populations.set_rate(name, float(rate))
        self._schedule.renew(name)
        return {"rate_hz": float(rate)}

    def _send_learned(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        name = arguments.get("population")
        if name is not None and (not isinstance(name, str) or name not in self._populations.groups):
            groups = ", ".join(self._populations.groups)
            raise ConfigError(f"population: found {name!r}, expected one of {groups}")
        found = dict(self._tools.send_learned(name))
        if not found:
            raise ConfigError("send-learned: no population has learn_send_s above 0")
        return found

    def _reset_learned(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        chosen = self._populations.chosen(arguments.get("population"))
        learning = [name for name, group in chosen.items() if models.learned(group.model_port) is not None]
        if not learning:
            raise ConfigError(f"reset-learned: population {', '.join(chosen)} does not learn")
        return {name: self._populations.reset_learned(name) for name in learning}

    def _record(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        on, recorder = arguments.get("on"), self._recorder
        if not isinstance(on, bool):
            raise ConfigError(f"on: found {on!r}, expected true or false")
        if not on:
            recorder.close()
        elif not recorder.recording:
            file = self._tools.recording_file()
            if file is None:
                raise ConfigError("recorder.path: missing in the device's configuration, expected a file")
            recorder.start(file, self._populations.groups)
        return {"recording": recorder.recording}

    def _replay_window(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        last = _count(arguments, "last", 1, MAX_RECORDS, MAX_RECORDS)
        return self._status.history(str(arguments.get("agent")), arguments.get("population"), last)


def _count(arguments: Mapping[str, Any], key: str, least: int, most: int, usual: int) -> int:
    value = arguments.get(key, usual)
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise ConfigError(f"{key}: found {value!r}, expected {least} to {most}")
    return value
