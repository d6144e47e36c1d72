"""``edge-agent run``: runs the daemon until SIGTERM or SIGINT; SIGHUP reloads the configuration.

After an unhandled exception the traceback is logged, all agents are set to their safe values, and the process
ends with status 1, so that the service manager restarts it.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_agent.adapters.log_ring import LogRing
from edge_agent.adapters.process import one_heap, rss_bytes, settle, tidy
from edge_agent.commands.broker_settings import client_id, expired, mqtt_settings
from edge_agent.commands.check import add_settings_options
from edge_agent.commands.compose_io import board_readings, connect_sources, sinks
from edge_agent.commands.output import add_output_options, set_log_level, set_up_logging
from edge_agent.errors import EXIT_DONE, EXIT_FAILED, EdgeAgentError

if TYPE_CHECKING:
    from edge_agent.adapters.control import ControlServer
    from edge_agent.adapters.loop import Loop
    from edge_agent.adapters.mqtt import PahoClient
    from edge_agent.commands.compose import Composed
    from edge_agent.config.records import Config, RecorderConfig
    from edge_agent.protocol.ports import Clock
    from edge_agent.runtime.daemon import Daemon
    from edge_agent.runtime.recording.recorder import RecordingFile
    from edge_agent.runtime.reporting.watchdog import Watchdog

log = logging.getLogger("edge_agent")

GOODBYE_S = 1.0
"""Seconds that the last messages may take to leave: safe values, the goodbye, the last state."""


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
    ring = LogRing()
    logging.getLogger("edge_agent").addHandler(ring)
    composed = compose(arguments.config, arguments.profile, own_state=True)
    starts = composed.state.starts
    try:
        composed.plan.check(composed.budget_source)
        with ExitStack() as closing:  # whatever fails: a thread that was left would keep the process
            if composed.lock is not None:
                closing.callback(composed.lock.close)
            return _run(arguments, composed, closing, ring)
    except EdgeAgentError:
        if starts is not None:
            starts.end()  # what is wrong was said, and is not in what was kept
        raise


def _run(arguments: argparse.Namespace, composed: Composed, closing: ExitStack, ring: LogRing) -> int:
    from edge_agent.adapters.action_sinks import ProgramRunner
    from edge_agent.adapters.control import ControlServer
    from edge_agent.adapters.durable_files import StateDirectory
    from edge_agent.adapters.loop import Loop
    from edge_agent.adapters.restarts import RestartLog
    from edge_agent.adapters.system_clock import SystemClock
    from edge_agent.adapters.systemd import Notifier
    from edge_agent.commands.compose import compose, compose_candidate
    from edge_agent.commands.compose_daemon import DaemonBuilder
    from edge_agent.commands.compose_hub import connect_hub, join_peers
    from edge_agent.commands.compose_telemetry import publish_telemetry
    from edge_agent.memory.arena import Arena
    from edge_agent.runtime.governor.governor import Governor
    from edge_agent.runtime.population.checkpoint import Checkpoints
    from edge_agent.runtime.populations import Populations
    from edge_agent.runtime.reporting.connection_log import ConnectionLog
    from edge_agent.runtime.reporting.discovery_record import NAME as DISCOVERY_RECORD
    from edge_agent.runtime.reporting.watchdog import Watchdog
    from edge_agent.services.reloader import Reloader
    from edge_agent.services.telemetry_outbox import TelemetryOutbox

    config, profile = composed.settings.config, composed.settings.profile
    clock, loop = SystemClock(), Loop()
    closing.callback(loop.close)
    client = _client(config, arguments.config, loop)
    device, broker = config.device, config.broker
    populations = Populations(config, composed.plan, Arena(composed.plan.arena), connect=connect_sources)
    programs = ProgramRunner(config.commands)
    closing.callback(programs.close)
    reloader = Reloader(lambda: compose(arguments.config, arguments.profile), populations, loop.wake)
    set_log_level(device.log_level)
    outbox = None if broker is None else TelemetryOutbox(config, loop.wake)
    restarts = RestartLog(Path(device.state_dir))
    restarts.begin()
    if outbox is not None:
        closing.callback(lambda: outbox.close(clock.time(), lambda: loop.wait(clock.monotonic() + 1.0)))
    if client is not None:  # its thread would take the last messages along
        closing.callback(client.close, GOODBYE_S)
    builder = DaemonBuilder(
        populations,
        clock,
        rss_bytes,
        client=client,
        boot=os.urandom(8).hex(),
        lost_state=composed.state.lost,
        sinks=sinks(programs, config),
        max_recording_bytes=int(config.recorder.max_mb * 1e6),
    )
    readings = board_readings()
    builder.govern(Governor(profile.thermal, (p.priority for p in config.population)), readings)
    builder.status.log_lines = ring.lines
    join_peers(builder, composed, lambda: readings().battery)
    connect_hub(
        builder,
        composed,
        loop.wake,
        reloader.ask,
        lambda: _recording_file(config.recorder),
        lambda values, base: compose_candidate(arguments.config, arguments.profile, values, base),
    )
    if outbox is not None:
        publish_telemetry(builder, composed, outbox, restarts)
    store = StateDirectory(Path(device.state_dir))
    if broker is not None and (broker.home_assistant or (Path(device.state_dir) / DISCOVERY_RECORD).exists()):
        builder.show_home_assistant(broker.home_assistant, device.telemetry_s, store)
    if builder.hub is not None:
        hub = builder.hub
        reloader.waits = lambda: hub.reload_waits
    daemon = builder.build(
        composed.prepared,
        checkpoints=Checkpoints(store, device.checkpoint_s, device.checkpoint_mb_per_day),
        recording_file=_recording_file(config.recorder),
        tidy=tidy,
    )
    status, starts = builder.status, composed.state.starts
    after_pass = [reloader.run_once]
    if builder.dispatch is not None and broker is not None:
        connection_log = ConnectionLog(builder.dispatch.session, f"{broker.host}:{broker.port}")
        after_pass.append(lambda: connection_log.update(clock.monotonic()))
    if starts is not None:
        after_pass.append(lambda: starts.loop_ran(builder.online(), clock.monotonic()))
    server = ControlServer(Path(device.socket), device.socket_mode, loop.selector, status.answer)
    closing.callback(server.close)
    notifier = Notifier.from_environment()
    closing.callback(notifier.close)
    watchdog = Watchdog(notifier, status.summary)
    code = _serve(daemon, loop, clock, watchdog, reloader.ask, status.summary, after_pass, server, client)
    restarts.end(failed=code != EXIT_DONE)
    if starts is not None:
        (starts.end if code == EXIT_DONE else starts.fail)()
    return code


def _recording_file(config: RecorderConfig) -> RecordingFile | None:
    from edge_agent.adapters.recording_file import SegmentedFile

    return SegmentedFile(Path(config.path)) if config.path else None


def _client(config: Config, path: Path, loop: Loop) -> PahoClient | None:
    from edge_agent.adapters.looped_client import replaces_io
    from edge_agent.adapters.mqtt import PahoClient
    from edge_agent.adapters.mqtt_loop import LoopMqttClient

    if config.broker is None:
        return None
    settings = mqtt_settings(config.broker, client_id(config), path)
    if line := expired(config.broker):
        log.warning("%s", line)
    if replaces_io():
        return LoopMqttClient(settings, loop)
    log.warning("this paho-mqtt serves its connection itself, which costs more; install 2.1 or 2.2")
    return PahoClient(settings, loop.wake)


def _serve(
    daemon: Daemon,
    loop: Loop,
    clock: Clock,
    watchdog: Watchdog,
    reload: Callable[[], None],
    summary: Callable[[], str],
    after_pass: Sequence[Callable[[], None]],
    server: ControlServer,
    client: PahoClient | None,
) -> int:
    """Run the loop until a signal ends it; ``after_pass`` is called after every turn."""
    ending: list[int] = []

    def end(number: int, _: object) -> None:
        ending.append(number)
        loop.wake()

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    signal.signal(signal.SIGHUP, lambda _number, _frame: reload())
    status = EXIT_DONE
    try:
        settle()
        daemon.start()
        watchdog.started()
        log.info("ready: %s", summary())
        woken_at = None
        while not ending:
            deadline = daemon.run_once(woken_at)
            watchdog.loop_ran(daemon.completed, clock.monotonic())
            for call in after_pass:
                call()
            server.tick()
            if client is not None:
                client.flush()
                deadline = min(deadline, client.deadline)
            woken_at = loop.wait(min(deadline, server.deadline))
    except Exception:  # the outermost loop
        log.exception("unhandled exception; all agents are set to their safe values")
        status = EXIT_FAILED
    watchdog.stopping()
    daemon.stop()
    return status
