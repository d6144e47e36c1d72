"""The product on an ARM64 board: installed as documented, supervised, confined, and the same as on x86-64.

One boot a CPU model; a test is one of the checks that ran there (``board_checks``). ``EDGE_AGENT_ARM64_CPUS``
names the models (``make test-arm64``: all three, every check); otherwise it is one, a Pi 4's, and the checks
that take long are left out, and a board whose checks all held is not booted again for the same inputs: its
verdicts are kept in ``build/`` under the digest of everything that goes into it.
"""

import hashlib
import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import board_checks
import given
import guest
import pytest
import updates

ROOT = Path(__file__).parents[2]
FULL = "EDGE_AGENT_ARM64_CPUS" in os.environ
CPUS = os.environ.get("EDGE_AGENT_ARM64_CPUS", "cortex-a72").split()
CHECKS = board_checks.ALWAYS + (board_checks.IN_FULL if FULL else ())
SECONDS = 1800
MEMORY = "3G" if FULL else "2G"
"""The guest's files are half of its memory; updates keep bundles of packages, and pack what is installed."""
SOURCES = (
    "CMakeLists.txt",
    "README.md",
    "constraints.txt",
    "docs/how-to/install.md",
    "edge_agent",
    "firmware_profiles",
    "pyproject.toml",
    "systemd",
    "tests/arm64",
    "tools",
)
START = """\
[Unit]
After=multi-user.target
[Service]
Type=oneshot
Environment=PYTHONPATH=/check
ExecStart=/usr/bin/python3 -m board_checks {form}
ExecStopPost=/usr/bin/systemctl poweroff -f
StandardOutput=tty
StandardError=tty
TTYPath=/dev/console
"""

pytestmark = pytest.mark.arm64


def install_commands() -> str:
    """Return the commands of the page that tells how to install."""
    page = (ROOT / "docs" / "how-to" / "install.md").read_text()
    blocks = re.findall(r'^```sh title="on the board"\n(.*?)^```', page, re.DOTALL | re.MULTILINE)
    assert blocks
    return "".join(blocks)


def files(folder: Path) -> dict[str, guest.File]:
    """Return what the guest gets besides Debian; ``folder`` is for what is made on the way."""
    given.make(folder)
    checks = Path(board_checks.__file__).parent
    inside = {
        f"/check/board_checks/{path.name}": guest.File(path.read_bytes()) for path in checks.glob("*.py")
    }
    built = packages()
    kinds = ["*.eab", "*.npz"]
    if FULL:
        updates.make(folder, built)
        kinds += ["*.message", "*.pub", "updates.json"]
    for path in [*built, *(path for kind in kinds for path in folder.glob(kind))]:
        inside[f"/root/given/{path.name}"] = guest.File(path.read_bytes())
    inside["/root/given/install.sh"] = guest.File(install_commands().encode())
    inside["/etc/systemd/system/check.service"] = guest.File(
        START.format(form="full" if FULL else "short").encode()
    )
    inside["/etc/systemd/system/multi-user.target.d/check.conf"] = guest.File(
        b"[Unit]\nWants=check.service\n"
    )
    return inside


def packages() -> list[Path]:
    """Build the packages from this tree and return them."""
    tools = ROOT / "tools/packaging"
    subprocess.run([tools / "wheels/build.sh", "aarch64"], check=True, capture_output=True)
    subprocess.run([tools / "deb/build.sh", "bookworm", "arm64"], check=True, capture_output=True)
    return sorted((ROOT / "dist").glob("*+deb12_arm64.deb"))


@pytest.fixture(scope="module")
def inside(tmp_path_factory: pytest.TempPathFactory) -> dict[str, guest.File]:
    return files(tmp_path_factory.mktemp("given"))


def digest() -> str:
    """Return the SHA-256 of every file that packages, guest and checks are made of."""
    total = hashlib.sha256()
    for source in SOURCES:
        path = ROOT / source
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file() and file.suffix not in (".pyc", ".so"):
                total.update(f"{file.relative_to(ROOT)}\0".encode() + file.read_bytes())
    return total.hexdigest()


@pytest.fixture(scope="module", params=CPUS)
def verdicts(request: pytest.FixtureRequest) -> dict[str, Any]:
    build, board, made_of = ROOT / "build", f"board-{request.param}", digest()
    kept = build / f"kept-{board}.json"
    if not FULL and kept.exists():
        earlier = json.loads(kept.read_text())
        if earlier["digest"] == made_of:
            return dict(earlier["verdicts"])
    inside = request.getfixturevalue("inside")
    console = guest.boot(guest.base_image(), inside, request.param, SECONDS, MEMORY)
    build.mkdir(exist_ok=True)
    (build / f"{board}.log").write_text(console)
    found = guest.verdicts(console.splitlines())
    assert found, console
    (build / f"{board}.json").write_text(json.dumps(found, indent=1))
    if all(check in found and found[check]["holds"] for check in CHECKS):
        kept.write_text(json.dumps({"digest": made_of, "verdicts": found}))
    return found


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.timeout(SECONDS + 120)
def test_on_the_board(verdicts: dict[str, Any], check: str) -> None:
    assert check in verdicts, "the board did not get that far: see build/board-*.log"
    verdict = verdicts[check]
    assert verdict["holds"], verdict["error"]
