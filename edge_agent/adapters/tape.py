"""The flight recorder's file: two segments, PATH and PATH.old."""

from __future__ import annotations

from pathlib import Path

from edge_agent.errors import PlatformError


class FileTape:
    """Appends to ``path``; `rotate` renames it to ``path.old``. Every write reaches the kernel at once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.exists():
                path.replace(self._old)
            self._file = path.open("wb", buffering=0)
        except OSError as error:
            raise PlatformError(f"{path}: {error.strerror}") from error

    @property
    def _old(self) -> Path:
        return self._path.with_name(self._path.name + ".old")

    def write(self, data: bytes) -> None:
        """Append; a frame that was written in part (a full disk) is taken back."""
        try:
            written = self._file.write(data)
            if written != len(data):
                self._file.truncate(self._file.tell() - written)
                raise PlatformError(f"{self._path}: {written} of {len(data)} bytes written, the disk is full")
        except OSError as error:
            raise PlatformError(f"{self._path}: {error.strerror}") from error

    def rotate(self) -> None:
        """Begin a new segment."""
        try:
            self._file.close()
            self._path.replace(self._old)
            self._file = self._path.open("wb", buffering=0)
        except OSError as error:
            raise PlatformError(f"{self._path}: {error.strerror}") from error

    def close(self) -> None:
        """Close the file."""
        self._file.close()
