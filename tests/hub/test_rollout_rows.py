"""What a list of rollouts shows of each, on SQLite and on PostgreSQL."""

import json

from edge_hub.database import rollouts, sql
from edge_hub.database.engine import Database
from edge_hub.database.migrate import migrate
from edge_hub.rollout import FleetRollout, Member

ROW = {"id": "r", "fleet": "lab", "population": "rooms", "bundle": "b", "status": "running"}
MORE = {"created_by": "ann", "approved_by": "ann", "group_name": "", "filter": ""}
SHOWN = {"reason": "", "wave": 1, "waves": 2, "devices": 3, "counts": {"committed": 1, "waiting": 2}}


def rollout() -> FleetRollout:
    members = {"a": Member("committed"), "b": Member(), "c": Member()}
    return FleetRollout("r", "b", "fan", "rooms", [["a"], ["b", "c"]], members, wave=0)


def shown(database: Database) -> dict[str, object]:
    (row,) = rollouts.page(database, 50, 1e12)
    assert row == rollouts.shown(database, "r")
    return {key: row[key] for key in SHOWN}


def test_a_list_shows_what_the_state_says_after_each_write(database: Database) -> None:
    made = rollout()
    with database.write() as connection:
        rollouts.add(connection, **ROW, **MORE, created=1.0, state=made.state())
    assert shown(database) == SHOWN
    made.members["b"] = Member("failed")
    made.status, made.reason = "stopped", "1 failed"
    rollouts.save(database, "r", made.state(), 2.0)
    changed = {"reason": "1 failed", "counts": {"committed": 1, "failed": 1, "waiting": 1}}
    assert shown(database) == SHOWN | changed
    with database.write() as connection:
        rollouts.end(connection, "r", 3.0)
    made.members["d"] = Member()
    rollouts.reopen(database, "r", made.state(), 4.0)
    counts = {"committed": 1, "failed": 1, "waiting": 2}
    assert shown(database) == SHOWN | changed | {"devices": 4, "counts": counts}


def test_rollouts_from_before_the_summary_are_shown_too(data: str) -> None:
    with Database(data) as database:
        migrate(database, "0005")
        values = ROW | MORE | {"state": json.dumps(rollout().state()), "request": ""}
        names = ", ".join([*values, "created", "updated", "ended"])
        marks = ", ".join("?" * (len(values) + 3))
        with database.write() as connection:
            query = f"INSERT INTO rollouts ({names}) VALUES ({marks})"
            sql.run(connection, query, (*values.values(), 1.0, 1.0, False))
        assert migrate(database)[0] == "0005"
        assert shown(database) == SHOWN
