"""``edge-hub export``: the file holds what the devices sent, from the database and from a service."""

import csv
import json
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from edge_agent.wire import messages, readings
from edge_agent.wire.messages import Message
from edge_hub import export
from edge_hub.cli import main
from edge_hub.database import accounts, rollups, telemetry
from edge_hub.database.engine import Database
from edge_hub.database.telemetry import Numbers
from edge_hub.domain import secrets
from edge_hub.ingest import decode
from tests.hub.service import Service

BEGIN = 1_790_000_000.0 // 3600 * 3600
Sent = tuple[str, float, dict[str, float]]
"""Device, time, series."""


def fill(database: Database) -> list[Sent]:
    """Two devices, three messages of each at the same times, the third with one counter alone."""
    sent: list[Sent] = []
    batch = []
    for device in ("kitchen", "attic"):
        for n in range(3):
            t = BEGIN + 30.0 * n
            counters = {"tick": n + 1, "heat": 0.5 + n} if n < 2 else {"tick": 9}
            body = {"outbox": "x", "delta": True, "populations": {"rooms": counters}, "rss": 1000 + n}
            payload = messages.encode(Message(body, seq=n + 1, t=t))
            batch.append(decode.telemetry("home", device, payload, t))
            sent.append(
                (device, t, {f"rooms/{k}": float(v) for k, v in counters.items()} | {"rss": 1000.0 + n})
            )
    assert telemetry.store(database, Numbers(), batch, str) == []
    return sent


def values(path: Path) -> set[tuple[str, str, float, float]]:
    found = readings.read(path)
    assert (found.clock, found.controls, len(found.action)) == ("utc", (), 0)
    rows = zip(found.agent, found.modality, found.time, found.value, strict=True)
    return {(found.agents[a], found.modalities[m].name, t, v) for a, m, t, v in rows}


def wanted(sent: list[Sent]) -> set[tuple[str, str, float, float]]:
    return {(f"home/{d}", name, t, value) for d, t, series in sent for name, value in series.items()}


def test_the_file_has_every_value_that_was_sent(
    data: str, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "PAGE", 2)
    sent = fill(database)
    path = tmp_path / "day.npz"
    assert main(["export", "--data", data, "-o", str(path), "--csv"]) == 0
    assert values(path) == wanted(sent)
    with path.with_suffix(".csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    told = {
        (row["agent"], name, float(row[name]))
        for row in table
        for name in ("rss", "rooms/tick", "rooms/heat")
        if row[name]
    }
    assert told == {(agent, name, value) for agent, name, _, value in wanted(sent)}
    assert len(table) == len(sent)


def test_a_service_gives_the_same_file(
    service: Service, data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "PAGE", 2)
    fill(service.hub.database)
    token, now = secrets.make(secrets.TOKEN_PREFIX), time.time()
    with service.hub.database.write() as connection:
        number = accounts.add_user(connection, "script", "viewer", "", now)
        digest = secrets.digest(token)
        accounts.add_token(connection, "t", number, digest, "viewer", ["devices"], now, now + 600)
    file = tmp_path / "token"
    file.touch(0o600)
    file.write_text(token)
    there, here = tmp_path / "there.npz", tmp_path / "here.npz"
    for resolution in ("raw", "minute", "hour"):
        rollups.advance(service.hub.database, BEGIN + 7200)
        words = ["--resolution", resolution]
        asked = ["export", "--hub", service.address, "--token-file", str(file), "-o", str(there)]
        assert main([*asked, *words]) == 0
        assert main(["export", "--data", data, "-o", str(here), *words]) == 0
        assert there.read_bytes() == here.read_bytes()
        assert len(values(there)) == {"raw": 16, "minute": 10, "hour": 6}[resolution]


def test_devices_and_times_are_chosen(
    data: str, database: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sent = fill(database)
    path = tmp_path / "part.npz"
    until = datetime.fromtimestamp(BEGIN + 60.0, UTC).isoformat()
    words = ["--to", "attic", "--since", str(BEGIN + 30.0), "--until", until, "--json"]
    assert main(["export", "--data", data, "-o", str(path), *words]) == 0
    assert values(path) == wanted([row for row in sent if row[:2] == ("attic", BEGIN + 30.0)])
    assert json.loads(capsys.readouterr().out) == {"file": str(path), "devices": 1, "series": 3, "values": 3}


def test_a_roll_up_gives_the_last_value_of_its_time(data: str, database: Database, tmp_path: Path) -> None:
    fill(database)
    rollups.advance(database, BEGIN + 7200)
    path = tmp_path / "hours.npz"
    assert main(["export", "--data", data, "-o", str(path), "--resolution", "hour", "--to", "attic"]) == 0
    last = {"rooms/tick": 9.0, "rooms/heat": 1.5, "rss": 1002.0}
    assert values(path) == {("home/attic", name, BEGIN, value) for name, value in last.items()}


def test_more_than_a_file_holds_is_refused(
    data: str,
    database: Database,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    fill(database)
    monkeypatch.setattr(export, "MAX_EVENTS", 10)
    path = tmp_path / "day.npz"
    assert main(["export", "--data", data, "-o", str(path)]) == 2
    assert "found more than 10 values; choose less" in capsys.readouterr().err
    assert not path.exists()


def test_wrong_options_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = ["export", "-o", str(tmp_path / "day.npz")]
    assert main(good) == 2
    assert "expected either --data or --hub" in capsys.readouterr().err
    assert main([*good, "--data", str(tmp_path / "none.db")]) == 2
    assert "No such file" in capsys.readouterr().err
    assert main(["export", "-o", str(tmp_path / "day.csv"), "--data", "x.db"]) == 2
    assert "expected .npz" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([*good, "--data", "x.db", "--since", "yesterday"])
    assert "found 'yesterday', expected ISO 8601 or Unix seconds" in capsys.readouterr().err


def test_an_empty_hub_gives_an_empty_file(data: str, database: Database, tmp_path: Path) -> None:
    path = tmp_path / "day.npz"
    assert main(["export", "--data", data, "-o", str(path)]) == 0
    assert readings.read(path).time.dtype == np.float64
    assert values(path) == set()
