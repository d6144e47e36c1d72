"""What the unit's sandbox denies and allows, tested from inside it.

The probe runs under the unit's own lines: a copy of the unit with another program in it.
"""

from __future__ import annotations

import json
from pathlib import Path

from board_checks import CONFIG, GIVEN, run

PROBE_UNIT = Path("/etc/systemd/system/edge-agent-probe.service")
ANSWERS = Path("/root/probe.json")
SHIPPED_UNIT = Path("/usr/lib/systemd/system/edge-agent.service")


def denied() -> object:
    """Nothing of what an intruder would try next works."""
    tried = _probe()["denied"]
    assert len(tried) >= 15, tried
    open_doors = {name: answer for name, answer in tried.items() if not answer.startswith("denied")}
    assert not open_doors, open_doors
    return tried


def allowed() -> object:
    """What the daemon lives on works; the probe ran for ``denied``."""
    tried = json.loads(ANSWERS.read_text())["allowed"]
    assert all(answer == "works" for answer in tried.values()), tried
    return sorted(tried)


def _probe() -> dict[str, dict[str, str]]:
    lines = [
        line
        for line in SHIPPED_UNIT.read_text().splitlines()
        if not line.startswith(
            ("Type=", "NotifyAccess=", "Exec", "Restart", "WatchdogSec=", "WantedBy=", "[")
        )
    ]
    program = Path(__file__).with_name("probe.py")
    sandboxed = Path("/usr/local/lib/probe.py")
    sandboxed.parent.mkdir(parents=True, exist_ok=True)
    sandboxed.write_bytes(program.read_bytes())
    # The unit's folders belong to the daemon: the probe gets some of its own.
    text = "\n".join(lines).replace("Directory=edge-agent", "Directory=edge-agent-probe")
    PROBE_UNIT.write_text(
        f"[Service]\nType=oneshot\nStandardOutput=file:{ANSWERS}\nStandardError=journal\n"
        f"ExecStart=/opt/edge-agent/bin/python3 {sandboxed}\n{text}\n"
    )
    run("systemctl", "daemon-reload")
    (CONFIG.parent / "bundles" / "litert.eab").write_bytes((GIVEN / "litert.eab").read_bytes())
    secret = Path("/etc/edge-agent/credentials/broker")
    secret.write_text("swordfish\n")
    secret.chmod(0o600)
    run("systemctl", "start", PROBE_UNIT.name)
    PROBE_UNIT.unlink()
    run("systemctl", "daemon-reload")
    found: dict[str, dict[str, str]] = json.loads(ANSWERS.read_text())
    return found
