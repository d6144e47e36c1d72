"""Alerts over both databases: measured, raised, told, cleared; whatever happens to the evaluator."""

import itertools
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection

from edge_agent.errors import ConfigError
from edge_agent.wire import messages
from edge_agent.wire.messages import Message
from edge_hub import notify
from edge_hub.database import alerts, devices, leases, rollups, sql, telemetry
from edge_hub.database.engine import Database
from edge_hub.database.telemetry import HEALTH_ROW, Numbers
from edge_hub.domain.alert_rules import Rule
from edge_hub.ingest import decode
from edge_hub.jobs.alerts import LEASE, Evaluator, LeaseLostError
from edge_hub.jobs.changes import Changes
from edge_hub.jobs.deliveries import Sender
from edge_hub.notify import Notifier

T = 1.8e9 - 1.8e9 % 3600
SILENT = Rule("silent", "silence", 300.0, for_s=30.0, recover_s=10.0, wait_s=10.0)
TARGETS = {"ops": "json://127.0.0.1:9/", "mail": "json://127.0.0.1:9/"}


class Recorder(Notifier):
    """A notifier that keeps what it was given; `answer` says whether the target takes it."""

    def __init__(self, targets: dict[str, str] = TARGETS) -> None:
        super().__init__(targets)
        self.sent: list[tuple[str, str, str]] = []
        self.answer: Callable[[], bool] = lambda: True

    def send(self, target: str, title: str, body: str, severity: str) -> bool:
        self.sent.append((target, title, body))
        return self.answer()


def evaluator(database: Database, seconds: float = 60.0) -> Evaluator:
    lease = leases.Lease(database, LEASE, seconds)
    assert lease.acquire()
    return Evaluator(database, lease, sorted(TARGETS))


def use(database: Database, *rules: Rule) -> None:
    """Have these rules alone."""
    with database.write() as connection:
        alerts.add_defaults(connection, T)
        for rule in alerts.rules(database):
            alerts.remove_rule(connection, rule.name)
        for rule in rules:
            alerts.put_rule(connection, rule, T)


def hear(database: Database, count: int, at: float, more: dict[str, Any] | None = None) -> None:
    """Let the hub have heard devices d000… of fleet lab."""
    names = [("lab", f"d{n:03}") for n in range(count)]
    counters = {name: {p: json.dumps(v) for p, v in (more or {}).items()} for name in names}
    telemetry.note_latest(database, Numbers(), dict.fromkeys(names, (at, at, 1000)), counters)


def report(database: Database, t: float, seq: int, populations: Any = None, rss: int = 0) -> None:
    """Store a telemetry message of device d000 as ingest does."""
    body = {"populations": populations or {}, "rss": rss, "outbox": "o1", "delta": True}
    payload = messages.encode(Message(body, seq=seq, t=t))
    batch = [decode.telemetry("lab", "d000", payload, t)]
    assert telemetry.store(database, Numbers(), batch, lambda _: "topic") == []


def kinds(database: Database) -> list[tuple[str, str, int]]:
    with database.read() as connection:
        found = sql.run(connection, "SELECT target, kind, notice FROM deliveries ORDER BY id").all()
    return [tuple(row) for row in found]


def open_(database: Database) -> list[dict[str, Any]]:
    return alerts.page(database, "open", 50, 1e12)


def test_a_hundred_devices_silenced_at_once_make_one_alert(database: Database) -> None:
    use(database, SILENT)
    hear(database, 100, T)
    looks = evaluator(database)
    for second in range(0, 420, 5):
        looks.look(T + second)
    (alert,) = open_(database)
    assert (alert["rule"], alert["group_name"], alert["devices"]) == ("silent", "lab", 100)
    assert alert["opened"] == T + 335  # 300 s of silence, kept for 30 s
    assert kinds(database) == [("mail", "raised", 1), ("ops", "raised", 1)]
    detail = alerts.one(database, alert["id"])
    assert detail is not None
    assert len(detail["members"]) == 100
    assert detail["members"][0] == {
        "fleet": "lab",
        "device": "d000",
        "state": "firing",
        "since": T + 335,
        "value": 335.0,
    }
    hear(database, 100, T + 420)
    for second in range(420, 440, 5):
        looks.look(T + second)
    assert open_(database) == []
    (cleared,) = alerts.page(database, "cleared", 50, 1e12)
    assert (cleared["id"], cleared["cleared"], cleared["most"]) == (alert["id"], T + 430, 100)
    assert kinds(database)[2:] == [("mail", "cleared", 2), ("ops", "cleared", 2)]
    with database.read() as connection:
        assert alerts.members(connection) == []


def test_flapping_makes_no_alert(database: Database) -> None:
    use(database, Rule("busy", "rooms/depth", 5.0, for_s=30.0, recover_s=30.0))
    looks = evaluator(database)
    for second in range(0, 600, 5):
        hear(database, 3, T + second, {"rooms": {"depth": 9 if second % 30 < 25 else 1}})
        looks.look(T + second)
    assert alerts.page(database, "", 50, 1e12) == []
    assert kinds(database) == []


def test_an_alert_that_flaps_stays_one(database: Database) -> None:
    use(database, Rule("busy", "*/depth", 5.0, for_s=0.0, recover_s=30.0, wait_s=0.0))
    looks = evaluator(database)
    for second in range(0, 600, 5):
        value = 3 if second % 30 < 25 else 1
        hear(database, 1, T + second, {"rooms": {"depth": value}, "halls": {"depth": value}})
        looks.look(T + second)
    assert len(open_(database)) == 1
    assert [kind for _, kind, _ in kinds(database)] == ["raised", "raised"]


def test_devices_are_grouped_by_a_label_or_alone(database: Database) -> None:
    use(
        database,
        Rule("by-floor", "rss", 1.0, for_s=0.0, group="label.floor"),
        Rule("alone", "rss", 1.0, for_s=0.0, group="device", filter="name=d00[01]* name=d00*"),
        Rule("few", "rss", 1.0, for_s=0.0, group="device", filter="name=d000"),
    )
    hear(database, 6, T)
    with database.write() as connection:
        for n, (id_, _, _) in enumerate(devices.ids_of(connection, (), T)):
            devices.set_labels(connection, id_, {"floor": str(n % 2)} if n < 4 else {})
    evaluator(database).look(T)
    found = sorted((row["rule"], row["group_name"], row["devices"]) for row in open_(database))
    assert found == [
        ("by-floor", "lab, floor=", 2),
        ("by-floor", "lab, floor=0", 2),
        ("by-floor", "lab, floor=1", 2),
        ("few", "lab/d000", 1),
    ]


def test_health_is_a_field_and_is_in_no_sum_over_populations(database: Database) -> None:
    use(
        database,
        Rule("hot", "health/temperature_c", 80.0, for_s=0.0),
        Rule("sum", "*/temperature_c", 100.0, for_s=0.0),
    )
    hear(database, 1, T, {HEALTH_ROW: {"temperature_c": 85, "cause": "heat"}, "rooms": {"temperature_c": 20}})
    evaluator(database).look(T)
    assert [row["rule"] for row in open_(database)] == ["hot"]


def test_contradictions_within_a_window_are_counted(database: Database) -> None:
    rule = Rule("c", "*/contradictions", 40.0, measure="increase", window_s=600.0, for_s=0.0, recover_s=0.0)
    use(database, rule)
    for n in range(30):  # 1 and then 4 per minute in two populations, each in every other message
        told = {("rooms", "halls")[n % 2]: {"contradictions": 1000 + n + 3 * max(0, n - 15)}}
        report(database, T + 60 * n, n, told)
    rollups.advance(database, T + 3600, lambda: True)
    hear(database, 1, T + 1800)
    looks = evaluator(database)
    looks.look(T + 60 * 14 + 59)
    assert open_(database) == []
    looks.look(T + 60 * 29 + 59)
    (alert,) = open_(database)
    detail = alerts.one(database, alert["id"])
    assert detail is not None
    assert detail["members"][0]["value"] == pytest.approx(2 * 4 * 10, abs=8)


def test_memory_that_grows_is_found_by_its_trend(database: Database) -> None:
    rule = Rule("growth", "rss", 1e6, measure="trend", window_s=3600.0, for_s=0.0, group="device")
    use(database, rule)
    for n in range(60):
        noise = (n % 7) * 50_000
        report(database, T + 60 * n, n, rss=40_000_000 + 40_000 * n + noise)  # 2.4 MB per hour
    rollups.advance(database, T + 3660, lambda: True)
    hear(database, 1, T + 3600)
    evaluator(database).look(T + 3600)
    (alert,) = open_(database)
    detail = alerts.one(database, alert["id"])
    assert detail is not None
    assert detail["members"][0]["value"] == pytest.approx(2.4e6, rel=0.1)


def test_missing_telemetry_is_a_gap_until_it_comes(database: Database) -> None:
    rule = Rule("gaps", "gaps", 0.0, measure="increase", window_s=3600.0, for_s=0.0, recover_s=0.0)
    use(database, rule)
    for n in (1, 2, 5, 6):
        report(database, T + n, n)
    hear(database, 1, T + 10)
    looks = evaluator(database)
    looks.look(T + 10)
    (alert,) = open_(database)
    assert (alert["group_name"], alert["devices"]) == ("lab", 1)
    for n in (3, 4):
        report(database, T + n, n)
    looks.look(T + 200)  # measured a while ago
    looks.look(T + 320)
    assert open_(database) == []


def test_a_rule_that_is_gone_or_off_ends_its_alerts(database: Database) -> None:
    use(database, Rule("a", "rss", 1.0, for_s=0.0, wait_s=0.0), Rule("b", "rss", 1.0, for_s=0.0, wait_s=0.0))
    hear(database, 2, T)
    looks = evaluator(database)
    looks.look(T)
    assert len(open_(database)) == 2
    with database.write() as connection:
        alerts.remove_rule(connection, "a")
        alerts.put_rule(connection, Rule("b", "rss", 1.0, enabled=False), T)
    looks.look(T + 5)
    assert open_(database) == []
    assert [kind for _, kind, _ in kinds(database)] == ["raised"] * 4 + ["cleared"] * 4
    with database.read() as connection:
        assert "the rule is deleted or off" in sql.one(
            connection, "SELECT body FROM deliveries WHERE kind = 'cleared'"
        )


def test_a_device_that_is_forgotten_no_longer_counts(database: Database) -> None:
    use(database, Rule("a", "rss", 1.0, for_s=0.0))
    hear(database, 2, T)
    looks = evaluator(database)
    looks.look(T)
    with database.write() as connection:
        devices.forget(connection, devices.number(connection, "lab", "d000") or 0)
    looks.look(T + 5)
    assert [row["devices"] for row in open_(database)] == [1]


def test_new_hubs_have_rules_and_deleted_ones_stay_deleted(database: Database) -> None:
    looks = evaluator(database)
    looks.look(T)
    names = [rule.name for rule in alerts.rules(database)]
    assert "silent" in names
    with database.write() as connection:
        alerts.remove_rule(connection, "silent")
    evaluator_again = Evaluator(database, looks._lease)
    evaluator_again.look(T + 5)
    assert "silent" not in [rule.name for rule in alerts.rules(database)]


def test_an_evaluator_without_the_lease_writes_nothing(database: Database) -> None:
    use(database, Rule("a", "rss", 1.0, for_s=0.0))
    first = evaluator(database, 0.01)
    first.look(T)
    hear(database, 2, T)
    second = leases.Lease(database, LEASE, 60.0)
    while not second.acquire():
        pass
    with pytest.raises(LeaseLostError):
        first.look(T + 5)
    assert open_(database) == []
    Evaluator(database, second).look(T + 5)
    assert len(open_(database)) == 1


def test_times_go_on_in_the_next_evaluator(database: Database) -> None:
    use(database, Rule("a", "rss", 1.0, for_s=60.0))
    hear(database, 2, T)
    first = evaluator(database)
    first.look(T)
    second = Evaluator(database, first._lease)
    second.look(T + 59)
    assert open_(database) == []
    second.look(T + 60)
    assert len(open_(database)) == 1


def test_viewers_are_told_of_alerts(database: Database) -> None:
    use(database, Rule("a", "rss", 1.0, for_s=0.0))
    changes = Changes(database)
    changes.poll()
    hear(database, 2, T)
    evaluator(database).look(T)
    told = [row for kind, row in changes.poll() if kind == "alert"]
    assert [(row["rule"], row["status"], row["devices"]) for row in told] == [("a", "open", 2)]


def raised(database: Database) -> tuple[Evaluator, Recorder, Sender]:
    """An alert that is raised, its notices wait."""
    use(database, Rule("a", "rss", 1.0, for_s=0.0, recover_s=0.0, wait_s=0.0))
    hear(database, 2, T)
    looks = evaluator(database)
    looks.look(T)
    recorder = Recorder()
    return looks, recorder, Sender(database, looks._lease, recorder)


def test_each_target_has_each_notice_once_and_in_order(database: Database) -> None:
    looks, recorder, sender = raised(database)
    use(database)
    looks.look(T + 1)
    while sender.send_next(T + 2):
        pass
    assert [(target, title.split(":")[0]) for target, title, _ in recorder.sent] == [
        ("mail", "warning"),
        ("ops", "warning"),
        ("mail", "cleared"),
        ("ops", "cleared"),
    ]
    assert {state for (_, _, _), state in _states(database)} == {"sent"}


def _states(database: Database) -> list[tuple[tuple[str, str, int], str]]:
    with database.read() as connection:
        rows = sql.run(connection, "SELECT target, kind, notice, state FROM deliveries ORDER BY id").all()
    return [((row[0], row[1], row[2]), row[3]) for row in rows]


def test_what_a_target_does_not_take_is_tried_again_for_a_day(database: Database) -> None:
    _, recorder, sender = raised(database)
    recorder.answer = lambda: False
    now, tries = T, []
    while now < T + 2 * 86_400:
        if sender.send_next(now):
            tries.append(now)
        now += 1.0 if now < T + 60 else 300.0
    assert 100 < len(tries) < 500
    assert tries[2] >= T + 5.0
    assert {state for _, state in _states(database)} == {"failed"}
    assert tries[-1] < T + 86_400 + 3600


def test_one_target_that_is_away_does_not_hold_up_the_others(database: Database) -> None:
    looks, recorder, sender = raised(database)
    recorder.answer = lambda: recorder.sent[-1][0] == "ops"
    while sender.send_next(T):
        pass
    use(database)
    looks.look(T + 1)
    while sender.send_next(T + 2):
        pass
    assert [target for target, title, _ in recorder.sent if title.startswith("cleared")] == ["ops"]
    recorder.answer = lambda: True
    while sender.send_next(T + 60):
        pass
    assert [title.split(":")[0] for target, title, _ in recorder.sent if target == "mail"] == [
        "warning",
        "warning",
        "cleared",
    ]


STEPS = range(1, 9)
BEFORE, AFTER = "before the commit", "after the commit"


class Killed(Database):
    """A database whose process kills itself with SIGKILL at a certain write."""

    def __init__(self, data: str, step: int, when: str) -> None:
        super().__init__(data)
        self._left, self._when = step, when

    @contextmanager
    def write(self) -> Iterator[Connection]:
        self._left -= 1
        with super().write() as connection:
            yield connection
            if self._left == 0 and self._when == BEFORE:
                os.kill(os.getpid(), signal.SIGKILL)
        if self._left == 0 and self._when == AFTER:
            os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("when", [BEFORE, AFTER])
def test_an_evaluator_killed_at_any_write_neither_loses_nor_doubles_a_notice(
    data: str, database: Database, tmp_path: Path, when: str
) -> None:
    """One process after the other is killed at its first, second, … write; what they sent is in a file."""
    use(database, Rule("a", "rss", 1.0, for_s=0.0, recover_s=0.0, wait_s=0.0))
    hear(database, 100, T)
    sent = tmp_path / "sent"
    for step in (*STEPS, 1000):
        child = os.fork()
        if child == 0:
            try:
                _evaluate(Killed(data, step, when), sent)
            finally:
                os._exit(1)
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0:
            break
        assert os.WTERMSIG(status) == signal.SIGKILL
    assert os.WIFEXITED(status)
    assert len(alerts.page(database, "", 50, 1e12)) == 1
    assert kinds(database) == [("mail", "raised", 1), ("ops", "raised", 1)]
    assert {state for _, state in _states(database)} == {"sent"}
    told = [json.loads(line) for line in sent.read_text().splitlines()]
    for target in TARGETS:
        mine = [(title, body) for name, title, body in told if name == target]
        assert len({body for _, body in mine}) == 1  # the same number
        plain = [title for title, _ in mine if not title.endswith("(repeated)")]
        assert len(plain) <= 1  # what may have been sent already says so
        assert mine


def _evaluate(database: Database, sent: Path) -> None:
    """What a process of the service does; it ends well when nothing is left to do."""
    lease = leases.Lease(database, LEASE, 0.05)
    end = time.monotonic() + 30
    while not lease.acquire():
        assert time.monotonic() < end
    recorder = Recorder()

    def keep() -> bool:
        with sent.open("a") as file:
            file.write(json.dumps(recorder.sent[-1]) + "\n")
        return True

    recorder.answer = keep
    looks = Evaluator(database, lease, recorder.targets)
    sender = Sender(database, lease, recorder)
    for second in itertools.count():
        looks.look(T + second)
        if not sender.send_next(T + second):
            os._exit(0)


def test_targets_are_read_and_their_urls_shown_nowhere(tmp_path: Path) -> None:
    file = tmp_path / "targets"
    file.write_text("# where\nops json://user:secret@127.0.0.1:9/\n\nmail mailto://a:secret@h.example\n")
    file.chmod(0o600)
    assert notify.Notifier(notify.load(file)).targets == ["mail", "ops"]
    for line in (
        "ops secret-without-url",
        "ops json://secret more",
        "o/s json://secret",
        "ops json://a\nops json://b",
    ):
        file.write_text(line)
        with pytest.raises(ConfigError) as caught:
            notify.load(file)
        assert "secret" not in str(caught.value)
        assert str(file) in str(caught.value)
    file.chmod(0o644)
    with pytest.raises(ConfigError, match="expected 0600"):
        notify.load(file)
