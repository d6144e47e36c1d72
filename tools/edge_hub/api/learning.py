"""What a fleet learned: who contributed, the contributions themselves, and rounds that were made of them.

The merge itself is done where the model's file is, by ``edge-hub learn --hub``: the hub gives the
contributions, and keeps the report.
"""

from __future__ import annotations

import base64
from itertools import islice
from typing import Annotated, Any

import msgspec
from litestar import Request, Response, get, post
from litestar.params import JSONBody, PathParameter, QueryParameter

from edge_hub.api.hub import caller_of, hub_of
from edge_hub.api.learning_schemas import (
    LearnedDetail,
    LearnedPopulation,
    NewRoundReport,
    RoundReport,
    SentContribution,
)
from edge_hub.api.parameters import DigestPath, may
from edge_hub.api.problems import known
from edge_hub.database import audit, contributions, learning

READ = may("viewer", "learning")
Name = Annotated[str, PathParameter(pattern=r"^[A-Za-z0-9_.-]{1,128}$")]
EPOCHS = 50


@get("/learning", opt=READ, summary="Populations that learn")
async def list_learning(request: Request[Any, Any, Any]) -> Response[list[LearnedPopulation]]:
    """Return populations that sent what they learned, the last heard first."""
    hub = hub_of(request)
    return await hub.answer(request, lambda: learning.populations(hub.database))


@get(
    "/learning/{fleet:str}/{population:str}/{digest:str}",
    opt=READ,
    summary="What a population learned under a bundle",
)
async def get_learning(
    request: Request[Any, Any, Any], fleet: Name, population: Name, digest: DigestPath
) -> Response[LearnedDetail]:
    """Return the contributions of each device, and rounds."""
    hub = hub_of(request)

    def compute() -> dict[str, Any]:
        which = fleet, population, digest
        found = known(learning.devices(hub.database, *which) or None, f"learned by {fleet}/{population}")
        rounds = learning.rounds(hub.database, *which)
        return {
            "fleet": fleet,
            "population": population,
            "bundle": digest,
            "devices": found,
            "rounds": rounds,
        }

    return await hub.answer(request, compute)


@get(
    "/learning/{fleet:str}/{population:str}/{digest:str}/epochs",
    opt=READ,
    summary="Contributions, page by page",
)
async def list_epochs(
    request: Request[Any, Any, Any],
    fleet: Name,
    population: Name,
    digest: DigestPath,
    after_device: Annotated[str, QueryParameter(max_length=128)] = "",
    after_epoch: Annotated[int, QueryParameter(ge=0, le=2**62)] = 0,
) -> list[SentContribution]:
    """Return the contributions after those of a device and epoch, by device and epoch, at most 50."""
    hub = hub_of(request)

    def compute() -> list[SentContribution]:
        after = after_device, after_epoch
        found = contributions.stored_epochs(hub.database, fleet, population, digest, after)
        return [
            SentContribution(
                one.device,
                one.epoch,
                one.received,
                one.pieces,
                [base64.b64encode(payload).decode() for payload in one.payloads],
            )
            for one in islice(found, EPOCHS)
        ]

    return await hub.run(compute)


@post(
    "/learning/{fleet:str}/{population:str}/{digest:str}/rounds",
    opt=may("operator", "learning"),
    summary="Report a round",
)
async def report_round(
    request: Request[Any, Any, Any],
    fleet: Name,
    population: Name,
    digest: DigestPath,
    data: JSONBody[NewRoundReport],
) -> RoundReport:
    """Keep what came of a merge, in the audit."""
    hub, who = hub_of(request), caller_of(request).name

    def change() -> dict[str, Any]:
        which = fleet, population, digest
        known(learning.devices(hub.database, *which) or None, f"learned by {fleet}/{population}")
        with hub.database.write() as connection:
            subject, after = learning.subject(*which), msgspec.to_builtins(data)
            audit.append(connection, who, learning.ROUND, subject, None, after)
        return learning.rounds(hub.database, *which)[0]

    return msgspec.convert(await hub.change(change), RoundReport)


HANDLERS = [list_learning, get_learning, list_epochs, report_round]
