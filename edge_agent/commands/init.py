"""``edge-agent init``: writes a configuration for Zigbee2MQTT's devices or Home Assistant's entities.

Theory of operation. Both are retained messages of the broker. `config.zigbee_things` and
`config.statestream_things` select from them what the bundle's model can observe and control. The file is
written only if it passes ``edge-agent check``. An existing file is kept unless ``--force`` is given.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from edge_agent.errors import ConfigError, PlatformError

_BARE = re.compile(r"[A-Za-z0-9_-]+")
STALE_S = 1800.0
STALE_TICKS = 2.0
DISCOVERY_PREFIX = "homeassistant"
OVERRIDE_S = 3600.0


def add(subparsers: Any) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "init", help="write a configuration for the devices of Zigbee2MQTT or Home Assistant"
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--zigbee2mqtt", action="store_true", help="read the devices of a running Zigbee2MQTT"
    )
    source.add_argument(
        "--homeassistant-statestream",
        action="store_true",
        help="read the entities that Home Assistant's integration mqtt_statestream publishes",
    )
    parser.add_argument("--bundle", type=Path, required=True, metavar="FILE", help="the model (.eab)")
    parser.add_argument(
        "--config", type=Path, default=Path("device.toml"), metavar="FILE", help="the file to write"
    )
    parser.add_argument("--force", action="store_true", help="overwrite an existing file")
    parser.add_argument(
        "--tick", type=float, metavar="SECONDS", help="seconds per tick of a model that does not state it"
    )
    parser.add_argument("--name", default="", help="name of this device (default: the host's name)")
    parser.add_argument("--host", default="localhost", help="the broker's host")
    parser.add_argument("--port", type=int, default=1883, help="the broker's port")
    parser.add_argument("--username", default="", help="user name at the broker")
    parser.add_argument(
        "--password-file", type=Path, metavar="FILE", help="file whose first line is the password"
    )
    parser.add_argument(
        "--base",
        metavar="TOPIC",
        help="base_topic of Zigbee2MQTT (default: zigbee2mqtt) or mqtt_statestream (default: homeassistant)",
    )
    parser.add_argument(
        "--agent",
        action="append",
        default=[],
        metavar="DEVICE",
        help="make this device, or the entities DEVICE_..., an agent (repeatable)",
    )
    parser.add_argument(
        "--property",
        action="append",
        default=[],
        metavar="NAME=PROPERTY",
        help="property, or end of the entities' names, of a modality or control of another name (repeatable)",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Write the file and print its agents."""
    from edge_agent.adapters import board
    from edge_agent.commands.broker_settings import mqtt_settings
    from edge_agent.config import zigbee_things
    from edge_agent.config.records import BrokerConfig
    from edge_agent.runtime.population import models

    target: Path = arguments.config
    if target.exists() and not arguments.force:
        raise ConfigError(f"{target}: the file exists; --force overwrites it, --config names another")
    model, _ = models.load_model(arguments.bundle)
    binding = models.bind(model, str(arguments.bundle))
    controls = [output.control for output in binding.outputs]
    wanted = zigbee_things.Wanted(
        {modality.name: modality.unit for modality in binding.modalities},
        {control.name: control.texts() for control in controls if len(control.values) > 1},
    )
    password = "" if arguments.password_file is None else str(arguments.password_file.absolute())
    broker = BrokerConfig(
        host=arguments.host, port=arguments.port, username=arguments.username, password_file=password
    )
    tick_s: float | None = binding.tick_s if arguments.tick is None else arguments.tick
    if tick_s is None:
        raise ConfigError(f"--tick: missing, expected seconds per tick: {arguments.bundle} states none")
    if not 0.001 <= tick_s <= 1e6:
        raise ConfigError(f"--tick: found {tick_s:g}, expected 0.001 to 1e+06 seconds")
    stale_s = max(STALE_S, STALE_TICKS * tick_s)
    name = arguments.name or board.device_name()
    settings = mqtt_settings(broker, "init")
    if arguments.zigbee2mqtt:
        found, lines = _zigbee2mqtt(arguments, settings, wanted, stale_s)
    else:
        broker = replace(broker, home_assistant=DISCOVERY_PREFIX)
        found, lines = _statestream(arguments, settings, wanted, stale_s, name)
    text = "\n".join(_text(arguments, name, broker, found)) + "\n"
    beside = target.with_name(f".{target.name}.new")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        beside.write_text(text, encoding="utf-8")
        _check(beside)
        beside.replace(target)
    except OSError as error:
        raise PlatformError(f"{target}: {error.strerror}") from error
    finally:
        beside.unlink(missing_ok=True)
    for line in lines:
        print(f"edge-agent: {line}", file=sys.stderr)
    for number, population in enumerate(found, 1):
        shown = ", ".join(entry["modality"] for entry in population["observe"])
        moved = ", ".join(entry["topic"] for entry in population["act"]) or "nothing"
        print(f"{_name(number, found)}: {', '.join(population['agents'])}: observes {shown}; acts on {moved}")
    print(f"{target} written")
    return 0


def _zigbee2mqtt(
    arguments: argparse.Namespace, settings: Any, wanted: Any, stale_s: float
) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the populations for Zigbee2MQTT's devices, and a line for each device that was omitted."""
    from edge_agent.adapters.retained_message import retained_message
    from edge_agent.config import zigbee_things

    base = arguments.base or "zigbee2mqtt"
    topic = f"{base}/bridge/devices"
    expected = "Zigbee2MQTT's list of devices (--base is its base_topic)"
    things = zigbee_things.read_devices(retained_message(settings, topic, expected), topic)
    said = dict(_property(text) for text in arguments.property)
    return zigbee_things.populations(things, wanted, base, stale_s, arguments.agent, said)


def _statestream(
    arguments: argparse.Namespace, settings: Any, wanted: Any, stale_s: float, name: str
) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the populations for Home Assistant's entities, and a line for each agent that was omitted."""
    from edge_agent.adapters.retained_message import retained_messages
    from edge_agent.config import statestream_things

    base = arguments.base or "homeassistant"
    expected = "the states that mqtt_statestream publishes (--base is its base_topic)"
    messages = retained_messages(settings, f"{base}/+/+/+", expected)
    entities = statestream_things.read_entities(messages, base)
    said = dict(_property(text) for text in arguments.property)
    found, lines = statestream_things.populations(
        entities, wanted, base, stale_s, name, arguments.agent, said
    )
    for population in found:
        population["home_assistant"] = {"override_s": OVERRIDE_S}
    return found, lines


def _check(path: Path) -> None:
    """Run ``edge-agent check`` on the file, in its own process because it measures its own memory."""
    command = [sys.executable, "-m", "edge_agent", "check", "--config", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ConfigError(done.stderr.strip().removeprefix("edge-agent: "))


def _property(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise ConfigError(f"--property: found {text!r}, expected NAME=PROPERTY")
    return name, value


def _name(number: int, found: Sequence[Any]) -> str:
    return "rooms" if len(found) == 1 else f"rooms-{number}"


def _text(
    arguments: argparse.Namespace, name: str, broker: Any, found: Sequence[dict[str, Any]]
) -> Iterator[str]:
    from edge_agent.adapters import board

    yield "# Written by `edge-agent init`. `edge-agent check` checks it."
    yield from ("[device]", f"name = {_toml(name)}")
    yield from (f"profile = {_toml(board.profile(board.model()))}", "")
    yield from ("[broker]", f"host = {_toml(broker.host)}", f"port = {broker.port}")
    if broker.username:
        yield f"username = {_toml(broker.username)}"
    if broker.password_file:
        yield f"password_file = {_toml(broker.password_file)}"
    if broker.home_assistant:
        yield f"home_assistant = {_toml(broker.home_assistant)}"
    for number, population in enumerate(found, 1):
        yield from ("", "[[population]]", f"name = {_toml(_name(number, found))}")
        yield f"bundle = {_toml(str(arguments.bundle.absolute()))}"
        yield f"agents = {_toml(population['agents'])}"
        yield 'step = "arrival"'
        if arguments.tick is not None:
            yield f"rate_hz = {1.0 / arguments.tick!r}"
        for section in ("observe", "act"):
            for entry in population[section]:
                yield from ("", f"[[population.{section}]]")
                yield from (f"{key} = {_toml(value)}" for key, value in entry.items())
        if "home_assistant" in population:
            yield from ("", "[population.home_assistant]")
            yield from (f"{key} = {_toml(value)}" for key, value in population["home_assistant"].items())


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else _toml(name)


def _toml(value: Any) -> str:
    """Return a value in TOML syntax."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_key(key)} = {_toml(item)}" for key, item in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
