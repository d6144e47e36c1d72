"""A simulated fleet on a real Ray cluster of this machine: ``make test-fleet-ray``."""

import subprocess
import sys
from pathlib import Path

from benchmarks.fleet.devices import Report, Share
from benchmarks.fleet.pools import RayPool
from edge_agent.testing.mosquitto import Mosquitto
from edge_hub.database import sql
from edge_hub.database.engine import Database
from edge_hub.database.migrate import migrate


def test_two_tasks_simulate_two_shares(tmp_path: Path) -> None:
    broker = Mosquitto(tmp_path)
    broker.start()
    data = str(tmp_path / "hub.db")
    with Database(data) as database:
        migrate(database)
        words = ["ingest", "--data", data, "--broker", f"127.0.0.1:{broker.port}"]
        hub = subprocess.Popen([sys.executable, "-m", "edge_hub.cli", *words], stdout=subprocess.DEVNULL)
        pool = RayPool("local")
        try:
            shares = [
                Share(n * 10, 10, ("127.0.0.1", broker.port), seconds=5.0, telemetry_s=1.0) for n in range(2)
            ]
            pool.start(shares)
            report = Report()
            for part in pool.results():
                report.add(part)
        finally:
            pool.end()
            hub.terminate()
            hub.wait()
            broker.stop()
        with database.read() as connection:
            stored = sql.one(connection, "SELECT count(*) FROM telemetry")
    assert (report.devices, report.never_online, report.unconfirmed) == (20, 0, 0)
    assert stored == report.sent > 20
    assert sorted(report.outboxes) == [f"d{number:05}" for number in range(20)]
