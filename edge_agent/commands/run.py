"""``edge-agent run``: the daemon, until SIGTERM or SIGINT; on SIGHUP it reads its configuration again.

What nobody foresaw is logged with its traceback, every agent is held safe, and the process ends with status 1
for the service manager to start it again.
"""

from __future__ import annotations

import argparse
import logging
import os
import random
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_agent.adapters.process import one_heap, rss_bytes, settle, tidy
from edge_agent.commands.check import add_settings_options
from edge_agent.commands.compose_io import board_signs, connect_sources, sinks
from edge_agent.commands.output import add_output_options, set_up_logging
from edge_agent.errors import EXIT_DONE, EXIT_FAILED, ConfigError
from edge_agent.services.reloader import Reloader
from edge_agent.wire.signatures import check_private

if TYPE_CHECKING:
    from edge_agent.adapters.loop import Loop
    from edge_agent.adapters.mqtt import MqttSettings
    from edge_agent.config.records import BrokerConfig, RecorderConfig
    from edge_agent.protocol.ports import Clock
    from edge_agent.runtime.daemon import Daemon
    from edge_agent.runtime.recording.recorder import Recorder
    from edge_agent.runtime.reporting.watchdog import Watchdog

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
    composed = compose(arguments.config, arguments.profile)
    composed.plan.check(composed.budget_source)

    from edge_agent.adapters.action_sinks import ProgramRunner
    from edge_agent.adapters.control import ControlServer
    from edge_agent.adapters.durable_files import StateDirectory
    from edge_agent.adapters.loop import Loop
    from edge_agent.adapters.mqtt import PahoClient
    from edge_agent.adapters.system_clock import SystemClock
    from edge_agent.adapters.systemd import Notifier
    from edge_agent.commands.compose_hub import TelemetryLink, make_announcing, make_following, make_peering
    from edge_agent.memory.arena import Arena
    from edge_agent.protocol.session import Session, SessionSettings
    from edge_agent.runtime.daemon import Daemon
    from edge_agent.runtime.governor.governor import Governor
    from edge_agent.runtime.mqtt_dispatch import MqttDispatch
    from edge_agent.runtime.parts import Parts
    from edge_agent.runtime.population.checkpoint import Checkpoints
    from edge_agent.runtime.populations import Populations
    from edge_agent.runtime.reporting.watchdog import Watchdog

    config, clock, loop = composed.settings.config, SystemClock(), Loop()
    roster = Populations(Arena(composed.plan.arena), connect=connect_sources)
    for item in composed.prepared:
        roster.add(item)
    store = StateDirectory(Path(config.device.state_dir))
    programs = ProgramRunner(config.commands)
    reloader = Reloader(arguments.config, arguments.profile, loop.wake)
    telling = None if config.broker is None else TelemetryLink(config, composed.settings.profile, loop.wake)
    parts = Parts(
        rss=rss_bytes,
        boot=os.urandom(8).hex(),
        peering=make_peering(composed, clock),
        uplink=None if telling is None else telling.uplink,
        tidy=tidy,
        checkpoints=Checkpoints(store, config.device.checkpoint_s, config.device.checkpoint_mb_a_day),
        following=make_following(
            composed, clock, loop.wake, reloader.ask, lambda: _recorder(config.recorder)
        ),
        announcing=make_announcing(config),
        recorder=_recorder(config.recorder),
        sinks=sinks(programs, config),
        signs=board_signs(),
        governor=Governor(composed.settings.profile.thermal, (p.priority for p in config.population)),
    )
    daemon = Daemon(config, roster, composed.plan, clock, parts)
    if config.broker is not None:
        client = PahoClient(
            mqtt_settings(config.broker, f"{config.device.fleet}-{config.device.name}"), loop.wake
        )
        session = Session(SessionSettings(), daemon.birth, [], random.Random())  # noqa: S311 - jitter
        daemon.attach(MqttDispatch(session, client, clock))
    server = ControlServer(
        Path(config.device.socket), config.device.socket_mode, loop.selector, daemon.answer
    )
    notifier = Notifier.from_environment()
    try:
        return _serve(daemon, loop, clock, Watchdog(notifier, daemon.summary), reloader)
    finally:
        if telling is not None:
            telling.close(clock.time(), lambda: loop.wait(clock.monotonic() + 1.0))
        programs.close()
        notifier.close()
        server.close()
        loop.close()


def _recorder(config: RecorderConfig) -> Recorder | None:
    from edge_agent.adapters.recording_file import SegmentedFile
    from edge_agent.runtime.recording.recorder import Recorder

    return Recorder(SegmentedFile(Path(config.path)), int(config.max_mb * 1e6)) if config.path else None


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


def _serve(daemon: Daemon, loop: Loop, clock: Clock, supervision: Watchdog, reloader: Reloader) -> int:
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
            reloader.turn(daemon)
            woken_at = loop.wait(deadline)
    except Exception:  # the only one in the project: this is the outermost loop
        log.exception("the daemon met what nobody foresaw; all agents are held safe")
        status = EXIT_FAILED
    supervision.stopping()
    daemon.stop()
    return status
