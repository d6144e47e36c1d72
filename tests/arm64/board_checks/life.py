"""The daemon under its unit: start, watchdog, limits, kill, hang, leak, and restart with its beliefs."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path
from typing import Any

from board_checks import STATE, UNIT, drop_in, journal, run, status, unit, wait_until

# What breaks the daemon stands here, not in the product: a program around it, in a drop-in.
PROGRAM = Path("/usr/local/lib/edge-agent-fault.py")
SAVED = Path("/root/saved-ticks")
HANG, LEAK = STATE / "hang", STATE / "leak"
FAULTY = """\
import pathlib, sys, threading, time
from edge_agent.cli import main
from edge_agent.engine.population import Population

hang, leak = pathlib.Path("{hang}"), pathlib.Path("{leak}")
step = Population.step

def hangs(*arguments, **named):
    if hang.exists():
        hang.unlink()
        threading.Event().wait()
    return step(*arguments, **named)

def leaks():
    kept = []
    while not leak.exists():
        time.sleep(0.1)
    leak.unlink()
    while True:
        kept.append(b"x" * (1 << 20))

Population.step = hangs
threading.Thread(target=leaks, daemon=True).start()
sys.exit(main())
"""
# Between MemoryHigh and MemoryMax the kernel slows a leak down until the watchdog sees it: not here.
DROP_IN = """\
[Service]
ExecStart=
ExecStart=/opt/edge-agent/bin/python3 {program} run --config /etc/edge-agent/device.toml
WatchdogSec=15
RestartSec=1
MemoryHigh=infinity
"""


def _office() -> dict[str, Any]:
    office: dict[str, Any] = status()["populations"]["office"]
    return office


def publish(meeting: int, lab: int) -> None:
    """Send a reading of both rooms."""
    for room, co2 in (("meeting", meeting), ("lab", lab)):
        payload = {"co2": co2, "illuminance": 300, "temperature": 22.0, "humidity": 27.0}
        run("mosquitto_pub", "-t", f"zigbee2mqtt/{room}", "-m", json.dumps(payload))


def _pid() -> str:
    return unit("MainPID")["MainPID"]


def _restarted(pid: str) -> bool:
    shown = unit("MainPID", "ActiveState")
    return shown["ActiveState"] == "active" and shown["MainPID"] not in ("0", pid)


def _back(pid: str) -> dict[str, float]:
    """Wait for another process under the unit; it goes on from the checkpoint, not from nothing."""
    took = wait_until("restart", lambda: _restarted(pid))
    saved, now = json.loads(SAVED.read_text()), _office()["ticks"]
    assert now >= saved > 20, (saved, now)
    return {"back_s": took, "ticks_saved": saved, "ticks_now": now}


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
        wait_until("an action", lambda: publish(1900, 420) or heard.read_text().strip())
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
    PROGRAM.parent.mkdir(parents=True, exist_ok=True)
    PROGRAM.write_text(FAULTY.format(hang=HANG, leak=LEAK))
    drop_in("zz-fault", DROP_IN.format(program=PROGRAM))
    wait_until("ticks worth keeping", lambda: _office()["ticks"] > 20)
    SAVED.write_text(json.dumps(_office()["ticks"]))
    run("systemctl", "restart", UNIT)  # writes a checkpoint
    pid = _pid()
    run("systemctl", "kill", "--signal=KILL", UNIT)
    return _back(pid)


def hung() -> object:
    """A step that does not return ends in the watchdog's SIGABRT and a restart."""
    pid = _pid()
    HANG.touch()
    wait_until("the watchdog's verdict", lambda: "Watchdog timeout" in journal())
    return _back(pid)


def leaking() -> object:
    """A leak is stopped at MemoryMax, before it takes the board's memory, and beliefs come back."""
    pid = _pid()
    LEAK.touch()
    wait_until("the kernel's verdict", lambda: "oom-kill" in journal())
    back = _back(pid)
    drop_in("zz-fault", None)
    run("systemctl", "restart", UNIT)
    return back


def read_only_root() -> object:
    """With a read-only root and writable state, as on a board with an overlay, everything works."""
    run("systemctl", "stop", UNIT, "mosquitto")
    for folder in (STATE, Path("/tmp"), Path("/var/tmp")):
        run("mount", "-t", "tmpfs", "writable", folder)
    run("mount", "-o", "remount,bind,ro", "/")
    try:
        run("systemctl", "start", UNIT)
        wait_until("ticks", lambda: _office()["ticks"] > 0)
        run("systemctl", "stop", UNIT)
    finally:
        run("mount", "-o", "remount,bind,rw", "/")
        run("umount", STATE, "/tmp", "/var/tmp")
    run("systemctl", "start", UNIT, "mosquitto")
    return "runs"
