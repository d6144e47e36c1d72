"""Bundles of the database as files, for what reads files: in a folder that may be lost at any time."""

from __future__ import annotations

from pathlib import Path

from edge_agent.atomic_file import replaced
from edge_agent.errors import PlatformError
from edge_hub.database import bundles
from edge_hub.database.engine import Database


class BundleCache:
    """A folder.

    Raises
    ------
    PlatformError
        It can't be made.
    """

    def __init__(self, database: Database, folder: Path) -> None:
        self._database = database
        self._folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise PlatformError(f"{folder}: {error.strerror}") from error

    def path(self, digest: str) -> Path:
        """Return where a bundle is; there is no file if the database does not have it."""
        path = self._folder / f"{digest}.eab"
        if not path.exists():
            content = bundles.content(self._database, digest)
            if content is not None:
                try:
                    with replaced(path) as file:
                        file.write(content)
                except OSError as error:
                    raise PlatformError(f"{path}: {error.strerror}") from error
        return path
