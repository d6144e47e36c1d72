"""``edge-agent provision``: writes a first configuration for this board and memory limits for systemd.

Theory of operation. An existing configuration is never changed, so the command can be run again: after an
upgrade, or after a change of the profile or of ``device.memory_mb``. The drop-in is rewritten each time. The
daemon keeps within ``memory_mb`` itself; systemd's limits are a second safeguard. Above ``memory_mb`` the
kernel reclaims memory (the page cache counts too); above nine eighths of it the kernel kills the process.
"""

from __future__ import annotations

import argparse
import tomllib
from pathlib import Path
from typing import Any

from edge_agent.atomic_file import replaced
from edge_agent.commands.output import add_output_options, print_json, print_table
from edge_agent.errors import ConfigError, PlatformError

CONFIG = Path("/etc/edge-agent/device.toml")
DROP_INS = Path("/etc/systemd/system/edge-agent.service.d")
DROP_IN = "memory.conf"
_FIRST_CONFIG = """\
# Configuration of this device; `edge-agent check --config {path}` says whether it is right.
[device]
name = "{name}"
fleet = "home"
profile = "{profile}"  # {board}

# [broker]
# host = "broker.local"
# username = "{name}"
# The password is the first line of /etc/edge-agent/credentials/broker (owner root, mode 0600).
# password_file = "/run/credentials/edge-agent.service/secret_broker"

# Public keys of the hub. The director's secret key lies on the hub, the release key on a person's machine.
# [hub]
# keys = ["director.pub"]
# release_keys = ["release.pub"]

# [[population]]
# name = "office"
# bundle = "bundles/office.eab"
# agents = ["meeting", "lab"]
# step = "arrival"
#
# [[population.observe]]
# modality = "co2"
# topic = "zigbee2mqtt/{{agent}}"
# pointer = "/co2"
#
# {{value}} is the action's name in the model, mapped by `values`. Fans of Zigbee2MQTT accept fan_mode off,
# low, medium or high; a relay accepts state ON or OFF. `edge-agent init` writes these entries for the devices
# of Zigbee2MQTT.
# [[population.act]]
# control = "ventilation"
# topic = "zigbee2mqtt/{{agent}}-fan/set"
# template = '{{{{"fan_mode": "{{value}}"}}}}'
# values = {{ off = "off", low = "low", high = "high" }}
# safe = "low"
"""
_MEMORY_LIMITS = """\
# Written by `edge-agent provision` from {source}: memory_mb = {memory}.
[Service]
MemoryHigh={high}M
MemoryMax={limit}M
"""


def add(subparsers: Any) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "provision", help="write a first configuration and systemd's memory limits"
    )
    parser.add_argument("--config", type=Path, default=CONFIG, metavar="FILE", help="the device.toml")
    parser.add_argument(
        "--drop-ins", type=Path, default=DROP_INS, metavar="DIR", help="directory for the memory limits"
    )
    parser.add_argument("--profile", metavar="NAME", help="board profile instead of the detected one")
    add_output_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Write the missing files and print what was done."""
    from edge_agent.adapters import board
    from edge_agent.config.checks import find_profile

    config: Path = arguments.config
    model = board.model()
    new = not config.exists()
    if new:
        profile = arguments.profile or board.profile(model)
        find_profile(profile, config)
        name = board.device_name()
        text = _FIRST_CONFIG.format(
            path=config, name=name, profile=profile, board=model or "no device tree on this machine"
        )
        _write(config, text)
    source, memory = _memory(config)
    limits = _MEMORY_LIMITS.format(source=source, memory=memory, high=memory, limit=memory + memory // 8)
    _write(arguments.drop_ins / DROP_IN, limits)
    done = {
        "board": model,
        "config": str(config),
        "config_written": new,
        "memory_mb": memory,
        "memory_from": str(source),
        "limits": str(arguments.drop_ins / DROP_IN),
    }
    if arguments.json:
        print_json(done)
    else:
        print_table(["what", "is"], list(done.items()))
    return 0


def _memory(config: Path) -> tuple[Path, int]:
    """Return the file that sets the budget, and the budget in MiB."""
    from edge_agent.config.checks import find_profile

    device = _table(config, "device")
    if device.get("memory_mb"):
        return config, _whole(config, "device.memory_mb", device["memory_mb"])
    path = find_profile(str(device.get("profile", "generic")), config)
    return path, _whole(path, "memory_mb", _read(path).get("memory_mb"))


def _table(path: Path, key: str) -> dict[str, Any]:
    table = _read(path).get(key)
    if not isinstance(table, dict):
        raise ConfigError(f"{path}: {key}: found {table!r}, expected a table")
    return table


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    except ValueError as error:  # not UTF-8, not TOML
        raise ConfigError(f"{path}: not TOML: {error}") from error


def _whole(path: Path, key: str, value: object) -> int:
    if not isinstance(value, int) or value <= 0:
        raise ConfigError(f"{path}: {key}: found {value!r}, expected a whole number above 0")
    return value


def _write(path: Path, text: str) -> None:
    """Put the file there whole or not at all, readable by all: it holds no secret."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replaced(path, 0o644) as file:
            file.write(text.encode())
    except OSError as error:
        raise PlatformError(f"{path}: {error.strerror}") from error
