"""Devices: pages, one device, its series and labels; fleets and what runs where."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from litestar import Request, Response, delete, get, put
from litestar.params import FromQuery, JSONBody, PathParameter, QueryParameter

from edge_hub.api.hub import caller_of, hub_of
from edge_hub.api.parameters import FAR, UnixTime, may
from edge_hub.api.problems import ProblemError, known
from edge_hub.api.schemas import (
    DeviceCount,
    DeviceDetail,
    DevicePage,
    FleetSummary,
    Labels,
    Population,
    Rejected,
    Series,
    TelemetryPage,
)
from edge_hub.database import audit, devices, history, rejected
from edge_hub.database.gaps import gaps
from edge_hub.domain import filters
from edge_hub.domain.summaries import Statistic

Fleet = Annotated[str, PathParameter(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$")]
Limit = Annotated[int, QueryParameter(ge=1, le=devices.MAX_PAGE)]
_AFTER = r"^(-?[0-9]{1,13}(\.[0-9]{1,17})?(e[+-]?[0-9]{1,3})?:[0-9]{1,10}:[0-9]{1,19})?$"
READ = may("viewer", "devices")
WRITE = may("operator", "devices")


@get("/devices", opt=READ, summary="A page of devices")
async def list_devices(
    request: Request[Any, Any, Any],
    filter_: Annotated[str, QueryParameter(name="filter", max_length=filters.MAX_LENGTH)] = "",
    limit: Limit = 50,
    after: Annotated[str, QueryParameter(max_length=300)] = "",
    sort: FromQuery[Literal["name", "heard", "rss"]] = "name",
    descending: FromQuery[bool] = False,
) -> Response[DevicePage]:
    """Return devices that fit ``filter`` (terms as ``online profile=pi4* label.site=lab``), page by page."""
    hub, terms = hub_of(request), filters.parse(filter_)

    def compute() -> dict[str, Any]:
        found = devices.page(
            hub.database, terms, hub.now(), limit=limit, after=after, sort=sort, descending=descending
        )
        return {"devices": found.rows, "after": found.after}

    return await hub.answer(request, compute)


@get("/devices/count", opt=READ, summary="How many devices fit")
async def count_devices(
    request: Request[Any, Any, Any],
    filter_: Annotated[str, QueryParameter(name="filter", max_length=filters.MAX_LENGTH)] = "",
) -> Response[DeviceCount]:
    """Return how many devices fit ``filter``, as ``/devices`` has it."""
    hub, terms = hub_of(request), filters.parse(filter_)
    return await hub.answer(request, lambda: devices.count(hub.database, terms, hub.now()))


@get("/fleets", opt=READ, summary="Fleets with their numbers of devices")
async def list_fleets(request: Request[Any, Any, Any]) -> Response[list[FleetSummary]]:
    """Return how many devices of each fleet are known and online."""
    hub = hub_of(request)
    return await hub.answer(request, lambda: devices.summary(hub.database))


@get("/populations", opt=READ, summary="What runs where")
async def list_populations(request: Request[Any, Any, Any]) -> Response[list[Population]]:
    """Return how many devices run which bundle."""
    hub = hub_of(request)
    return await hub.answer(request, lambda: devices.running(hub.database))


@get("/devices/{fleet:str}/{name:str}", opt=READ, summary="One device")
async def get_device(request: Request[Any, Any, Any], fleet: Fleet, name: Fleet) -> Response[DeviceDetail]:
    """Return all that is known of a device."""
    hub = hub_of(request)

    def compute() -> dict[str, Any]:
        found = known(devices.one(hub.database, fleet, name), f"device {fleet}/{name}")
        return found | {"gaps": gaps(hub.database, found["id"])}

    return await hub.answer(request, compute)


@get("/devices/{fleet:str}/{name:str}/series", opt=READ, summary="Measurements of a device")
async def get_series(
    request: Request[Any, Any, Any],
    fleet: Fleet,
    name: Fleet,
    since: UnixTime = 0.0,
    until: UnixTime = FAR,
    points: Annotated[int, QueryParameter(ge=2, le=5000)] = 500,
    statistic: FromQuery[Statistic] = "last",
    resolution: FromQuery[Literal["auto", "raw", "minute", "hour"]] = "auto",
    population: Annotated[str, QueryParameter(max_length=128)] = "",
    agent: Annotated[str, QueryParameter(max_length=256)] = "",
) -> Response[Series]:
    """Return memory, health and counters over time, thinned to at most ``points``, from messages or roll-ups;
    with ``population`` and ``agent`` the samples of that agent.
    """
    hub = hub_of(request)
    if bool(population) != bool(agent):
        raise ProblemError(400, "population and agent: found one of them, expected both or neither")
    of = (population, agent) if agent else None

    def compute() -> dict[str, Any]:
        with hub.database.read() as connection:
            number = known(devices.number(connection, fleet, name), f"device {fleet}/{name}")
        wanted = None if resolution == "auto" else resolution
        return history.series(hub.database, number, since, until, points, statistic, wanted, of)

    return await hub.answer(request, compute)


@get("/devices/{fleet:str}/{name:str}/telemetry", opt=READ, summary="What a device reported, page by page")
async def get_telemetry(
    request: Request[Any, Any, Any],
    fleet: Fleet,
    name: Fleet,
    since: UnixTime = 0.0,
    until: UnixTime = FAR,
    resolution: FromQuery[Literal["raw", "minute", "hour"]] = "raw",
    after: Annotated[str, QueryParameter(pattern=_AFTER, max_length=100)] = "",
    limit: Limit = 500,
) -> Response[TelemetryPage]:
    """Return the values in a device's messages or roll-ups from ``since`` until before ``until``."""
    hub = hub_of(request)
    key = _key(after)

    def compute() -> dict[str, Any]:
        with hub.database.read() as connection:
            number = known(devices.number(connection, fleet, name), f"device {fleet}/{name}")
            found = history.page(connection, number, since, until, resolution, key, limit)
        rows = [{"t": t, "values": values} for _, moments in found for t, values in moments]
        return {"rows": rows, "after": ":".join(map(repr, found[-1][0])) if len(found) == limit else ""}

    return await hub.answer(request, compute)


def _key(after: str) -> tuple[float, int, int] | None:
    if not after:
        return None
    t, outbox, seq = after.split(":")
    if int(outbox) >= 2**31 or int(seq) >= 2**63:
        raise ProblemError(400, "after: expected what a page gave")
    return float(t), int(outbox), int(seq)


@put("/devices/{fleet:str}/{name:str}/labels", opt=WRITE, summary="Set a device's labels")
async def put_labels(
    request: Request[Any, Any, Any], fleet: Fleet, name: Fleet, data: JSONBody[Labels]
) -> Labels:
    """Replace all labels of a device."""
    hub, who = hub_of(request), caller_of(request).name

    def change() -> None:
        with hub.database.write() as connection:
            number = known(devices.number(connection, fleet, name), f"device {fleet}/{name}")
            before = devices.labels_of(connection, number)
            devices.set_labels(connection, number, data.labels)
            audit.append(connection, who, "device.labels", f"{fleet}/{name}", before, data.labels)

    await hub.change(change)
    return data


@delete("/devices/{fleet:str}/{name:str}", opt=WRITE, summary="Take a device off the list")
async def delete_device(request: Request[Any, Any, Any], fleet: Fleet, name: Fleet) -> None:
    """Forget a device until it is heard again; its telemetry stays until it expires."""
    hub, who = hub_of(request), caller_of(request).name

    def change() -> None:
        with hub.database.write() as connection:
            number = known(devices.number(connection, fleet, name), f"device {fleet}/{name}")
            devices.forget(connection, number)
            audit.append(connection, who, "device.forget", f"{fleet}/{name}")

    await hub.change(change)


@get("/rejected", opt=READ, summary="Messages that could not be taken")
async def list_rejected(
    request: Request[Any, Any, Any],
    limit: Limit = 50,
    before: Annotated[int, QueryParameter(ge=0, le=2**31 - 1)] = 0,
) -> Response[list[Rejected]]:
    """Return what was kept aside, newest first, with the reasons."""
    hub = hub_of(request)
    return await hub.answer(request, lambda: rejected.page(hub.database, before, limit))


HANDLERS = [
    list_devices,
    count_devices,
    list_fleets,
    list_populations,
    get_device,
    get_series,
    get_telemetry,
    put_labels,
    delete_device,
    list_rejected,
]
