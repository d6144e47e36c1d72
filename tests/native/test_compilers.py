"""The kernels build without a warning under the compilers of this machine; Debian 12 has gcc 12 and clang 14.

``make test-trixie`` builds them with gcc 14 in a root file system of Debian 13, with warnings as errors too.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAMS = Path(sys.executable).parent


def run(*command: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    found = os.environ | environment
    return subprocess.run(command, env=found, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_no_compiler_of_this_machine_warns(compiler: str) -> None:
    assert shutil.which(compiler), f"{compiler} is missing; install it with: tools/ensure_system.sh cc clang"
    # Kept between runs, where only changed sources are compiled.
    folder = ROOT / "build" / f"warnings-{compiler}"
    configured = run(
        PROGRAMS / "cmake",
        *("-S", ROOT, "-B", folder, "-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={PROGRAMS / 'ninja'}"),
        *("-DCMAKE_BUILD_TYPE=Release", f"-DPython_EXECUTABLE={sys.executable}"),
        *(f"-DCMAKE_C_COMPILER={compiler}", "-DCMAKE_C_FLAGS=-Werror"),
    )
    assert configured.returncode == 0, configured.stderr
    built = run(PROGRAMS / "ninja", "-C", folder)
    assert built.returncode == 0, built.stdout
    assert "warning:" not in built.stdout
    commands = run(PROGRAMS / "ninja", "-C", folder, "-t", "commands").stdout
    for needed in ("-Wall", "-Wextra", "-Werror"):
        compiled = [line for line in commands.splitlines() if ".c.o" in line and " -c " in line]
        assert compiled
        assert all(needed in line for line in compiled)
