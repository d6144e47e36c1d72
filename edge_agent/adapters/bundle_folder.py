"""Stores incoming bundle blocks and finds them again after a power cut by their hashes.

Theory of operation. An incomplete bundle is ``DIGEST.part``. It has its full size from the start, so that a
full disk is detected early. The received blocks are not recorded; they are found by hashing the file. When
all blocks are there, `finish` syncs the file and renames it to ``DIGEST.eab``. Its content is verified later
by its digests and signature. ``adapters.download`` completes the same file from a URL.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Collection
from pathlib import Path

from edge_agent.adapters.download import SECONDS, Done, HttpDownload
from edge_agent.atomic_file import sync_folder
from edge_agent.errors import PlatformError
from edge_agent.wire.blocks import Cut

log = logging.getLogger("edge_agent")


class BundleFolder:
    """Bundles in a folder.

    Parameters
    ----------
    folder : Path
        Must exist.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, digest: str) -> Path:
        """Return where a complete bundle is, or will be."""
        return self._folder / f"{digest}.eab"

    def had(self, cut: Cut) -> set[int]:
        """Return the blocks that are on the disk; all of them if the bundle is complete."""
        for path in (self.path(cut.digest), self._part(cut.digest)):
            if path.exists():
                with path.open("rb") as file:
                    return {i for i in range(len(cut.blocks)) if cut.fits(i, file.read(cut.block))}
        return set()

    def write(self, cut: Cut, index: int, data: bytes) -> None:
        """Write a block at its place.

        Raises
        ------
        PlatformError
            The disk is full or refuses.
        """
        try:
            descriptor = os.open(self._part(cut.digest), os.O_RDWR | os.O_CREAT, 0o600)
            try:
                if os.fstat(descriptor).st_size != cut.size:
                    os.ftruncate(descriptor, cut.size)
                    os.posix_fallocate(descriptor, 0, cut.size)
                os.pwrite(descriptor, data, index * cut.block)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise PlatformError(f"{self._part(cut.digest)}: {error.strerror}") from error

    def finish(self, digest: str) -> Path:
        """Give a fetched bundle its name, once all its blocks are in; return where it is.

        Raises
        ------
        PlatformError
            It isn't there, or the disk refuses.
        """
        path, part = self.path(digest), self._part(digest)
        if path.exists():
            return path
        try:
            with part.open("rb+") as file:
                os.fsync(file.fileno())
            part.replace(path)
            sync_folder(self._folder)
        except OSError as error:
            raise PlatformError(f"{part}: {error.strerror}") from error
        return path

    def drop(self, digest: str) -> None:
        """Remove a bundle, complete or not."""
        self.path(digest).unlink(missing_ok=True)
        self._part(digest).unlink(missing_ok=True)

    def keep(self, digests: Collection[str]) -> None:
        """Remove every bundle, complete or not, but these; what can't be removed now goes another time."""
        try:
            for path in [*self._folder.glob("*.eab"), *self._folder.glob("*.part")]:
                if path.stem not in digests:
                    path.unlink(missing_ok=True)
        except OSError as error:
            log.warning("%s: a bundle that is not needed stays: %s", self._folder, error.strerror)

    def download(
        self, cut: Cut, done: Done, seconds: float = SECONDS, redirects_elsewhere: bool = False
    ) -> threading.Thread:
        """Fetch ``cut.url`` in a thread, which is returned; see `adapters.download.HttpDownload`."""
        return HttpDownload(cut, self, done, seconds, redirects_elsewhere).start()

    def _part(self, digest: str) -> Path:
        return self._folder / f"{digest}.part"
