"""Credentials of a connection to a broker: the password file, certificates and keys.

Files with a secret are refused if others than their owner can read or write them.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edge_agent.errors import ConfigError
from edge_agent.wire.signatures import check_private

if TYPE_CHECKING:  # loaded by a connection that is encrypted
    import ssl


def password(path: Path, key: str) -> str:
    """Return the first line of a file; ``key`` says in errors who named it.

    Raises
    ------
    ConfigError
        The file can't be read, is empty, is not UTF-8, or others than its owner can read it.
    """
    where = f"{key}: {path}"
    try:
        check_private(path)
    except ConfigError as error:
        raise ConfigError(f"{key}: {error}") from error
    try:
        return path.read_text(encoding="utf-8").splitlines()[0]
    except OSError as error:
        raise ConfigError(f"{where}: {error.strerror}") from error
    except UnicodeDecodeError:
        raise ConfigError(f"{where}: not UTF-8") from None
    except IndexError:
        raise ConfigError(f"{where}: empty, expected the password in its first line") from None


def tls(ca: Path | None, certificate: Path | None, key: Path | None) -> ssl.SSLContext:
    """Return the TLS context of a client.

    Parameters
    ----------
    ca : Path or None
        CA certificate file; None uses the system's trust store.
    certificate : Path or None
        The client's certificate, for brokers that require one.
    key : Path or None
        Its key; None if it is in the same file.

    Raises
    ------
    ConfigError
        A file can't be read or has another content, or others than its owner can read the key.
    """
    import ssl

    secret = key or certificate
    if secret is not None:
        check_private(secret)
    try:
        context = ssl.create_default_context(cafile=ca)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"{ca}: not a CA certificate ({error})") from error
    if certificate is not None:
        try:
            context.load_cert_chain(certificate, key)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(f"{certificate}: no usable certificate and key ({error})") from error
    return context
