"""Files in the state directory, each replaced as a whole: written aside, synced, renamed, folder synced."""

from __future__ import annotations

import os
from pathlib import Path

from edge_agent.errors import PlatformError


class StateDirectory:
    """A folder of files that are read and replaced as a whole.

    Parameters
    ----------
    path : Path
        The folder; made, for its owner alone, if it is missing.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def save(self, name: str, data: bytes) -> None:
        """Replace ``name`` in one step.

        Raises
        ------
        PlatformError
            The disk is full, read-only, or otherwise refuses; the old file stays.
        """
        path, temporary = self._path / name, self._path / f".{name}.new"
        try:
            self._path.mkdir(mode=0o700, parents=True, exist_ok=True)
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
            descriptor = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise PlatformError(f"{path}: {error.strerror}") from error

    def load(self, name: str) -> bytes | None:
        """Return the content of ``name``, None if there is none.

        Raises
        ------
        PlatformError
            It is there and cannot be read.
        """
        try:
            return (self._path / name).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise PlatformError(f"{self._path / name}: {error.strerror}") from error
