"""An update of the daemon, from the signed document to the installer's answer, over restarts of it."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edge_agent.package_installer.installer import InstallResult
from edge_agent.package_installer.system import System
from edge_agent.protocol.hub_client import HubClient
from edge_agent.runtime.rollout.bundle_port import Completed
from edge_agent.runtime.rollout.command_handlers import CommandTools
from edge_agent.services.installer_files import InstallerFiles
from edge_agent.testing.clock import ManualClock
from edge_agent.version import __version__
from edge_agent.wire import blocks, documents, messages, signatures
from edge_agent.wire.documents import Trust
from edge_agent.wire.messages import Message, decode
from edge_agent.wire.package import POPULATION
from edge_agent.wire.topics import DeviceTopics

Make = Callable[..., Any]
TOPICS = DeviceTopics("home", "dev")
DIRECTOR, RELEASE = signatures.generate("director"), signatures.generate("release")
DATA = b"x" * 200_000
CUT = blocks.cut("a" * 64, POPULATION, DATA)


class Folder:
    """Where bundles arrive: counts blocks, and completes a file at once."""

    def __init__(self) -> None:
        self.blocks: set[int] = set()
        self.reason = ""
        self.kept: set[str] = set()
        self._news: list[Completed] = []

    def write(self, cut: blocks.Cut, index: int, data: bytes) -> None:
        self.blocks.add(index)

    def complete(self, bundle: str) -> None:
        self._news.append(Completed(bundle, self.reason))

    def keep(self, bundles: set[str]) -> None:
        self.kept = set(bundles)

    def news(self) -> list[Completed]:
        news, self._news = self._news, []
        return news


class Store:
    def __init__(self) -> None:
        self.state: dict[str, Any] = {}

    def write(self, state: Any) -> None:
        self.state = dict(state)


class Board:
    """A daemon and its installer's files; `start` is a start of the daemon."""

    def __init__(self, make_house: Make, folder: Path) -> None:
        self.make_house, self.folder, self.store = make_house, Folder(), Store()
        self.state_dir, self.installer_dir = (
            folder / "var/lib/edge-agent",
            folder / "var/lib/edge-agent-update",
        )
        for path in (self.state_dir, self.installer_dir):
            path.mkdir(parents=True)
        self.system = System(folder)
        self.clock = ManualClock(start=100.0)
        self.start()

    def start(self) -> None:
        installer = InstallerFiles(self.state_dir, self.installer_dir)
        trust = Trust("home", (DIRECTOR.public.raw,), 1, 0, (RELEASE.public.raw,))
        configured = {"rooms": ("digest", 3), POPULATION: (installer.installed(), 0)}
        client = HubClient(
            TOPICS,
            trust,
            configured,
            lambda _cut: self.folder.blocks,
            random.Random(1),
            self.store.state or None,
        )
        client.active.pop(POPULATION, None)
        tools = CommandTools(
            reload=lambda: None,
            recording_file=lambda: None,
            max_rate_hz=100.0,
            send_learned=lambda _name: {},
            log_lines=lambda _most: [],
            support=SimpleNamespace(begin=lambda _seconds, _answer: None, run_once=lambda: None),
        )
        checker = SimpleNamespace(check=lambda _digest, _values, _plan: None, news=list)
        self.house = self.make_house(
            clock=self.clock,
            extend=lambda builder: builder.connect_hub(
                client, self.store, self.folder, checker, tools, installer
            ),
        )
        self.house.start()

    def offer(self, version: int = 1, trial_s: float = 90.0) -> None:
        now = self.clock.time()
        release = {
            "fleet": "home",
            "population": POPULATION,
            "bundle": CUT.digest,
            "number": 1,
            "issued": now,
        }
        document = {
            "fleet": "home",
            "device": "dev",
            "version": version,
            "issued": now,
            "expires": now + 1e5,
            "bundles": {CUT.digest: CUT.entry()},
            "populations": {POPULATION: {"bundle": CUT.digest}},
            "gates": {"trial_seconds": trial_s},
        }
        body = documents.signed(document, documents.DESIRED, [DIRECTOR])
        body["releases"] = [documents.signed(release, documents.RELEASE, [RELEASE])]
        self.say(TOPICS.desired, body)
        for index in range(len(CUT.blocks)):
            block = DATA[index * CUT.block : (index + 1) * CUT.block]
            self.say(TOPICS.block, {"bundle": CUT.digest, "index": index, "data": block})

    def say(self, topic: str, body: dict[str, Any]) -> None:
        self.house.say(topic, messages.encode(Message(body)))

    def answer(self, outcome: str, reason: str = "", installed: bool = True) -> None:
        """Answer as the installer does: the request is gone, the result is there."""
        request = self.system.request()
        assert request is not None
        self.system.drop_request()
        in_place = (CUT.digest, f"{__version__}+deb12") if installed else ("", "")
        self.system.write_result(InstallResult(request.id, request.bundle, outcome, reason, *in_place))

    def reported(self) -> dict[str, Any]:
        self.house.after(3.0)
        body: dict[str, Any] = decode(self.house.broker.retained[TOPICS.reported].payload).body
        return body


@pytest.fixture
def board(make_house: Make, tmp_path: Path) -> Board:
    return Board(make_house, tmp_path)


def test_the_installer_is_asked_once_the_package_is_here(board: Board) -> None:
    assert board.reported()["populations"][POPULATION] == {"bundle": "", "size": 0}
    board.offer(trial_s=90.0)
    assert board.reported()["rollouts"][POPULATION]["stage"] == "trial"
    request = board.system.request()
    assert request is not None
    assert (request.bundle, request.trial_s) == (CUT.digest, 90.0)
    # Beside it lies the message that names the package, with its release, as it came.
    kept = decode((board.state_dir / "update/message").read_bytes()).body
    assert CUT.digest.encode() in kept["doc"]
    assert kept["releases"]
    assert not board.folder.kept


def test_the_daemon_that_was_installed_reports_it(board: Board) -> None:
    board.offer()
    board.answer("installed")
    board.start()  # the installer restarts the daemon
    reported = board.reported()
    assert reported["rollouts"][POPULATION]["stage"] == "committed"
    assert reported["populations"][POPULATION]["bundle"] == CUT.digest
    assert board.system.request() is None
    assert board.folder.kept == set()  # its file is not needed any more
    board.start()
    assert board.reported()["populations"][POPULATION]["bundle"] == CUT.digest


@pytest.mark.parametrize("outcome", ["refused", "restored"])
def test_what_was_not_installed_is_told_with_the_reason(board: Board, outcome: str) -> None:
    board.offer()
    board.answer(outcome, "not connected to the broker", installed=False)
    board.start()
    rollout = board.reported()["rollouts"][POPULATION]
    assert (rollout["stage"], rollout["reason"]) == ("rolled-back", f"{outcome}: not connected to the broker")


def test_a_restart_asks_for_the_same_and_not_twice(board: Board) -> None:
    board.offer()
    first = board.system.request()
    board.start()
    board.house.after(3.0)
    assert board.system.request() == first
    board.answer("installed")
    board.start()
    assert board.reported()["rollouts"][POPULATION]["stage"] == "committed"


def test_an_answer_to_an_earlier_request_is_none_to_this_one(board: Board) -> None:
    board.offer()
    board.answer("restored", "no agent has stepped", installed=False)
    assert board.reported()["rollouts"][POPULATION]["stage"] == "rolled-back"
    board.offer(version=2)
    assert board.reported()["rollouts"][POPULATION]["stage"] == "trial"
    board.answer("installed")
    assert board.reported()["rollouts"][POPULATION]["stage"] == "committed"


def test_an_installer_that_is_not_there_ends_the_rollout(board: Board) -> None:
    board.offer(trial_s=30.0)
    board.house.after(3000.0)
    assert board.reported()["rollouts"][POPULATION]["stage"] == "trial"
    board.house.after(1000.0)
    rollout = board.reported()["rollouts"][POPULATION]
    assert rollout["reason"] == "the installer (edge-agent-update.service) did not answer"
    assert board.system.request() is None


def test_a_file_that_cannot_be_completed_ends_the_rollout(board: Board) -> None:
    board.folder.reason = "bundles/a.part: No space left on device"
    board.offer()
    assert board.reported()["rollouts"][POPULATION]["reason"] == board.folder.reason


def test_a_version_installed_by_hand_is_not_reported_as_the_hubs(board: Board) -> None:
    board.offer()
    board.answer("installed")
    board.system.write_result(InstallResult("r", CUT.digest, "installed", "", CUT.digest, "9.9.9+deb12"))
    board.start()
    assert board.reported()["populations"][POPULATION]["bundle"] == ""
