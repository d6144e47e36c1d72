"""A paho client that ends a connection when a packet exceeds the size limit.

Theory of operation. paho 2 reads every byte through ``_sock_recv`` and collects a whole packet of any length
before it calls back. `LimitedClient` replaces that method: it passes the bytes to `PacketLengths`, which
raises if the fixed header announces too many. paho treats that as a lost connection. ``_sock_recv`` is not in
paho's documented interface, so each connect checks that the broker's first packet passed through here
(`adapters.mqtt`), and ``edge-agent doctor`` reports it if not.

paho's thread ends silently when a callback or a parser raises; ``on_failure`` is called instead.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable
from typing import Any, Literal

from edge_agent.adapters.packet_lengths import OversizeError, PacketLengths
from edge_agent.adapters.paho_loader import CallbackAPIVersion, Client, MQTTErrorCode, MQTTProtocolVersion
from edge_agent.protocol.ports import MQTT_5

log = logging.getLogger("edge_agent")


class OneConnection(Client):
    """A paho client for one connection, which does not reconnect by itself.

    Parameters
    ----------
    client_id : str
        Who we are at the broker.
    version : int
        4 (MQTT 3.1.1) or 5.
    clean : bool
        Whether the broker shall forget what it kept for the client (MQTT 5 says so at each connect).
    transport : str
        ``unix``: the host is the path of a socket.
    """

    def __init__(
        self, client_id: str, version: int, clean: bool, transport: Literal["tcp", "unix"] = "tcp"
    ) -> None:
        five = version == MQTT_5
        super().__init__(
            CallbackAPIVersion.VERSION2,
            client_id=client_id,
            clean_session=None if five else clean,
            protocol=MQTTProtocolVersion.MQTTv5 if five else MQTTProtocolVersion.MQTTv311,
            transport=transport,
            reconnect_on_failure=False,
            manual_ack=True,
        )
        self.trouble: OSError | None = None
        """What ended the connection, where paho itself says no more than that it was lost."""
        self.on_failure: Callable[[Exception], None] = lambda _: None

    def _create_socket_connection(self) -> socket.socket:
        """Connect; a name in bytes keeps Python from loading its codec of international names, 0.4 MB."""
        address: Any = (self.host.encode() if self.host.isascii() else self.host, self.port)
        return socket.create_connection(address, self.connect_timeout)

    @property
    def refused(self) -> OversizeError | None:
        """The packet because of which the connection must end."""
        return None

    @property
    def limited(self) -> bool:
        """Whether the lengths of packets are checked, as far as the packets up to now show."""
        return False


class LimitedClient(OneConnection):
    """A connection that paho's thread serves, with limits.

    Parameters
    ----------
    lengths : PacketLengths
        Checks what the broker sends.
    client_id, version, clean
        As `OneConnection`.
    """

    def __init__(self, lengths: PacketLengths, client_id: str, version: int, clean: bool) -> None:
        super().__init__(client_id, version, clean)
        self._lengths = lengths

    @property
    def refused(self) -> OversizeError | None:
        """The packet because of which the connection must end."""
        return self._lengths.refused

    @property
    def limited(self) -> bool:
        """Whether packets passed through `PacketLengths`."""
        return self._lengths.packets > 0

    def loop_forever(self, timeout: float = 1.0, retry_first_connection: bool = False) -> MQTTErrorCode:
        """Work until the connection ends; called by paho in its own thread."""
        try:
            return super().loop_forever(timeout, retry_first_connection)
        except Exception as error:  # the outermost call of a thread
            log.exception("mqtt: unhandled exception in paho's thread; the connection ends")
            self.on_failure(error)
            return MQTTErrorCode.MQTT_ERR_UNKNOWN

    def _sock_recv(self, bufsize: int) -> bytes:
        try:
            data: bytes = super()._sock_recv(self._lengths.allowed(bufsize))
            self._lengths.check(data)
        except BlockingIOError:
            raise
        except OSError as error:
            self.trouble = error
            raise
        return data
