"""What the handlers share: one object on the application's state."""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, ParamSpec, Protocol, TypeVar

from litestar import Request, Response

from edge_agent.wire.documents import Trust
from edge_hub.api.answers import Answers, address_of, respond
from edge_hub.api.broadcast import Broadcast
from edge_hub.database.accounts import Caller
from edge_hub.database.engine import POOL, Database
from edge_hub.enrolment import Enrolment
from edge_hub.openid import OpenIdProvider

P = ParamSpec("P")
T = TypeVar("T")


class CommandSender(Protocol):
    """Signs commands and sends them; see `edge_hub.jobs.director`."""

    def send(self, command: dict[str, Any], devices: list[str]) -> None:
        """Send a command to devices.

        Raises
        ------
        ConfigError
            The hub has no key.
        PlatformError
            The broker is not there.
        """


@dataclass
class Hub:
    """The service as its handlers see it.

    ``secure`` says that browsers reach it by TLS. ``release_trust`` returns whose releases a fleet's devices
    believe, None if the hub's keys have both roles. ``alert_targets`` names where notices
    of alerts go. ``troubles`` are asked by ``/readyz``: each returns what
    is wrong with a part, "" for nothing.
    """

    database: Database
    secure: bool = False
    sender: CommandSender | None = None
    release_trust: Callable[[str], Trust | None] = lambda _fleet: None
    openid: OpenIdProvider | None = None
    alert_targets: tuple[str, ...] = ()
    enrolment: Enrolment | None = None
    troubles: list[Callable[[], str]] = field(default_factory=list)
    gauges: list[Callable[[], dict[str, float]]] = field(default_factory=list)
    answers: Answers = field(default_factory=Answers)
    broadcast: Broadcast = field(default_factory=Broadcast)
    callers: dict[tuple[str, str], tuple[Caller | None, float]] = field(default_factory=dict)
    pool: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(POOL, thread_name_prefix="edge-hub-api")
    )
    now: Callable[[], float] = time.time

    def __post_init__(self) -> None:
        # Whoever hears of a change asks at once, and must not get an answer from before it.
        self.broadcast.before_events = self.answers.forget

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run what waits for the database in a thread, in the trace of the request."""
        loop = asyncio.get_running_loop()
        context = contextvars.copy_context()
        return await loop.run_in_executor(self.pool, lambda: context.run(function, *args, **kwargs))

    async def change(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run what changes something; cached answers are forgotten after it."""
        try:
            return await self.run(function, *args, **kwargs)
        finally:
            self.answers.forget()

    async def answer(self, request: Request[Any, Any, Any], compute: Callable[[], Any]) -> Response[Any]:
        """Answer a GET whose answer depends on its address alone; ``compute`` runs in a thread."""
        scope = request.scope
        answer = await self.answers.get(address_of(scope), lambda: self.run(compute))
        self.answers.give(scope, answer, caller_of(request).expires)
        return respond(scope, answer)


def hub_of(request: Any) -> Hub:
    """Return the hub that a request is for."""
    found: Hub = request.app.state.hub
    return found


def caller_of(request: Any) -> Caller:
    """Return who asks; only for routes that are not public."""
    found: Caller = request.scope["user"]
    return found
