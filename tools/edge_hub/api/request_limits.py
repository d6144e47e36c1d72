"""Time limits of a request's arrival: a client that sends too slowly loses its connection.

uvicorn limits the time between two requests alone, so a client could hold a connection with half a request
for as long as it likes, and many could hold all of them.
"""

from __future__ import annotations

from asyncio import BaseTransport, TimerHandle

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEADER_S = 30.0
"""From the connection, or a request's first byte, to the end of its headers."""
BODY_S = 600.0
"""From there to the end of the body: 64 MB at 1 Mbit/s."""


class TimedRequests(HttpToolsProtocol):
    """uvicorn's protocol with both limits."""

    header_s = HEADER_S
    body_s = BODY_S
    _limit: TimerHandle | None = None

    def connection_made(self, transport: BaseTransport) -> None:
        """Begin to wait for the first request."""
        super().connection_made(transport)  # type: ignore[arg-type]
        self._wait(self.header_s)

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._wait(0.0)
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        """Begin to wait for the headers."""
        self._wait(self.header_s)
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Begin to wait for the body."""
        self._wait(self.body_s)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Wait for nothing: the request is here."""
        self._wait(0.0)
        super().on_message_complete()

    def handle_websocket_upgrade(self) -> None:
        """Leave the connection to the WebSocket's protocol."""
        self._wait(0.0)
        super().handle_websocket_upgrade()

    def _wait(self, seconds: float) -> None:
        if self._limit is not None:
            self._limit.cancel()
        self._limit = self.loop.call_later(seconds, self.transport.close) if seconds else None
