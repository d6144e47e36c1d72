"""Commands: signed, sent, and answered by devices."""

from __future__ import annotations

import secrets
from typing import Any

from litestar import Request, Response, get, post
from litestar.params import JSONBody

from edge_agent.errors import ConfigError
from edge_agent.wire import bodies
from edge_agent.wire.body_checks import check_plain
from edge_hub.api.hub import caller_of, hub_of
from edge_hub.api.parameters import FAR, Before, Id, Limit, may
from edge_hub.api.problems import ProblemError, known
from edge_hub.api.schemas import (
    Command,
    CommandDetail,
    NewCommand,
)
from edge_hub.database import audit, commands, devices, traceparents
from edge_hub.domain import filters, roles


@get("/commands", opt=may("viewer", "commands"), summary="Commands")
async def list_commands(
    request: Request[Any, Any, Any], limit: Limit = 50, before: Before = FAR
) -> Response[list[Command]]:
    """Return commands, newest first."""
    hub = hub_of(request)
    return await hub.answer(request, lambda: commands.page(hub.database, limit, before))


@get("/commands/{id_:str}", opt=may("viewer", "commands"), summary="One command with the answers")
async def get_command(request: Request[Any, Any, Any], id_: Id) -> Response[CommandDetail]:
    """Return a command and what each device answered; logs and support bundles are shown to operators."""
    hub = hub_of(request)
    if not roles.allows(caller_of(request).role, roles.OPERATOR):
        found = known(await hub.run(commands.one, hub.database, id_), f"command {id_}")
        if found["name"] in bodies.LONG_REPLIES:
            raise ProblemError(403, f"command {id_}: its answers are for operators")
    return await hub.answer(request, lambda: known(commands.one(hub.database, id_), f"command {id_}"))


@post("/commands", opt=may("operator", "commands"), summary="Send a command", status_code=202)
async def send_command(
    request: Request[Any, Any, Any], data: JSONBody[NewCommand]
) -> Response[CommandDetail]:
    """Sign a command and send it to every device that fits; the answers come in later."""
    hub, who = hub_of(request), caller_of(request).name
    sender = hub.sender
    if sender is None:
        raise ProblemError(409, "The hub has no key to sign with: start it with --sign KEY.")
    check_plain(data.arguments, "arguments")  # what can't be sent is not kept either

    def change() -> dict[str, Any]:
        now = hub.now()
        fitting = devices.numbers_of(hub.database, filters.parse(data.filter), now)
        names = [name for fleet, name in fitting if fleet == data.fleet]
        if not names:
            raise ConfigError(f"filter: no device of fleet {data.fleet} fits {data.filter!r}")
        row: dict[str, Any] = {
            "id": secrets.token_hex(8),
            "fleet": data.fleet,
            "name": data.name,
            "arguments": data.arguments,
            "created": now,
            "created_by": who,
            "expires": now + data.expires_s,
        }
        with hub.database.write() as connection:
            commands.add(connection, row, names)
            traceparents.keep(connection, row["id"])
            audit.append(connection, who, "command.send", row["id"], None, row | {"devices": len(names)})
        sender.send(row, names)
        return commands.one(hub.database, row["id"]) or {}

    return Response(CommandDetail(**await hub.change(change)), status_code=202)


HANDLERS = [list_commands, get_command, send_command]
