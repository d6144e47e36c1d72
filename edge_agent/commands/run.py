"""``edge-agent run``: the daemon, until SIGTERM or SIGINT; on SIGHUP it reads its configuration again.

What nobody foresaw is logged with its traceback, every agent is held safe, and the process ends with status 1
for the service manager to start it again.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_agent.adapters.process import one_heap, rss_bytes, settle, tidy
from edge_agent.commands.check import add_settings_options
from edge_agent.commands.compose_io import board_signs, connect_sources, sinks
from edge_agent.commands.output import add_output_options, set_up_logging
from edge_agent.errors import EXIT_DONE, EXIT_FAILED, ConfigError, EdgeAgentError
from edge_agent.services.kept_state import take
from edge_agent.wire.signatures import check_private

if TYPE_CHECKING:
    from edge_agent.adapters.loop import Loop
    from edge_agent.adapters.mqtt import MqttSettings
    from edge_agent.adapters.starts import StartCount
    from edge_agent.commands.compose import Composed
    from edge_agent.config.records import BrokerConfig, RecorderConfig
    from edge_agent.protocol.ports import Clock
    from edge_agent.runtime.daemon import Daemon
    from edge_agent.runtime.recording.recorder import RecordingFile
    from edge_agent.runtime.reporting.watchdog import Watchdog
    from edge_agent.services.reloader import Reloader

log = logging.getLogger("edge_agent")


def add(subparsers: Any) -> None:
    """Add the command."""
    parser = subparsers.add_parser("run", help="run the daemon")
    add_settings_options(parser)
    add_output_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run until SIGTERM or SIGINT."""
    from edge_agent.commands.compose import compose

    set_up_logging(max(arguments.verbose, 1))
    one_heap()
    composed = compose(arguments.config, arguments.profile, take)
    starts = composed.state.starts
    try:
        composed.plan.check(composed.budget_source)
        with ExitStack() as closing:  # whatever fails: a thread that was left would keep the process
            return _run(arguments, composed, closing)
    except EdgeAgentError:
        if starts is not None:
            starts.end()  # what is wrong was said, and is not in what was kept
        raise


def _run(arguments: argparse.Namespace, composed: Composed, closing: ExitStack) -> int:
    from edge_agent.adapters.action_sinks import ProgramRunner
    from edge_agent.adapters.control import ControlServer
    from edge_agent.adapters.durable_files import StateDirectory
    from edge_agent.adapters.loop import Loop
    from edge_agent.adapters.mqtt import PahoClient
    from edge_agent.adapters.system_clock import SystemClock
    from edge_agent.adapters.systemd import Notifier
    from edge_agent.commands.compose import compose
    from edge_agent.commands.compose_daemon import DaemonBuilder
    from edge_agent.commands.compose_hub import join_peers, obey_hub
    from edge_agent.memory.arena import Arena
    from edge_agent.protocol.telemetry import Telemetry
    from edge_agent.runtime.governor.governor import Governor
    from edge_agent.runtime.population.checkpoint import Checkpoints
    from edge_agent.runtime.populations import Populations
    from edge_agent.runtime.reporting.watchdog import Watchdog
    from edge_agent.services.reloader import Reloader
    from edge_agent.services.telemetry_outbox import TelemetryOutbox

    config, profile = composed.settings.config, composed.settings.profile
    clock, loop = SystemClock(), Loop()
    closing.callback(loop.close)
    device, broker = config.device, config.broker
    populations = Populations(config, composed.plan, Arena(composed.plan.arena), connect=connect_sources)
    programs = ProgramRunner(config.commands)
    closing.callback(programs.close)
    reloader = Reloader(lambda: compose(arguments.config, arguments.profile), populations, loop.wake)
    outbox = None if broker is None else TelemetryOutbox(config, loop.wake)
    if outbox is not None:
        closing.callback(lambda: outbox.close(clock.time(), lambda: loop.wait(clock.monotonic() + 1.0)))
    client_id = f"{device.fleet}-{device.name}"
    builder = DaemonBuilder(
        populations,
        clock,
        rss_bytes,
        client=None if broker is None else PahoClient(mqtt_settings(broker, client_id), loop.wake),
        boot=os.urandom(8).hex(),
        lost_state=composed.state.kept.lost,
        sinks=sinks(programs, config),
        max_recording_bytes=int(config.recorder.max_mb * 1e6),
    )
    signs = board_signs()
    builder.govern(Governor(profile.thermal, (p.priority for p in config.population)), signs)
    join_peers(builder, composed, lambda: signs().battery)
    obey_hub(builder, composed, loop.wake, reloader.ask, lambda: _recording_file(config.recorder))
    if outbox is not None:
        telemetry = Telemetry(device.telemetry_s, profile.telemetry_bytes_s)
        builder.publish_telemetry(telemetry, outbox.outbox, outbox.damaged)
    if broker is not None and broker.home_assistant:
        builder.show_home_assistant(broker.home_assistant, device.telemetry_s)
    store = StateDirectory(Path(device.state_dir))
    daemon = builder.build(
        composed.prepared,
        checkpoints=Checkpoints(store, device.checkpoint_s, device.checkpoint_mb_a_day),
        recording_file=_recording_file(config.recorder),
        tidy=tidy,
    )
    status = builder.status
    server = ControlServer(Path(device.socket), device.socket_mode, loop.selector, status.answer)
    closing.callback(server.close)
    notifier = Notifier.from_environment()
    closing.callback(notifier.close)
    online = builder.online
    return _serve(
        daemon, loop, clock, Watchdog(notifier, status.summary), reloader, online, composed.state.starts
    )


def _recording_file(config: RecorderConfig) -> RecordingFile | None:
    from edge_agent.adapters.recording_file import SegmentedFile

    return SegmentedFile(Path(config.path)) if config.path else None


def mqtt_settings(broker: BrokerConfig, client_id: str) -> MqttSettings:
    """Return the adapter's settings; raises ConfigError if the password file is not as it must be."""
    from edge_agent.adapters.mqtt import MqttSettings

    def path(text: str) -> Path | None:
        return Path(text) if text else None

    return MqttSettings(
        host=broker.host,
        client_id=client_id,
        port=broker.port,
        username=broker.username or None,
        password=_password(Path(broker.password_file)) if broker.password_file else None,
        tls=broker.tls,
        ca=path(broker.ca_file),
        certificate=path(broker.cert_file),
        key=path(broker.key_file),
        keepalive=broker.keepalive_s,
    )


def _password(path: Path) -> str:
    check_private(path)
    try:
        return path.read_text(encoding="utf-8").splitlines()[0]
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    except IndexError:
        raise ConfigError(f"{path}: empty, expected the password in its first line") from None


def _serve(
    daemon: Daemon,
    loop: Loop,
    clock: Clock,
    supervision: Watchdog,
    reloader: Reloader,
    online: Callable[[], bool],
    starts: StartCount | None,
) -> int:
    ending: list[int] = []

    def end(number: int, _: object) -> None:
        ending.append(number)
        loop.wake()

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    signal.signal(signal.SIGHUP, lambda _number, _frame: reloader.ask())
    status = EXIT_DONE
    try:
        settle()
        daemon.start()
        supervision.started()
        woken_at = None
        while not ending:
            deadline = daemon.turn(woken_at)
            supervision.turned(daemon.completed, clock.monotonic())
            reloader.turn()
            if starts is not None:
                starts.turned(online(), clock.monotonic())
            woken_at = loop.wait(deadline)
    except Exception:  # the only one in the project: this is the outermost loop
        log.exception("the daemon met what nobody foresaw; all agents are held safe")
        status = EXIT_FAILED
    supervision.stopping()
    daemon.stop()
    if starts is not None:
        (starts.end if status == EXIT_DONE else starts.fail)()
    return status
