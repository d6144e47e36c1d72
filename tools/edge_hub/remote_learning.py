"""Contributions of a running service, over REST: what ``edge-hub learn`` merges with ``--hub URL``."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

from edge_hub.domain.learning import SentEpoch
from edge_hub.remote import RemoteHub


def sources(hub: RemoteHub, fleet: str, population: str) -> dict[str, str]:
    """Return the bundles that a population learned under, each with its source's digest, "" if not known."""
    return {
        row["bundle"]: row["source_sha256"]
        for row in hub.get("/learning")
        if (row["fleet"], row["population"]) == (fleet, population)
    }


def sent(hub: RemoteHub, fleet: str, population: str, bundle: str) -> Iterator[SentEpoch]:
    """Yield the contributions under a bundle, by device and epoch."""
    from edge_hub.database import contributions

    path = f"/learning/{fleet}/{population}/{bundle}/epochs"
    last = SentEpoch("", 0, 0, ())
    while True:
        page = hub.get(path, after_device=last.device, after_epoch=last.epoch)
        if not page:
            return
        for row in page:
            payloads = [base64.b64decode(message) for message in row["messages"]]
            last = SentEpoch(row["device"], row["epoch"], row["pieces"], contributions.pieces(payloads))
            yield last


def report(hub: RemoteHub, done: dict[str, Any], source_sha256: str, output_sha256: str) -> None:
    """Let the service keep what came of a round (`edge_hub.learning_round.LearningRound.report`)."""
    path = f"/learning/{done['fleet']}/{done['population']}/{done['bundle']}/rounds"
    tensors = [{key: row[key] for key in ("name", "counts", "kl_mean", "kl_most")} for row in done["tensors"]]
    hub.post(
        path,
        {
            "sum": done["sum"],
            "devices": len(done["devices"]),
            "refused": len(done["refused"]),
            "counts": done["counts"],
            "tensors": tensors,
            "held_out": done["held_out"],
            "source_sha256": source_sha256,
            "output_sha256": output_sha256,
        },
    )
