"""Writes the seeds of all targets into the corpus: ``python -m tests.fuzz.make_corpus``."""

from __future__ import annotations

import hashlib
import importlib
from pathlib import Path

from tests.fuzz import TARGETS

CORPUS = Path(__file__).parent / "corpus"


def main() -> None:
    """Write what is not there yet."""
    for name in TARGETS:
        folder = CORPUS / name
        folder.mkdir(parents=True, exist_ok=True)
        for data in importlib.import_module(f"tests.fuzz.{name}").seeds():
            folder.joinpath(hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)


if __name__ == "__main__":
    main()
