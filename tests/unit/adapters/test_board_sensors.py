"""The board's signs are read from Linux's files, and what is not there is None."""

import subprocess
import sys
from pathlib import Path

from edge_agent.adapters import board_sensors


def write(root: Path, **files: str) -> None:
    for name, text in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_a_board_without_any_of_it_says_none(tmp_path: Path) -> None:
    assert board_sensors.temperature_c(tmp_path) is None
    assert board_sensors.throttled(tmp_path) is None
    assert board_sensors.processor_pressure(tmp_path) is None
    assert board_sensors.memory_pressure(tmp_path) is None
    assert board_sensors.battery(tmp_path) is None
    assert board_sensors.memory_cgroup(tmp_path) is False
    assert board_sensors.cgroup_limit(tmp_path) is None


def test_a_process_without_descriptors_says_none() -> None:
    """What the governor asks for, of this machine: an error would end the daemon."""
    program = (
        "import resource; from edge_agent.adapters import board_sensors as board\n"
        "asked = [board.temperature_c, board.throttled, board.battery]\n"
        "asked += [board.processor_pressure, board.memory_pressure]\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (3, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))\n"
        "print([ask() for ask in asked])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("[None, None, None, None, None]\n", "")


def test_the_hottest_zone_counts_and_a_broken_one_does_not(tmp_path: Path) -> None:
    write(
        tmp_path,
        sys__class__thermal__thermal_zone0__temp="48312\n",
        sys__class__thermal__thermal_zone1__temp="61500\n",
        sys__class__thermal__thermal_zone2__temp="-2147483648\n",
        sys__class__thermal__thermal_zone3__temp="what\n",
    )
    assert board_sensors.temperature_c(tmp_path) == 61.5


def test_throttled_means_now_and_not_since_boot(tmp_path: Path) -> None:
    path = tmp_path / "sys/devices/platform/soc/soc:firmware/get_throttled"
    path.parent.mkdir(parents=True)
    path.write_text("50000\n")
    assert board_sensors.throttled(tmp_path) is False
    path.write_text("50005\n")
    assert board_sensors.throttled(tmp_path) is True
    assert board_sensors.throttled_bits(tmp_path) == 0x50005


def test_the_own_share_is_of_all_cores_and_since_the_last_call() -> None:
    now, used = [10.0], [3.0]
    share = board_sensors.OwnShare(lambda: now[0], lambda: used[0], cores=4)
    assert share() is None
    now[0], used[0] = 12.0, 7.0
    assert share() == 0.5
    now[0] = 13.0
    assert share() == 0.0


def test_pressure_and_cgroup(tmp_path: Path) -> None:
    write(
        tmp_path,
        proc__pressure__memory="some avg10=12.50 avg60=1.00 avg300=0.10 total=12\n"
        "full avg10=3.00 avg60=0.00 avg300=0.00 total=3\n",
        proc__pressure__cpu="some avg10=33.10 avg60=1.00 avg300=0.10 total=12\n",
        sys__fs__cgroup__cgroup_controllers="cpu",
        proc__self__cgroup="0::/system.slice/edge-agent.service\n",
    )
    (tmp_path / "sys/fs/cgroup/cgroup.controllers").write_text("cpuset cpu io memory pids\n")
    limit = tmp_path / "sys/fs/cgroup/system.slice/edge-agent.service/memory.max"
    limit.parent.mkdir(parents=True)
    limit.write_text("67108864\n")
    assert board_sensors.memory_pressure(tmp_path) == 12.5
    assert board_sensors.processor_pressure(tmp_path) == 33.1
    assert board_sensors.memory_cgroup(tmp_path)
    assert board_sensors.cgroup_limit(tmp_path) == 64 * 1024 * 1024
    limit.write_text("max\n")
    assert board_sensors.cgroup_limit(tmp_path) is None


def test_only_a_discharging_battery_counts(tmp_path: Path) -> None:
    for name, kind, status, capacity in [
        ("BAT0", "Battery", "Charging", "5"),
        ("BAT1", "Battery", "Discharging", "42"),
        ("AC", "Mains", "Discharging", "1"),
    ]:
        supply = tmp_path / "sys/class/power_supply" / name
        supply.mkdir(parents=True)
        for file, text in (("type", kind), ("status", status), ("capacity", capacity)):
            (supply / file).write_text(text + "\n")
    assert board_sensors.battery(tmp_path) == 0.42
