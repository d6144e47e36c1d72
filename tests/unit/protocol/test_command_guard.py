import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.errors import PeerError
from edge_agent.protocol.command_guard import (
    MAX_KEPT,
    Begin,
    Command,
    CommandCounters,
    CommandGuard,
    Reply,
    Unanswered,
)
from edge_agent.wire import documents, messages, signatures
from edge_agent.wire.documents import MAX_COMMAND_AHEAD, Trust
from edge_agent.wire.messages import Message

HUB, STRANGER = signatures.generate("hub"), signatures.generate("stranger")
TRUST = Trust("f", (HUB.public.raw,))
NOW = 1_700_000_000.0


def order(id_: object, name: str = "reset", key: signatures.SecretKey = HUB, **other: object) -> bytes:
    doc = {"fleet": "f", "device": "d", "id": id_, "name": name, "expires": NOW + 60.0} | other
    return messages.encode(Message(documents.signed(doc, documents.COMMAND, [key])))


def make(state=None) -> CommandGuard:
    return CommandGuard("d", state)


def test_a_command_runs_once_and_is_answered_every_time() -> None:
    commands = make()
    begun = commands.offer(order("1", arguments={"population": "p"}), TRUST, NOW + 60.0)  # in the last moment
    assert begun == Begin(Command("1", "reset", {"population": "p"}))
    assert commands.offer(order("1"), TRUST, NOW) is None  # still at it
    reply = commands.finished("1", True, {"agents": 3})
    assert commands.offer(order("1"), TRUST, NOW) == reply
    assert make(commands.state()).offer(order("1"), TRUST, NOW) == reply
    assert reply.body == {"id": "1", "ok": True, "result": {"agents": 3}}
    assert commands.counters == CommandCounters(run=1, repeated=2)
    assert commands.offer(order("2"), TRUST, NOW) == Begin(Command("2", "reset", {}))
    assert commands.finished("2", False, reason="why").body == {"id": "2", "ok": False, "reason": "why"}
    assert commands.counters.run == 2


def test_after_a_power_cut_only_what_may_be_repeated_is() -> None:
    commands = make()
    for id_, name in (("1", "record"), ("2", "reset")):
        commands.offer(order(id_, name), TRUST, NOW)
    again = make(commands.state())
    reply = again.offer(order("1", "record"), TRUST, NOW)
    assert isinstance(reply, Reply)
    assert reply.body["ok"] is False
    assert "interrupted" in reply.body["reason"]
    assert again.offer(order("1", "record"), TRUST, NOW) == reply
    assert isinstance(again.offer(order("2", "reset"), TRUST, NOW), Begin)
    assert again.offer(order("2", "reset"), TRUST, NOW) is None
    assert again.counters == CommandCounters(run=1, repeated=4)


def test_forged_ones_are_counted_and_not_answered() -> None:
    commands = make()
    assert commands.offer(order("1", key=STRANGER), TRUST, NOW) is None
    assert commands.offer(b"noise", TRUST, NOW) is None
    assert commands.counters.forged == 2


def test_what_the_hub_signed_as_something_else_is_no_command() -> None:
    commands = make()
    doc = {"fleet": "f", "device": "d", "id": "1", "name": "reset", "expires": NOW + 60.0}
    desired = messages.encode(Message(documents.signed(doc, documents.DESIRED, [HUB])))
    assert commands.offer(desired, TRUST, NOW) is None
    assert commands.counters == CommandCounters(forged=1)


def test_objections_are_answered_with_their_reason() -> None:
    commands = make()
    for payload, reason in [
        (order("1", expires=NOW - 1), "expired"),
        (order("1", expires=NOW + MAX_COMMAND_AHEAD + 1), "valid for more than 86400 s"),
        (order("1", device="other"), "for device 'other'"),
        (order("1", "dance"), "no command 'dance'"),
        (order("1", arguments={"deep": [2**64]}), r"arguments.deep.0: found an integer of 65 bits"),
        (order("1", arguments={"x": "\ud800"}), "arguments.x: found a text that is not Unicode"),
        (order("1", fleet="other"), "for fleet 'other'"),
    ]:
        reply = commands.offer(payload, TRUST, NOW)
        assert isinstance(reply, Reply)
        assert reason in reply.body["reason"]
        assert reply.id == reply.body["id"]
        assert reply.body["ok"] is False
    assert commands.state() == {}
    assert commands.counters == CommandCounters(refused=7)
    longest = order("n" * 64, expires=NOW + MAX_COMMAND_AHEAD)
    assert isinstance(commands.offer(longest, TRUST, NOW), Begin)


UNUSABLE = ("", "n" * 65, "a/b", "a+", "#", "a\0b", "\ud800", "a\x1f", "\x7f", "\ufffe", 5, None, ["1"], {})


@pytest.mark.parametrize("id_", UNUSABLE)
def test_a_command_whose_id_cannot_end_a_topic_is_neither_run_nor_answered(id_: object) -> None:
    commands = make()
    for _ in range(2):
        assert isinstance(commands.offer(order(id_), TRUST, NOW), Unanswered)
    assert commands.counters == CommandCounters(refused=2)
    assert commands.state() == {}


def test_nobody_is_obeyed_while_no_keys_are_believed() -> None:
    commands = make()
    assert commands.offer(order("1"), None, NOW) is None
    assert commands.counters == CommandCounters(forged=1)


def test_an_unusable_id_that_an_older_version_kept_is_forgotten() -> None:
    kept = {"expires": NOW + 60.0, "reply": {"id": "#", "ok": True}}
    assert make({"#": kept}).state() == {}


def test_what_was_kept_is_checked() -> None:
    for damaged in ({}, {"expires": "x", "reply": None}, {"expires": 1.0, "reply": {}}):
        with pytest.raises(PeerError, match="what was kept"):
            make({"1": damaged})


def test_what_is_kept_is_bounded_and_expires() -> None:
    commands = make()
    for n in range(MAX_KEPT):
        assert isinstance(commands.offer(order(str(n)), TRUST, NOW), Begin)
        if n:
            commands.finished(str(n), True)
    full = commands.offer(order("more"), TRUST, NOW + 60.0)
    assert full == Reply("more", {"id": "more", "ok": False, "reason": f"{MAX_KEPT} commands pending"})
    assert commands.counters.refused == 1
    assert len(commands.state()) == MAX_KEPT
    assert isinstance(commands.offer(order("later", expires=NOW + 200), TRUST, NOW + 60.1), Begin)
    assert list(commands.state()) == ["0", "later"]  # the one that still runs, and the new one


@given(st.lists(st.sampled_from(["1", "2", "3", "restart", "finish"]), max_size=40))
def test_a_record_is_begun_at_most_once_whatever_is_repeated(story: list[str]) -> None:
    commands = make()
    begun: list[str] = []
    running: list[str] = []
    for act in story:
        if act == "restart":
            commands, running = make(commands.state()), []
        elif act == "finish" and running:
            commands.finished(running.pop(), True)
        elif act != "finish" and isinstance(commands.offer(order(act, "record"), TRUST, NOW), Begin):
            begun.append(act)
            running.append(act)
    assert len(begun) == len(set(begun))
