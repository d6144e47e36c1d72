"""Opening the database and its transactions.

Theory of operation. ``--data`` names a SQLite file or a ``postgresql://`` address. SQLite is in WAL mode:
readers never wait, and all writers of this process share one connection, so that they queue here instead of
failing there; other processes are waited for (``busy_timeout``). Every commit is on disk before it returns
(``synchronous=FULL``): what is acknowledged to the broker survives a power cut. PostgreSQL has a small pool,
whose connections are tried before use when they were idle for a second; ``?prepare=no`` in its address keeps
statements unprepared, as a pgbouncer that pools transactions needs it. What the database refuses because it
is not there (stopped, locked, disk full) is a `PlatformError` and may be tried again; what it refuses because
of the values is a `ValueRefusedError`.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import (
    ArgumentError,
    DataError,
    DBAPIError,
    DisconnectionError,
    IntegrityError,
    ProgrammingError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import ConnectionPoolEntry

from edge_agent.errors import ConfigError, PeerError, PlatformError
from edge_hub.database.schema import HEAD

BUSY_MS = 30_000
CHECKPOINT_PAGES = 4000
"""16 MB of SQLite's log: pages of indexes, which every batch changes, are copied to the file less often."""
WRITER_KIB = 16_000
"""SQLite's cache of the one connection that writes: a batch changes the indexes' pages of every device that
sent, and with SQLite's own 2 MB reads most of them again.
"""
READER_KIB = 2_000
POOL = 8
TRIED_AFTER_S = 1.0
"""So long idle, a connection to PostgreSQL is tried before it is used: the server may have ended it."""


class ValueRefusedError(PeerError):
    """The database can't hold a value, such as a NUL character in text or a number past 64 bits."""


class Database:
    """One database.

    Parameters
    ----------
    data : str
        Path of a SQLite file, or an address ``postgresql://USER@HOST/NAME``.

    Raises
    ------
    ConfigError
        The address is not one of PostgreSQL.
    """

    def __init__(self, data: str) -> None:
        self.url = address(data)
        self.sqlite = self.url.get_backend_name() == "sqlite"
        self.name = self.url.render_as_string(hide_password=True) if not self.sqlite else str(data)
        self._lock = threading.RLock()
        if self.sqlite:
            self._reader = _sqlite(self.url, "BEGIN", POOL, READER_KIB)
            self._writer = _sqlite(self.url, "BEGIN IMMEDIATE", 1, WRITER_KIB)
        else:
            options: dict[str, Any] = {"connect_timeout": 5, "application_name": "edge-hub"}
            if self.url.query.get("prepare") == "no":
                options["prepare_threshold"] = None
            self._reader = self._writer = create_engine(
                self.url.difference_update_query(["prepare"]),
                pool_size=POOL,
                max_overflow=POOL,
                connect_args=options,
            )
            _try_idle_connections(self._writer)

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Hold a transaction that writes; committed when the block ends without an error.

        Raises
        ------
        PlatformError
            The database is not there, locked, or full: nothing has changed.
        ValueRefusedError
            It can't hold a value: nothing has changed.
        """
        with self._errors():
            if self.sqlite:
                with self._lock, self._writer.begin() as connection:
                    yield connection
            else:
                with self._writer.begin() as connection:
                    yield connection

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Hold a transaction that sees one state of the database.

        Raises
        ------
        PlatformError
            The database is not there.
        """
        with self._errors(), self._reader.begin() as connection:
            yield connection

    def revision(self) -> str:
        """Return the schema's revision, "" if there is none yet."""
        with self.read() as connection:
            there = connection.dialect.has_table(connection, "alembic_version")
            found = connection.scalar(text("SELECT version_num FROM alembic_version")) if there else ""
        return str(found or "")

    def check(self) -> None:
        """Refuse a database whose schema is not this program's.

        Raises
        ------
        ConfigError
            It is older or newer.
        """
        found = self.revision()
        if found != HEAD:
            raise ConfigError(
                f"--data {self.name}: schema is {found or 'missing'}, expected {HEAD}; "
                "run: edge-hub migrate --data …"
            )

    def close(self) -> None:
        """Close every connection."""
        self._reader.dispose()
        self._writer.dispose()

    def __enter__(self) -> Database:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (DataError, IntegrityError, OverflowError) as error:
            raise ValueRefusedError(f"{self.name}: {_first_line(error)}") from error
        except ProgrammingError:
            raise  # a defect of ours: a query that the database does not understand
        except (DBAPIError, PoolTimeout) as error:
            raise PlatformError(f"{self.name}: {_first_line(error)}") from error


def address(data: str) -> URL:
    """Return the address of a database.

    Raises
    ------
    ConfigError
        It has a scheme other than PostgreSQL's, or can't be read.
    """
    if "://" not in data:
        return URL.create("sqlite", database=data)
    try:
        url = make_url(data)
    except (ArgumentError, ValueError) as error:
        raise ConfigError("--data: found an address that can't be read, expected postgresql://…") from error
    if url.get_backend_name() != "postgresql":
        raise ConfigError(f"--data: found {url.drivername}://…, expected a file or postgresql://…")
    if url.query.get("prepare", "no") != "no":
        raise ConfigError(f"--data: prepare: found {url.query['prepare']!r}, expected no, or nothing")
    return url.set(drivername="postgresql+psycopg")


def _sqlite(url: URL, begin: str, size: int, cache: int) -> Engine:
    path = Path(url.database or "")
    try:
        path.touch(mode=0o600)
    except OSError as error:
        raise PlatformError(f"{path}: {error.strerror}") from error
    engine = create_engine(
        url,
        pool_size=size,
        max_overflow=0,
        connect_args={"check_same_thread": False, "timeout": BUSY_MS / 1000, "isolation_level": None},
    )

    @event.listens_for(engine, "connect")
    def connected(connection: Any, _: object) -> None:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}")
        connection.execute(f"PRAGMA cache_size={-cache}")
        connection.execute(f"PRAGMA busy_timeout={BUSY_MS}")
        connection.execute("PRAGMA case_sensitive_like=ON")  # as in PostgreSQL

    @event.listens_for(engine, "begin")
    def begun(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine


def _try_idle_connections(engine: Engine) -> None:
    """Let a connection that nobody used for a while be tried before it is handed out.

    The trial is three answers of the server, as much as a small batch takes.
    """

    @event.listens_for(engine, "checkin")
    def given_back(_: object, record: ConnectionPoolEntry) -> None:
        record.info["idle_since"] = time.monotonic()

    @event.listens_for(engine, "checkout")
    def handed_out(connection: Any, record: ConnectionPoolEntry, _: object) -> None:
        since = record.info.get("idle_since", math.inf)
        if time.monotonic() - since < TRIED_AFTER_S:
            return
        try:
            engine.dialect.do_ping(connection)
        except engine.dialect.loaded_dbapi.Error as error:
            raise DisconnectionError from error  # the pool makes a new one


def _first_line(error: BaseException) -> str:
    origin = getattr(error, "orig", None) or error
    return (str(origin).splitlines() or [type(origin).__name__])[0]
