"""The control socket: one line in, one line out, for those whom the file's permissions let in."""

import json
import math
import os
import resource
import selectors
import socket
import stat
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from edge_agent.adapters.control import CLIENT_S, MAX_CLIENTS, MAX_REQUEST, PAUSE_S, ControlServer, ask
from edge_agent.errors import ConfigError, PlatformError
from edge_agent.testing.clock import ManualClock


def answer(request: Mapping[str, Any]) -> dict[str, Any]:
    if request.get("ask") != "status":
        raise ConfigError(f"ask: found {request.get('ask')!r}")
    return {"long": "x" * 300_000}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Path]:
    """Serve from another thread until the test ends."""
    selector, path = selectors.DefaultSelector(), tmp_path / "s"
    made = ControlServer(path, "0600", selector, answer)
    end = threading.Event()

    def loop() -> None:
        while not end.is_set():
            for key, _ in selector.select(0.02):
                key.data(key.fd)

    thread = threading.Thread(target=loop)
    thread.start()
    yield path
    end.set()
    thread.join()
    made.close()
    selector.close()
    assert not path.exists()


def test_a_question_gets_its_answer_however_long(server: Path) -> None:
    assert len(ask(server, {"ask": "status"})["long"]) == 300_000
    with pytest.raises(PlatformError, match="ask: found 'tea'"):
        ask(server, {"ask": "tea"})


def test_the_file_has_the_permissions_that_were_asked_for(server: Path) -> None:
    assert stat.S_IMODE(server.stat().st_mode) == 0o600


@pytest.mark.parametrize("sent", [b"\n", b"[1]\n", b"\xff\n", b"[" * 4000 + b"\n", b'"status"\n'])
def test_nonsense_gets_an_error_and_the_server_lives(server: Path, sent: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(server))
        connection.sendall(sent)
        assert "error" in json.loads(connection.makefile("rb").readline())
    assert "long" in ask(server, {"ask": "status"})


def test_who_sends_too_much_or_too_slowly_harms_nobody(server: Path) -> None:
    idle = []
    for _ in range(MAX_CLIENTS - 2):
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(str(server))
        connection.send(b'{"ask"')
        idle.append(connection)
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(5)
        connection.connect(str(server))
        connection.sendall(b"x" * (MAX_REQUEST + 1))
        assert connection.recv(1) == b""
    assert "long" in ask(server, {"ask": "status"})
    for connection in idle:
        connection.close()


def test_a_socket_left_behind_is_replaced_and_a_living_one_is_not(tmp_path: Path, server: Path) -> None:
    left = tmp_path / "left"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(left))
    selector = selectors.DefaultSelector()
    ControlServer(left, "0600", selector, answer).close()
    with pytest.raises(PlatformError, match="already listens"):
        ControlServer(server, "0600", selector, answer)
    selector.close()


def test_nobody_there_is_said_plainly(tmp_path: Path) -> None:
    with pytest.raises(PlatformError, match="is the daemon running"):
        ask(tmp_path / "none", {"ask": "status"})


def test_idle_clients_lock_nobody_out(server: Path) -> None:
    """The oldest goes where there is no room for one that comes."""
    held = []
    for _ in range(MAX_CLIENTS):
        held.append(socket.socket(socket.AF_UNIX))
        held[-1].connect(str(server))
    assert "long" in ask(server, {"ask": "status"})
    assert held[0].recv(10) == b""
    for connection in held[1:]:
        connection.shutdown(socket.SHUT_WR)  # without a question
        assert connection.recv(10) == b""
    for connection in held:
        connection.close()
    assert "long" in ask(server, {"ask": "status"})


def test_who_hangs_up_in_the_middle_of_an_answer_harms_nobody(server: Path) -> None:
    for _ in range(MAX_CLIENTS - 1):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(server))
            connection.sendall(b'{"ask": "status"}\n')
            assert connection.recv(1000)
    assert "long" in ask(server, {"ask": "status"})


def test_places_where_no_socket_can_be_are_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file" / "s", tmp_path / "file"):
        with pytest.raises(PlatformError, match=str(path)):
            ControlServer(path, "0600", selectors.DefaultSelector(), answer)
    with pytest.raises(PlatformError, match=r"file: "):
        ask(tmp_path / "file", {"ask": "status"})


def test_a_client_that_does_not_ask_in_time_is_cut_off(tmp_path: Path) -> None:
    clock, selector = ManualClock(start=100.0), selectors.DefaultSelector()
    made = ControlServer(tmp_path / "s", "0600", selector, answer, clock.monotonic)
    with socket.socket(socket.AF_UNIX) as idle:
        idle.connect(str(tmp_path / "s"))
        made.accept(0)
        assert made.deadline == 100.0 + CLIENT_S
        clock.advance(CLIENT_S - 1.0)
        made.tick()
        assert made.deadline < math.inf
        clock.advance(1.0)
        made.tick()
        assert made.deadline == math.inf
        assert idle.recv(10) == b""
    made.close()
    selector.close()


def test_without_a_descriptor_it_waits_and_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    clock, selector = ManualClock(start=100.0), selectors.DefaultSelector()
    made = ControlServer(tmp_path / "s", "0600", selector, answer, clock.monotonic)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(tmp_path / "s"))
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        spare = os.dup(0)
        os.close(spare)
        resource.setrlimit(resource.RLIMIT_NOFILE, (spare, hard))
        try:
            for _ in range(3):
                made.accept(0)
                assert selector.select(0) == []  # the client that waits doesn't wake the loop
                clock.advance(PAUSE_S)
                made.tick()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert made.failed == 3
        assert [r.message for r in caplog.records] == [
            f"{tmp_path}/s: no client can be taken in: Too many open files"
        ]
        made.accept(0)
        assert made.deadline < math.inf
    made.close()
    selector.close()
