"""Atomic replacement of files in the state directory: write a new file, sync, rename, sync the folder."""

from __future__ import annotations

from pathlib import Path

from edge_agent.atomic_file import replaced
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
        path = self._path / name
        try:
            self._path.mkdir(mode=0o700, parents=True, exist_ok=True)
            with replaced(path) as file:
                file.write(data)
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
