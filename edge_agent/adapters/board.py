"""Detects the board from the device tree and selects its profile from ``firmware_profiles``.

Theory of operation. On boards with a device tree the kernel shows the root node's properties as files that
end in a NUL byte: ``model`` ("Raspberry Pi Zero 2 W Rev 1.0") and on a Raspberry Pi ``serial-number``. A
profile is selected by the beginning of the model name, so it covers all revisions of a board. Other boards
use the profile "generic".

Source: Devicetree Specification 0.4, section 2.3.2; Raspberry Pi documentation, "Revision codes".
"""

from __future__ import annotations

import re
import socket
from pathlib import Path

from edge_agent.wire.topics import RESERVED

DEVICE_TREE = Path("/proc/device-tree")
GENERIC = "generic"
PROFILES = (
    ("Raspberry Pi Zero 2 W", "zero2w"),
    ("Raspberry Pi 3 Model B Plus", "pi3bplus"),
    ("Raspberry Pi 4 Model B", "pi4b"),
    ("Raspberry Pi 400", "pi4b"),
    ("Raspberry Pi Compute Module 4", "pi4b"),
    ("Raspberry Pi 5", "pi5"),  # and the 500, which is a 5 in a keyboard
    ("Raspberry Pi Compute Module 5", "pi5"),
)
_SERIAL_DIGITS = 6


def model(device_tree: Path = DEVICE_TREE) -> str:
    """Return the board's model, empty where there is no device tree."""
    return _property(device_tree, "model")


def profile(board: str) -> str:
    """Return the name of the profile for a model, ``generic`` if there is none of its own."""
    return next((name for beginning, name in PROFILES if board.startswith(beginning)), GENERIC)


def device_name(device_tree: Path = DEVICE_TREE, hostname: str | None = None) -> str:
    """Return a name for this device that is one topic level: host name, and the serial number's end.

    All boards come out of the box with the same host name; their serial numbers differ.
    """
    host = re.sub(r"[^A-Za-z0-9_.-]", "-", (hostname or socket.gethostname()).split(".")[0])[:50]
    serial = _property(device_tree, "serial-number")[-_SERIAL_DIGITS:]
    name = "-".join(part for part in (host.lstrip("-."), serial) if part)
    return "device" if not name or name in RESERVED else name


def _property(device_tree: Path, name: str) -> str:
    try:
        return (device_tree / name).read_bytes().rstrip(b"\0").decode("ascii", "replace")
    except OSError:
        return ""
