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
================  =========================================================  ==============================
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from edge_agent.errors import ConfigError
from edge_agent.protocol.command_guard import Command
from edge_agent.runtime.recording.recorder import Recorder
from edge_agent.runtime.reporting import status

if TYPE_CHECKING:
    from edge_agent.runtime.daemon import Daemon

MAX_RECORDS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandTools:
    """What commands need of the outside.

    ``reload`` asks for the configuration to be read again, ``recorder`` begins a recording (None: there is
    no place for one), ``max_rate_hz`` is the board's limit in steps a second.
    """

    reload: Callable[[], None]
    recorder: Callable[[], Recorder | None]
    max_rate_hz: float


def obey(daemon: Daemon, tools: CommandTools, command: Command) -> dict[str, Any]:
    """Carry ``command`` out and return its result.

    Raises
    ------
    ConfigError
        An argument is missing, wrong, or names what is not there; nothing was done.
    """
    arguments = command.arguments
    match command.name:
        case "status":
            return status.status(daemon)
        case "reset":
            return _reset(daemon, arguments)
        case "set-rate":
            return _set_rate(daemon, tools, arguments)
        case "record":
            return _record(daemon, tools, arguments)
        case "replay-window":
            return _replay_window(daemon, arguments)
        case "reload":
            tools.reload()
            return {"asked": True}
    raise ConfigError(f"command: found {command.name!r}, which this version does not know")


def _reset(daemon: Daemon, arguments: Mapping[str, Any]) -> dict[str, Any]:
    chosen = status.chosen(daemon, arguments.get("population"))
    for name, group in chosen.items():
        group.stepper.reset()
        group.forget_sent()
        if daemon.parts.recorder is not None:
            daemon.parts.recorder.begin_one(name, group)
    return {"agents": sum(len(group.names) for group in chosen.values())}


def _set_rate(daemon: Daemon, tools: CommandTools, arguments: Mapping[str, Any]) -> dict[str, Any]:
    name, rate = arguments.get("population"), arguments.get("rate_hz")
    if not isinstance(rate, (int, float)) or isinstance(rate, bool) or not 0 < rate <= tools.max_rate_hz:
        raise ConfigError(f"rate_hz: found {rate!r}, expected more than 0, at most {tools.max_rate_hz:g}")
    if not isinstance(name, str):
        raise ConfigError(f"population: found {name!r}, expected one of {', '.join(daemon.groups)}")
    (group,) = status.chosen(daemon, name).values()
    group.config = replace(group.config, rate_hz=float(rate))
    daemon.pacing.renew(name)
    return {"rate_hz": float(rate)}


def _record(daemon: Daemon, tools: CommandTools, arguments: Mapping[str, Any]) -> dict[str, Any]:
    on = arguments.get("on")
    if not isinstance(on, bool):
        raise ConfigError(f"on: found {on!r}, expected true or false")
    recorder = daemon.parts.recorder
    if on and (recorder is None or not recorder.recording):
        recorder = tools.recorder()
        if recorder is None:
            raise ConfigError("recorder.path: missing in the device's configuration, expected a file")
        recorder.begin(daemon.groups)
        daemon.parts.recorder = recorder
    elif not on and recorder is not None:
        recorder.close()
    return {"recording": recorder is not None and recorder.recording}


def _replay_window(daemon: Daemon, arguments: Mapping[str, Any]) -> dict[str, Any]:
    last = arguments.get("last", MAX_RECORDS)
    if not isinstance(last, int) or isinstance(last, bool) or not 1 <= last <= MAX_RECORDS:
        raise ConfigError(f"last: found {last!r}, expected 1 to {MAX_RECORDS} records")
    return status.history(daemon, str(arguments.get("agent")), arguments.get("population"), last)
