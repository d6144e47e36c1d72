"""The kernels build without a warning under the compilers of Debian 12 and 13: gcc 12, clang 14, gcc 14.

Debian 13's is in a root file system of that release, where the project is built, imported and its engine
tested with Python 3.13; ``make test-trixie`` runs more tests there.
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


@pytest.mark.timeout(900)  # the first run installs Debian and the libraries
def test_debian_13_builds_and_imports_the_kernels_and_runs_the_engine() -> None:
    """gcc 14 with -Werror, Python 3.13, and the engine's unit tests, golden traces of pymdp among them."""
    done = run(
        ROOT / "tools/dev/test_in_root.sh",
        *("short", "trixie", "tests/unit/engine", "-p", "no:cacheprovider"),
        HYPOTHESIS_PROFILE="repeatable",
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout
