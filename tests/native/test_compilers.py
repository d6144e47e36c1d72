"""No compiler of this machine warns of the kernels' sources; Debian 12 has gcc 12 and clang 14.

The sources are checked without making object files, in a tenth of the time. ``make test-trixie`` builds them
with gcc 14 in a root file system of Debian 13, with warnings as errors, also those that need the optimizer.
"""

import json
import os
import shlex
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


def configured(compiler: str, *more: str) -> Path:
    """Configure the build for a compiler; return its folder, kept between runs."""
    assert shutil.which(compiler), f"{compiler} is missing; install it with: tools/ensure_system.sh cc clang"
    folder = ROOT / "build" / f"warnings-{compiler}"
    done = run(
        PROGRAMS / "cmake",
        *("-S", ROOT, "-B", folder, "-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={PROGRAMS / 'ninja'}"),
        *("-DCMAKE_BUILD_TYPE=Release", f"-DPython_EXECUTABLE={sys.executable}"),
        *(f"-DCMAKE_C_COMPILER={compiler}", "-DCMAKE_C_FLAGS=-Werror", *more),
    )
    assert done.returncode == 0, done.stderr
    return folder


def strict(commands: list[str]) -> bool:
    """Whether each command shows warnings and takes them for errors."""
    return bool(commands) and all(
        needed in line for line in commands for needed in ("-Wall", "-Wextra", "-Werror")
    )


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_a_compiler_warns_of_nothing(compiler: str) -> None:
    folder = configured(compiler, "-DCMAKE_EXPORT_COMPILE_COMMANDS=ON")
    commands = [entry["command"] for entry in json.loads((folder / "compile_commands.json").read_text())]
    assert strict(commands)
    for command in commands:
        checked = run(*shlex.split(command), "-fsyntax-only")
        assert (checked.returncode, checked.stderr) == (0, ""), command
