"""What the user ordered, and what every bundle's manifest says whatever its payload is.

A bundle depends on the source file and the order alone: ``created`` is ``SOURCE_DATE_EPOCH`` where that is
set (https://reproducible-builds.org/specs/source-date-epoch/), else the source's time of modification, and
latencies of this machine go into the report, never into the manifest.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_agent.errors import ConfigError
from edge_agent.wire.signatures import SecretKey
from edge_convert.readers import detect
from edge_convert.sensitivity.precision_search import Bits

TARGETS = ("engine", "litert", "onnxruntime")


@dataclass(frozen=True)
class Job:
    """One conversion: the command line, checked."""

    source: Path
    output: Path
    name: str
    version: str = "1"
    calibration: Path | None = None
    evaluate: Path | None = None
    min_agreement: float | None = None
    max_kl: float | None = None
    max_regret: float | None = None
    bits: Bits = "auto"
    inference: str | None = None
    min_sqnr: float | None = None
    report: Path | None = None
    key: SecretKey | None = None
    target: str | None = None
    calibrator: str = "percentile"
    action: str | None = None
    window: int = 1
    window_axis: int = 0
    inputs: tuple[str, ...] = ()
    actions: tuple[str, ...] = ()
    seed: int = 0
    verbose: bool = False

    def fields(self, kind: str) -> dict[str, Any]:
        """Return the part of the manifest that does not depend on the payload."""
        return {
            "name": self.name,
            "version": self.version,
            "kind": kind,
            "created": self._created(),
            "source_sha256": detect.digest(self.source),
        }

    def _created(self) -> int:
        epoch = os.environ.get("SOURCE_DATE_EPOCH")
        if epoch is None:
            return int(self.source.stat().st_mtime)
        if not epoch.isdecimal():
            raise ConfigError(f"SOURCE_DATE_EPOCH: found {epoch!r}, expected whole seconds")
        return int(epoch)
