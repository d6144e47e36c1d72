"""What kind of model a file is, told by its content: names and extensions are not asked.

=========  =====================================================================
kind       how it is known
=========  =====================================================================
``pymdp``  a ZIP that is not a bundle
``gmn``    a JSON object, or text whose first line is a section such as ``[nodes]``
``tflite`` the flatbuffer identifier ``TFL3`` at byte 4
``onnx``   a protocol buffer that starts with ``ir_version`` and has a graph
``bundle`` a ZIP whose first entry is ``manifest.json``
=========  =====================================================================
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Literal

from edge_agent.errors import ModelError
from edge_agent.wire.bundle import MANIFEST

Kind = Literal["pymdp", "gmn", "tflite", "onnx", "bundle"]
MAX_BYTES = 1024 * 1024 * 1024
_ZIP_NAME = 30  # where the first entry's name begins in a ZIP
_HEAD = 4096


def kind_of(path: Path) -> Kind:
    """Return what ``path`` holds.

    Raises
    ------
    ModelError
        The file is missing, empty, too large, or of no kind that is known.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror}") from error
    if not 0 < size <= MAX_BYTES:
        raise ModelError(f"{path}: {size} bytes, expected 1 to {MAX_BYTES}")
    if head.startswith(b"PK\x03\x04"):
        return "bundle" if head[_ZIP_NAME:].startswith(MANIFEST.encode()) else "pymdp"
    if head[4:8] == b"TFL3":
        return "tflite"
    if _is_gmn(head):
        return "gmn"
    if head[0] == 0x08:  # field 1, a varint: ModelProto.ir_version
        return "onnx"
    raise ModelError(
        f"{path}: starts with {head[:8]!r}, expected a pymdp .npz, GMN (text or JSON), ONNX or TFLite"
    )


def digest(path: Path) -> str:
    """Return the SHA-256 of a file in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _is_gmn(head: bytes) -> bool:
    for line in head.removeprefix(b"\xef\xbb\xbf").splitlines():
        text = line.strip()
        if text and not text.startswith(b"#"):
            return text.startswith((b"{", b"["))
    return False
