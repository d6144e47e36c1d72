"""The bundle, ``NAME.eab``: a ZIP of stored entries that loads only if every byte of it is as it was written.

Theory of operation. ``manifest.json`` holds the SHA-256 of every payload entry, and is signed;
``signature.ed25519`` (optional, last) is the signer's public key, 32 bytes, and the signature over the
manifest's bytes, 64. The container around them is canonical: entries in the manifest's order, fixed time
stamps and attributes, entry data aligned to 64 bytes so that arrays can be mapped and read by vector loads.
Reading checks the digests and then that writing the same entries again would give the same file; so there is
no byte, in an entry or between entries, that can change without the bundle being refused.

What a payload means is not known here: ``kind`` in the manifest says who reads it.
"""

from __future__ import annotations

import hashlib
import io
import json
import mmap
import os
import struct
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_agent.atomic_file import replaced
from edge_agent.errors import BundleError
from edge_agent.wire.signatures import PUBLIC_KEY_BYTES, SIGNATURE_BYTES, PublicKey, SecretKey

FORMAT = 1
MANIFEST = "manifest.json"
SIGNATURE = "signature.ed25519"
MAX_BYTES = 256 * 1024 * 1024
MAX_ENTRIES = 1000
_ALIGNMENT = 64
_LOCAL_HEADER = 30
_PADDING_ID = 0xD935  # the extra field that zipalign uses for the same purpose

REQUIRED_KEYS: Mapping[str, type | tuple[type, ...]] = {
    "format": int,
    "name": str,
    "version": str,
    "kind": str,
    "created": int,
    "source_sha256": str,
    "entries": dict,
    "io": dict,
    "memory": dict,
    "evaluation": dict,
    "requires": dict,
}


@dataclass(frozen=True)
class Bundle:
    """A verified bundle. ``entries`` maps names to read-only views of the mapped file.

    ``digest`` is the SHA-256 of the manifest's bytes in hex: since the manifest holds the digests of all
    entries, it names the bundle. ``signer`` is None for an unsigned bundle.
    """

    path: Path
    manifest: dict[str, Any]
    entries: Mapping[str, memoryview]
    digest: str
    signer: PublicKey | None

    @property
    def name(self) -> str:
        """The model's name."""
        return str(self.manifest["name"])

    @property
    def kind(self) -> str:
        """Who reads the payload: ``pomdp``, ``onnx`` or ``tflite``."""
        return str(self.manifest["kind"])


def canonical_json(value: Any) -> bytes:
    """Return the one JSON text of ``value``: sorted keys, no blanks, ASCII, no NaN."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False
    ).encode("ascii")


def write(
    path: Path,
    manifest: Mapping[str, Any],
    entries: Mapping[str, bytes],
    key: SecretKey | None = None,
) -> str:
    """Write a bundle in one step (temporary file, then rename) and return its digest.

    Parameters
    ----------
    path : Path
        Where the bundle goes; an older file of that name is replaced only by a complete new one.
    manifest : Mapping
        ``REQUIRED_KEYS`` without ``format`` and ``entries``, which are added here.
    entries : Mapping of str to bytes
        The payload.
    key : SecretKey, optional
        Signs the manifest.
    """
    full = dict(manifest) | {
        "format": FORMAT,
        "entries": {name: hashlib.sha256(data).hexdigest() for name, data in entries.items()},
    }
    text = canonical_json(full)
    parts: dict[str, bytes | memoryview] = {MANIFEST: text}
    parts |= {name: entries[name] for name in sorted(entries)}
    if key is not None:
        parts[SIGNATURE] = key.public.raw + key.sign(text)
    with replaced(path, 0o644) as file:
        file.write(_archive(parts))
    return hashlib.sha256(text).hexdigest()


def read(path: Path) -> Bundle:
    """Map and verify a bundle; nothing in it is used before all of it was checked.

    Raises
    ------
    BundleError
        The message names the file, the entry and what is off.
    """
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if not 0 < size <= MAX_BYTES:
                raise BundleError(f"{path}: {size} bytes, expected 1 to {MAX_BYTES}")
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise BundleError(f"{path}: {error.strerror}") from error
    view = memoryview(mapped)
    parts = _parts(path, view)
    if MANIFEST not in parts:
        raise BundleError(f"{path}: {MANIFEST} is missing")
    manifest = _manifest(path, bytes(parts[MANIFEST]))
    payload = {n: data for n, data in parts.items() if n not in (MANIFEST, SIGNATURE)}
    _check_digests(path, manifest["entries"], payload)
    signer = _signer(path, bytes(parts[MANIFEST]), parts.get(SIGNATURE))
    ordered = {MANIFEST: parts[MANIFEST]} | {name: payload[name] for name in sorted(payload)}
    if SIGNATURE in parts:
        ordered[SIGNATURE] = parts[SIGNATURE]
    if _archive(ordered) != view:
        raise BundleError(f"{path}: the container is not as edge-convert writes it")
    digest = hashlib.sha256(parts[MANIFEST]).hexdigest()
    return Bundle(path, manifest, payload, digest, signer)


def _archive(parts: Mapping[str, bytes | memoryview]) -> memoryview:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for name, data in parts.items():
            info = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            info.external_attr = 0o644 << 16
            start = out.tell() + _LOCAL_HEADER + len(name.encode()) + 4
            padding = -start % _ALIGNMENT
            info.extra = struct.pack("<HH", _PADDING_ID, padding) + bytes(padding)
            archive.writestr(info, data)
    return out.getbuffer()


def _parts(path: Path, view: memoryview) -> dict[str, memoryview]:
    try:
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
    except (zipfile.BadZipFile, struct.error, UnicodeDecodeError, OSError, ValueError) as error:
        raise BundleError(f"{path}: not a bundle ({error})") from error
    except NotImplementedError as error:
        raise BundleError(f"{path}: {error}") from error
    if len(infos) > MAX_ENTRIES:
        raise BundleError(f"{path}: {len(infos)} entries, at most {MAX_ENTRIES} expected")
    parts: dict[str, memoryview] = {}
    for info in infos:
        name = info.filename
        if info.flag_bits & 0x1:
            raise BundleError(f"{path}: {name} is encrypted")
        if info.compress_type != zipfile.ZIP_STORED:
            raise BundleError(f"{path}: {name} is compressed, expected a stored entry")
        start = info.header_offset + _LOCAL_HEADER + len(name.encode()) + len(info.extra)
        if info.header_offset < 0 or start + info.file_size > len(view):
            raise BundleError(f"{path}: {name} claims {info.file_size} bytes, which are not there")
        if name in parts:
            raise BundleError(f"{path}: {name} stands in it twice")
        parts[name] = view[start : start + info.file_size]
    return parts


def _manifest(path: Path, text: bytes) -> dict[str, Any]:
    try:
        manifest = json.loads(text)
        canonical = canonical_json(manifest)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{path}: {MANIFEST} is not JSON") from error
    if not isinstance(manifest, dict) or canonical != text:
        raise BundleError(f"{path}: {MANIFEST} is not a canonical JSON object")
    for key, kind in REQUIRED_KEYS.items():
        if key not in manifest:
            raise BundleError(f"{path}: {MANIFEST}: {key} is missing")
        if not isinstance(manifest[key], kind):
            found = type(manifest[key]).__name__
            raise BundleError(f"{path}: {MANIFEST}: {key} is {found}, which is not its type")
    if manifest["format"] != FORMAT:
        raise BundleError(f"{path}: format {manifest['format']}, expected {FORMAT}")
    return manifest


def _check_digests(path: Path, listed: Mapping[str, str], payload: Mapping[str, memoryview]) -> None:
    for name in listed:
        if name not in payload:
            raise BundleError(f"{path}: {name} is listed and missing")
    for name, data in payload.items():
        if name not in listed:
            raise BundleError(f"{path}: {name} is not listed in {MANIFEST}")
        if hashlib.sha256(data).hexdigest() != listed[name]:
            raise BundleError(f"{path}: {name} does not have the digest listed in {MANIFEST}")


def _signer(path: Path, text: bytes, signature: memoryview | None) -> PublicKey | None:
    if signature is None:
        return None
    if len(signature) != PUBLIC_KEY_BYTES + SIGNATURE_BYTES:
        raise BundleError(f"{path}: {SIGNATURE} has {len(signature)} bytes, expected 96")
    raw = bytes(signature)
    public = PublicKey(raw[:PUBLIC_KEY_BYTES], "")
    if not public.verifies(text, raw[PUBLIC_KEY_BYTES:]):
        raise BundleError(f"{path}: {SIGNATURE} does not fit {MANIFEST}")
    return public
