"""What the service manager receives, on a real datagram socket, by path and in the abstract namespace."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.adapters.systemd import Notifier
from edge_agent.errors import PlatformError


class Manager:
    """systemd's end of the protocol."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self._socket.setblocking(False)

    def received(self) -> list[str]:
        messages = []
        while True:
            try:
                messages.append(self._socket.recv(4096).decode())
            except BlockingIOError:
                return messages

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    name = f"@edge-agent-test-{os.getpid()}" if request.param == "abstract" else str(tmp_path / "notify")
    manager = Manager(name)
    yield manager
    manager.close()


@pytest.fixture
def notifier(manager: Manager) -> Iterator[Notifier]:
    notifier = Notifier(manager.address)
    yield notifier
    notifier.close()


def test_the_manager_gets_each_state_in_the_words_of_sd_notify(manager: Manager, notifier: Notifier) -> None:
    notifier.ready()
    notifier.watchdog()
    notifier.status("level 0, office 1000")
    notifier.stopping()
    assert manager.received() == [
        "READY=1",
        "WATCHDOG=1",
        "STATUS=level 0, office 1000",
        "STOPPING=1",
    ]


@given(st.text())
def test_a_status_text_cannot_smuggle_in_another_key(text: str) -> None:
    manager = Manager(f"@edge-agent-test-status-{os.getpid()}")
    notifier = Notifier(manager.address)
    try:
        notifier.status(text.encode(errors="replace").decode() + "\nREADY=1")
        (message,) = manager.received()
    finally:
        notifier.close()
        manager.close()
    assert message.startswith("STATUS=")
    assert "\n" not in message


def test_without_a_manager_nothing_is_sent_and_nothing_fails() -> None:
    notifier = Notifier.from_environment({})
    notifier.ready()
    notifier.watchdog()
    notifier.stopping()
    assert notifier.watchdog_interval is None


def test_a_manager_that_went_away_is_named(tmp_path: Path) -> None:
    notifier = Notifier(str(tmp_path / "gone"))
    try:
        with pytest.raises(PlatformError, match=r"NOTIFY_SOCKET=.*gone: No such file"):
            notifier.ready()
    finally:
        notifier.close()


def test_the_environment_names_socket_and_interval(manager: Manager) -> None:
    environment = {
        "NOTIFY_SOCKET": manager.address,
        "WATCHDOG_USEC": "30000000",
        "WATCHDOG_PID": str(os.getpid()),
    }
    notifier = Notifier.from_environment(environment)
    notifier.ready()
    notifier.close()
    assert notifier.watchdog_interval == 30.0
    assert manager.received() == ["READY=1"]


def test_a_watchdog_meant_for_the_parent_is_not_ours() -> None:
    notifier = Notifier.from_environment({"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"})
    assert notifier.watchdog_interval is None


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"NOTIFY_SOCKET": "run/notify"}, r"NOTIFY_SOCKET: found 'run/notify', expected an absolute path"),
        ({"WATCHDOG_USEC": "30s"}, r"WATCHDOG_USEC: found '30s', expected a whole number"),
        ({"WATCHDOG_USEC": "0"}, r"WATCHDOG_USEC: found '0'"),
        ({"WATCHDOG_USEC": "1", "WATCHDOG_PID": "-7"}, r"WATCHDOG_PID: found '-7'"),
    ],
)
def test_a_bad_variable_is_named_with_what_was_expected(environment: dict[str, str], message: str) -> None:
    with pytest.raises(PlatformError, match=message):
        Notifier.from_environment(environment)
