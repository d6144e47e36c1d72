"""Each board profile under its own limits: those that systemd enforces, and what the daemon takes."""

from __future__ import annotations

import re
from pathlib import Path

from board_checks import CONFIG, UNIT, run, status, unit, wait_until

NAMES = ("generic", "pi3bplus", "pi4b", "pi5", "zero2w")


def every_profile() -> object:
    """The daemon starts with each profile, and stays inside the memory that the profile gives it."""
    shipped = {path.stem for path in Path("/opt/edge-agent").rglob("firmware_profiles/*.toml")}
    assert shipped == set(NAMES), shipped
    before, seen = CONFIG.read_text(), {}
    try:
        for name in NAMES:
            _start_with(name)
            told, shown = status(), unit("MemoryHigh", "MemoryCurrent")
            assert told["profile"] == name, told
            budget, high = told["budget_bytes"], int(shown["MemoryHigh"])
            assert told["rss_bytes"] <= budget <= high, (name, told["rss_bytes"], budget, high)
            seen[name] = {"rss_bytes": told["rss_bytes"], "budget_bytes": budget, "MemoryHigh": high}
    finally:
        CONFIG.write_text(before)
        _start_with("zero2w")
    return seen


def _start_with(name: str) -> None:
    text = CONFIG.read_text()
    assert re.search(r'^profile = "\w+"', text, re.MULTILINE), text
    CONFIG.write_text(re.sub(r'^profile = "\w+"', f'profile = "{name}"', text, count=1, flags=re.MULTILINE))
    run("edge-agent", "provision", "--profile", name)
    run("systemctl", "daemon-reload")
    run("systemctl", "restart", UNIT)
    wait_until(f"ticks with {name}", lambda: status()["populations"]["office"]["ticks"] > 0)
