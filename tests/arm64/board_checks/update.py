"""Updates of the daemon: a next version, one that does not start, and back, by the installer under systemd.

The checks put bundle, message and request where the daemon does; what comes after is the product's: path
unit, check of the signatures, dpkg, restart, trial, restoration.
"""

from __future__ import annotations

import json
import shutil
from typing import Any

from board_checks import CONFIG, GIVEN, STATE, UNIT, journal, run, status, unit, wait_until

RESULT = STATE.with_name("edge-agent-update") / "result.json"
UPDATER = "edge-agent-update.service"
TRIAL_S = 600.0
DONE_S = 1500.0
BROKER = '\n[broker]\nhost = "localhost"\n'
HUB = '\n[hub]\nkeys = ["{given}/director.pub"]\nrelease_keys = ["{given}/release.pub"]\n'


def next_version() -> object:
    """A released package is installed, and the daemon of that version takes over."""
    text = CONFIG.read_text()
    if "\n[hub]\n" not in text:
        keys = CONFIG.parent
        for name in ("director.pub", "release.pub"):
            shutil.copy(GIVEN / name, keys / name)
        broker = "" if "\n[broker]\n" in text else BROKER
        at = text.index("\n[[population]]")
        CONFIG.write_text(text[:at] + broker + HUB.format(given=keys) + text[at:])
        run("systemctl", "restart", UNIT)
    found = _update("next")
    assert found["outcome"] == "installed", (found, _log())
    assert _installed() == found["version"]
    return found


def broken_version() -> object:
    """A released package whose daemon does not start gives way to the one before."""
    before = _installed()
    found = _update("broken")
    assert found["outcome"] == "restored", (found, _log())
    assert _installed() == before
    assert unit("ActiveState")["ActiveState"] == "active"
    return found


def unreleased_version() -> object:
    """A message that asks for another bundle installs nothing."""
    before = _installed()
    found = _update("back", message="next")
    assert found["outcome"] == "refused", (found, _log())
    assert _installed() == before
    return found


def back() -> object:
    """A newer release that names the older packages takes the board back, with its state."""
    found = _update("back")
    assert found["outcome"] == "installed", (found, _log())
    assert _installed() == found["version"]
    return found | {"ticks": status()["populations"]["office"]["ticks"]}


def _update(name: str, message: str = "") -> dict[str, Any]:
    """Ask as the daemon does, and wait for the result."""
    wanted = json.loads((GIVEN / "updates.json").read_text())[name]
    request = f"{name}-{message}"
    for folder in (STATE / "bundles", STATE / "update"):
        folder.mkdir(exist_ok=True)
    shutil.copy(GIVEN / f"{name}.eab", STATE / "bundles" / f"{wanted['bundle']}.eab")
    shutil.copy(GIVEN / f"{message or name}.message", STATE / "update/message")
    beside = STATE / "update/.request"
    beside.write_text(json.dumps({"id": request, "bundle": wanted["bundle"], "trial_s": TRIAL_S}))
    beside.rename(STATE / "update/request")

    def answered() -> bool:
        return RESULT.exists() and json.loads(RESULT.read_text())["request"] == request

    seconds = wait_until(f"the result of {request}", answered, DONE_S)
    found: dict[str, Any] = json.loads(RESULT.read_text())
    wait_until("the end of the request", lambda: not (STATE / "update/request").exists())  # after the result
    return found | {"seconds": seconds}


def _installed() -> str:
    return run("dpkg-query", "--show", "--showformat=${Version}", "edge-agent").stdout


def _log() -> str:
    shown = run("journalctl", "--unit", UPDATER, "--output=cat", "--no-pager", "--lines=20").stdout
    return shown + journal(10)
