"""A span per request, with the caller's trace where it sends one (``traceparent``)."""

from __future__ import annotations

from litestar.datastructures import Headers
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from edge_hub import tracing


class Traced:
    """Middleware: the span is named by method and route, never by the address, so that names stay few."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the request through, within a span."""
        if scope["type"] != ScopeType.HTTP or not tracing.enabled():
            await self._app(scope, receive, send)
            return
        method = scope["method"]
        route = scope.get("path_template") or scope["path"]
        attributes = {"http.request.method": method, "http.route": route}
        carrier = {
            name: value
            for name, value in Headers.from_scope(scope).items()
            if name in ("traceparent", "tracestate")
        }
        with tracing.span(f"{method} {route}", attributes, carrier) as made:

            async def sent(message: Message) -> None:
                if message["type"] == "http.response.start":
                    made.set_attribute("http.response.status_code", message["status"])
                await send(message)

            await self._app(scope, receive, sent)
