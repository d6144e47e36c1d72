"""``edge-agent enrol URL CODE``: joins a fleet: key, certificate or password, broker, the hub's keys.

Theory of operation. The board makes its own key, which never leaves it; the hub gets a certificate signing
request. The key is kept when something fails, so that the same command can be run again with the same code.
The configuration is written last, after it was loaded once as the daemon would load it: it is there whole or
not at all. A configuration that names a broker, hub or population already is not touched.

With the configuration of the Debian package, secrets go to ``credentials`` beside it, from where systemd
passes them to the daemon as ``/run/credentials/edge-agent.service/secret_NAME``; else they lie beside the
configuration.
"""

from __future__ import annotations

import argparse
import base64
import json
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

from edge_agent.atomic_file import replaced
from edge_agent.commands.output import add_output_options, print_json, print_table
from edge_agent.commands.provision import CONFIG
from edge_agent.errors import ConfigError, PeerError, PlatformError
from edge_agent.wire import enrolment_answer
from edge_agent.wire.signatures import CREDENTIALS
from edge_agent.wire.topics import check_name

PASSED = CREDENTIALS / "edge-agent.service"
OWN_TABLES = ("broker", "hub", "population")


def add(subparsers: Any) -> None:
    """Add the command."""
    parser = subparsers.add_parser("enrol", help="join a fleet with a one-time code of its hub")
    parser.add_argument("url", metavar="URL", help="the hub's address, https://…")
    parser.add_argument("code", metavar="CODE", help="what edge-hub enrol printed")
    parser.add_argument("--config", type=Path, default=CONFIG, metavar="FILE", help="the device.toml")
    parser.add_argument("--name", default="", help="the device's name; default: the board's")
    parser.add_argument("--ca", type=Path, metavar="FILE", help="who signed the hub's certificate")
    add_output_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Ask, write, and print what was written."""
    from edge_agent.adapters import board, hub_enrolment

    config: Path = arguments.config
    hub_enrolment.check_code(arguments.code)
    before = _before(config)
    name = arguments.name or _device_of(before) or board.device_name()
    check_name(name, "--name")
    folder = _Folder(config)
    request = folder.request(name)
    answer = hub_enrolment.ask(arguments.url, arguments.code, name, request, arguments.ca)
    found = enrolment_answer.check(answer, name)
    profile = board.profile(board.model())
    written = folder.write(found)
    text = _with_device(before, found, profile) + _sections(found, folder) + found["start"]
    _put_config(config, text)
    done = {"device": name, "fleet": found["fleet"], "broker": f"{found['host']}:{found['port']}"}
    done |= {"config": str(config), "files": ", ".join(str(path) for path in written)}
    if arguments.json:
        print_json(done)
    else:
        print_table(["what", "is"], list(done.items()))
    return 0


class _Folder:
    """Where files go: beside the configuration, secrets of the Debian package's in ``credentials``."""

    def __init__(self, config: Path) -> None:
        self._packaged = config == CONFIG
        self.place = config.parent
        self.secrets = config.parent / "credentials" if self._packaged else config.parent

    def shown(self, name: str) -> str:
        """Return how the configuration names a secret."""
        return str(PASSED / f"secret_{name}") if self._packaged else name

    def request(self, device: str) -> str:
        """Return a certificate signing request; the key is made if it is missing.

        Raises
        ------
        PlatformError
            openssl is missing, or the folder can't be written.
        """
        program = shutil.which("openssl")
        if program is None:
            raise PlatformError("openssl: is missing; install it with: sudo apt-get install openssl")
        key = self.secrets / "device.key"
        try:
            self.secrets.mkdir(parents=True, exist_ok=True)
            if not key.exists():
                command = [program, "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]
                _put(key, _output(command), 0o600)
        except OSError as error:
            raise PlatformError(f"{key}: {error.strerror}") from error
        return _output([program, "req", "-new", "-key", str(key), "-subj", f"/CN={device}"]).decode()

    def write(self, found: dict[str, Any]) -> list[Path]:
        """Write certificates, keys of the hub and the password; return where."""
        files: list[tuple[Path, str | bytes, int]] = []
        for name, text in (("broker-ca.crt", found["ca"]), ("device.crt", found["certificate"])):
            if text:
                files.append((self.place / name, text, 0o644))
        for prefix, key in (("hub", "keys"), ("release", "release_keys")):
            files += [(self.place / f"{prefix}-{n}.pub", line, 0o644) for n, line in enumerate(found[key], 1)]
        if found["password"]:
            files.append((self.secrets / "broker", found["password"] + "\n", 0o600))
        for name, text in found["bundles"].items():
            files.append((self.place / "bundles" / name, base64.b64decode(text), 0o644))
        for path, data, mode in files:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                _put(path, data.encode() if isinstance(data, str) else data, mode)
            except OSError as error:
                raise PlatformError(f"{path}: {error.strerror}") from error
        return [self.secrets / "device.key", *(path for path, _, _ in files)]


def _before(config: Path) -> str:
    """Return the text of a first configuration, "" if there is none.

    Raises
    ------
    ConfigError
        There is one that is in use.
    """
    try:
        text = config.read_text("utf-8")
        found = tomllib.loads(text)
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise ConfigError(f"{config}: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(f"{config}: not TOML: {error}") from error
    if used := [name for name in OWN_TABLES if name in found]:
        raise ConfigError(
            f"{config}: found the section {used[0]}, expected a first configuration; "
            "move it away to enrol anew"
        )
    return text


def _device_of(text: str) -> str:
    return str(tomllib.loads(text).get("device", {}).get("name", ""))


def _with_device(text: str, found: dict[str, Any], profile: str) -> str:
    """Return the section ``device`` with name and fleet; the rest of a first configuration stays."""
    name, fleet = json.dumps(found["device"]), json.dumps(found["fleet"])
    if not text:
        return f"[device]\nname = {name}\nfleet = {fleet}\nprofile = {json.dumps(profile)}\n"
    for key, value in (("name", name), ("fleet", fleet)):
        text, times = re.subn(rf"(?m)^{key} *= *\"[^\"]*\"", f"{key} = {value}", text, count=1)
        if not times:
            text = re.sub(r"(?m)^\[device\]$", f"[device]\n{key} = {value}", text, count=1)
    return text.rstrip("\n") + "\n"


def _sections(found: dict[str, Any], folder: _Folder) -> str:
    """Return the sections ``broker`` and ``hub``."""
    broker: dict[str, Any] = {"host": found["host"], "port": found["port"]}
    if found["ca"] or found["certificate"]:
        broker["tls"] = True
    if found["ca"]:
        broker["ca_file"] = "broker-ca.crt"
    if found["certificate"]:
        broker |= {"cert_file": "device.crt", "key_file": folder.shown("device.key")}
    if found["username"]:
        broker["username"] = found["username"]
    if found["password"]:
        broker["password_file"] = folder.shown("broker")
    hub: dict[str, Any] = {}
    if found["keys"]:
        hub["keys"] = [f"hub-{n}.pub" for n in range(1, len(found["keys"]) + 1)]
    if found["release_keys"]:
        hub["release_keys"] = [f"release-{n}.pub" for n in range(1, len(found["release_keys"]) + 1)]
        hub["release_threshold"] = found["release_threshold"]
    lines = []
    for table, values in (("broker", broker), ("hub", hub)):
        lines += ["", f"[{table}]", *(f"{key} = {json.dumps(value)}" for key, value in values.items())]
    return "\n".join(lines) + "\n\n"


def _put_config(config: Path, text: str) -> None:
    """Load the configuration as the daemon would, then put it in its place."""
    from edge_agent.adapters.config_files import Reading

    trial = config.with_name(f".{config.name}.trial")
    try:
        _put(trial, text.encode(), 0o600)
        try:
            Reading(trial, None).result()
        except ConfigError as error:
            raise PeerError(f"answer of the hub: makes no configuration: {error}") from error
        trial.chmod(0o644)
        trial.replace(config)
    except OSError as error:
        raise PlatformError(f"{config}: {error.strerror}") from error
    finally:
        trial.unlink(missing_ok=True)


def _put(path: Path, data: bytes, mode: int) -> None:
    with replaced(path, mode) as file:
        file.write(data)


def _output(command: list[str]) -> bytes:
    """Return what openssl prints."""
    done = subprocess.run(command, capture_output=True, check=False, timeout=60)
    if done.returncode:
        lines = done.stderr.decode("utf-8", "replace").strip().splitlines() or ["failed"]
        raise PlatformError(f"openssl: {lines[0]}")
    return done.stdout
