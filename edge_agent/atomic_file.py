"""Replaces a file as a whole: written beside, synced, renamed, and the folder synced.

After a power cut the file is the old one or the new one. Two processes that replace the same file take turns:
the file beside it has one name, so that what a killed process left there does not pile up, and a lock.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def replaced(path: Path, mode: int | None = None) -> Iterator[BinaryIO]:
    """Yield a file to write to, which takes the place of ``path`` at the end, unless something is raised.

    Parameters
    ----------
    path : Path
        The file; its folder must exist.
    mode : int, optional
        The new file's permissions; without it those that the umask leaves.

    Raises
    ------
    OSError
        The disk is full or refuses; ``path`` is as it was, and nothing is left beside it.
    """
    beside = path.with_name(f".{path.name}.new")
    with _opened(beside) as file:
        try:
            if mode is not None:
                os.fchmod(file.fileno(), mode)
            yield file
            file.flush()
            os.fsync(file.fileno())
            beside.replace(path)
        except BaseException:
            beside.unlink(missing_ok=True)
            raise
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable.

    Raises
    ------
    OSError
        The disk refuses.
    """
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _opened(path: Path) -> BinaryIO:
    """Return the file, empty and ours: another process may have renamed the one that we waited for."""
    while True:
        file = path.open("ab")
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                file.truncate(0)
                return file
        except FileNotFoundError:
            pass
        file.close()
