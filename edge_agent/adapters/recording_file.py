"""The flight recorder's file: two segments, PATH and PATH.old."""

from __future__ import annotations

from io import FileIO
from pathlib import Path

from edge_agent.errors import PlatformError


class SegmentedFile:
    """Appends to ``path``; `rotate` renames it to ``path.old``. Every write reaches the kernel at once.

    The file is opened by the first write, so a disk that refuses ends the recording and not the daemon. What
    an earlier run recorded becomes the old segment.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: FileIO | None = None

    def write(self, data: bytes) -> None:
        """Append; a frame that was written in part (a full disk) is taken back."""
        try:
            if self._file is None:
                self._file = self._begin()
            written = self._file.write(data)
            if written != len(data):
                self._file.truncate(self._file.tell() - written)
                raise PlatformError(f"{self._path}: {written} of {len(data)} bytes written, the disk is full")
        except OSError as error:
            raise PlatformError(f"{self._path}: {error.strerror}") from error

    def rotate(self) -> None:
        """Begin a new segment."""
        self.close()

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _begin(self) -> FileIO:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        if self._path.exists():
            self._path.replace(self._path.with_name(self._path.name + ".old"))
        return FileIO(self._path, "w")
