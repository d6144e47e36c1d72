"""Ed25519 keys and signatures (RFC 8032, by libsodium): who may tell a device what to run.

A key file is one line: ``edge-agent-secret-key BASE64 NAME`` or ``edge-agent-public-key BASE64 NAME``.
A secret key that others than its owner can read is refused: it must be taken to be known.

libsodium is loaded by the first that signs or verifies: with its binding it is 2.3 MB, and the daemon of a
device without keys has no use for it.
"""

from __future__ import annotations

import base64
import binascii
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from edge_agent.errors import ConfigError

SIGNATURE_BYTES = 64
PUBLIC_KEY_BYTES = 32
CREDENTIALS = Path("/run/credentials")
"""Where systemd puts what it passes to units, a folder a unit."""
_SECRET = "edge-agent-secret-key"  # noqa: S105 - the file's first word, not a key
_PUBLIC = "edge-agent-public-key"


@dataclass(frozen=True, slots=True)
class PublicKey:
    """Who can be believed: 32 bytes and the name their owner gave them."""

    raw: bytes
    name: str

    @property
    def fingerprint(self) -> str:
        """First 8 bytes in hex, to tell keys apart in messages."""
        return self.raw[:8].hex()

    def line(self) -> str:
        """Return the key as its file has it."""
        return _line(_PUBLIC, self.raw, self.name)

    def verifies(self, message: bytes, signature: bytes) -> bool:
        """Whether ``signature`` (64 bytes) was made over ``message`` by this key's owner."""
        from nacl.exceptions import BadSignatureError
        from nacl.signing import VerifyKey

        if len(signature) != SIGNATURE_BYTES:
            return False
        try:
            VerifyKey(self.raw).verify(message, signature)
        except BadSignatureError:
            return False
        return True


@dataclass(frozen=True, slots=True, repr=False)
class SecretKey:
    """What signs. Its bytes are in no message and no log: ``repr`` shows the public half."""

    raw: bytes
    name: str

    def __repr__(self) -> str:
        return f"SecretKey({self.public.fingerprint}, {self.name!r})"

    @property
    def public(self) -> PublicKey:
        """The half to hand out."""
        from nacl.signing import SigningKey

        return PublicKey(bytes(SigningKey(self.raw).verify_key), self.name)

    def sign(self, message: bytes) -> bytes:
        """Return the signature, 64 bytes."""
        from nacl.signing import SigningKey

        return SigningKey(self.raw).sign(message).signature


def generate(name: str) -> SecretKey:
    """Return a new secret key from the operating system's generator."""
    from nacl.signing import SigningKey

    return SecretKey(bytes(SigningKey.generate()), name)


def save(secret: SecretKey, path: Path) -> Path:
    """Write ``path`` (mode 0600) and ``path`` + ``.pub``; return the latter.

    Raises
    ------
    ConfigError
        ``path`` exists: a key is never overwritten.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise ConfigError(f"{path}: exists, and a key is never overwritten") from error
    with open(descriptor, "w", encoding="ascii") as file:
        file.write(_line(_SECRET, secret.raw, secret.name))
    public_path = path.with_name(path.name + ".pub")
    public_path.write_text(secret.public.line(), encoding="ascii")
    return public_path


def check_private(path: Path) -> None:
    """Refuse a file with a secret in it that others than its owner may read or write.

    The systemd of Debian 13 lets a service's user read a credential by an access list, whose mask stands in
    the place of the group's bits (0440). No one else gets into the folder ``/run/credentials/UNIT``
    (systemd.exec(5)), so a file in it may have them.

    Raises
    ------
    ConfigError
        It is missing, or its mode is not 0600 or tighter.
    """
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    passed = path.parent.parent == CREDENTIALS
    if mode & (stat.S_IRWXO | (stat.S_IWGRP if passed else stat.S_IRWXG)):
        raise ConfigError(f"{path}: mode is {stat.S_IMODE(mode):04o}, expected 0600 for a secret")


def load_secret(path: Path) -> SecretKey:
    """Read a secret key file.

    Raises
    ------
    ConfigError
        The file is missing, is not a key, or others than its owner may read or write it.
    """
    check_private(path)
    return SecretKey(*_parse(path, _SECRET))


def load_public(path: Path) -> PublicKey:
    """Read a public key file.

    Raises
    ------
    ConfigError
        The file is missing or is not a public key.
    """
    return PublicKey(*_parse(path, _PUBLIC))


def _line(kind: str, raw: bytes, name: str) -> str:
    return f"{kind} {base64.b64encode(raw).decode('ascii')} {name}\n"


def _parse(path: Path, kind: str) -> tuple[bytes, str]:
    try:
        words = path.read_text(encoding="ascii").split()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: found bytes that are not text, expected {kind}") from error
    if len(words) != 3 or words[0] != kind:
        raise ConfigError(f"{path}: expected one line '{kind} BASE64 NAME'")
    try:
        raw = base64.b64decode(words[1], validate=True)
    except binascii.Error as error:
        raise ConfigError(f"{path}: the key is not base64") from error
    if len(raw) != PUBLIC_KEY_BYTES:
        raise ConfigError(f"{path}: the key has {len(raw)} bytes, expected {PUBLIC_KEY_BYTES}")
    return raw, words[2]
