import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.errors import PlatformError
from edge_agent.protocol.command_guard import Begin
from edge_agent.protocol.hub_client import HubClient
from edge_agent.protocol.hub_effects import Download, Leave, Parameters, Publish, Save
from edge_agent.protocol.ports import Publication, Received
from edge_agent.protocol.rollout import Commit, Health, RollBack, StartShadow, Trial, Verify
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
        self.parameters: dict = {}
        self.trials = 0
        self.effects_left = 10**9
        self.boot()

    def boot(self) -> None:
        state = json.loads(self.kept) if self.kept else None
        trust = Trust("f", (HUB.public.raw,))
        self.hub_client = HubClient(TOPICS, trust, {"rooms": (OLD, 5)}, self.on_disk, random.Random(0), state)
        self.acting = self.hub_client.running("rooms")
        self.stage = ""
        self.inbox: list[Received] = []
        self.todo = self.hub_client.start(self.now, NOW) + self.hub_client.online(self.now, NOW)

    def on_disk(self, cut: blocks.Cut) -> set[int]:
        return set(self.disk) if cut.digest == NEW else set()

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
        document = {key: value for key, value in document.items() if value is not None}
        body = documents.signed(document, documents.DESIRED, [HUB])
        self.retained = Received(TOPICS.desired, messages.encode(Message(body)), 1, True)
        self.inbox.append(self.retained)

    def run_once(self) -> None:
        while self.todo:
            if self.effects_left == 0:
                self.effects_left = 10**9
                raise PowerCut
            self.effects_left -= 1
            self.carry_out(self.todo.pop(0))
        self.now += 1.0
        if self.stage == "shadow":
            self.todo += self.hub_client.health("rooms", self.shadow, self.now, NOW)
        elif self.stage == "trial":
            self.todo += self.hub_client.health("rooms", self.trial, self.now, NOW)
        self.todo += self.hub_client.tick(self.now, NOW)
        if self.inbox:
            self.todo += self.hub_client.handle(self.inbox.pop(0), self.now, NOW)

    def carry_out(self, effect: object) -> None:
        match effect:
            case Save(state):
                self.kept = json.dumps(state)
            case Write(_, index, data):
                self.disk[index] = data
            case Publish(publication):
                self.hub(publication)
            case Verify(population, bundle):
                assert b"".join(self.disk[i] for i in range(10)) == FILE
                if self.verdict:
                    self.todo += self.hub_client.failed(population, bundle, self.verdict, self.now, NOW)
                else:
                    config = self.hub_client.asked_for(population)
                    checked = None if config is None else {**config, "checked": True}
                    self.todo += self.hub_client.verified(population, bundle, self.now, NOW, checked)
            case StartShadow("halls", _):
                pass
            case StartShadow():
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
                self.todo += self.hub_client.finished(command.id, True, self.now, NOW)
            case Download():
                self.todo += self.hub_client.unavailable(NEW, self.now, NOW)
            case Parameters(values):
                self.parameters = values
            case _:
                raise AssertionError(effect)

    def hub(self, publication: Publication) -> None:
        topic, message = publication.topic, messages.decode(publication.payload)
        body = message.body
        assert message.t == NOW
        assert (publication.retain, publication.content_type) == (
            topic == TOPICS.reported,
            "application/msgpack",
        )
        if topic == TOPICS.fetch:
            assert body["bundle"] == NEW
            self.asked += body["blocks"]
            for index in body["blocks"]:
                block = {"bundle": NEW, "index": index, "data": FILE[index * 100 : index * 100 + 100]}
                self.inbox.append(Received(TOPICS.block, messages.encode(Message(block)), 1))
        elif topic == TOPICS.reported:
            self.reported = body
        else:
            assert (topic, message.id) == (TOPICS.reply(body["id"]), body["id"])
            self.replies.append(body)

    def kept_stage(self) -> str:
        return str(json.loads(self.kept or "{}")["rollouts"]["rooms"]["stage"])

    def settle(self, turns: int = 300) -> None:
        for _ in range(turns):
            self.run_once()

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
        board.run_once()
    evil = {"bundle": NEW, "index": 0, "data": b"evil"}
    board.inbox.insert(0, Received(TOPICS.block, messages.encode(Message(evil)), 1))
    board.settle()
    assert board.acting == NEW


def test_lost_blocks_are_asked_for_again() -> None:
    board = Board()
    board.desire()
    for _ in range(60):
        board.inbox = [m for m in board.inbox if m.topic != TOPICS.block]
        board.run_once()
    board.settle(600)
    assert board.acting == NEW


def test_a_newer_document_takes_over_while_the_older_is_under_way() -> None:
    board = Board()
    board.desire(1)
    for _ in range(20):
        board.run_once()
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
        board.run_once()
        verifying = board.reported.get("rollouts", {}).get("halls", {}).get("stage")
        if verifying == "trial":
            board.todo += board.hub_client.health("halls", GOOD, board.now, NOW)
    assert board.reported["rollouts"]["halls"] == {"bundle": NEW, "stage": "committed"}
    board.boot()
    assert board.hub_client.added == {"halls": {"size": 2, "checked": True}}
    assert board.hub_client.running("halls") == NEW
    board.desire(2, OLD)
    board.settle(50)
    assert board.left == ["halls"]
    board.boot()
    assert board.hub_client.added == {}
    assert board.hub_client.running("halls") == ""


def test_an_added_population_that_does_badly_leaves_nothing_behind() -> None:
    board = Board()
    board.desire(populations={"halls": {"bundle": NEW, "config": {"size": 2}}})
    for _ in range(100):
        board.run_once()
        board.todo += board.hub_client.health("halls", BAD, board.now, NOW)
    assert "trial: contradiction_rate" in board.reported["rollouts"]["halls"]["reason"]
    board.boot()
    assert (board.hub_client.added, board.hub_client.running("halls")) == ({}, "")


def test_refusals_are_reported_once_a_second_at_most() -> None:
    board = Board()
    board.settle(5)
    count = 0
    for n in range(1000):
        noise = Received(TOPICS.desired, bytes([0xC1]) * (n % 50 + 1), 1)
        effects = board.hub_client.handle(noise, board.now, NOW)
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
    assert board.replies == [{"id": "7", "ok": True}] * 3
    board.inbox.append(Received(TOPICS.command, payload, 1, retain=True))
    board.settle(3)
    assert len(board.replies) == 3  # a retained command is nobody's command


def test_a_reply_says_what_came_of_it() -> None:
    board = Board()
    board.todo += board.hub_client.finished("8", True, 0.0, NOW, result={"agents": 5})
    board.todo += board.hub_client.finished("9", False, 0.0, NOW, reason="no such population")
    board.settle(1)
    assert board.replies == [
        {"id": "8", "ok": True, "result": {"agents": 5}},
        {"id": "9", "ok": False, "reason": "no such population"},
    ]


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
        board.run_once()
    state = json.loads(board.kept or "") | damage
    trust = Trust("f", (HUB.public.raw,))
    with pytest.raises(PlatformError, match="not what was kept"):
        HubClient(TOPICS, trust, {"rooms": (OLD, 5)}, lambda _: set(), random.Random(0), state)


def test_a_download_that_fails_falls_back_to_blocks_and_one_that_ends_goes_on() -> None:
    board = Board(url="https://example.invalid/new.eab")
    board.desire()
    (message,) = [board.inbox.pop()]
    effects = board.hub_client.handle(message, 0.0, NOW)
    assert [e for e in effects if isinstance(e, Download)] == [Download(board.cut)]
    asked = [e.publication for e in board.hub_client.unavailable(NEW, 1.0, NOW) if isinstance(e, Publish)]
    assert [messages.decode(p.payload).body["blocks"][0] for p in asked if p.topic == TOPICS.fetch] == [0]
    assert Verify("rooms", NEW) in board.hub_client.fetched(NEW, 2.0, NOW)
    assert board.hub_client.unavailable("c" * 64, 3.0, NOW) == []  # of a bundle that nobody wants


@pytest.mark.parametrize("url", ["", "https://example.invalid/new.eab"])
def test_two_populations_of_one_bundle_share_its_transfer(url: str) -> None:
    board = Board(url=url)
    board.desire(populations={n: {"bundle": NEW, "config": {}} for n in ("rooms", "halls")})
    board.settle(50)
    assert board.asked == list(range(10))
    assert {n: r["stage"] for n, r in board.reported["rollouts"].items()} == {
        "rooms": "committed",
        "halls": "trial",
    }
    assert board.trials == 1


def test_a_bundle_is_downloaded_once_for_all_who_wait_for_it() -> None:
    for complete in (True, False):
        board = Board(url="https://example.invalid/new.eab")
        populations = {n: {"bundle": NEW, "config": {}} for n in ("halls", "rooms")}
        board.desire(populations=populations)
        effects = board.hub_client.handle(board.inbox.pop(), 0.0, NOW)
        assert [e for e in effects if isinstance(e, Download)] == [Download(board.cut)]
        if complete:
            effects = board.hub_client.fetched(NEW, 1.0, NOW)
            assert [e for e in effects if isinstance(e, Verify)] == [
                Verify("halls", NEW),
                Verify("rooms", NEW),
            ]
        else:
            assert len(fetches(board.hub_client.unavailable(NEW, 1.0, NOW))) == 1


def test_who_wants_a_bundle_again_waits_for_the_download_that_is_under_way() -> None:
    board, other = Board(url="https://example.invalid/new.eab"), "d" * 64
    board.desire(1)
    board.hub_client.handle(board.inbox.pop(), 0.0, NOW)
    board.desire(2, populations={"rooms": {"bundle": other}}, bundles=entries(other))
    board.hub_client.handle(board.inbox.pop(), 1.0, NOW)
    board.desire(3)
    effects = board.hub_client.handle(board.inbox.pop(), 2.0, NOW)
    assert not any(isinstance(effect, Download) for effect in effects)
    assert Verify("rooms", NEW) in board.hub_client.fetched(NEW, 3.0, NOW)


def test_news_of_a_bundle_that_is_not_under_way_changes_nothing() -> None:
    board = Board()
    board.desire()
    board.settle(3)
    hub_client, state = board.hub_client, board.hub_client.state()
    late = "c" * 64
    for effects in (
        hub_client.verified("rooms", late, 9.0, NOW),
        hub_client.verified("halls", NEW, 9.0, NOW, {"size": 1}),
        hub_client.failed("rooms", late, "late", 9.0, NOW),
        hub_client.failed("halls", NEW, "late", 9.0, NOW),
        hub_client.health("halls", GOOD, 9.0, NOW),
        hub_client.fetched(late, 9.0, NOW),
        hub_client.handle(Received("f/d/elsewhere", b"x", 1), 9.0, NOW),
    ):
        assert effects == []
    assert hub_client.state() == state


def test_a_bundle_that_is_on_the_disk_already_is_not_downloaded() -> None:
    board = Board(url="https://example.invalid/new.eab")
    board.disk = {i: FILE[i * 100 : i * 100 + 100] for i in range(10)}
    board.desire()
    effects = board.hub_client.handle(board.inbox.pop(), 0.0, NOW)
    assert Verify("rooms", NEW) in effects
    assert not any(isinstance(effect, Download) for effect in effects)


def test_a_download_that_is_complete_needs_no_block() -> None:
    board = Board(url="https://example.invalid/new.eab")
    board.desire()
    board.hub_client.handle(board.inbox.pop(), 0.0, NOW)
    assert Verify("rooms", NEW) in board.hub_client.fetched(NEW, 1.0, NOW)
    assert not fetches(board.hub_client.tick(1e5, NOW))


def test_a_bundle_whose_download_came_to_nothing_is_downloaded_when_it_is_desired_again() -> None:
    board = Board(url="https://example.invalid/new.eab")
    board.desire()
    board.hub_client.handle(board.inbox.pop(), 0.0, NOW)
    board.hub_client.fetched(NEW, 1.0, NOW)
    board.hub_client.failed("rooms", NEW, "golden", 2.0, NOW)
    board.desire(2)
    effects = board.hub_client.handle(board.inbox.pop(), 3.0, NOW)
    assert [e for e in effects if isinstance(e, Download)] == [Download(board.cut)]


def test_once_the_file_is_complete_no_more_blocks_are_asked_for() -> None:
    board = Board()
    board.desire()
    assert fetches(board.hub_client.handle(board.inbox.pop(), 0.0, NOW))
    board.hub_client.fetched(NEW, 1.0, NOW)
    assert not fetches(board.hub_client.tick(1e5, NOW))
    assert "blocks" not in board.hub_client.reported()["rollouts"]["rooms"]


def test_a_new_connection_asks_at_once_for_the_blocks_that_the_old_one_lost() -> None:
    board = Board()
    board.desire()
    first = fetches(board.hub_client.handle(board.inbox.pop(), 0.0, NOW))
    again = fetches(board.hub_client.online(0.5, NOW))
    wanted = [messages.decode(asked.payload).body for asked in first]
    assert [messages.decode(asked.payload).body for asked in again] == wanted
    assert not fetches(board.hub_client.tick(0.6, NOW))


def fetches(effects: list) -> list[Publication]:
    return [e.publication for e in effects if isinstance(e, Publish) and e.publication.topic == TOPICS.fetch]


def test_what_a_new_population_is_made_of_is_known_of_those_that_are_desired_alone() -> None:
    board = Board()
    assert board.hub_client.asked_for("halls") is None
    board.desire(populations={"halls": {"bundle": NEW, "config": {"size": 2}}})
    board.settle(2)
    assert board.hub_client.asked_for("halls") == {"size": 2}
    assert board.hub_client.asked_for("rooms") is None
    board.desire(2, populations={"rooms": {"bundle": NEW}})
    board.settle(2)
    assert board.hub_client.asked_for("rooms") is None


def test_an_added_population_that_does_not_load_after_a_restart_is_reported_and_let_go() -> None:
    board = Board()
    board.desire(populations={"halls": {"bundle": NEW, "config": {"size": 2}}})
    for _ in range(100):
        board.run_once()
        board.todo += board.hub_client.health("halls", GOOD, board.now, NOW)
    board.boot()
    assert board.hub_client.running("halls") == NEW
    board.hub_client.lost("halls", "out of memory")
    board.settle(2)
    assert board.hub_client.running("halls") == ""
    assert board.hub_client.added == {}
    assert board.reported["rollouts"]["halls"] == {
        "bundle": NEW,
        "stage": "rolled-back",
        "reason": "out of memory",
    }
    board.boot()
    assert board.hub_client.added == {}  # and stays away


def test_populations_that_come_by_another_way_are_reported_and_may_be_desired() -> None:
    board = Board()
    board.settle(2)
    board.todo += board.hub_client.configure({"rooms": (OLD, 5), "halls": (OLD, 2)}, board.now, NOW)
    board.settle(2)
    assert board.reported["populations"]["halls"] == {"bundle": OLD, "size": 2}
    board.desire(populations={"halls": {"bundle": NEW}})
    board.settle(2)
    assert board.reported["rollouts"]["halls"]["stage"] == "fetching"


def test_a_kept_rollout_whose_bundle_is_not_desired_is_given_up() -> None:
    board = Board()
    board.desire()
    board.settle(2)
    kept = json.loads(board.kept or "")
    for key in ("bundles", "populations"):
        del kept["twin"]["document"][key]
    board.kept = json.dumps(kept)
    board.boot()
    board.settle(2)
    assert board.progress == {"bundle": NEW, "stage": "rolled-back", "reason": "no longer desired"}
    assert board.acting == OLD


def test_what_is_no_block_is_counted_and_ignored() -> None:
    board = Board()
    board.desire()
    board.settle(2)
    before = board.hub_client.state()
    block = {"bundle": NEW, "index": 0, "data": "text"}
    for payload in (b"noise", messages.encode(Message(block)), messages.encode(Message({}))):
        assert board.hub_client.handle(Received(TOPICS.block, payload, 1), board.now, NOW) == []
    assert board.hub_client.malformed == 3
    other = messages.encode(Message(block | {"bundle": "c" * 64, "data": b"x"}))
    assert board.hub_client.handle(Received(TOPICS.block, other, 1), board.now, NOW) == []
    assert board.hub_client.malformed == 3  # well made, for somebody else
    assert board.hub_client.state() == before


def entries(*digests: str) -> dict:
    return {digest: blocks.cut(digest, digest[0], FILE, block=100).entry() for digest in digests}


def test_parameters_are_applied_and_applied_again_after_a_restart() -> None:
    board = Board()
    board.desire(parameters={"telemetry_seconds": 5})
    board.settle(4)
    assert board.parameters == board.reported["parameters"] == {"telemetry_seconds": 5}
    board.boot()
    board.parameters = {}
    board.settle(2)
    assert board.parameters == {"telemetry_seconds": 5}
    board.desire(2)
    board.settle(8)  # behind the blocks, which it asked for once more when it was online
    assert board.parameters == board.reported["parameters"] == {}
    board.boot()
    board.parameters = {"stale": 1}
    board.settle(1)
    assert board.parameters == {}


def test_a_newer_document_does_not_begin_anew_what_is_under_way_and_tries_again_what_failed() -> None:
    board = Board(shadow=BAD)
    board.desire(1)
    board.settle(3)
    board.desire(2)
    board.settle(40)
    assert board.asked == list(range(10))
    assert (board.progress["stage"], board.reported["version"]) == ("rolled-back", 2)
    board.shadow = GOOD
    board.desire(3)
    board.settle(60)
    assert board.progress == {"bundle": NEW, "stage": "committed"}


def test_every_population_of_a_document_goes_its_own_way() -> None:
    board = Board()
    halls = {"halls": {"bundle": NEW, "config": {}}}
    board.desire(1, populations=halls)
    board.settle(2)
    others = {"attic": {"bundle": NEW}, "rooms": {"bundle": OLD}, "study": {"bundle": NEW, "config": {}}}
    board.desire(2, populations=halls | others, bundles=entries(NEW, OLD))
    board.todo += board.hub_client.handle(board.inbox.pop(), board.now, NOW)
    rollouts = board.hub_client.reported()["rollouts"]
    assert {name: rollout.get("reason", "") for name, rollout in rollouts.items()} == {
        "attic": "no population 'attic' here, and no config to make one of",
        "halls": "",
        "study": "",
    }


def test_what_is_replaced_or_dropped_while_under_way_is_rolled_back_and_says_why() -> None:
    board, other = Board(), "d" * 64
    board.desire(1)
    board.hub_client.handle(board.inbox.pop(), 0.0, NOW)
    board.desire(2, populations={"rooms": {"bundle": other}}, bundles=entries(other))
    effects = board.hub_client.handle(board.inbox.pop(), 1.0, NOW)
    assert RollBack("rooms", OLD, "another bundle is desired") in effects
    assert Parameters({}) in effects
    (asked,) = fetches(effects)
    assert messages.decode(asked.payload).body["bundle"] == other
    board.desire(3, populations=None)
    effects = board.hub_client.handle(board.inbox.pop(), 2.0, NOW)
    assert RollBack("rooms", OLD, "no longer desired") in effects
    assert board.hub_client.reported()["rollouts"]["rooms"]["reason"] == "no longer desired"
    assert not fetches(board.hub_client.tick(1e5, NOW))


def test_gates_that_are_none_refuse_every_rollout_of_their_document() -> None:
    board = Board()
    populations = {name: {"bundle": NEW, "config": {}} for name in ("rooms", "halls")}
    board.desire(gates={"steps": -1}, populations=populations)
    effects = board.hub_client.handle(board.inbox.pop(), 0.0, NOW)
    reason = "gates.steps: found -1, expected a number of 0 or more"
    assert [e for e in effects if isinstance(e, RollBack)] == [
        RollBack("halls", "", reason),
        RollBack("rooms", OLD, reason),
    ]
    board.desire(2, gates=None)
    assert fetches(board.hub_client.handle(board.inbox.pop(), 1.0, NOW))  # without gates: the usual ones


def test_an_added_population_that_changes_no_more_leaves_with_its_document() -> None:
    board = Board()
    halls = {"halls": {"bundle": NEW, "config": {"size": 2}}}
    board.desire(populations=halls)
    for _ in range(100):
        board.run_once()
        board.todo += board.hub_client.health("halls", GOOD, board.now, NOW)
    board.desire(2, populations=halls)
    board.settle(2)
    assert board.reported["rollouts"] == {}
    assert (board.left, board.hub_client.running("halls")) == ([], NEW)
    board.desire(3, populations=None)
    board.settle(2)
    assert board.left == ["halls"]
    assert board.hub_client.running("halls") == ""


def test_what_an_added_population_that_failed_was_made_of_is_forgotten() -> None:
    board = Board()
    halls = {"halls": {"bundle": NEW, "config": {"size": 2}}}
    board.desire(populations=halls)
    for _ in range(40):
        board.run_once()
        board.todo += board.hub_client.health("halls", BAD, board.now, NOW)
    board.settle(1)
    hub_client = board.hub_client
    hub_client.configure({"halls": (OLD, 3)}, board.now, NOW)  # somebody configures one of that name here
    board.desire(2, populations={"halls": {"bundle": NEW}})
    for _ in range(100):
        board.run_once()
        board.todo += hub_client.health("halls", GOOD, board.now, NOW)
    assert hub_client.running("halls") == NEW
    assert hub_client.added == {}


def test_how_far_a_transfer_is_is_reported() -> None:
    board = Board()
    board.desire()
    message = board.inbox.pop()
    board.hub_client.handle(message, 0.0, NOW)
    block = {"bundle": NEW, "index": 3, "data": FILE[300:400]}
    board.hub_client.handle(Received(TOPICS.block, messages.encode(Message(block)), 1), 0.0, NOW)
    progress = board.hub_client.reported()["rollouts"]["rooms"]
    assert progress == {"bundle": NEW, "stage": "fetching", "blocks": 1, "of": 10}


def test_each_transfer_asks_again_in_its_time() -> None:
    board, other = Board(), "d" * 64
    populations = {n: {"bundle": b, "config": {}} for n, b in (("rooms", NEW), ("halls", other))}
    board.desire(populations=populations, bundles=entries(NEW, other))
    board.hub_client.handle(board.inbox.pop(), 0.0, NOW)
    asked = fetches(board.hub_client.tick(1e5, NOW))
    assert {messages.decode(p.payload).body["bundle"] for p in asked} == {NEW, other}


def test_it_wakes_for_transfers_stages_and_reports_and_else_sleeps() -> None:
    board = Board()
    board.settle(3)
    assert board.hub_client.deadline is None
    board.desire()
    message = board.inbox.pop()
    now = board.now
    board.hub_client.handle(message, now, NOW)
    assert board.hub_client.deadline is not None
    assert now < board.hub_client.deadline < now + 60.0  # the transfer
    board.hub_client.fetched(NEW, now + 0.5, NOW)
    assert board.hub_client.deadline == now + 1.0  # the report that had to wait
    assert not [e for e in board.hub_client.tick(now + 0.9, NOW) if isinstance(e, Publish)]
    (report,) = [e.publication for e in board.hub_client.tick(now + 1.0, NOW) if isinstance(e, Publish)]
    assert report.topic == TOPICS.reported
    assert board.hub_client.deadline is None  # until it is verified
    board.hub_client.verified("rooms", NEW, now + 3.0, NOW)
    assert board.hub_client.deadline == now + 3.0 + GATES["shadow_seconds"]


def test_it_listens_to_what_the_hub_says_and_says_what_runs_on_every_connect() -> None:
    hub_client = Board().hub_client
    assert [s.filter for s in hub_client.subscriptions] == [TOPICS.desired, TOPICS.command, TOPICS.block]
    for now in (0.0, 0.1):
        (effect,) = hub_client.online(now, NOW)
        assert isinstance(effect, Publish)
        assert effect.publication.topic == TOPICS.reported
        assert messages.decode(effect.publication.payload).body == hub_client.reported()
    assert hub_client.reported() == {
        "version": 0,
        "trust": 0,
        "populations": {"rooms": {"bundle": OLD, "size": 5}},
        "rollouts": {},
    }


def test_a_document_that_was_cleared_stays_in_force_and_one_that_was_refused_is_named() -> None:
    board = Board()
    board.desire(5)
    board.settle(2)
    assert board.hub_client.handle(Received(TOPICS.desired, b"", 1, True), board.now, NOW) == []
    assert board.hub_client.reported()["version"] == 5
    board.desire(4)
    board.hub_client.handle(board.inbox.pop(), board.now, NOW)
    assert board.hub_client.reported()["refused"] == {
        "version": 4,
        "reason": "version 4, expected more than 5",
    }


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"v": 99}, "v: found 99, expected 1"),
        ({"owner": "f/e"}, "owner: found 'f/e', expected 'f/d'"),
        ({"twin": {"trust": {"keys": [], "threshold": 0, "version": 0}, "document": None}}, "threshold"),
        ({"added": {"\ud800": {}}}, "a key is '\\ud800'"),
        ({"active": {"rooms": 2**64}}, "found an integer of 65 bits"),
    ],
)
def test_a_state_of_another_format_or_device_or_that_cannot_be_reported_is_refused(
    change: dict, said: str
) -> None:
    board = Board()
    state = board.hub_client.state() | change
    with pytest.raises(PlatformError) as refused:
        HubClient(TOPICS, Trust("f", (HUB.public.raw,)), {}, board.on_disk, random.Random(0), state)
    assert said in str(refused.value)


def test_a_document_of_an_older_version_that_cannot_be_reported_is_not_gone_on_with() -> None:
    board = Board()
    board.desire(7)
    board.settle(50)
    state = json.loads(board.kept or "")
    for change in ({"version": 2**64}, {"parameters": {"x": "\ud800"}}):
        twin = state["twin"] | {"document": state["twin"]["document"] | change}
        with pytest.raises(PlatformError, match="not what was kept"):
            HubClient(
                TOPICS,
                Trust("f", (HUB.public.raw,)),
                {},
                board.on_disk,
                random.Random(0),
                state | {"twin": twin},
            )


def test_a_state_of_a_version_that_kept_neither_format_nor_owner_is_gone_on_with() -> None:
    board = Board()
    board.desire(7)
    board.settle(50)
    state = json.loads(board.kept or "")
    del state["v"], state["owner"]
    again = HubClient(TOPICS, Trust("f", (HUB.public.raw,)), {}, board.on_disk, random.Random(0), state)
    assert again.twin.version == 7
