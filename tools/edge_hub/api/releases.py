"""Releases: signed elsewhere, uploaded here, asked for where a rollout waits for one.

Theory of operation. With release keys (`Hub.release_trust`) a rollout may be planned at any time, and
approved once a release names its bundle. Only what is signed by enough of the release keys is kept.
"""

from __future__ import annotations

import json
from typing import Any

from litestar import Request, Response, get, post
from litestar.params import JSONBody

from edge_hub import releases as signed_releases
from edge_hub import signed_json
from edge_hub.api.hub import Hub, caller_of, hub_of
from edge_hub.api.parameters import FAR, Before, Limit, may
from edge_hub.api.problems import ProblemError
from edge_hub.api.schemas import NewRelease, Release, WantedRelease
from edge_hub.database import audit, releases, rollouts
from edge_hub.rollout import CONFIGURATION


@get("/releases", opt=may("viewer", "bundles"), summary="Releases")
async def list_releases(
    request: Request[Any, Any, Any], limit: Limit = 50, before: Before = FAR
) -> Response[list[Release]]:
    """Return the releases that were uploaded, newest first."""
    hub = hub_of(request)
    return await hub.answer(request, lambda: releases.page(hub.database, limit, before))


@get("/releases/wanted", opt=may("viewer", "bundles"), summary="Rollouts that wait for a release")
async def list_wanted(request: Request[Any, Any, Any]) -> Response[list[WantedRelease]]:
    """Return the proposed rollouts that can't be approved before ``edge-hub sign`` released their bundle."""
    hub = hub_of(request)

    def compute() -> list[dict[str, Any]]:
        found = []
        for row in rollouts.proposed(hub.database):
            state = json.loads(row["state"])
            if is_released(hub, row["fleet"], row["population"], row["bundle"], state["config"]):
                continue
            found.append(
                {
                    "rollout": row["id"],
                    "fleet": row["fleet"],
                    "population": row["population"],
                    "bundle": row["bundle"],
                    "name": state["name"],
                    "config": state["config"],
                    "devices": len(state["members"]),
                }
            )
        return found

    return await hub.answer(request, compute)


@post("/releases", opt=may("operator", "bundles"), summary="Upload a release", status_code=201)
async def add_release(request: Request[Any, Any, Any], data: JSONBody[NewRelease]) -> Release:
    """Verify a release by the fleet's release keys, and keep it."""
    hub, who = hub_of(request), caller_of(request).name
    return await hub.change(_keep, hub, data, who)


def _keep(hub: Hub, data: NewRelease, who: str) -> Release:
    signatures = [{"key": item.key, "signature": item.signature} for item in data.signatures]
    signed = signed_json.of_plain({"doc": data.doc, "signatures": signatures}, "release")
    fleet = signed_releases.document_of(signed, "release")["fleet"]
    trust = hub.release_trust(fleet)
    if trust is None:
        raise ProblemError(409, f"fleet {fleet}: no release keys are known here; start with --release-key")
    document = signed_releases.check(trust, signed)
    with hub.database.write() as connection:
        row = releases.shown(releases.put(connection, signed, document, hub.now(), who))
        audit.append(connection, who, "release.upload", row["id"], None, row)
    return Release(**row)


def is_released(hub: Hub, fleet: str, population: str, bundle: str, config: dict[str, Any]) -> bool:
    """Whether a rollout needs no release, or has one."""
    if population == CONFIGURATION:
        return True  # values that the director's key may sign alone
    if hub.release_trust(fleet) is None:
        return True
    return signed_releases.names_bundle(releases.of_fleet(hub.database, fleet), population, bundle, config)


HANDLERS = [list_releases, list_wanted, add_release]
