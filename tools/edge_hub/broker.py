"""The broker that a command's options name, and the hub's credentials for it."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge_agent.errors import ConfigError
from edge_agent.wire import broker_login

if TYPE_CHECKING:  # loaded by a connection that is encrypted
    import ssl

PORT, TLS_PORT = 1883, 8883


@dataclass(frozen=True, slots=True)
class Broker:
    """Address of a broker, and the credentials for it."""

    host: str
    port: int
    username: str = ""
    password: str = ""
    tls: ssl.SSLContext | None = None

    def __repr__(self) -> str:
        return f"broker {self.host}:{self.port}"

    @classmethod
    def of(cls, arguments: argparse.Namespace) -> Broker:
        """Return the broker of the options that `edge_hub.connection.add_arguments` adds.

        Raises
        ------
        ConfigError
            The address or a file is not usable, an option that it needs is missing, or others than its owner
            can read a secret.
        """
        host, port = address(arguments.broker, TLS_PORT if arguments.ca else PORT)
        if arguments.password_file and not arguments.username:
            raise ConfigError("--password-file: found without --username, expected both")
        if (arguments.certificate or arguments.key) and not arguments.ca:
            raise ConfigError("--certificate, --key: found without --ca, expected the CA certificate too")
        if arguments.key and not arguments.certificate:
            raise ConfigError("--key: found without --certificate, expected both")
        password, tls = "", None
        if arguments.password_file:
            password = broker_login.password(arguments.password_file, "--password-file")
        if arguments.ca:
            tls = broker_login.tls(arguments.ca, arguments.certificate, arguments.key)
        return cls(host, port, arguments.username or "", password, tls)


def address(text: str, default_port: int, option: str = "--broker") -> tuple[str, int]:
    """Return host and port of ``HOST[:PORT]``; an IPv6 address is in brackets.

    ``option`` is named in errors.

    Raises
    ------
    ConfigError
        The port is not a number from 1 to 65535.
    """
    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]"):
        return text.strip("[]"), default_port
    if not port.isdigit() or not 1 <= int(port) <= 65535:
        raise ConfigError(f"{option}: found port {port!r}, expected 1 to 65535")
    return host.strip("[]"), int(port)
