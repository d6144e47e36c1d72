"""What the kernel says about this process: /proc/self."""

from __future__ import annotations

import os
from pathlib import Path

_PAGE = os.sysconf("SC_PAGE_SIZE")
_STATM = Path("/proc/self/statm")


def rss_bytes() -> int:
    """Return the bytes of this process that are in memory now."""
    return int(_STATM.read_bytes().split()[1]) * _PAGE
