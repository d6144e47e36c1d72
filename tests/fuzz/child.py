"""One run of one target under atheris: ``python -m tests.fuzz.child NAME [options of libFuzzer]``."""

from __future__ import annotations

import importlib
import logging
import sys

import atheris

from tests.fuzz import contract

PACKAGES = ["edge_agent", "edge_convert", "edge_hub"]


def main(name: str, options: list[str]) -> None:
    """Fuzz until libFuzzer has enough; the process ends with libFuzzer's status."""
    logging.disable()
    # atheris instruments what is found on the path; the editable install's finder is for the kernel only.
    sys.path[:0] = [".", "tools"]
    sys.meta_path.sort(key=lambda finder: finder.__class__.__module__.startswith("_editable"))
    with atheris.instrument_imports(include=PACKAGES):
        target = importlib.import_module(f"tests.fuzz.{name}")
    target.decode(target.seed())  # what is imported or built once is not an input's

    def run(data: bytes) -> None:
        contract.holds(target.decode, data)

    atheris.Setup([name, *options], run)
    with contract.bounded(contract.MEMORY_BYTES):
        atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
