"""How many instructions a step takes on each board's processor. Emulated time is none; counts are exact.

With ``-icount shift=0`` the emulator's clock advances one nanosecond per instruction of the guest (QEMU,
"TCG Instruction Counting"), so what the guest measures in nanoseconds are instructions, those of Python
around the kernel included. No systemd is started: a shell script is the first process.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import board_checks
import boards
import guest
import numpy as np
import pytest

from benchmarks import golden_models

ROOT = Path(__file__).parents[2]
PROGRAMS = Path(sys.executable).parent
RELEASE = "bookworm"
SECONDS = 900
FIRST = b"""\
#!/bin/sh
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
dpkg -x /root/given/edge-agent.deb /
cd /check
/opt/edge-agent/bin/python3 -m board_checks.instructions /root/given/steps >/dev/console 2>&1
echo o >/proc/sysrq-trigger
sleep 60
"""

pytestmark = pytest.mark.arm64


@pytest.fixture(scope="module")
def inside(tmp_path_factory: pytest.TempPathFactory) -> dict[str, guest.File]:
    """What the guest gets besides Debian: the package, the benchmark's models and readings."""
    folder = tmp_path_factory.mktemp("steps")
    for name in golden_models.MODELS:
        target = folder / f"{name}.eab"
        model = str(golden_models.path_of(name))
        command = [str(PROGRAMS / "edge-convert"), "convert", model, "-o", str(target), "--name", name]
        subprocess.run(command, check=True, capture_output=True)
        np.savez(folder / f"{name}-trace.npz", obs=golden_models.observations_of(name, 1000))
    checks = Path(board_checks.__file__).parent
    found = {f"/root/given/steps/{path.name}": guest.File(path.read_bytes()) for path in folder.iterdir()}
    found |= {
        f"/check/board_checks/{path.name}": guest.File(path.read_bytes()) for path in checks.glob("*.py")
    }
    (package,) = (path for path in boards.packages(RELEASE) if path.name.startswith("edge-agent_"))
    found["/root/given/edge-agent.deb"] = guest.File(package.read_bytes())
    found["/first"] = guest.File(FIRST, 0o755)
    return found


@pytest.mark.parametrize("cpu", guest.CPUS)
@pytest.mark.timeout(SECONDS + 600)
def test_the_instructions_of_a_step_are_counted(cpu: str, inside: dict[str, guest.File]) -> None:
    console = guest.boot(guest.base_image(RELEASE), inside, cpu, SECONDS, first="/first", counted=True)
    found: dict[str, Any] = {
        name: said["seen"] for name, said in guest.verdicts(console.splitlines()).items()
    }
    assert sorted(found) == sorted(golden_models.MODELS), console
    for name, seen in found.items():
        assert 0 < seen["1000"] < seen["1"], (name, seen)  # one call steps them all
    kept = ROOT / "build" / f"instructions-{cpu}.json"
    kept.write_text(json.dumps(found, indent=1))
