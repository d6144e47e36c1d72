"""An invalid configuration is refused with one line in the journal, without repeated restarts."""

from __future__ import annotations

from collections.abc import Callable

from board_checks import CONFIG, STATE, UNIT, journal, run, status, unit, wait_until


def _refused(exit_status: int) -> str:
    """Start the unit, expect it to end for good, and return its last line."""
    failed = run("systemctl", "restart", UNIT, check=False)
    assert failed.returncode != 0
    shown = unit("ActiveState", "ExecMainStatus")
    assert shown == {"ActiveState": "failed", "ExecMainStatus": str(exit_status)}, (shown, journal())
    return next(line for line in reversed(journal().splitlines()) if line.startswith("edge-agent: "))


def _with_config(change: Callable[[], object], exit_status: int) -> str:
    kept = CONFIG.read_bytes()
    try:
        change()
        return _refused(exit_status)
    finally:
        CONFIG.write_bytes(kept)
        CONFIG.chmod(0o644)
        run("systemctl", "reset-failed", UNIT)
        run("systemctl", "start", UNIT)


def config_of_another_user() -> object:
    """A configuration that the daemon may not read."""
    line = _with_config(lambda: CONFIG.chmod(0o600), 2)
    assert "Permission denied" in line, line
    return line


def broken_config() -> object:
    """A configuration with a wrong key."""
    line = _with_config(lambda: CONFIG.write_text(CONFIG.read_text() + "\nvolume = 11\n"), 2)
    assert "volume: unknown key" in line, line
    return line


def damaged_checkpoint() -> object:
    """State that an older version or a bad card left is noted; the daemon starts from its priors."""
    run("systemctl", "stop", UNIT)
    files = [path for path in STATE.iterdir() if path.is_file()]
    assert files
    for path in files:
        path.write_bytes(b"EDGE0 of an older version")
    run("systemctl", "start", UNIT)
    wait_until("ticks", lambda: status()["populations"]["office"]["ticks"] > 0)
    return [path.name for path in files]
