"""Memory and processor figures of this process (/proc/self), and settings of the C library's allocator."""

from __future__ import annotations

import ctypes
import gc
import os
import pwd
from functools import cache
from pathlib import Path

_PAGE = os.sysconf("SC_PAGE_SIZE")
_STATM = Path("/proc/self/statm")


@cache
def _statm() -> int:
    """Open the kernel's figures once: a process that has no descriptor left must still know its size."""
    return os.open(_STATM, os.O_RDONLY | os.O_CLOEXEC)


def rss_bytes() -> int:
    """Return the bytes of this process that are in memory now."""
    return int(os.pread(_statm(), 256, 0).split()[1]) * _PAGE


_ARENA_MAX = -8  # M_ARENA_MAX of malloc.h


def one_heap() -> None:
    """Let all threads share one malloc heap; call it before there are threads.

    With a heap a thread what one thread frees is no use to another, and the process grows. A C library
    without mallopt (musl) has one heap anyway.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_ARENA_MAX, 1)


def settle() -> None:
    """Give back what only the start needed, and leave what stays out of the collector's rounds."""
    tidy()
    gc.freeze()


def tidy() -> None:
    """Give back what is garbage: clients of connections that ended are rings of references.

    After `settle` the collector has little to look through, and this takes a millisecond.
    """
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def user_name(number: int) -> str:
    """Return the name of a user for messages, or the number of one without a name."""
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)
