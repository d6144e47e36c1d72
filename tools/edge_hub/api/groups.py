"""Groups: filters under names."""

from __future__ import annotations

from typing import Any

from litestar import Request, Response, delete, get, put
from litestar.params import JSONBody

from edge_hub.api.hub import caller_of, hub_of
from edge_hub.api.parameters import GroupName, may
from edge_hub.api.problems import known
from edge_hub.api.schemas import (
    Group,
    NewGroup,
)
from edge_hub.database import audit, groups
from edge_hub.domain import filters


@get("/groups", opt=may("viewer", "groups"), summary="Groups")
async def list_groups(request: Request[Any, Any, Any]) -> Response[list[Group]]:
    """Return all groups."""
    hub = hub_of(request)
    return await hub.answer(request, lambda: groups.page(hub.database))


@put("/groups/{name:str}", opt=may("operator", "groups"), summary="Make or change a group")
async def put_group(request: Request[Any, Any, Any], name: GroupName, data: JSONBody[NewGroup]) -> Group:
    """Give a filter a name; who fits it later is in the group too."""
    hub, who = hub_of(request), caller_of(request).name
    filters.parse(data.filter)

    def change() -> None:
        with hub.database.write() as connection:
            before = groups.put(connection, name, data.filter, data.note)
            audit.append(
                connection, who, "group.put", name, before, {"filter": data.filter, "note": data.note}
            )

    await hub.change(change)
    return Group(name, data.filter, data.note)


@delete("/groups/{name:str}", opt=may("operator", "groups"), summary="Delete a group")
async def delete_group(request: Request[Any, Any, Any], name: GroupName) -> None:
    """Delete a group; devices stay as they are."""
    hub, who = hub_of(request), caller_of(request).name

    def change() -> None:
        with hub.database.write() as connection:
            before = known(groups.one(connection, name), f"group {name}")
            groups.remove(connection, name)
            audit.append(connection, who, "group.delete", name, before)

    await hub.change(change)


HANDLERS = [list_groups, put_group, delete_group]
