"""The shipped units: systemd accepts every line of them, and rates their sandboxes 1.5 or better (0 is best).

A missing tool is a failure: a unit that nothing looked at is a guess.
"""

import shutil
import subprocess
from pathlib import Path

import pytest

UNITS = Path(__file__).parents[3] / "systemd"
THRESHOLD = "15"  # tenths
INSTALLERS = ("edge-agent-update.service", "edge-agent-repair.service")
INSTALLERS_THRESHOLD = "19"
"""They run dpkg as root and write where packages do; what is shut is network, devices, kernel, namespaces."""
SERVICES = ("edge-agent.service", "edge-agent-metrics.service")


def analyze(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    tool = shutil.which("systemd-analyze")
    assert tool, "systemd-analyze is missing; install it with: sudo apt-get install systemd"
    return subprocess.run([tool, *arguments], capture_output=True, text=True, check=False)


def complaints(unit: Path) -> str:
    """Return what ``verify`` says. It exits 0 on an unknown key, so what it prints is the verdict."""
    return analyze("verify", "--man=no", "--recursive-errors=no", unit).stderr


def with_a_program(name: str, folder: Path) -> Path:
    """Write the unit with a program that is on this machine, as ``verify`` looks whether it is there."""
    unit = folder / name
    unit.write_text((UNITS / name).read_text().replace("/usr/bin/edge-agent", "/bin/true"))
    return unit


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    return with_a_program("edge-agent.service", tmp_path)


@pytest.mark.parametrize("name", [*SERVICES, *INSTALLERS])
def test_every_line_of_the_unit_is_understood(name: str, tmp_path: Path) -> None:
    assert complaints(with_a_program(name, tmp_path)) == ""


@pytest.mark.parametrize(
    "wrong",
    ["RestartSecs=5", "WatchdogSec=soon", "SystemCallFilter=@no-such-set", "ExecStop=/no/such/program"],
)
def test_a_line_that_is_not_understood_is_noticed(installed: Path, wrong: str) -> None:
    installed.write_text(installed.read_text().replace("Type=notify\n", f"Type=notify\n{wrong}\n"))
    assert complaints(installed) != ""


def test_the_hardware_drop_in_is_understood(installed: Path) -> None:
    drop_ins = installed.with_name("edge-agent.service.d")
    drop_ins.mkdir()
    shutil.copy(UNITS / "hardware.conf", drop_ins)
    assert complaints(installed) == ""


@pytest.mark.parametrize("name", SERVICES)
def test_the_sandbox_is_rated_safe(name: str) -> None:
    rated = analyze("security", "--offline=true", f"--threshold={THRESHOLD}", UNITS / name)
    assert rated.returncode == 0, rated.stdout


@pytest.mark.parametrize("name", INSTALLERS)
def test_the_installers_sandbox_shuts_what_dpkg_does_not_need(name: str) -> None:
    rated = analyze("security", "--offline=true", f"--threshold={INSTALLERS_THRESHOLD}", UNITS / name)
    assert rated.returncode == 0, rated.stdout
    unit = (UNITS / name).read_text()
    assert "PrivateNetwork=yes" in unit


def test_the_path_unit_that_starts_the_installer_is_understood(tmp_path: Path) -> None:
    with_a_program("edge-agent-update.service", tmp_path)
    path = tmp_path / "edge-agent-update.path"
    shutil.copy(UNITS / path.name, path)
    assert complaints(path) == ""


def test_an_open_sandbox_is_not_rated_safe(tmp_path: Path) -> None:
    unit = tmp_path / "edge-agent.service"
    text = (UNITS / "edge-agent.service").read_text()
    unit.write_text(text.replace("SystemCallFilter=", "#").replace("PrivateUsers=yes", ""))
    assert analyze("security", "--offline=true", f"--threshold={THRESHOLD}", unit).returncode != 0


@pytest.mark.parametrize("name", ["edge-hub.service", "edge-hub-ingest@.service"])
def test_the_hubs_units_are_understood_and_rated_safe(name: str, tmp_path: Path) -> None:
    unit = tmp_path / name.replace("@", "@1")
    unit.write_text((UNITS / name).read_text().replace("/usr/bin/edge-hub", "/bin/true"))
    assert complaints(unit) == ""
    rated = analyze("security", "--offline=true", f"--threshold={THRESHOLD}", UNITS / name)
    assert rated.returncode == 0, rated.stdout
