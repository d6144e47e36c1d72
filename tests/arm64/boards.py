"""The product on ARM64 boards: installed as documented, supervised, confined, and the same as on x86-64.

A board is a CPU model with a release of Debian. One boot a board; a test is one of the checks that ran there
(``board_checks``). ``EDGE_AGENT_BOARDS`` names the boards, ``make test-arm64`` passes them on. ``make test``
boots none: it has the kernels under emulation (``tests/native``).
"""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import board_checks
import given
import guest
import pytest
import updates

ROOT = Path(__file__).parents[2]
BOARDS = os.environ.get("EDGE_AGENT_BOARDS", "cortex-a72:bookworm").split()
SUFFIXES = {"bookworm": "+deb12", "trixie": "+deb13"}
SECONDS = 1800
MEMORY = "5G"
"""The guest's files are half of its memory: bundles and packages of updates, what they pack, and a hub."""
START = """\
[Unit]
After=multi-user.target
[Service]
Type=oneshot
Environment=PYTHONPATH=/check
ExecStart=/usr/bin/python3 -m board_checks
ExecStopPost=/usr/bin/systemctl poweroff -f
StandardOutput=tty
StandardError=tty
TTYPath=/dev/console
"""

pytestmark = pytest.mark.arm64


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the bundles, their traces, and what x86-64 makes of them."""
    folder = tmp_path_factory.mktemp("given")
    given.make(folder)
    return folder


def packages(release: str) -> list[Path]:
    """Build the packages of a release from this tree and return them."""
    tools = ROOT / "tools/packaging"
    subprocess.run([tools / "wheels/build.sh", "aarch64", "tools"], check=True, capture_output=True)
    for build in ("build.sh", "hub.sh"):
        subprocess.run([tools / "deb" / build, release, "arm64"], check=True, capture_output=True)
    return sorted((ROOT / "dist").glob(f"*{SUFFIXES[release]}_arm64.deb"))


def files(outputs: Path, folder: Path, release: str) -> dict[str, guest.File]:
    """Return what the guest gets besides Debian; ``folder`` is for what is made on the way."""
    checks = Path(board_checks.__file__).parent
    inside = {
        f"/check/board_checks/{path.name}": guest.File(path.read_bytes()) for path in checks.glob("*.py")
    }
    built = packages(release)
    updates.make(folder, [path for path in built if "edge-hub" not in path.name], SUFFIXES[release])
    made = [path for kind in ("*.eab", "*.message", "*.pub", "updates.json") for path in folder.glob(kind)]
    kinds = ("*.eab", "*.npz", "*.crt", "*.key", "learning.*", "director")
    expected = sorted({path for kind in kinds for path in outputs.glob(kind)})
    for path in [*built, *made, *expected]:
        inside[f"/root/given/{path.name}"] = guest.File(path.read_bytes())
    inside["/root/given/install.sh"] = guest.File(given.install_commands().encode())
    inside["/etc/systemd/system/check.service"] = guest.File(START.encode())
    inside["/etc/systemd/system/multi-user.target.d/check.conf"] = guest.File(
        b"[Unit]\nWants=check.service\n"
    )
    return inside


@pytest.fixture(scope="module", params=BOARDS)
def verdicts(request: pytest.FixtureRequest, outputs: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What the checks said on a board, by name of the check."""
    cpu, release = request.param.split(":")
    inside = files(outputs, tmp_path_factory.mktemp(release), release)
    console = guest.boot(guest.base_image(release), inside, cpu, SECONDS, MEMORY)
    kept = ROOT / "build" / f"board-{cpu}-{release}.log"
    kept.parent.mkdir(exist_ok=True)
    kept.write_text(console)
    found = guest.verdicts(console.splitlines())
    assert found, console
    kept.with_suffix(".json").write_text(json.dumps(found, indent=1))
    return found


@pytest.mark.parametrize("check", board_checks.CHECKS)
@pytest.mark.timeout(SECONDS + 600)
def test_on_the_board(verdicts: dict[str, Any], check: str) -> None:
    assert check in verdicts, "the board did not get that far: see build/board-*.log"
    verdict = verdicts[check]
    assert verdict["holds"], verdict["error"]
