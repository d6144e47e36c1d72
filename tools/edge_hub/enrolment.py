"""What a device gets when it enrols: its login at the broker, and the hub's keys.

``edge-hub serve --enrol FILE`` names a TOML file. Paths in it are relative to its folder::

    start = "start.toml"               # the rest of a first configuration: populations; {device} is the name
    bundles = ["office.eab"]           # their bundles, as bundles/office.eab
    [broker]
    host = "broker.example"            # as devices reach it
    port = 8883
    ca = "ca.crt"                      # given to devices; without it they use their system's
    issuer = "ca.crt"                  # each device gets a certificate of this authority …
    issuer_key = "ca.key"
    days = 825
    username = "{device}"              # … or, without issuer, this user name and password
    password_file = "password"

The certificate has the device's name as its common name, whatever the request says.
"""

from __future__ import annotations

import base64
import datetime as dt
import ssl
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edge_agent.errors import ConfigError, PeerError
from edge_agent.wire import broker_login
from edge_agent.wire.enrolment_answer import OWN_TABLES
from edge_agent.wire.signatures import check_private

_TEXTS = ("host", "ca", "issuer", "issuer_key", "username", "password_file")
_NUMBERS = ("port", "days")
MAX_DAYS = 3650
MAX_BUNDLE = 16 * 1024 * 1024
CLOCK_S = 86_400.0
"""A certificate begins so much earlier: a board without a clock may be behind."""


@dataclass(frozen=True, slots=True)
class Enrolment:
    """What devices get. ``certificate`` is the hub's own in DER, empty where a proxy has it."""

    host: str
    port: int
    ca: str = ""
    issuer: bytes = b""
    issuer_key: bytes = field(default=b"", repr=False)
    days: int = 825
    username: str = ""
    password: str = field(default="", repr=False)
    start: str = ""
    bundles: dict[str, str] = field(default_factory=dict, repr=False)
    keys: tuple[str, ...] = ()
    release_keys: tuple[str, ...] = ()
    release_threshold: int = 1
    certificate: bytes = b""

    def answer(self, fleet: str, device: str, request: bytes) -> dict[str, Any]:
        """Return what the device gets; ``request`` is its certificate signing request in PEM."""
        return {
            "fleet": fleet,
            "device": device,
            "host": self.host,
            "port": self.port,
            "ca": self.ca,
            "certificate": self._issue(device, request) if self.issuer else "",
            "username": self.username.replace("{device}", device),
            "password": self.password,
            "keys": list(self.keys),
            "release_keys": list(self.release_keys),
            "release_threshold": self.release_threshold,
            "start": self.start.replace("{device}", device),
            "bundles": self.bundles,
        }

    def _issue(self, device: str, request: bytes) -> str:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ed448, ed25519

        issuer = x509.load_pem_x509_certificate(self.issuer)
        key: Any = serialization.load_pem_private_key(self.issuer_key, None)
        asked: Any = x509.load_pem_x509_csr(request).public_key()
        now = dt.datetime.now(dt.UTC)
        begin = now - dt.timedelta(seconds=CLOCK_S)
        made = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, device)]))
            .issuer_name(issuer.subject)
            .public_key(asked)
            .serial_number(x509.random_serial_number())
            .not_valid_before(max(begin, issuer.not_valid_before_utc))
            .not_valid_after(min(now + dt.timedelta(days=self.days), issuer.not_valid_after_utc))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False
            )
            .add_extension(x509.ExtendedKeyUsage([x509.oid.ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        )
        plain = isinstance(key, ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey)
        signed = made.sign(key, None if plain else hashes.SHA256())
        return signed.public_bytes(serialization.Encoding.PEM).decode()


def public_key(request: bytes) -> str:
    """Return the public key of a certificate signing request, as text that identifies it.

    Raises
    ------
    PeerError
        It can't be read, its signature is wrong, or its key is of another kind than P-256 or Ed25519.
    """
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519

    try:
        found = x509.load_pem_x509_csr(request)
        key = found.public_key()
        signed = found.is_signature_valid
    except (ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion) as error:
        raise PeerError("request: expected a certificate signing request in PEM") from error
    curve = isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1)
    if not signed or not (curve or isinstance(key, ed25519.Ed25519PublicKey)):
        raise PeerError("request: expected a signed request with a key of P-256 or Ed25519")
    return key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    ).decode()


def load(path: Path, **more: Any) -> Enrolment:
    """Return what a file says devices get; ``more`` are the hub's keys and certificate.

    Raises
    ------
    ConfigError
        The file or one that it names can't be read, or a key is wrong; or cryptography is not installed.
    """
    try:
        import cryptography  # noqa: F401 - said here, not at the first device
    except ImportError as error:
        raise ConfigError(
            "--enrol: cryptography is not installed; run: pip install 'edge-hub[enrol]'"
        ) from error
    top, values = _tables(path)
    where = path.parent

    def text(key: str) -> str:
        return (where / values[key]).read_text("utf-8") if values.get(key) else ""

    if bool(values.get("issuer")) != bool(values.get("issuer_key")):
        raise ConfigError(f"{path}: broker: expected both or none of issuer and issuer_key")
    password = ""
    if values.get("password_file"):
        password = broker_login.password(where / values["password_file"], f"{path}: password_file")
    try:
        if values.get("issuer_key"):
            check_private(where / values["issuer_key"])
        made = Enrolment(
            values["host"],
            values.get("port", 8883),
            text("ca"),
            text("issuer").encode(),
            text("issuer_key").encode(),
            values.get("days", 825),
            values.get("username", ""),
            password,
            (where / top["start"]).read_text("utf-8"),
            {Path(name).name: _base64(where / name) for name in top["bundles"]},
            **more,
        )
    except (OSError, UnicodeDecodeError) as error:
        name = getattr(error, "filename", None) or path
        raise ConfigError(f"{name}: {getattr(error, 'strerror', None) or 'not UTF-8'}") from error
    _check(path, made)
    return made


def certificate_of(path: Path) -> bytes:
    """Return the first certificate of a PEM file in DER."""
    text = path.read_text("ascii")
    end = "-----END CERTIFICATE-----"
    begin = text.index("-----BEGIN CERTIFICATE-----")
    return ssl.PEM_cert_to_DER_cert(text[begin : text.index(end) + len(end)])


def _base64(path: Path) -> str:
    if path.stat().st_size > MAX_BUNDLE:
        raise ConfigError(f"{path}: found {path.stat().st_size} bytes, expected at most {MAX_BUNDLE}")
    return base64.b64encode(path.read_bytes()).decode()


def _tables(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    try:
        found = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(f"{path}: not TOML: {error}") from error
    values = found.pop("broker", None)
    top = {"start": found.pop("start", ""), "bundles": found.pop("bundles", [])}
    if found or not isinstance(values, dict):
        raise ConfigError(f"{path}: expected start, bundles and the table broker alone")
    if not isinstance(top["start"], str) or not top["start"]:
        raise ConfigError(f"{path}: start: expected a file with the populations of a new device")
    names = top["bundles"]
    if not isinstance(names, list) or not all(
        isinstance(name, str) and name.endswith(".eab") for name in names
    ):
        raise ConfigError(f"{path}: bundles: expected a list of files NAME.eab")
    for key, value in values.items():
        wanted = str if key in _TEXTS else int if key in _NUMBERS else None
        if wanted is None:
            raise ConfigError(
                f"{path}: broker.{key}: expected one of {', '.join(sorted((*_TEXTS, *_NUMBERS)))}"
            )
        if type(value) is not wanted:
            raise ConfigError(f"{path}: broker.{key}: found {value!r}, expected {wanted.__name__}")
    if not values.get("host"):
        raise ConfigError(f"{path}: broker.host: found none, expected the broker as devices reach it")
    return top, values


def _check(path: Path, made: Enrolment) -> None:
    if not 0 < made.port < 65536 or not 0 < made.days <= MAX_DAYS:
        raise ConfigError(f"{path}: broker: expected port 1 to 65535, days 1 to {MAX_DAYS}")
    if made.password and not made.username:
        raise ConfigError(f"{path}: broker.username: found none, expected one with password_file")
    try:
        start = tomllib.loads(made.start)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: start: not TOML: {error}") from error
    if wrong := sorted(set(start) & set(OWN_TABLES)):
        raise ConfigError(f"{path}: start: found the table {wrong[0]}, which enrolment writes itself")
    if not start.get("population"):
        raise ConfigError(f"{path}: start: found no [[population]], expected at least one")
    if made.issuer:
        from cryptography import x509
        from cryptography.hazmat.primitives import serialization

        try:
            issuer = x509.load_pem_x509_certificate(made.issuer)
            key = serialization.load_pem_private_key(made.issuer_key, None)
        except (ValueError, TypeError) as error:
            raise ConfigError(f"{path}: broker.issuer, issuer_key: expected PEM without password") from error
        if issuer.public_key() != key.public_key():
            raise ConfigError(f"{path}: broker.issuer_key: is not the key of broker.issuer")
