"""The daemon under its unit: up, watched, limited, killed, hung, leaking, and back with its beliefs."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path
from typing import Any

from board_checks import STATE, UNIT, drop_in, journal, run, status, unit, wait_until

WRAPPER = Path("/usr/local/lib/edge-agent-fault.py")
# What breaks the daemon stands here, not in the product: a program around it, in a drop-in.
FAULTS = {
    "hang": """
from edge_agent.engine.population import Population
step = Population.step
def hangs(self, *arguments):
    if pathlib.Path("/var/lib/edge-agent/hang").exists():
        threading.Event().wait()
    return step(self, *arguments)
Population.step = hangs
""",
    "leak": """
def leaks():
    kept = []
    while not pathlib.Path("/var/lib/edge-agent/leak").exists():
        time.sleep(0.1)
    while True:
        kept.append(b"x" * (1 << 20))
        time.sleep(0.01)
threading.Thread(target=leaks, daemon=True).start()
""",
}


def _office() -> dict[str, Any]:
    office: dict[str, Any] = status()["populations"]["office"]
    return office


def _publish(meeting: int, lab: int) -> None:
    for room, co2 in (("meeting", meeting), ("lab", lab)):
        payload = {"co2": co2, "illuminance": 300, "temperature": 22.0, "humidity": 27.0}
        run("mosquitto_pub", "-t", f"zigbee2mqtt/{room}", "-m", json.dumps(payload))


def _pid() -> str:
    return unit("MainPID")["MainPID"]


def _restarted(pid: str) -> bool:
    shown = unit("MainPID", "ActiveState")
    return shown["ActiveState"] == "active" and shown["MainPID"] not in ("0", pid)


def _faulty(kind: str) -> str:
    WRAPPER.parent.mkdir(parents=True, exist_ok=True)
    WRAPPER.write_text(
        f"import pathlib, sys, threading, time\n{FAULTS[kind]}\n"
        "from edge_agent.cli import main\nsys.exit(main())\n"
    )
    drop_in(
        "fault",
        "[Service]\nExecStart=\nExecStart=/opt/edge-agent/bin/python3 "
        f"{WRAPPER} run --config /etc/edge-agent/device.toml\nWatchdogSec=8\nRestartSec=1\n",
    )
    (STATE / kind).unlink(missing_ok=True)
    run("systemctl", "restart", UNIT)
    return _pid()


def _mended(kind: str) -> None:
    (STATE / kind).unlink()
    drop_in("fault", None)


def ready_without_a_broker() -> object:
    """The unit is up although nothing listens at the broker's port, and says why it is alone."""
    shown = unit("ActiveState", "StatusText", "NRestarts", "WatchdogUSec")
    assert shown["ActiveState"] == "active", shown
    assert shown["NRestarts"] == "0", shown
    assert shown["WatchdogUSec"] == "30s", shown
    assert "office 2" in shown["StatusText"], shown
    broker = status()["broker"]
    assert broker["state"] != "online", broker
    wait_until("ticks without a broker", lambda: _office()["ticks"] > 0)
    return shown["StatusText"]


def acts_when_the_broker_comes() -> object:
    """Mosquitto starts later; observations become actions."""
    heard = Path("/tmp/actions")
    run("systemd-sysusers")
    run("install", "-d", "-o", "mosquitto", "/run/mosquitto", "/var/log/mosquitto", "/var/lib/mosquitto")
    run("systemctl", "start", "mosquitto")
    took = wait_until("connected", lambda: status()["broker"]["state"] == "online")
    with heard.open("w") as out:
        listener = subprocess.Popen(["mosquitto_sub", "-v", "-t", "zigbee2mqtt/+/set"], stdout=out)
    try:
        wait_until("an action", lambda: _publish(1900, 420) or heard.read_text().strip())
    finally:
        listener.kill()
        listener.wait()
    return {"connected_s": took, "first": heard.read_text().splitlines()[0]}


def memory() -> object:
    """The daemon stays inside the Zero 2 W's budget, by its own account and by the kernel's."""
    shown = unit("MemoryCurrent", "MemoryHigh", "MainPID", "ControlGroup", "ExecMainStartTimestampMonotonic")
    shown |= unit("ActiveEnterTimestampMonotonic")
    process = Path(f"/proc/{shown['MainPID']}/status").read_text()
    rss = next(int(line.split()[1]) << 10 for line in process.splitlines() if line.startswith("VmRSS"))
    told = status()
    cgroup = Path(f"/sys/fs/cgroup{shown['ControlGroup']}")
    assert rss <= told["budget_bytes"] == 56 << 20, (rss, told["budget_bytes"])
    assert int(shown["MemoryCurrent"]) <= int(shown["MemoryHigh"]), shown
    started = int(shown["ActiveEnterTimestampMonotonic"]) - int(shown["ExecMainStartTimestampMonotonic"])
    return {
        "rss_bytes": rss,
        "cgroup_bytes": int(shown["MemoryCurrent"]),
        "cgroup_peak_bytes": int((cgroup / "memory.peak").read_text()),
        "throttled": (cgroup / "memory.events").read_text().splitlines()[1],
        "budget_bytes": told["budget_bytes"],
        "emulated_start_s": started / 1e6,
    }


def clock_jumps() -> object:
    """The clock goes to 1970 and comes back; ticks go on as before."""
    pid, now = _pid(), int(time.time())
    for at in (3600, now + 86400, now):
        run("date", "-s", f"@{at}")
        ticks = _office()["ticks"]
        wait_until(
            f"ticks after the clock was set to {at}", lambda ticks=ticks: _office()["ticks"] > ticks + 2
        )
    assert _pid() == pid, journal()
    return "went on"


def killed() -> object:
    """SIGKILL: systemd starts it again, and it has its counters and beliefs back."""
    run("systemctl", "restart", UNIT)  # writes a checkpoint
    before, pid = _office()["ticks"], _pid()
    assert before > 0
    run("systemctl", "kill", "--signal=KILL", UNIT)
    took = wait_until("restart", lambda: _restarted(pid))
    after = _office()["ticks"]
    assert after >= before, (before, after)
    return {"back_s": took, "ticks_before": before, "ticks_after": after}


def hung() -> object:
    """A step that does not return ends in the watchdog's SIGABRT and a restart."""
    pid = _faulty("hang")
    (STATE / "hang").touch()
    wait_until("watchdog", lambda: "Watchdog timeout" in run("journalctl", "-u", UNIT, "-n", "50").stdout)
    (STATE / "hang").unlink()
    took = wait_until("restart", lambda: _restarted(pid))
    (STATE / "hang").touch()
    _mended("hang")
    run("systemctl", "restart", UNIT)
    return {"back_s": took}


def leaking() -> object:
    """A leak is stopped at MemoryMax, before it takes the board's memory, and beliefs come back."""
    before = _office()["ticks"]
    pid = _faulty("leak")
    (STATE / "leak").touch()
    wait_until("the kernel's verdict", lambda: "oom" in run("journalctl", "-u", UNIT, "-n", "30").stdout)
    (STATE / "leak").unlink()
    took = wait_until("restart", lambda: _restarted(pid))
    after = _office()["ticks"]
    assert after >= before > 0, (before, after)
    (STATE / "leak").touch()
    _mended("leak")
    run("systemctl", "restart", UNIT)
    return {"back_s": took, "ticks_before": before, "ticks_after": after}


def read_only_root() -> object:
    """With a read-only root and writable state, as on a board with an overlay, everything works."""
    run("systemctl", "stop", UNIT, "mosquitto")
    run("mount", "-t", "tmpfs", "-o", "mode=755", "state", STATE)
    run("mount", "-o", "remount,bind,ro", "/")
    try:
        run("systemctl", "start", UNIT)
        wait_until("ticks", lambda: _office()["ticks"] > 0)
        run("systemctl", "stop", UNIT)
    finally:
        run("mount", "-o", "remount,bind,rw", "/")
        run("umount", STATE)
    run("systemctl", "start", UNIT, "mosquitto")
    return "runs"
