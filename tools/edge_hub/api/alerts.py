"""Alerts: listed, acknowledged; and their rules. `edge_hub.jobs.alerts` evaluates them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from litestar import Request, Response, delete, get, post, put
from litestar.params import FromQuery, JSONBody, PathParameter

from edge_agent.errors import ConfigError
from edge_hub.api.alert_schemas import Alert, AlertDetail, AlertRule, NewAlertRule
from edge_hub.api.hub import Hub, caller_of, hub_of
from edge_hub.api.parameters import FAR, Before, Id, Limit, may
from edge_hub.api.problems import ProblemError, known
from edge_hub.database import alerts, audit
from edge_hub.domain import alert_rules
from edge_hub.domain.alert_rules import Rule
from edge_hub.domain.alert_states import OPEN

RuleName = Annotated[str, PathParameter(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")]


@get("/alerts", opt=may("viewer", "alerts"), summary="Alerts")
async def list_alerts(
    request: Request[Any, Any, Any],
    status: FromQuery[Literal["", "open", "cleared"]] = "",
    limit: Limit = 50,
    before: Before = FAR,
) -> Response[list[Alert]]:
    """Return alerts, newest first."""
    hub = hub_of(request)
    return await hub.answer(request, lambda: alerts.page(hub.database, status, limit, before))


@get("/alerts/{id_:str}", opt=may("viewer", "alerts"), summary="One alert with its devices and notices")
async def get_alert(request: Request[Any, Any, Any], id_: Id) -> Response[AlertDetail]:
    """Return an alert."""
    hub = hub_of(request)
    return await hub.answer(request, lambda: known(alerts.one(hub.database, id_), f"alert {id_}"))


@post(
    "/alerts/{id_:str}/acknowledge",
    opt=may("operator", "alerts"),
    summary="Acknowledge an alert",
    status_code=200,
)
async def acknowledge_alert(request: Request[Any, Any, Any], id_: Id) -> AlertDetail:
    """Note that somebody knows: it is told again only when it has cleared."""
    hub, who = hub_of(request), caller_of(request).name

    def change() -> dict[str, Any]:
        found = known(alerts.one(hub.database, id_), f"alert {id_}")
        if found["status"] != OPEN:
            raise ProblemError(409, f"alert {id_}: is {found['status']}; acknowledge is not possible")
        if found["acknowledged"]:
            raise ProblemError(409, f"alert {id_}: {found['acknowledged_by']} acknowledged it already")
        with hub.database.write() as connection:
            alerts.acknowledge(connection, id_, who, hub.now())
            subject = {"rule": found["rule"], "group": found["group_name"]}
            audit.append(connection, who, "alert.acknowledge", id_, None, subject)
        return alerts.one(hub.database, id_) or {}

    return AlertDetail(**await hub.change(change))


@get("/alerts/rules", opt=may("viewer", "alerts"), summary="Alert rules")
async def list_rules(request: Request[Any, Any, Any]) -> Response[list[AlertRule]]:
    """Return all rules by name."""
    hub = hub_of(request)
    return await hub.answer(request, lambda: [_shown(rule) for rule in alerts.rules(hub.database)])


@get("/alerts/targets", opt=may("viewer", "alerts"), summary="Where notices go")
async def list_targets(request: Request[Any, Any, Any]) -> list[str]:
    """Return the names of the targets; where they lead is known to ``edge-hub serve --notify`` alone."""
    return list(hub_of(request).alert_targets)


@put("/alerts/rules/{name:str}", opt=may("operator", "alerts"), summary="Make or change an alert rule")
async def put_rule(
    request: Request[Any, Any, Any], name: RuleName, data: JSONBody[NewAlertRule]
) -> AlertRule:
    """Make or change a rule; alerts that are open go on under the new one."""
    hub, who = hub_of(request), caller_of(request).name
    rule = alert_rules.parse({"name": name, **msgspec.to_builtins(data)})
    _check_targets(hub, rule)

    def change() -> None:
        with hub.database.write() as connection:
            before = alerts.put_rule(connection, rule, hub.now())
            audit.append(connection, who, "alert-rule.put", name, before, rule.plain())

    await hub.change(change)
    return AlertRule(**_shown(rule))


@delete("/alerts/rules/{name:str}", opt=may("operator", "alerts"), summary="Delete an alert rule")
async def delete_rule(request: Request[Any, Any, Any], name: RuleName) -> None:
    """Delete a rule; its open alerts end."""
    hub, who = hub_of(request), caller_of(request).name

    def change() -> None:
        with hub.database.write() as connection:
            before = known(alerts.rule(connection, name), f"rule {name}")
            alerts.remove_rule(connection, name)
            audit.append(connection, who, "alert-rule.delete", name, before)

    await hub.change(change)


def _check_targets(hub: Hub, rule: Rule) -> None:
    for target in rule.notify:
        if target not in hub.alert_targets:
            names = ", ".join(hub.alert_targets) or "none, edge-hub serve has no --notify FILE"
            raise ConfigError(f"notify: found {target!r}, expected one of: {names}")


def _shown(rule: Rule) -> dict[str, Any]:
    return rule.plain() | {"condition": rule.text()}


HANDLERS = [
    list_alerts,
    get_alert,
    acknowledge_alert,
    list_rules,
    list_targets,
    put_rule,
    delete_rule,
]
