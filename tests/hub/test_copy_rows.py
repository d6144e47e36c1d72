"""From one file to PostgreSQL: `edge-hub migrate --from` copies all or nothing."""

import time
from pathlib import Path
from typing import Any

import pytest

from edge_agent.wire import messages
from edge_agent.wire.messages import Message
from edge_hub.cli import main
from edge_hub.database import accounts, audit, devices, groups, leases, rollouts, rollups, telemetry
from edge_hub.database.engine import Database
from edge_hub.database.migrate import migrate
from edge_hub.database.schema import metadata
from edge_hub.database.telemetry import Numbers
from edge_hub.ingest import decode
from edge_hub.rollout import FleetRollout, Member
from edge_hub.testing.postgresql import PostgreSQL

NOW = time.time()
AGES = (0.0, 86_400.0, 40 * 86_400.0, 1e9)
"""The last is of a device whose clock is far off."""


def said(seq: int, device: str = "a", age: float = 0.0) -> telemetry.Telemetry:
    body = {"outbox": f"x-{device}", "rss": 7, "populations": {"rooms": {"tick": seq}}, "blob": b"\0\xff\\"}
    payload = messages.encode(Message(body, seq=seq, t=NOW - age))
    return decode.telemetry("lab", device, payload, NOW)


def fill(database: Database) -> None:
    """A little of everything that a hub keeps."""
    numbers = Numbers()
    batch = [said(n + 1, device, age) for device in "ab" for n, age in enumerate(AGES)]
    telemetry.store(database, numbers, batch, str)
    telemetry.note_latest(database, numbers, {("lab", "a"): (NOW, NOW, 7)}, {("lab", "a"): {"rooms": "{}"}})
    telemetry.put_aside(database, [(NOW, "t", "no message: \\ \t 'x'", b"\xc1\0")])
    rollups.advance(database, NOW + 7200)
    member = Member(reason="ö\n\\N")
    state = FleetRollout("id", "d", "n", "rooms", [["a"]], {"a": member}).state()
    row: dict[str, Any] = {"id": "id", "fleet": "lab", "population": "rooms", "bundle": "d"}
    row |= {"status": "running", "created_by": "x", "group_name": "", "filter": "online"}
    with database.write() as connection:
        born = devices.Birth("lab", "a", True, "1", "p", "boot", NOW, "{}", {"rooms": ("d", 20)})
        devices.note_births(connection, numbers.devices, [born])
        user = accounts.add_user(connection, "ann", "admin", "", NOW)
        accounts.add_token(connection, "t", user, "digest", "viewer", ["metrics"], NOW, NOW + 60)
        for n in range(3):
            audit.append(connection, "ann", "change", f"x/{n}", None, {"n": n, "ö": 0.1})
        rollouts.add(connection, **row, created=NOW, state=state)


def rows(database: Database) -> dict[str, list[tuple[Any, ...]]]:
    found = {}
    with database.read() as connection:
        for table in metadata.sorted_tables:
            if table.name != "leases":
                kept = [tuple(row) for row in connection.execute(table.select())]
                found[table.name] = sorted(kept, key=repr)
    return found


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "hub.db"
    with Database(str(path)) as database:
        migrate(database)
        fill(database)
    return path


def test_every_row_is_there_and_the_hub_goes_on(
    file: Path, postgresql: PostgreSQL, capsys: pytest.CaptureFixture[str]
) -> None:
    address = postgresql.new_database()
    assert main(["migrate", "--data", address, "--from", str(file)]) == 0
    assert "telemetry: 8 rows\n" in capsys.readouterr().out
    with Database(str(file)) as old, Database(address) as new:
        before = rows(old)
        assert rows(new) == before
        full = {name for name, kept in before.items() if kept}
        assert full >= {"telemetry", "minutes", "hours", "devices", "audit", "rollouts", "users", "rejected"}
        assert audit.verify(new) == audit.verify(old)
        telemetry.store(new, Numbers(), [said(1), said(9), said(1, "c")], str)
        with new.write() as connection:
            assert accounts.add_user(connection, "bob", "viewer", "", NOW) == before["users"][-1][0] + 1
            audit.append(connection, "bob", "change", "x", None, None)
        assert audit.verify(new)["entries"] == 4
        assert len(rows(new)["telemetry"]) == 10  # what was there already is not stored again


def test_a_value_that_postgresql_can_not_hold_leaves_nothing_behind(
    file: Path, postgresql: PostgreSQL, capsys: pytest.CaptureFixture[str]
) -> None:
    with Database(str(file)) as old, old.write() as connection:
        groups.put(connection, "g", "online", "a \0 in a note")
    address = postgresql.new_database()
    assert main(["migrate", "--data", address, "--from", str(file)]) != 0
    said = capsys.readouterr().err
    assert (said.count("\n"), "groups: PostgreSQL text fields cannot contain NUL" in said) == (1, True)
    with Database(address) as new:
        assert not any(rows(new).values())
    with Database(str(file)) as old, old.write() as connection:
        groups.put(connection, "g", "online", "")
    assert main(["migrate", "--data", address, "--from", str(file)]) == 0


def test_what_can_not_be_copied_is_refused_in_one_line(
    file: Path, postgresql: PostgreSQL, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    address = postgresql.new_database()

    def refusal(data: str, source: Path) -> str:
        assert main(["migrate", "--data", data, "--from", str(source)]) == 2
        return capsys.readouterr().err

    assert "no such file" in refusal(address, tmp_path / "none.db")
    assert not (tmp_path / "none.db").exists()
    assert "expected a SQLite file" in refusal(str(tmp_path / "other.db"), file)
    with Database(str(file)) as old:
        lease = leases.Lease(old, "registrar", seconds=60)
        lease.acquire()
        assert "a hub runs over it, or was killed within the last minutes (lease registrar)" in refusal(
            address, file
        )
        lease.give_back()
    assert main(["migrate", "--data", address, "--from", str(file)]) == 0
    capsys.readouterr()
    assert "audit: found 3 rows, expected none" in refusal(address, file)
