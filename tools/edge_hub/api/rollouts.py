"""Rollouts of bundles and configurations: planned, approved, steered; `edge_hub.jobs.rollouts` runs them."""

from __future__ import annotations

import json
import secrets
from typing import Any, Literal, NamedTuple

from litestar import Request, Response, get, post
from litestar.params import FromPath, JSONBody

from edge_agent.errors import ConfigError
from edge_agent.wire import bodies
from edge_agent.wire.body_checks import check_plain
from edge_agent.wire.releases import config_digest
from edge_hub.api.hub import Hub, caller_of, hub_of
from edge_hub.api.parameters import FAR, Before, Id, Limit, may
from edge_hub.api.problems import ProblemError, known
from edge_hub.api.releases import is_released
from edge_hub.api.schemas import (
    NewConfiguration,
    NewRollout,
    Rollout,
    RolloutDetail,
)
from edge_hub.database import audit, bundles, devices, groups, rollouts, traceparents
from edge_hub.domain import filters
from edge_hub.rollout import CONFIGURATION, FleetRollout, Member, parse_shares, waves


@get("/rollouts", opt=may("viewer", "rollouts"), summary="Rollouts")
async def list_rollouts(
    request: Request[Any, Any, Any], limit: Limit = 50, before: Before = FAR
) -> Response[list[Rollout]]:
    """Return rollouts, newest first."""
    hub = hub_of(request)
    return await hub.answer(request, lambda: rollouts.page(hub.database, limit, before))


@get("/rollouts/{id_:str}", opt=may("viewer", "rollouts"), summary="One rollout with its devices")
async def get_rollout(request: Request[Any, Any, Any], id_: Id) -> Response[RolloutDetail]:
    """Return a rollout: waves, and each device's state with the reason."""
    hub = hub_of(request)

    def compute() -> dict[str, Any]:
        found = _rollout(hub, id_)
        return found | {"state": json.loads(found["state"])}

    return await hub.answer(request, compute)


@post("/rollouts", opt=may("operator", "rollouts"), summary="Make a rollout", status_code=201)
async def add_rollout(request: Request[Any, Any, Any], data: JSONBody[NewRollout]) -> RolloutDetail:
    """Plan a rollout of a bundle that was uploaded; it runs once it is approved."""
    hub, who = hub_of(request), caller_of(request).name
    return await hub.change(_plan, hub, data, who)


@post("/configurations", opt=may("operator", "rollouts"), summary="Configure devices", status_code=201)
async def add_configuration(
    request: Request[Any, Any, Any], data: JSONBody[NewConfiguration]
) -> RolloutDetail:
    """Plan a rollout of values in the devices' configuration; it runs once it is approved."""
    hub, who = hub_of(request), caller_of(request).name

    def change() -> RolloutDetail:
        check_plain(data.values, "values")
        what = What(config_digest(data.values), "configuration", CONFIGURATION, data.values)
        return _add(hub, data, what, who)

    return await hub.change(change)


class What(NamedTuple):
    """What is rolled out: digest and name of a bundle, population, and its configuration; or values of the
    devices' configuration, with their digest.
    """

    digest: str
    name: str
    population: str
    config: dict[str, Any]


def _plan(hub: Hub, data: NewRollout, who: str) -> RolloutDetail:
    found = known(bundles.one(hub.database, data.bundle), f"bundle {data.bundle}")
    if data.approve:
        _check_released(hub, data.fleet, data.population, data.bundle, data.config)
    return _add(hub, data, What(data.bundle, found["name"], data.population, data.config), who)


def _add(hub: Hub, data: NewRollout | NewConfiguration, what: What, who: str) -> RolloutDetail:
    shares = parse_shares(data.canary)
    unknown = sorted(set(data.gates) - set(bodies.GATES))
    if unknown:
        raise ConfigError(f"gates: found {unknown[0]!r}, expected one of {', '.join(bodies.GATES)}")
    text = data.filter
    with hub.database.write() as connection:
        if data.group:
            group = known(groups.one(connection, data.group), f"group {data.group}")
            text = f"{group['filter']} {text}".strip()
        now = hub.now()
        names = [
            name
            for fleet, name in devices.numbers_of(hub.database, filters.parse(text), now)
            if fleet == data.fleet
        ]
        if not names:
            raise ConfigError(f"filter: no device of fleet {data.fleet} fits {text!r}")
        id_ = f"{what.name}-{what.digest[:8]}-{secrets.token_hex(4)}"
        members = {name: Member() for name in names}
        cut = waves(names, shares, id_)
        rollout = FleetRollout(id_, what.digest, what.name, what.population, cut, members)
        rollout.gates, rollout.max_failures = dict(data.gates), data.max_failures
        rollout.patience, rollout.config = data.patience_s, what.config
        row: dict[str, Any] = {
            "id": id_,
            "fleet": data.fleet,
            "population": what.population,
            "bundle": what.digest,
            "status": "running" if data.approve else rollouts.PROPOSED,
            "created": now,
            "created_by": who,
            "approved_by": who if data.approve else "",
            "group_name": data.group,
            "filter": text,
        }
        rollouts.add(connection, **row, state=rollout.state())
        traceparents.keep(connection, id_)
        told = row | {"devices": len(names), "config": what.config}
        audit.append(connection, who, "rollout.add", id_, None, told)
    return RolloutDetail(**row, updated=now, state=rollout.state())


@post(
    "/rollouts/{id_:str}/{action:str}",
    opt=may("operator", "rollouts"),
    summary="Approve, pause, resume or abort a rollout",
    status_code=202,
)
async def steer_rollout(
    request: Request[Any, Any, Any], id_: Id, action: FromPath[Literal["approve", "pause", "resume", "abort"]]
) -> Response[Rollout]:
    """Approve a proposed rollout, or ask one that runs to pause, go on, or go back."""
    hub, who = hub_of(request), caller_of(request).name

    def change() -> dict[str, Any]:
        found = _rollout(hub, id_)
        status = found["status"]
        if action == "approve":
            allowed = status == rollouts.PROPOSED
        else:
            allowed = status in {"pause": ("running",), "resume": ("paused",)}.get(
                action, ("running", "paused", rollouts.PROPOSED)
            )
        if not allowed:
            raise ProblemError(409, f"rollout {id_}: is {status}; {action} is not possible")
        if action == "approve":
            config = json.loads(found["state"])["config"]
            _check_released(hub, found["fleet"], found["population"], found["bundle"], config)
        now = hub.now()
        with hub.database.write() as connection:
            if action == "approve":
                rollouts.approve(connection, id_, who, now)
            elif status == rollouts.PROPOSED:
                rollouts.withdraw(connection, id_, now)
            else:
                rollouts.ask(connection, id_, action)
            audit.append(connection, who, f"rollout.{action}", id_, {"status": status})
        return rollouts.shown(hub.database, id_) or {}

    row = await hub.change(change)
    return Response(Rollout(**row), status_code=202)


def _check_released(hub: Hub, fleet: str, population: str, bundle: str, config: dict[str, Any]) -> None:
    if not is_released(hub, fleet, population, bundle, config):
        what = f"bundle {bundle[:12]} has no release for population {population}"
        raise ProblemError(
            409, f"{what}; sign it with the release keys (edge-hub sign) and upload that first"
        )


def _rollout(hub: Hub, id_: str) -> dict[str, Any]:
    found = known(rollouts.one(hub.database, id_), f"rollout {id_}")
    for key in ("request", "ended", "summary"):
        found.pop(key)
    return found


HANDLERS = [list_rollouts, get_rollout, add_rollout, add_configuration, steer_rollout]
