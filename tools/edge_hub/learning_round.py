"""One round of learning by a fleet: what devices sent under a bundle, added to the file that it was made of.

Theory of operation. Which bundle a file was converted to is in the bundle's manifest (``source_sha256``): so
counts are never added to another model than they were counted under. The arithmetic is `domain.learning`'s.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from numpy.typing import NDArray

from edge_agent.errors import ConfigError, ModelError
from edge_agent.wire import npz
from edge_hub.database import contributions
from edge_hub.database.engine import Database
from edge_hub.domain import held_out, learning
from edge_hub.domain.learning import SentEpoch


class LearningRound(NamedTuple):
    """What comes of it: ``arrays`` are the model's file after it, ``report`` plain values."""

    arrays: npz.Arrays
    report: dict[str, Any]


def bundle_of(known: Mapping[str, str], source: bytes, where: str, fleet: str, population: str) -> str:
    """Return the digest of the bundle that was made of a file and that a population learned under.

    ``known`` are the bundles that it learned under, each with the digest of its source, "" if not known.

    Raises
    ------
    ConfigError
        There is none, or there are several.
    """
    sha256 = hashlib.sha256(source).hexdigest()
    if not known:
        raise ConfigError(f"learn: population {population} of fleet {fleet} has sent nothing that it learned")
    found = [digest for digest, made_of in known.items() if made_of == sha256]
    if len(found) != 1:
        which = ", ".join(digest[:12] for digest in found or known)
        what = "several bundles were made of it" if found else "no bundle that the hub has was made of it"
        raise ConfigError(f"{where}: {what}, expected --bundle FILE, one of {which}")
    return found[0]


def stored(database: Database, fleet: str, population: str, bundle: str) -> Iterator[SentEpoch]:
    """Yield what a database has of what was sent under a bundle."""
    for one in contributions.stored_epochs(database, fleet, population, bundle):
        yield SentEpoch(one.device, one.epoch, one.pieces, contributions.pieces(one.payloads))


def run(
    sent: Iterable[SentEpoch],
    fleet: str,
    population: str,
    bundle: str,
    source: Mapping[str, NDArray[Any]],
    *,
    least: int,
    robust: bool,
    readings: Mapping[str, NDArray[Any]] | None = None,
) -> LearningRound:
    """Merge what was sent, and report it.

    Parameters
    ----------
    sent : iterable of SentEpoch
        What was sent under the bundle.
    fleet, population, bundle : str
        Of whom, and under which bundle (digest).
    source : mapping
        The arrays of the file that the bundle was made of.
    least : int
        Devices, fewer of which are refused.
    robust : bool
        Whether no device counts more than the median one, and extremes of each cell are left out.
    readings : mapping, optional
        Held-out readings, see `domain.held_out`.

    Raises
    ------
    ModelError
        Too few devices contributed, or the file or the readings don't fit.
    """
    shapes = learning.learning_shapes(source)
    gathered = learning.gather(sent, shapes, bundle)
    try:
        total = learning.merged(gathered, least, robust)
    except ModelError as error:
        others = f"; left out: {'; '.join(gathered.refused[:3])}" if gathered.refused else ""
        raise ModelError(f"learn: {error}{others}") from error
    after = learning.applied(source, total)
    shares = learning.shares(gathered) if robust else {}
    report: dict[str, Any] = {
        "fleet": fleet,
        "population": population,
        "bundle": bundle,
        "sum": "robust" if robust else "plain",
        "counts": total.mass,
        "devices": [
            {
                "device": name,
                "epochs": gathered.epochs[name],
                "updates": one.updates,
                "counts": one.mass,
                "share": shares.get(name, 1.0),
            }
            for name, one in sorted(gathered.devices.items())
        ],
        "refused": list(gathered.refused),
        "tensors": [
            {
                "name": change.name,
                "counts": change.counts,
                "kl_mean": change.mean,
                "kl_most": change.most,
                "largest": [{"column": list(place), "kl": kl} for place, kl in change.largest],
            }
            for change in learning.changes(source, after, total)
        ],
        "held_out": None,
    }
    if readings is not None:
        before, now = (held_out.log_likelihood(model, readings) for model in (source, after))
        report["held_out"] = {"readings": len(readings["trace_obs"]), "before": before, "after": now}
    return LearningRound(after, report)
