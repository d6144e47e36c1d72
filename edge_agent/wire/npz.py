"""Arrays that come from outside: ``.npz`` files, read without ever unpickling and without trusting a size.

Theory of operation. A ``.npz`` is a ZIP of ``.npy`` entries. The sizes that the archive claims are added up
before anything is unpacked; then each entry's header is read alone, and shape and dtype must account for
exactly the bytes that the entry has. Only after that is the data read. Object arrays, which would have to be
unpickled, are refused by their dtype.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import EdgeAgentError

MAX_BYTES = 1024 * 1024 * 1024
_MAGIC = b"\x93NUMPY"
_ENCRYPTED = 0x1
_KINDS = "biufU"
_EPOCH = (1980, 1, 1, 0, 0, 0)
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
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
            shape, fortran, dtype = _HEADERS[np.lib.format.read_magic(file)](file)
        except (ValueError, KeyError) as cause:
            raise error(f"{path}: {name}: its header is not one of .npy files") from cause
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
