"""Enrolment: operators make one-time codes, boards use them.

Theory of operation. A code is used in one transaction with its audit entry. A board whose answer was lost
asks again with the same key, and gets it again as long as the code is valid; with another key the code is
used up. A board can't take the name of a device that is known, unless the code was made for that name.
"""

from __future__ import annotations

import secrets
from typing import Annotated, Any

from litestar import Request, Response, delete, get, post
from litestar.params import JSONBody
from msgspec import Meta, Struct

from edge_agent.errors import ConfigError, PeerError
from edge_agent.wire.topics import check_name
from edge_hub import enrolment
from edge_hub.api.access import PUBLIC
from edge_hub.api.accounts import check_failures, note_failure
from edge_hub.api.hub import Hub, caller_of, hub_of
from edge_hub.api.parameters import Id, may
from edge_hub.api.problems import ProblemError, known
from edge_hub.database import audit, devices, enrolments
from edge_hub.domain import enrolment_codes
from edge_hub.domain.secrets import digest
from edge_hub.enrolment import Enrolment as Given

MAX_HOURS = 7 * 24.0
Named = Annotated[str, Meta(max_length=64)]


class NewEnrolment(Struct, forbid_unknown_fields=True):
    """For which fleet a code is; with ``device`` for that name alone, even if it is known."""

    fleet: Named
    device: Named = ""
    hours: Annotated[float, Meta(gt=0, le=MAX_HOURS)] = 1.0


class EnrolmentRow(Struct):
    """A code that was made: ``used`` is 0 while nobody has used it."""

    id: str
    fleet: str
    device: str
    created: float
    created_by: str
    expires: float
    used: float
    used_by: str


class MadeEnrolment(Struct):
    """A code; it is shown this once."""

    id: str
    code: str
    fleet: str
    expires: float


class EnrolmentRequest(Struct, forbid_unknown_fields=True):
    """What a board sends: the code, its name, and a certificate signing request in PEM."""

    code: Annotated[str, Meta(max_length=64)]
    device: Named
    request: Annotated[str, Meta(max_length=8192)]


class EnrolmentAnswer(Struct):
    """What a board gets."""

    fleet: str
    device: str
    host: str
    port: int
    ca: str
    certificate: str
    username: str
    password: str
    keys: list[str]
    release_keys: list[str]
    release_threshold: int
    start: str
    bundles: dict[str, str]


@get("/enrolments", opt=may("operator", "devices"), summary="Enrolment codes")
async def list_enrolments(request: Request[Any, Any, Any]) -> Response[list[EnrolmentRow]]:
    """Return the newest codes, without the codes."""
    hub = hub_of(request)
    return await hub.answer(request, lambda: enrolments.page(hub.database))


@post("/enrolments", opt=may("operator", "devices"), summary="Make an enrolment code", status_code=201)
async def add_enrolment(request: Request[Any, Any, Any], data: JSONBody[NewEnrolment]) -> MadeEnrolment:
    """Make a code for one board."""
    hub, who = hub_of(request), caller_of(request).name
    given = _given(hub)
    check_name(data.fleet, "fleet")
    if data.device:
        check_name(data.device, "device")
    code, now = enrolment_codes.make(given.certificate), hub.now()
    row: dict[str, Any] = {
        "id": secrets.token_hex(6),
        "fleet": data.fleet,
        "device": data.device,
        "created": now,
        "created_by": who,
        "expires": now + data.hours * 3600.0,
        "used": 0.0,
        "used_by": "",
    }

    def change() -> None:
        with hub.database.write() as connection:
            enrolments.add(connection, row, digest(enrolment_codes.secret_of(code)))
            audit.append(connection, who, "enrolment.add", row["id"], None, row)

    await hub.change(change)
    return MadeEnrolment(row["id"], code, data.fleet, row["expires"])


@delete("/enrolments/{id_:str}", opt=may("operator", "devices"), summary="Remove an enrolment code")
async def delete_enrolment(request: Request[Any, Any, Any], id_: Id) -> None:
    """Remove a code that nobody has used."""
    hub, who = hub_of(request), caller_of(request).name

    def change() -> None:
        with hub.database.write() as connection:
            before = known(enrolments.remove(connection, id_), f"unused code {id_}")
            audit.append(connection, who, "enrolment.delete", id_, before)

    await hub.change(change)


@post("/enrol", opt={"role": PUBLIC}, summary="Enrol a board", status_code=200)
async def enrol(request: Request[Any, Any, Any], data: JSONBody[EnrolmentRequest]) -> EnrolmentAnswer:
    """Exchange a code for what a board needs."""
    hub = hub_of(request)
    given = _given(hub)
    await check_failures(request, hub)
    check_name(data.device, "device")
    key = enrolment.public_key(data.request.encode())
    try:
        found = await hub.change(_use, hub, given, data, key)
    except _RefusedError as error:
        await note_failure(request, hub)
        raise ProblemError(422, str(error)) from None
    return EnrolmentAnswer(**found)


class _RefusedError(PeerError):
    """A code that can't be used."""


def _use(hub: Hub, given: Given, data: EnrolmentRequest, key: str) -> dict[str, Any]:
    now, kept = hub.now(), digest(enrolment_codes.secret_of(data.code))
    with hub.database.write() as connection:
        row = enrolments.by_digest(connection, kept)
        if row is None:
            raise _RefusedError("code: not known to this hub")
        if row["expires"] <= now:
            raise _RefusedError("code: has expired; make another with edge-hub enrol")
        fleet, again = row["fleet"], row["used"] > 0 and row["public_key"] == key
        if row["used"] and not (again and row["used_by"] == data.device):
            raise _RefusedError("code: has been used; make another with edge-hub enrol")
        if row["device"] and row["device"] != data.device:
            raise _RefusedError(f"device: found {data.device}, and the code is for another name")
        if not row["device"] and not again:
            taken = enrolments.is_taken(connection, fleet, data.device)
            if taken or devices.number(connection, fleet, data.device) is not None:
                where = f"device: {data.device} is known in fleet {fleet}"
                raise ConfigError(f"{where}; make a code for this name, or use another")
        found = given.answer(fleet, data.device, data.request.encode())
        if not again:
            enrolments.use(connection, row["id"], data.device, key, now)
            device = f"{fleet}/{data.device}"
            audit.append(connection, device, "enrolment.use", row["id"], None, {"device": device})
    return found


def _given(hub: Hub) -> Given:
    if hub.enrolment is None:
        raise ProblemError(409, "The hub enrols no devices: start it with --enrol FILE.")
    return hub.enrolment


HANDLERS = [list_enrolments, add_enrolment, delete_enrolment, enrol]
