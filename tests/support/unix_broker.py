"""The broker's end of a paho client's connection, which a test plays byte by byte."""

from __future__ import annotations

import os
import socket

from edge_agent.adapters.paho_loader import Client


def accept(client: Client) -> socket.socket:
    """Let ``client``, made with ``transport="unix"``, connect; return the broker's end."""
    name = f"\0test-{os.getpid()}-{os.urandom(8).hex()}"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(name)
        server.listen(1)
        client.connect(name)
        connection, _ = server.accept()
    return connection
