"""A small JSON object that survives power cuts: written beside, synced, and moved into place.

A file that does not read as JSON is set aside as ``NAME.damaged`` and counted, and the device starts from its
configuration: worse than remembering, better than a loop of crashes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edge_agent.errors import PlatformError


class StateFile:
    """One JSON object in one file.

    Parameters
    ----------
    path : Path
        The file; its folder must exist.
    """

    def __init__(self, path: Path) -> None:
        self.damaged = 0
        self._path = path

    def read(self) -> dict[str, Any] | None:
        """Return what was written last, None if nothing usable is there.

        Raises
        ------
        PlatformError
            The file is there and can't be read.
        """
        try:
            found = json.loads(self._path.read_bytes())
        except FileNotFoundError:
            return None
        except (ValueError, RecursionError):
            found = None
        except OSError as error:
            raise PlatformError(f"{self._path}: {error.strerror}") from error
        if isinstance(found, dict):
            return found
        self.set_aside()
        return None

    def set_aside(self) -> None:
        """Rename the file: what it holds is of no use.

        Raises
        ------
        PlatformError
            The disk refuses.
        """
        self.damaged += 1
        try:
            self._path.replace(self._path.with_name(self._path.name + ".damaged"))
        except OSError as error:
            raise PlatformError(f"{self._path}: {error.strerror}") from error

    def write(self, state: Mapping[str, Any]) -> None:
        """Put ``state`` in the place of what was there, or leave that as it was.

        Raises
        ------
        PlatformError
            The disk is full or refuses.
        """
        temporary = self._path.with_name(f".{self._path.name}.new")
        try:
            with temporary.open("wb") as file:
                file.write(json.dumps(state, sort_keys=True).encode("ascii"))
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self._path)
            folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            raise PlatformError(f"{self._path}: {error.strerror}") from error
