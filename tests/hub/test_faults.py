"""Faults of a hub that takes telemetry in: kills, a full disk, a lock, a clock set back, a certificate's end.

`make faults-hub` runs the long form of the first as well (`benchmarks.hub_faults`).
"""

import contextlib
import os
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks import hub_faults
from edge_agent.testing.mosquitto import Mosquitto
from edge_agent.wire import broker_login
from edge_hub.broker import Broker
from edge_hub.database.engine import Database
from edge_hub.database.migrate import migrate
from edge_hub.ingest.worker import Worker
from tests.hub.test_ingest import Ear, broker, count, report, running, until

pytestmark = pytest.mark.broker
MAKE_CA = Path(__file__).parents[2] / "tools" / "mosquitto" / "make_ca.sh"


def test_whatever_is_killed_every_message_is_stored_once() -> None:
    found = hub_faults.run(kills=2, restarts=1, rate=300, seed=1)
    assert found["sent"] > 5 * hub_faults.CONFIRMED_AFTER
    assert (found["lost"], found["twice"], found["stored"]) == (0, 0, found["sent"])


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("takes root: a mount")
    folder = tmp_path / "disk"
    folder.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"mounts are not allowed here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_full_disk_is_waited_for_and_nothing_is_lost(mosquitto: Mosquitto, small_disk: Path) -> None:
    database = Database(str(small_disk / "hub.db"))
    migrate(database)
    worker = Worker(database, broker(mosquitto))
    ear = Ear(mosquitto.port)
    with running(worker):
        until(lambda: worker.subscriber.online)
        ear.say(*report("a", 1))
        until(lambda: count(database) == 1)
        ballast = small_disk / "ballast"
        with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
            while file.write(bytes(4096)) == 4096:
                pass
        for seq in range(2, 102):
            ear.say(*report("a", seq, text="x" * 2000))
        until(lambda: worker.counters.retries > 1)
        assert "full" in worker.database_away
        assert str(small_disk) in worker.database_away
        ballast.unlink()
        until(lambda: worker.counters.stored == 101)
    assert count(database) == 101
    ear.close()
    database.close()


def test_a_database_that_another_program_locks_is_waited_for(mosquitto: Mosquitto, tmp_path: Path) -> None:
    database = Database(str(tmp_path / "hub.db"))
    migrate(database)
    worker = Worker(database, broker(mosquitto))
    ear = Ear(mosquitto.port)
    with running(worker):
        until(lambda: worker.subscriber.online)
        ear.say(*report("a", 1))
        until(lambda: count(database) == 1)
        other = sqlite3.connect(tmp_path / "hub.db", isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        for seq in range(2, 52):
            ear.say(*report("a", seq))
        until(lambda: worker.counters.retries > 0)
        assert "locked" in worker.database_away
        other.execute("ROLLBACK")
        other.close()
        until(lambda: worker.counters.stored == 51)
    assert count(database) == 51
    ear.close()
    database.close()


def test_a_clock_that_is_set_back_loses_and_repeats_nothing(database: Database, mosquitto: Mosquitto) -> None:
    offset = 0.0
    worker = Worker(database, broker(mosquitto), now=lambda: time.time() + offset)
    ear = Ear(mosquitto.port)
    with running(worker):
        until(lambda: worker.subscriber.online)
        for seq, offset in enumerate((0.0, -86_400.0, 86_400.0, -40 * 86_400.0), 1):  # noqa: B007
            ear.say(*report("a", seq))
            ear.say(*report("a", 1))
            until(lambda expected=seq: count(database) == expected)  # type: ignore[misc]
        assert worker.counters.rejected == 0
    ear.close()


def sign(folder: Path, days: int, name: str) -> None:
    """Make another certificate for the broker's key, which ends in ``days`` days."""
    request = subprocess.run(
        ["openssl", "x509", "-x509toreq", "-in", folder / "server.crt", "-signkey", folder / "server.key"],
        check=True,
        capture_output=True,
    )
    ca = ["-CA", folder / "ca.crt", "-CAkey", folder / "ca.key", "-CAcreateserial"]
    extensions = folder / "extensions"
    extensions.write_text("subjectAltName=IP:127.0.0.1\n")
    words: list[Any] = ["openssl", "x509", "-req", *ca, "-days", str(days), "-extfile", extensions]
    subprocess.run([*words, "-out", folder / name], input=request.stdout, check=True, capture_output=True)


def test_a_broker_whose_certificate_has_expired_is_named_and_believed_once_it_has_another(
    database: Database, tmp_path: Path, caplog: Any
) -> None:
    folder = tmp_path / "ca"
    subprocess.run([MAKE_CA, folder, "127.0.0.1"], check=True, stdout=subprocess.DEVNULL)
    sign(folder, -1, "expired.crt")
    sign(folder, 1, "renewed.crt")
    used = folder / "used.crt"
    shutil.copy(folder / "expired.crt", used)
    lines = (
        "allow_anonymous true",
        f"cafile {folder}/ca.crt",
        f"certfile {used}",
        f"keyfile {folder}/server.key",
    )
    server = Mosquitto(tmp_path, lines)
    server.start()
    tls = broker_login.tls(folder / "ca.crt", None, None)
    worker = Worker(database, Broker("127.0.0.1", server.port, tls=tls))
    with running(worker):
        until(lambda: "certificate has expired" in caplog.text)
        assert not worker.subscriber.online
        server.kill()
        shutil.copy(folder / "renewed.crt", used)
        server.start()
        until(lambda: worker.subscriber.online)
        server.kill()
        until(lambda: not worker.subscriber.online)
