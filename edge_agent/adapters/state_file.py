"""A small JSON file that survives power cuts: it is written to a new file, synced and renamed.

A file that is not a JSON object is renamed to ``NAME.damaged`` (``NAME.damaged.1`` and so on if that exists)
and counted, and the device starts from its configuration, which is better than a crash loop. Renamed files
are never removed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edge_agent.atomic_file import replaced, sync_folder
from edge_agent.errors import PlatformError


class DamagedFileError(PlatformError):
    """The file is there and holds something else."""


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

    @property
    def path(self) -> Path:
        """Where it is."""
        return self._path

    def look(self) -> dict[str, Any] | None:
        """Return what was written last, None if the file is not there; nothing is changed.

        Raises
        ------
        DamagedFileError
            It is no JSON object.
        PlatformError
            It can't be read.
        """
        try:
            found = json.loads(self._path.read_bytes())
        except FileNotFoundError:
            return None
        except (ValueError, RecursionError):
            found = None
        except OSError as error:
            raise PlatformError(f"{self._path}: {error.strerror}") from error
        if not isinstance(found, dict):
            raise DamagedFileError(f"{self._path}: damaged, expected a JSON object")
        return found

    def read(self) -> dict[str, Any] | None:
        """Return what was written last, None if nothing usable is there.

        Raises
        ------
        PlatformError
            The file is there and can't be read.
        """
        try:
            return self.look()
        except DamagedFileError:
            self.set_aside()
            return None

    def set_aside(self) -> Path:
        """Rename the file, whose content cannot be used; return its new name.

        Raises
        ------
        PlatformError
            The disk refuses.
        """
        self.damaged += 1
        name, number = f"{self._path.name}.damaged", 0
        while (target := self._path.with_name(f"{name}.{number}" if number else name)).exists():
            number += 1
        try:
            self._path.replace(target)
            sync_folder(self._path.parent)
        except OSError as error:
            raise PlatformError(f"{self._path}: {error.strerror}") from error
        return target

    def write(self, state: Mapping[str, Any]) -> None:
        """Put ``state`` in the place of what was there, or leave that as it was.

        Raises
        ------
        PlatformError
            The disk is full or refuses.
        """
        try:
            with replaced(self._path) as file:
                file.write(json.dumps(state, sort_keys=True).encode("ascii"))
        except OSError as error:
            raise PlatformError(f"{self._path}: {error.strerror}") from error
