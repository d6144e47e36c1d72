"""What a connection to a broker proves itself and the broker with: a password's file, certificates."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edge_agent.errors import ConfigError

if TYPE_CHECKING:  # loaded by a connection that is encrypted
    import ssl


def password(path: Path, key: str) -> str:
    """Return the first line of a file; ``key`` says in errors who named it.

    Raises
    ------
    ConfigError
        The file can't be read, is empty, or is not UTF-8.
    """
    where = f"{key}: {path}"
    try:
        return path.read_text(encoding="utf-8").splitlines()[0]
    except OSError as error:
        raise ConfigError(f"{where}: {error.strerror}") from error
    except UnicodeDecodeError:
        raise ConfigError(f"{where}: not UTF-8") from None
    except IndexError:
        raise ConfigError(f"{where}: empty, expected the password in its first line") from None


def tls(ca: Path | None, certificate: Path | None, key: Path | None) -> ssl.SSLContext:
    """Return how a broker is believed, and how we prove who we are.

    Parameters
    ----------
    ca : Path or None
        Whose signature on the broker's certificate is believed; None: the system's authorities.
    certificate : Path or None
        Our own, for a broker that asks for one.
    key : Path or None
        Its key; None if it is in the same file.

    Raises
    ------
    ConfigError
        A file can't be read or is something else.
    """
    import ssl

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
