"""The application: every route, who may call it, and what holds for all of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, cast

from litestar import Litestar, Router
from litestar.datastructures import State
from litestar.middleware import DefineMiddleware
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme
from litestar.types import Message, Scope

from edge_agent import __version__
from edge_hub.api import (
    accounts,
    alerts,
    audit,
    bundles,
    commands,
    devices,
    enrolments,
    groups,
    health,
    learning,
    openid_login,
    pages,
    releases,
    rollouts,
    streams,
)
from edge_hub.api.access import COOKIE, FindCaller, guard
from edge_hub.api.answers import Repeated
from edge_hub.api.hub import Hub
from edge_hub.api.idempotency import Idempotent
from edge_hub.api.problems import HANDLERS as PROBLEMS
from edge_hub.api.problems import CheckedRequest
from edge_hub.api.traces import Traced
from edge_hub.domain.roles import VIEWER

MAX_BODY = 1024 * 1024
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "font-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}
_RAW = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
_HSTS = (b"strict-transport-security", b"max-age=31536000")


def make(hub: Hub) -> Litestar:
    """Return the application for a hub."""

    async def add_headers(message: Message, scope: Scope) -> None:
        if message["type"] == "http.response.start":
            more = [*_RAW, _HSTS] if hub.secure else _RAW
            message["headers"] = [*message["headers"], *more]

    @asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncIterator[None]:
        task = asyncio.create_task(hub.broadcast.run())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            hub.pool.shutdown(wait=False)

    api = Router(
        "/api/v1",
        route_handlers=[
            *devices.HANDLERS,
            *accounts.HANDLERS,
            *openid_login.HANDLERS,
            *bundles.HANDLERS,
            *enrolments.HANDLERS,
            *groups.HANDLERS,
            *alerts.HANDLERS,
            *learning.HANDLERS,
            *releases.HANDLERS,
            *rollouts.HANDLERS,
            *commands.HANDLERS,
            *audit.HANDLERS,
            *streams.HANDLERS,
        ],
    )
    return Litestar(
        route_handlers=[api, *health.HANDLERS, *pages.HANDLERS],
        state=State({"hub": hub}),
        guards=[guard],
        middleware=[
            DefineMiddleware(cast(Any, Traced)),
            DefineMiddleware(cast(Any, Repeated)),
            DefineMiddleware(FindCaller),
            DefineMiddleware(cast(Any, Idempotent)),
        ],
        exception_handlers=PROBLEMS,
        before_send=[add_headers],
        lifespan=[lifespan],
        openapi_config=openapi(),
        request_class=CheckedRequest,
        request_max_body_size=MAX_BODY,
        logging_config=None,
        debug=False,
    )


def openapi() -> OpenAPIConfig:
    """Return how the OpenAPI document is made."""
    schemes: dict[str, Any] = {
        "session": SecurityScheme(type="apiKey", name=COOKIE, security_scheme_in="cookie"),
        "token": SecurityScheme(type="http", scheme="bearer"),
    }
    return OpenAPIConfig(
        title="edge-hub",
        version=__version__,
        description="A fleet of edge-agent devices: look at it, ask its history, change it.",
        openapi_router=Router("/schema", route_handlers=[], opt={"role": VIEWER}, include_in_schema=False),
        render_plugins=[JsonRenderPlugin(path=["/", "/openapi.json"])],
        components=Components(security_schemes=schemes),
        security=[{"session": []}, {"token": []}],
        create_examples=False,
    )
