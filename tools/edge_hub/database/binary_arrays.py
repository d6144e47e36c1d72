"""Arrays in PostgreSQL's binary form: a header, then length and value of each element.

Theory of operation. psycopg makes an array element by element in Python, which takes longer than all the
rest of a batch. Here `struct` packs all values at once, and slices put the lengths between them. The bytes
are sent without a type: the statement's cast names it.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

from psycopg.adapt import Dumper
from psycopg.pq import Format
from sqlalchemy import Connection

from edge_hub.database.engine import ValueRefusedError

_TYPES = {"i": 23, "q": 20, "d": 701, "b": 16}
"""PostgreSQL's numbers of int4, int8, float8 and bool, by `struct`'s codes."""
_BYTEA, _TEXT = 17, 25
_length = struct.Struct("!i").pack


class Array(bytes):
    """An array as it is sent."""


class _ArrayDumper(Dumper):
    format = Format.BINARY
    oid = 0

    def dump(self, obj: Any) -> bytes:
        return bytes(obj)


def run(connection: Connection, statement: str, codes: str, columns: Sequence[Sequence[Any]]) -> None:
    """Run a statement once, with an array for each column of many rows.

    ``codes`` are `struct`'s for numbers and truth values, ``y`` for bytes and ``s`` for text; the statement
    marks each array by ``%b`` with a cast.

    Raises
    ------
    ValueRefusedError
        A number is past what its column holds.
    """
    driver: Any = connection.connection.driver_connection
    driver.adapters.register_dumper(Array, _ArrayDumper)
    arrays = [_array(code, column) for code, column in zip(codes, columns, strict=True)]
    connection.exec_driver_sql(statement, tuple(arrays))


def _array(code: str, column: Sequence[Any]) -> Array:
    match code:
        case "s":
            return _of_bytes(_TEXT, [text.encode() for text in column])
        case "y":
            return _of_bytes(_BYTEA, column)
        case _:
            return _of_numbers(code, column)


def _of_numbers(code: str, column: Sequence[Any]) -> Array:
    try:
        values = struct.pack(f"!{len(column)}{code}", *column)
    except struct.error as error:
        raise ValueRefusedError(f"a number: {error}") from error
    size = struct.calcsize(f"!{code}")
    out = bytearray(len(column) * (size + 4))
    out[3 :: size + 4] = bytes([size]) * len(column)
    for at in range(size):
        out[4 + at :: size + 4] = values[at::size]
    return Array(_head(_TYPES[code], len(column)) + out)


def _of_bytes(number: int, column: Sequence[bytes]) -> Array:
    return Array(_head(number, len(column)) + b"".join([_length(len(value)) + value for value in column]))


def _head(number: int, count: int) -> bytes:
    return struct.pack("!iiIii", 1, 0, number, count, 1)  # dimensions, NULLs, type, length, first index
