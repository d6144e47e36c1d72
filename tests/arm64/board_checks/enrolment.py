"""A board joins a fleet by one command. The hub runs on the board too, from its own package, as its unit."""

from __future__ import annotations

import json
import re
import shutil
import ssl
import subprocess
import urllib.error
import urllib.request
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any

from board_checks import GIVEN, run, wait_until

HUB = "edge-hub.service"
HUB_FOLDER = Path("/etc/edge-hub")
ADDRESS = "https://127.0.0.1:8443"
HOME = Path("/root/enrolled")
BROKER = """\
user root
listener 1884 127.0.0.1
allow_anonymous true
listener 8883 127.0.0.1
cafile {folder}/ca.crt
certfile {folder}/server.crt
keyfile {folder}/server.key
require_certificate true
use_identity_as_username true
"""
SETTINGS = """\
data = "/var/lib/edge-hub/hub.db"
broker = "127.0.0.1:1884"
listen = "127.0.0.1:8443"
tls_certificate = "/etc/edge-hub/server.crt"
tls_key = "/etc/edge-hub/server.key"
sign = ["/etc/edge-hub/director"]
enrol = "/etc/edge-hub/enrol.toml"
"""
ENROLLED = """\
start = "start.toml"
bundles = ["office.eab"]
[broker]
host = "127.0.0.1"
port = 8883
ca = "ca.crt"
issuer = "ca.crt"
issuer_key = "ca.key"
"""
START = """
[[population]]
name = "office"
bundle = "bundles/office.eab"
size = 2
rate_hz = 1
tick = "ignore"
[[population.observe]]
modality = "co2"
topic = "rooms/{agent}"
pointer = "/co2"
"""


class Caller:
    """An admin at the hub's REST interface."""

    def __init__(self) -> None:
        trust = ssl.create_default_context(cafile=str(GIVEN / "ca.crt"))
        self._open = urllib.request.build_opener(
            urllib.request.HTTPSHandler(context=trust), urllib.request.HTTPCookieProcessor(CookieJar())
        ).open
        self._headers = {"Content-Type": "application/json"}

    def ask(self, path: str, body: dict[str, Any] | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{ADDRESS}/api/v1{path}", data, self._headers)
        with self._open(request, timeout=60) as answer:
            found = json.loads(answer.read())
        if path == "/setup":
            self._headers["X-CSRF-Token"] = found["csrf"]
        return found


def _log() -> str:
    return run("journalctl", "--unit", HUB, "--output=cat", "--no-pager").stdout


def _listens() -> bool:
    try:
        Caller().ask("/session")
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


def _start_hub() -> None:
    """Install the hub as its page says, with a certificate and what boards get."""
    (package,) = GIVEN.glob("edge-hub_*.deb")
    run("apt-get", "install", "-y", package, seconds=600)
    run("systemctl", "stop", HUB)
    (HUB_FOLDER / "hub.toml").write_text(SETTINGS)
    (HUB_FOLDER / "enrol.toml").write_text(ENROLLED)
    (HUB_FOLDER / "start.toml").write_text(START)
    for name in ("ca.crt", "ca.key", "server.crt", "server.key", "director", "office.eab"):
        shutil.copy(GIVEN / name, HUB_FOLDER / name)
        shutil.chown(HUB_FOLDER / name, "edge-hub", "edge-hub")
        (HUB_FOLDER / name).chmod(0o400)
    run("systemctl", "start", HUB)
    try:
        wait_until("the hub", _listens)
    except AssertionError as error:
        raise AssertionError(f"{error}\n{_log()}") from None


def joins() -> object:
    """``edge-agent enrol`` gets a certificate, keys and a bundle; the daemon goes online with them."""
    conf = Path("/root/enrolment.conf")
    conf.write_text(BROKER.format(folder=GIVEN))
    broker = subprocess.Popen(["mosquitto", "-c", str(conf)])
    daemon = None
    try:
        _start_hub()
        caller = Caller()
        code = re.search(r"/setup#(\S+)", _log())
        assert code is not None, _log()
        caller.ask("/setup", {"code": code[1], "user": "ann", "password": "correct horse battery"})
        made = caller.ask("/enrolments", {"fleet": "cottage"})["code"]
        HOME.mkdir()
        config = HOME / "device.toml"
        words = ["enrol", ADDRESS, made, "--name", "pi-1", "--config", str(config)]
        run("edge-agent", *words)
        assert (HOME / "device.key").stat().st_mode & 0o777 == 0o600
        text = config.read_text()
        config.write_text(text.replace("[device]\n", '[device]\nstate_dir = "state"\nsocket = "s"\n', 1))
        daemon = subprocess.Popen(["edge-agent", "run", "--config", str(config)], cwd=HOME)
        wait_until("the board at the hub", lambda: _online(caller))
        (row,) = _online(caller)
        assert (row["fleet"], row["name"]) == ("cottage", "pi-1"), row
        return {"online": row["name"], "populations": row["populations"]}
    finally:
        for process in (daemon, broker):
            if process is not None:
                process.terminate()
                process.wait()
        run("systemctl", "disable", "--now", HUB, check=False)


def _online(caller: Caller) -> list[Any]:
    found: list[Any] = caller.ask("/devices?filter=online")["devices"]
    return found
