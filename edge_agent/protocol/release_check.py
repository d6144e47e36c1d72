"""Which changes a director's document may ask for: those that a release names.

Theory of operation. With separate roles of keys a desired document alone changes no bundle and configures no
population. For each population the newest release decides, of those in the message and the one kept: the
document may ask for the bundle that it released and for the older ones that it allows, with its configuration
and no other. An older release is never believed again, so a hub that was taken over can't go back. What runs
already may stay without a release.

The result is what is to be kept of each population's newest release: beside the document, and in the floor
that outlives it (`twin.Floor`). A population that was removed keeps its entry.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from edge_agent.errors import PeerError
from edge_agent.wire import releases
from edge_agent.wire.documents import Document, Trust
from edge_agent.wire.releases import Released

Kept = Mapping[str, Released]


def check_released(
    trust: Trust,
    document: Document,
    statements: list[Mapping[str, Any]],
    kept: Kept,
    in_force: Mapping[str, Any],
    running: Callable[[str], str],
    t: float,
) -> dict[str, Released]:
    """Check a document against the releases that came with it; return what to keep of them.

    Parameters
    ----------
    trust : Trust
        Whose releases count.
    document : Document
        The desired document.
    statements : list of mapping
        The signed releases of its message.
    kept : mapping of str to Released
        The newest release seen, per population.
    in_force : mapping
        The ``populations`` of the document in force.
    running : callable (str) -> str
        The digest of the bundle that a population runs, "" for none.
    t : float
        Unix time, not before the document in force was issued.

    Raises
    ------
    PeerError
        The document asks for what no release names.
    """
    wanted: dict[str, Any] = document.get("populations", {})
    found, faults = _statements(trust, document["device"], statements, t)
    told = {name: releases.of_document(item) for name, item in found.items() if name in wanted}
    newest = releases.newer(kept, told)
    for name, entry in wanted.items():
        runs = entry["bundle"] == running(name)
        if runs and ("config" not in entry or in_force.get(name) == entry):
            continue
        _check(name, entry, newest.get(name), told.get(name), faults)
    return newest


def _statements(
    trust: Trust, device: str, statements: list[Mapping[str, Any]], t: float
) -> tuple[dict[str, Document], list[str]]:
    """Return the newest release of each population, and why others are not believed."""
    found: dict[str, Document] = {}
    faults: list[str] = []
    for statement in statements[: releases.MAX_RELEASES]:
        try:
            document = releases.opened(trust, statement, device, t)
        except PeerError as error:
            faults.append(str(error))
            continue
        name = document["population"]
        if name not in found or document["number"] > found[name]["number"]:
            found[name] = document
    return found, faults


def _check(
    name: str, entry: Mapping[str, Any], newest: Released | None, told: Released | None, faults: list[str]
) -> None:
    what = f"desired: populations.{name}"
    bundle = f"bundle {entry['bundle']:.12}"
    if newest is None:
        why = f" ({faults[0]})" if faults else ""
        raise PeerError(f"{what}: {bundle} has no release by the release keys{why}")
    if entry["bundle"] not in newest.bundles:
        if told is not None and told.number < newest.number and entry["bundle"] in told.bundles:
            why = f"release {told.number}, older than release {newest.number}, which this device has seen"
            raise PeerError(f"{what}: {bundle} is of {why}")
        why = f" ({faults[0]})" if faults else ""
        raise PeerError(f"{what}: {bundle} is not of release {newest.number}, the newest seen{why}")
    if "config" in entry and releases.config_digest(entry["config"]) != newest.config:
        raise PeerError(f"{what}.config: not the one of release {newest.number}")
