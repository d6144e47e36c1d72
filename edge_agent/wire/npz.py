"""Reads untrusted ``.npz`` files without unpickling and without trusting their sizes.

Theory of operation. A ``.npz`` is a ZIP of ``.npy`` entries. The sizes that the archive claims are added up
before anything is unpacked; then each entry's header is read alone, and shape and dtype must account for
exactly the bytes that the entry has. Only after that is the data read. Object arrays, which would have to be
unpickled, are refused by their dtype. The header is Python's spelling of a dict, but it is not evaluated:
three keys with simple values are all that is looked for.
"""

from __future__ import annotations

import io
import re
import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import EdgeAgentError

MAX_BYTES = 1024 * 1024 * 1024
_MAGIC = b"\x93NUMPY"
_ENCRYPTED = 0x1
_KINDS = "biufU"
_EPOCH = (1980, 1, 1, 0, 0, 0)
_LENGTH_BYTES = {(1, 0): 2, (2, 0): 4}
_MAX_HEADER = 10_000
_MAX_DIMENSIONS = 32
_MAX_LENGTH = 2**40
_ITEM = r"\s*'(descr|fortran_order|shape)'\s*:\s*('[^']*'|True|False|\([\dL,\s]*\))\s*"
_HEADER = re.compile(rf"\{{(?:{_ITEM}(?:,|(?=\}})))*\s*\}}\s*")
_DTYPE = re.compile(r"'([<>|=]?[?biufcSUVOmM]\d{0,9})(?:\[\w+\])?'")
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    ValueError,  # zipfile seeks where a damaged directory says
    NotImplementedError,
    OSError,
)
Arrays = dict[str, NDArray[Any]]


def read(path: Path, error: type[EdgeAgentError], limit: int = MAX_BYTES) -> Arrays:
    """Return the arrays of a file by name.

    Parameters
    ----------
    path : Path
        The ``.npz`` file.
    error : type
        What is raised when the file is not as it should be: whose fault it is depends on whose file it is.
    limit : int
        Bytes that all arrays together may take, unpacked.

    Raises
    ------
    EdgeAgentError
        Of type ``error``: the message names the file, the array, and the rule that is broken.
    """
    try:
        file = path.open("rb")
    except OSError as cause:
        raise error(f"{path}: {cause.strerror}") from cause
    with file:
        return _arrays(path, file, error, limit)


def parse(
    data: bytes | memoryview, where: str, error: type[EdgeAgentError], limit: int = MAX_BYTES
) -> Arrays:
    """Return the arrays in the bytes of a file; ``where`` is what messages call it. See ``read``."""
    return _arrays(where, io.BytesIO(data), error, limit)


def _arrays(path: Path | str, file: BinaryIO, error: type[EdgeAgentError], limit: int) -> Arrays:
    try:
        with zipfile.ZipFile(file) as archive:
            infos = archive.infolist()
            _check_sizes(path, infos, error, limit)
            return {_name(info): _entry(path, archive, info, error) for info in infos}
    except _DAMAGE as cause:
        raise error(f"{path}: not a whole .npz file ({cause})") from cause


def write(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Return ``.npz`` bytes that depend on the arrays alone: sorted, stored, without a time of day."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(arrays):
            info = zipfile.ZipInfo(f"{name}.npy", date_time=_EPOCH)
            info.external_attr = 0o644 << 16
            archive.writestr(info, npy(arrays[name]))
    return out.getvalue()


def npy(array: NDArray[Any]) -> bytes:
    """Return the ``.npy`` bytes of one array."""
    out = io.BytesIO()
    np.lib.format.write_array(out, np.ascontiguousarray(array) if array.ndim else array, allow_pickle=False)
    return out.getvalue()


def header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Read the header of a ``.npy`` file up to its data; return shape, Fortran order, and dtype.

    Raises
    ------
    ValueError
        It is not one of version 1 or 2, or says something else than shape, order and a plain dtype.
    """
    start = file.read(len(_MAGIC) + 2)
    size = _LENGTH_BYTES.get((start[-2], start[-1])) if len(start) == len(_MAGIC) + 2 else None
    if size is None or not start.startswith(_MAGIC):
        raise ValueError("not the header of a .npy file of version 1 or 2")
    length = int.from_bytes(file.read(size), "little")
    text = file.read(length).decode("latin-1") if length <= _MAX_HEADER else ""
    found = dict(re.findall(_ITEM, text))
    dtype = _DTYPE.fullmatch(found.get("descr", ""))
    order, shape = found.get("fortran_order"), found.get("shape", "")
    if len(text) != length or not _HEADER.fullmatch(text) or not dtype or not shape.startswith("("):
        raise ValueError("the header does not give shape, order and a plain dtype")
    lengths = tuple(int(n) for n in re.findall(r"\d{1,15}", shape))
    if (
        order not in ("True", "False")
        or len(lengths) > _MAX_DIMENSIONS
        or max(lengths, default=0) > _MAX_LENGTH
    ):
        raise ValueError(f"the header gives shape {shape[:60]} in order {order}")
    try:
        return lengths, order == "True", np.dtype(dtype[0].strip("'"))
    except (TypeError, ValueError) as error:
        raise ValueError(f"the header gives {dtype[0]}, which is no dtype") from error


def _check_sizes(
    path: Path | str, infos: list[zipfile.ZipInfo], error: type[EdgeAgentError], limit: int
) -> None:
    if not infos:
        raise error(f"{path}: no arrays in it")
    claimed = 0
    for info in infos:
        if info.flag_bits & _ENCRYPTED:
            raise error(f"{path}: {info.filename} is encrypted")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise error(
                f"{path}: {info.filename} is compressed by method {info.compress_type}, expected 0 or 8"
            )
        claimed += info.file_size
        if claimed > limit:
            raise error(f"{path}: {info.filename} claims {info.file_size} bytes, at most {limit} are read")
    names = [_name(info) for info in infos]
    for name in names:
        if names.count(name) > 1:
            raise error(f"{path}: {name} stands in it twice")


def _name(info: zipfile.ZipInfo) -> str:
    return info.filename.removesuffix(".npy")


def _entry(
    path: Path | str, archive: zipfile.ZipFile, info: zipfile.ZipInfo, error: type[EdgeAgentError]
) -> NDArray[Any]:
    name = _name(info)
    with archive.open(info) as file:
        if file.read(len(_MAGIC)) != _MAGIC:
            raise error(f"{path}: {name} is not an array")
    with archive.open(info) as file:
        try:
            shape, fortran, dtype = header(file)
        except ValueError as cause:
            raise error(f"{path}: {name}: its header is not one of .npy files ({cause})") from cause
        if dtype.kind not in _KINDS:
            kind = "Python objects" if dtype.hasobject else str(dtype)
            raise error(f"{path}: {name} holds {kind}, expected numbers or text; nothing is unpickled")
        count = 1
        for length in shape:
            count *= length
        expected = count * dtype.itemsize
        there = info.file_size - file.tell()
        if expected != there:
            raise error(f"{path}: {name} claims {expected} bytes, {there} are there")
        data = file.read(expected)
    if len(data) != expected:
        raise error(f"{path}: {name} claims {expected} bytes, {len(data)} are there")
    array: NDArray[Any] = np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")
    return array
