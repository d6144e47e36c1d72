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
================  =========================================================  ==============================
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from edge_agent.errors import ConfigError
from edge_agent.protocol.command_guard import Command
from edge_agent.runtime.population import models
from edge_agent.runtime.populations import Populations
from edge_agent.runtime.recording.decision_watch import Answer, DecisionWatch
from edge_agent.runtime.recording.recorder import Recorder, RecordingFile
from edge_agent.runtime.reporting.status import Status
from edge_agent.runtime.step_schedule import StepSchedule

MAX_RECORDS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandTools:
    """What commands need of the outside.

    ``reload`` asks for the configuration to be read again, ``recording_file`` opens the file of a new
    recording (None: the configuration names none), ``max_rate_hz`` is the board's limit in steps per second.
    ``send_learned`` sends what a population, or each, has learned, and returns the messages of each.
    """

    reload: Callable[[], None]
    recording_file: Callable[[], RecordingFile | None]
    max_rate_hz: float
    send_learned: Callable[[str | None], Mapping[str, int]]


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
    """

    def __init__(
        self,
        populations: Populations,
        schedule: StepSchedule,
        recorder: Recorder,
        status: Status,
        tools: CommandTools,
        watch: DecisionWatch,
    ) -> None:
        self.watch = watch
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
        raise ConfigError(f"command: found {command.name!r}, which this version does not know")

    def explain(self, command: Command, answer: Answer, now: float) -> None:
        """Explain the next decision of an agent; ``answer`` gets the result, within seconds.

        Raises
        ------
        ConfigError
            An argument names what is not there, or the decision can't be explained.
        """
        name, index = self._status.find_agent(
            str(command.arguments.get("agent")), command.arguments.get("population")
        )
        self.watch.ask(name, self._populations.groups[name], index, answer, now)

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
        last = arguments.get("last", MAX_RECORDS)
        if not isinstance(last, int) or isinstance(last, bool) or not 1 <= last <= MAX_RECORDS:
            raise ConfigError(f"last: found {last!r}, expected 1 to {MAX_RECORDS} records")
        return self._status.history(str(arguments.get("agent")), arguments.get("population"), last)
