"""Reads the expiry date of a certificate file (X.509, RFC 5280 section 4.1).

The standard library reads it of a peer's certificate only, so this module skips the fields before the
validity: TBSCertificate is version (optional), serialNumber, signature, issuer, validity, ….
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from edge_agent.errors import ConfigError

_VERSION = 0xA0
_UTC_TIME, _GENERALIZED_TIME = 0x17, 0x18


def valid_until(path: Path) -> datetime:
    """Return the end of validity of the first certificate in a PEM file.

    Raises
    ------
    ConfigError
        There is no certificate in it.
    """
    import ssl

    try:
        text = path.read_text("ascii", "replace")
        begin = text.index("-----BEGIN CERTIFICATE-----")
        end = text.index("-----END CERTIFICATE-----", begin)
        return _not_after(ssl.PEM_cert_to_DER_cert(text[begin:end] + "-----END CERTIFICATE-----\n"))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    except (ValueError, IndexError) as error:
        raise ConfigError(f"{path}: no certificate in PEM form") from error


def _not_after(der: bytes) -> datetime:
    _, certificate, _ = _element(der)
    _, tbs, _ = _element(certificate)
    kind, _, rest = _element(tbs)
    if kind == _VERSION:
        _, _, rest = _element(rest)
    for _ in range(2):  # signature, issuer
        _, _, rest = _element(rest)
    _, validity, _ = _element(rest)
    _, _, rest = _element(validity)
    kind, text, _ = _element(rest)
    form = {_UTC_TIME: "%y%m%d%H%M%SZ", _GENERALIZED_TIME: "%Y%m%d%H%M%SZ"}[kind]
    return datetime.strptime(text.decode("ascii"), form).replace(tzinfo=UTC)


def _element(data: bytes) -> tuple[int, bytes, bytes]:
    """Return tag and content of the first DER element, and what follows it."""
    kind, length, start = data[0], data[1], 2
    if length & 0x80:
        start += length & 0x7F
        length = int.from_bytes(data[2:start])
    if start + length > len(data):
        raise ValueError("cut off")
    return kind, data[start : start + length], data[start + length :]
