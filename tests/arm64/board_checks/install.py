"""Installation by the README, on a board whose device tree says "Raspberry Pi Zero 2 W"."""

from __future__ import annotations

import pwd
import tomllib

from board_checks import CONFIG, DROP_INS, GIVEN, STATE, run, unit

MODEL = GIVEN / "model"
DEVICE_TREE = "/sys/firmware/devicetree/base/model"


def readme() -> object:
    """Every command of the README's install section, in order, as it stands there."""
    MODEL.write_bytes(b"Raspberry Pi Zero 2 W Rev 1.0\0")
    run("mount", "--bind", MODEL, DEVICE_TREE)
    done = run("sh", "-exc", f"cd {GIVEN}; . ./readme.sh", seconds=900)
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
