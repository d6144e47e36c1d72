"""The machine of a measurement: processor, memory, kernel, versions, and the load before it."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

from edge_agent.engine import isa
from edge_agent.errors import PlatformError
from edge_agent.testing.mosquitto import executable

ROOT = Path(__file__).parents[1]
PACKAGES = ("numpy", "paho-mqtt", "ai-edge-litert", "onnxruntime")


def describe() -> dict[str, Any]:
    """Return the description, plain types."""
    words = Path("/proc/meminfo").read_text(encoding="ascii").split()
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "isa": isa.chosen().name,
        "memory_mb": int(words[1]) // 1024,
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "mosquitto": _mosquitto(),
        **{package: version(package) for package in PACKAGES},
        "load_before": round(os.getloadavg()[0], 2),
    }


def commit() -> str:
    """Return the commit of the sources, with a plus if they have been changed since."""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty=+", "--exclude=*"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def _processor() -> str:
    info = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    name = re.search(r"^(?:model name|Model|Hardware)\s*:\s*(.+)$", info, re.MULTILINE)
    model = re.search(r"^model\s*:\s*(\d+)$", info, re.MULTILINE)
    return (name[1] if name else platform.machine()) + (f" (model {model[1]})" if model else "")


def _mosquitto() -> str:
    try:
        done = subprocess.run([executable(), "-h"], capture_output=True, text=True, check=False)
    except PlatformError:
        return "none"
    found = re.search(r"version (\S+)", done.stdout)
    return found[1] if found else "unknown"
