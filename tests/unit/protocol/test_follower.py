import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.errors import PlatformError
from edge_agent.protocol.commands import Begin
from edge_agent.protocol.follower import Download, Follower, Leave, Parameters, Publish, Save
from edge_agent.protocol.ports import Received
from edge_agent.protocol.rollout import Commit, Health, RollBack, Shadow, Trial, Verify
from edge_agent.protocol.transfer import Write
from edge_agent.wire import blocks, documents, messages, signatures
from edge_agent.wire.documents import Trust
from edge_agent.wire.messages import Message
from edge_agent.wire.topics import DeviceTopics

HUB = signatures.generate("hub")
TOPICS = DeviceTopics("f", "d")
NOW = 1_700_000_000.0
FILE = random.Random(0).randbytes(1000)
NEW, OLD = "a" * 64, "b" * 64
CUT = blocks.cut(NEW, "new", FILE, block=100)
GATES = {"shadow_seconds": 10, "trial_seconds": 20, "steps": 10}
GOOD = Health(100, 10, 0, 0, 1.0, 1.0, 100)
BAD = Health(100, 10, 0, 50, 1.0, 1.0, 100)


class PowerCut(Exception):
    pass


class Board:
    """A device: a disk that stays, a process that may lose its power before any effect, and a hub that
    answers."""

    def __init__(self, verdict: str = "", shadow: Health = GOOD, trial: Health = GOOD, url: str = "") -> None:
        self.disk: dict[int, bytes] = {}
        self.kept: str | None = None
        self.now = 0.0
        self.verdict, self.shadow, self.trial = verdict, shadow, trial
        self.cut = blocks.cut(NEW, "new", FILE, url, block=100)
        self.acting = ""
        self.stage = ""
        self.reported: dict = {}
        self.replies: list[dict] = []
        self.asked: list[int] = []
        self.ran: list[str] = []
        self.left: list[str] = []
        self.trials = 0
        self.effects_left = 10**9
        self.boot()

    def boot(self) -> None:
        state = json.loads(self.kept) if self.kept else None
        trust = Trust("f", (HUB.public.raw,))
        self.follower = Follower(
            TOPICS, trust, {"rooms": (OLD, 5)}, lambda _: set(self.disk), random.Random(0), state
        )
        self.acting = self.follower.running("rooms")
        self.stage = ""
        self.inbox: list[Received] = []
        self.todo = self.follower.start(self.now, NOW) + self.follower.online(self.now, NOW)

    def desire(self, version: int = 1, bundle: str = NEW, **other: object) -> None:
        cut = self.cut if bundle == NEW else blocks.cut(bundle, "old", b"x")
        document = {
            "fleet": "f",
            "device": "d",
            "version": version,
            "issued": NOW,
            "expires": NOW + 1e6,
            "bundles": {bundle: cut.entry()},
            "populations": {"rooms": {"bundle": bundle}},
            "gates": GATES,
        } | other
        body = documents.signed(document, documents.DESIRED, [HUB])
        self.retained = Received(TOPICS.desired, messages.encode(Message(body)), 1, True)
        self.inbox.append(self.retained)

    def turn(self) -> None:
        while self.todo:
            if self.effects_left == 0:
                self.effects_left = 10**9
                raise PowerCut
            self.effects_left -= 1
            self.carry_out(self.todo.pop(0))
        self.now += 1.0
        if self.stage == "shadow":
            self.todo += self.follower.health("rooms", self.shadow, self.now, NOW)
        elif self.stage == "trial":
            self.todo += self.follower.health("rooms", self.trial, self.now, NOW)
        self.todo += self.follower.tick(self.now, NOW)
        if self.inbox:
            self.todo += self.follower.handle(self.inbox.pop(0), self.now, NOW)

    def carry_out(self, effect: object) -> None:
        match effect:
            case Save(state):
                self.kept = json.dumps(state)
            case Write(_, index, data):
                self.disk[index] = data
            case Publish(publication):
                self.hub(publication.topic, messages.decode(publication.payload).body)
            case Verify(population, bundle):
                assert b"".join(self.disk[i] for i in range(10)) == FILE
                if self.verdict:
                    self.todo += self.follower.failed(population, bundle, self.verdict, self.now, NOW)
                else:
                    config = self.follower.asked_for(population)
                    checked = None if config is None else {**config, "checked": True}
                    self.todo += self.follower.verified(population, bundle, self.now, NOW, checked)
            case Shadow():
                assert self.kept_stage() == "shadowing"
                self.stage = "shadow"
            case Leave(population):
                self.left.append(population)
            case Trial("halls" | "rooms" as population, bundle):
                if population == "halls":
                    return
                assert self.kept_stage() == "trial"  # or a board that dies of it would try for ever
                self.stage, self.acting = "trial", bundle
                self.trials += 1
            case Commit("halls", _) | RollBack("halls", _, _):
                pass
            case Commit(_, bundle):
                assert self.acting == bundle
                self.stage = ""
            case RollBack(_, bundle, _):
                self.acting, self.stage = bundle, ""
            case Begin(command):
                assert command.id in json.loads(self.kept or "{}")["commands"]
                self.ran.append(command.id)
                self.todo += self.follower.finished(command.id, True, self.now, NOW)
            case Download():
                self.todo += self.follower.unavailable(NEW, self.now, NOW)
            case Parameters():
                pass
            case _:
                raise AssertionError(effect)

    def hub(self, topic: str, body: dict) -> None:
        if topic == TOPICS.fetch:
            self.asked += body["blocks"]
            for index in body["blocks"]:
                block = {"bundle": NEW, "index": index, "data": FILE[index * 100 : index * 100 + 100]}
                self.inbox.append(Received(TOPICS.block, messages.encode(Message(block)), 1))
        elif topic == TOPICS.reported:
            self.reported = body
        else:
            self.replies.append(body)

    def kept_stage(self) -> str:
        return str(json.loads(self.kept or "{}")["rollouts"]["rooms"]["stage"])

    def settle(self, turns: int = 300) -> None:
        for _ in range(turns):
            self.turn()

    @property
    def progress(self) -> dict:
        return self.reported["rollouts"]["rooms"]


def test_a_good_bundle_is_fetched_tried_and_committed() -> None:
    board = Board()
    board.desire()
    board.settle()
    assert board.acting == NEW
    assert board.asked == list(range(10))
    assert board.reported["populations"]["rooms"] == {"bundle": NEW, "size": 5}
    assert board.progress == {"bundle": NEW, "stage": "committed"}
    board.boot()
    assert board.acting == NEW


def test_a_bundle_that_fails_its_golden_vectors_never_runs() -> None:
    board = Board(verdict="golden vectors: action 3 is 1, expected 0")
    board.desire()
    board.settle()
    assert (board.acting, board.trials) == (OLD, 0)
    assert "golden vectors" in board.progress["reason"]


def test_a_bundle_that_does_badly_in_the_shadow_never_acts() -> None:
    board = Board(shadow=BAD)
    board.desire()
    board.settle()
    assert (board.acting, board.trials) == (OLD, 0)
    assert "shadowing: contradiction_rate" in board.progress["reason"]


def test_a_bundle_that_does_badly_in_the_trial_is_rolled_back() -> None:
    board = Board(trial=BAD)
    board.desire()
    board.settle()
    assert (board.acting, board.trials) == (OLD, 1)
    assert board.progress["stage"] == "rolled-back"
    board.inbox.append(board.retained)
    board.settle()
    assert board.trials == 1  # the same document again is no reason to try again


def test_wrong_blocks_are_not_kept() -> None:
    board = Board()
    board.desire()
    for _ in range(2):
        board.turn()
    evil = {"bundle": NEW, "index": 0, "data": b"evil"}
    board.inbox.insert(0, Received(TOPICS.block, messages.encode(Message(evil)), 1))
    board.settle()
    assert board.acting == NEW


def test_lost_blocks_are_asked_for_again() -> None:
    board = Board()
    board.desire()
    for _ in range(60):
        board.inbox = [m for m in board.inbox if m.topic != TOPICS.block]
        board.turn()
    board.settle(600)
    assert board.acting == NEW


def test_a_newer_document_takes_over_while_the_older_is_under_way() -> None:
    board = Board()
    board.desire(1)
    for _ in range(20):
        board.turn()
    assert board.stage == "shadow"
    board.desire(2, OLD)
    board.settle()
    assert board.acting == OLD
    assert board.reported["version"] == 2
    assert board.reported["rollouts"] == {}


def test_a_population_that_is_not_here_is_reported() -> None:
    board = Board()
    board.desire(populations={"halls": {"bundle": NEW}})
    board.settle()
    assert "no population 'halls'" in board.reported["rollouts"]["halls"]["reason"]


def test_a_population_that_the_hub_adds_is_kept_and_goes_with_its_document() -> None:
    board = Board()
    board.desire(populations={"halls": {"bundle": NEW, "config": {"size": 2}}})
    for _ in range(400):
        board.turn()
        verifying = board.reported.get("rollouts", {}).get("halls", {}).get("stage")
        if verifying == "trial":
            board.todo += board.follower.health("halls", GOOD, board.now, NOW)
    assert board.reported["rollouts"]["halls"] == {"bundle": NEW, "stage": "committed"}
    board.boot()
    assert board.follower.added == {"halls": {"size": 2, "checked": True}}
    assert board.follower.running("halls") == NEW
    board.desire(2, OLD)
    board.settle(50)
    assert board.left == ["halls"]
    board.boot()
    assert board.follower.added == {}
    assert board.follower.running("halls") == ""


def test_an_added_population_that_does_badly_leaves_nothing_behind() -> None:
    board = Board()
    board.desire(populations={"halls": {"bundle": NEW, "config": {"size": 2}}})
    for _ in range(100):
        board.turn()
        board.todo += board.follower.health("halls", BAD, board.now, NOW)
    assert "trial: contradiction_rate" in board.reported["rollouts"]["halls"]["reason"]
    board.boot()
    assert (board.follower.added, board.follower.running("halls")) == ({}, "")


def test_refusals_are_reported_once_a_second_at_most() -> None:
    board = Board()
    board.settle(5)
    count = 0
    for n in range(1000):
        noise = Received(TOPICS.desired, bytes([0xC1]) * (n % 50 + 1), 1)
        effects = board.follower.handle(noise, board.now, NOW)
        count += sum(isinstance(e, Publish) for e in effects)
        board.todo += effects
    assert count <= 1
    board.settle(5)
    assert "msgpack" in board.reported["refused"]["reason"]


def test_a_command_runs_and_is_answered() -> None:
    board = Board()
    doc = {"fleet": "f", "device": "d", "id": "7", "name": "reset", "expires": NOW + 60}
    payload = messages.encode(Message(documents.signed(doc, documents.COMMAND, [HUB])))
    board.inbox += [Received(TOPICS.command, payload, 1)] * 3
    board.settle(10)
    assert board.ran == ["7"]
    assert board.replies[0] == {"id": "7", "ok": True}
    board.inbox.append(Received(TOPICS.command, payload, 1, retain=True))
    count = len(board.replies)
    board.settle(3)
    assert len(board.replies) == count  # a retained command is nobody's command


def test_a_download_that_fails_turns_to_blocks() -> None:
    board = Board(url="https://example.invalid/new.eab")
    board.desire()
    board.settle()
    assert board.acting == NEW


@given(st.lists(st.integers(0, 60), max_size=6), st.sampled_from(["good", "golden", "shadow", "trial"]))
def test_power_may_go_before_any_effect(cuts: list[int], kind: str) -> None:
    board = Board(
        verdict="golden" if kind == "golden" else "",
        shadow=BAD if kind == "shadow" else GOOD,
        trial=BAD if kind == "trial" else GOOD,
    )
    board.desire()
    for cut in cuts:
        board.effects_left = cut
        try:
            board.settle(100)
        except PowerCut:
            board.boot()
            board.inbox.append(board.retained)  # the broker still has it
            # Whatever acts after a restart is the old bundle or one that went through all gates.
            assert board.acting == OLD or kind == "good"
        board.effects_left = 10**9
    board.settle(400)
    if kind == "good":
        assert board.acting == NEW or "restarted" in board.progress["reason"]
    else:
        assert board.acting == OLD
        assert board.progress["stage"] == "rolled-back"
    assert board.trials <= 2


@pytest.mark.parametrize(
    "damage",
    [
        {"twin": 3},
        {"twin": {"trust": {"keys": ["no hex"], "threshold": 1, "version": 0}, "document": None}},
        {"twin": {"trust": {"keys": ["00" * 32], "threshold": 1, "version": 0}, "document": {"version": 1}}},
        {"commands": {"1": {"expires": "soon", "reply": None}}},
        {"rollouts": {"rooms": {"population": "rooms"}}},
        {"rollouts": []},
        {"active": {"rooms": 3}},
    ],
)
def test_a_state_of_something_else_is_refused_as_a_whole(damage: dict) -> None:
    board = Board()
    board.desire()
    for _ in range(5):
        board.turn()
    state = json.loads(board.kept or "") | damage
    trust = Trust("f", (HUB.public.raw,))
    with pytest.raises(PlatformError, match="not what was kept"):
        Follower(TOPICS, trust, {"rooms": (OLD, 5)}, lambda _: set(), random.Random(0), state)


def test_a_download_that_fails_falls_back_to_blocks_and_one_that_ends_goes_on() -> None:
    board = Board(url="https://example.invalid/new.eab")
    board.desire()
    (message,) = [board.inbox.pop()]
    effects = board.follower.handle(message, 0.0, NOW)
    assert [e for e in effects if isinstance(e, Download)] == [Download(board.cut)]
    asked = [e.publication for e in board.follower.unavailable(NEW, 1.0, NOW) if isinstance(e, Publish)]
    assert [messages.decode(p.payload).body["blocks"][0] for p in asked if p.topic == TOPICS.fetch] == [0]
    assert Verify("rooms", NEW) in board.follower.fetched(NEW, 2.0, NOW)
    assert board.follower.unavailable("c" * 64, 3.0, NOW) == []  # of a bundle that nobody wants
