"""Run the checks, or one: ``python3 -m board_checks [MODULE.FUNCTION]``."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import time
from collections.abc import Iterable

from board_checks import CHECKS, MARK


def one(name: str) -> None:
    """Run one check in this process and print what it saw."""
    module, function = name.split(".")
    print(json.dumps(getattr(importlib.import_module(f"board_checks.{module}"), function)()))


def every(names: Iterable[str]) -> None:
    """Run each check in a process of its own and print its verdict."""
    for name in names:
        start = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-m", "board_checks", name], capture_output=True, text=True, check=False
        )
        lines = done.stdout.splitlines()
        verdict = {
            "check": name,
            "holds": done.returncode == 0,
            "seen": json.loads(lines[-1]) if done.returncode == 0 else None,
            "error": done.stderr[-1500:],
            "seconds": round(time.monotonic() - start, 1),
        }
        print(MARK + json.dumps(verdict), flush=True)


if sys.argv[1:]:
    one(sys.argv[1])
else:
    every(CHECKS)
