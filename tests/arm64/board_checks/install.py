"""Installation as documented, on a board whose device tree says "Raspberry Pi Zero 2 W"."""

from __future__ import annotations

import pwd
import tomllib
from pathlib import Path

from board_checks import CONFIG, DROP_INS, GIVEN, STATE, UNIT, run, status, unit, wait_until

MODEL = GIVEN / "model"
DEVICE_TREE = "/sys/firmware/devicetree/base/model"
PATIENCE = Path("/run/systemd/system/edge-agent.service.d/patience.conf")
"""A start on an emulated board takes minutes where the machine that emulates it is busy."""


def commands() -> object:
    """Every command of docs/how-to/install.md, in order, as it stands there."""
    MODEL.write_bytes(b"Raspberry Pi Zero 2 W Rev 1.0\0")
    run("mount", "--bind", MODEL, DEVICE_TREE)
    PATIENCE.parent.mkdir(parents=True)
    PATIENCE.write_text("[Service]\nTimeoutStartSec=15min\n")
    done = run("sh", "-exc", f"cd {GIVEN}; . ./install.sh", seconds=900)
    return done.stdout[-2000:]


def profile() -> object:
    """The configuration names the board's profile, and systemd enforces its memory."""
    assert pwd.getpwnam("edge-agent").pw_shell.endswith("nologin")
    assert tomllib.loads(CONFIG.read_text())["device"]["profile"] == "zero2w"
    assert (DROP_INS / "memory.conf").exists()
    shown = unit("MemoryHigh", "MemoryMax", "UnitFileState", "WatchdogUSec")
    assert shown["UnitFileState"] == "enabled", shown
    assert shown["WatchdogUSec"] == "30s", shown
    assert int(shown["MemoryHigh"]) == 56 << 20, shown
    assert not STATE.exists() or STATE.owner() == "edge-agent"
    return shown


def two_ticks_per_second() -> object:
    """The page's agents step on arrivals; the checks that follow count ticks, also without a reading."""
    text = CONFIG.read_text()
    step = '\nstep = "arrival"'  # not the one in the example that is commented out
    assert text.count(step) == 1, text
    CONFIG.write_text(text.replace(step, '\nrate_hz = 2.0\ntick = "ignore"'))
    run("systemctl", "restart", UNIT)
    return {"tick_s": wait_until("a tick", lambda: status()["populations"]["office"]["ticks"] > 0)}
