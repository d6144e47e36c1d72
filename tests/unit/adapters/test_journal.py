"""Log lines arrive at journald with their fields: the native protocol, at a socket of our own."""

import logging
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent.adapters.journal import JournalHandler, under_journald


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bound:
        bound.bind(str(tmp_path / "journal"))
        bound.settimeout(5.0)
        yield bound


def test_a_line_carries_its_priority_and_its_fields(journal: socket.socket) -> None:
    handler = JournalHandler(Path(journal.getsockname()))
    record = logging.LogRecord("edge_agent", logging.WARNING, "here.py", 7, "too %s", ("hot",), None)
    record.fields = {"rung": 2, "cause": "81 °C\nand rising"}
    handler.emit(record)
    handler.close()
    datagram = journal.recv(4096)
    for line in (b"MESSAGE=too hot\n", b"PRIORITY=4\n", b"CODE_FILE=here.py\n", b"EDGE_AGENT_RUNG=2\n"):
        assert line in datagram
    value = "81 °C\nand rising".encode()  # with a line break: length in front, systemd's native protocol
    assert b"EDGE_AGENT_CAUSE\n" + len(value).to_bytes(8, "little") + value + b"\n" in datagram


def test_a_journal_that_is_gone_costs_the_line_alone(tmp_path: Path) -> None:
    handler = JournalHandler(tmp_path / "nobody")
    handler.emit(logging.LogRecord("edge_agent", logging.ERROR, "here.py", 7, "lost", (), None))
    handler.close()


def test_only_a_standard_error_that_is_the_journal_s_goes_there() -> None:
    assert not under_journald({})
    assert not under_journald({"JOURNAL_STREAM": "1:2"})
    assert not under_journald({"JOURNAL_STREAM": "what"})
