"""Upgrade and removal keep state; purge deletes it; a damaged package changes nothing."""

from __future__ import annotations

from pathlib import Path

from board_checks import CONFIG, GIVEN, STATE, run

KEPT = STATE / "kept"


def _package() -> Path:
    (found,) = GIVEN.glob("edge-agent_*.deb")
    return found


def damaged_package() -> object:
    """A half-copied package is refused with a message, and what is installed still works."""
    half = Path("/root/half.deb")
    half.write_bytes(_package().read_bytes()[: _package().stat().st_size // 2])
    refused = run("dpkg", "--install", half, check=False)
    half.unlink()
    assert refused.returncode != 0
    run("dpkg", "--configure", "-a")
    assert "edge-agent" in run("edge-agent", "--version").stdout
    return refused.stderr.splitlines()[-1]


def reinstall() -> object:
    """Installing over an installation keeps configuration and state."""
    STATE.mkdir(exist_ok=True)
    KEPT.write_text("beliefs")
    before = CONFIG.read_bytes()
    run("apt-get", "install", "-y", "--reinstall", _package(), seconds=300)
    assert CONFIG.read_bytes() == before
    assert KEPT.read_text() == "beliefs"
    return "kept"


def remove() -> object:
    """Removal takes the program and leaves configuration and state."""
    run("apt-get", "remove", "-y", "edge-agent", seconds=300)
    assert run("systemctl", "is-active", "edge-agent", check=False).stdout.strip() == "inactive"
    assert not Path("/usr/bin/edge-agent").exists()
    assert KEPT.exists()
    assert CONFIG.exists()
    return "kept"


def purge() -> object:
    """Purging leaves nothing."""
    run("apt-get", "purge", "-y", "edge-agent", seconds=300)
    left = [str(path) for path in (CONFIG.parent, STATE, Path("/opt/edge-agent")) if path.exists()]
    assert not left, left
    return "gone"
