"""Run all checks and power off, or run one: ``python3 -m board_checks [MODULE.FUNCTION]``."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import time

from board_checks import TABLE

MARK = "EDGE-CHECK "


def one(name: str) -> None:
    """Run one check in this process and print what it saw."""
    module, function = name.split(".")
    print(json.dumps(getattr(importlib.import_module(f"board_checks.{module}"), function)()))


def every() -> None:
    """Run each check in a process of its own and print its verdict."""
    for name in TABLE:
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


if len(sys.argv) > 1:
    one(sys.argv[1])
else:
    every()
