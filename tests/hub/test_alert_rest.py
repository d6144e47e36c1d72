"""Alerts by REST and by the command, in the audit; and delivered by a real service to a real receiver."""

import json
import queue
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from edge_agent.testing.mosquitto import Mosquitto
from edge_hub.cli import main
from edge_hub.database import alerts, leases, sql
from edge_hub.database.engine import Database
from edge_hub.database.migrate import migrate
from edge_hub.domain.alert_rules import Rule
from edge_hub.jobs.alerts import LEASE, Evaluator
from edge_hub.jobs.deliveries import Sender
from edge_hub.notify import Notifier
from tests.broker.ending import end_all
from tests.hub.service import Service
from tests.hub.test_alerts import T, evaluator, hear, use
from tests.hub.test_service import Process, until

HOT = {"field": "rooms/depth", "limit": 5.0, "for_s": 0.0, "recover_s": 0.0, "wait_s": 0.0}


def test_from_a_rule_to_an_acknowledged_alert(service: Service) -> None:
    database = service.hub.database
    looks = evaluator(database)
    looks.look(T)
    operator = service.as_role("operator")
    made = operator.put("/alerts/rules/deep", json=HOT)
    assert made.status_code == 200, made.text
    assert made.json()["condition"] == "rooms/depth > 5 for 0 s"
    assert "deep" in [rule["name"] for rule in operator.get("/alerts/rules").json()]
    hear(database, 3, T, {"rooms": {"depth": 9}})
    looks.look(T)
    (row,) = [row for row in operator.get("/alerts?status=open").json() if row["rule"] == "deep"]
    assert (row["devices"], row["names"]) == (3, ["lab/d000", "lab/d001", "lab/d002"])
    path = f"/alerts/{row['id']}"
    found = operator.get(path).json()
    assert [(m["device"], m["value"]) for m in found["members"]] == [(f"d00{n}", 9.0) for n in range(3)]
    assert service.as_role("viewer").post(f"{path}/acknowledge").status_code == 403
    assert operator.post(f"{path}/acknowledge").json()["acknowledged_by"].startswith("operator")
    assert operator.post(f"{path}/acknowledge").status_code == 409
    assert operator.delete("/alerts/rules/deep").status_code == 204
    looks.look(T + 1)
    service.hub.answers.forget()
    assert operator.get(path).json()["status"] == "cleared"
    assert operator.post(f"{path}/acknowledge").status_code == 409
    entries = operator.get("/audit").json()
    assert [(entry["action"], entry["object"]) for entry in entries] == [
        ("alert-rule.delete", "deep"),
        ("alert.acknowledge", row["id"]),
        ("alert-rule.put", "deep"),
    ]
    assert entries[0]["before"]["limit"] == 5.0
    assert operator.get("/audit/verify").json()["broken"] == 0


@pytest.mark.parametrize(
    ("name", "changed", "status", "says"),
    [
        ("deep", {"notify": ["pager"]}, 422, "found 'pager', expected one of: ops"),
        ("deep", {"measure": "trend"}, 422, "window_s: expected 60 to"),
        ("deep", {"filter": "what!=ever"}, 422, "filter: found 'what'"),
        ("deep", {"severity": "bad"}, 400, "severity"),
        ("deep", {"limit": "high"}, 400, "limit"),
        ("Deep", {}, 400, "name"),
    ],
)
def test_a_rule_that_is_wrong_is_a_problem(
    service: Service, name: str, changed: dict[str, Any], status: int, says: str
) -> None:
    service.hub.alert_targets = ("ops",)
    answer = service.as_role("operator").put(f"/alerts/rules/{name}", json=HOT | changed)
    assert (answer.status_code, says in answer.text) == (status, True), answer.text
    assert alerts.rules(service.hub.database) == []


def test_the_figures_are_there_for_prometheus(service: Service) -> None:
    use(service.hub.database, Rule("a", "rss", 1.0, for_s=0.0, wait_s=0.0, severity="critical"))
    hear(service.hub.database, 3, T)
    evaluator(service.hub.database).look(T)
    text = service.as_role("viewer").get(service.address + "/metrics").text
    assert 'edge_fleet_alerts{rule="a",severity="critical"} 1.0' in text
    assert 'edge_fleet_alert_devices{rule="a",severity="critical"} 3.0' in text
    assert 'edge_hub_alert_notices{state="waiting"} 2.0' in text


def test_the_command_lists_shows_and_acknowledges(
    service: Service, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    remote = service.remote("operator", tmp_path)

    def run(*words: str) -> tuple[int, str]:
        status = main(["alerts", *words, *remote])
        said = capsys.readouterr()
        return status, said.out + said.err

    assert run() == (0, "no open alerts\n")
    rule = tmp_path / "rule.json"
    rule.write_text(json.dumps(HOT))
    assert run("set-rule", "deep", "--file", str(rule))[0] == 0
    assert "deep: rooms/depth > 5 for 0 s" in run("rules")[1]
    hear(service.hub.database, 3, T, {"rooms": {"depth": 9}})
    evaluator(service.hub.database).look(T)
    service.hub.answers.forget()
    status, text = run()
    assert status == 1  # something is wrong: for scripts
    (id_,) = [line.split()[0] for line in text.splitlines() if " deep" in line]
    assert "3 devices" in text
    assert "lab/d002" in run("show", id_)[1]
    assert run("acknowledge", id_)[0] == 0
    assert "already" in run("acknowledge", id_)[1]
    assert run("remove-rule", "deep")[0] == 0
    status, text = run("remove-rule", "deep")
    assert (status, text) == (2, "edge-hub: --hub: rule deep: not known\n")
    rule.write_text("{")
    status, text = run("set-rule", "deep", "--file", str(rule))
    assert (status, text.count("\n")) == (2, 1)


class Receiver:
    """A webhook that keeps what it gets; `answer` is waited for before it answers."""

    def __init__(self) -> None:
        self.got: queue.Queue[tuple[str, dict[str, Any]]] = queue.Queue()
        self.answer = threading.Event()
        self.answer.set()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                receiver.got.put((self.headers.get("Authorization", ""), body))
                receiver.answer.wait(60)
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"json://user:secretword@127.0.0.1:{self._server.server_port}/hook"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.answer.set()
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


@pytest.mark.broker
def test_a_service_killed_while_it_tells_of_an_alert_neither_loses_nor_doubles_it(
    tmp_path: Path, mosquitto: Mosquitto, receiver: Receiver
) -> None:
    data, targets = str(tmp_path / "hub.db"), tmp_path / "targets"
    targets.write_text(f"ops {receiver.url}\n")
    targets.chmod(0o600)
    with Database(data) as database:
        migrate(database)
        use(database, Rule("silent", "silence", 300.0, for_s=0.0, recover_s=0.0, wait_s=0.0))
        hear(database, 100, time.time() - 1000)
    process = Process(tmp_path, data, mosquitto.port, "--notify", str(targets), "-v")
    receiver.answer.clear()
    try:
        process.start()
        login, first = receiver.got.get(timeout=60)
        process.kill()  # the receiver has it, and no answer was sent
        receiver.answer.set()
        process.start()
        _, second = receiver.got.get(timeout=60)
        with Database(data) as database:
            until(lambda: [row["state"] for row in _deliveries(database)] == ["sent"])
            (alert,) = alerts.page(database, "", 50, 1e12)
            (delivery,) = _deliveries(database)
        assert login.startswith("Basic ")
        assert first["title"] == "warning: silent, lab, 100 devices"
        assert second["title"] == first["title"] + " (repeated)"
        assert second["message"] == first["message"]  # with the same number
        assert f"alert {alert['id']}, notice 1" in first["message"]
        assert delivery["repeated"]
        process.kill()  # with nothing on its way
        with Database(data) as database:
            hear(database, 100, time.time() + 600)
        process.start()
        _, cleared = receiver.got.get(timeout=60)
        assert cleared["title"] == "cleared: silent, lab, 100 devices"
        with Database(data) as database:
            until(lambda: [row["state"] for row in _deliveries(database)] == ["sent", "sent"])
        assert receiver.got.empty()
        assert "secretword" not in process.text()
        assert b"secretword" not in (tmp_path / "hub.db").read_bytes()
    finally:
        end_all([process.process] if process.process is not None else [])


def _deliveries(database: Database) -> list[dict[str, Any]]:
    with database.read() as connection:
        rows = sql.run(connection, "SELECT state, repeated FROM deliveries ORDER BY id").mappings().all()
    return [dict(row) for row in rows]


@pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")  # a plug-in of apprise
def test_a_target_that_apprise_does_not_know_is_told_without_its_address(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    use(database, Rule("a", "rss", 1.0, for_s=0.0, wait_s=0.0))
    hear(database, 2, T)
    lease = leases.Lease(database, LEASE, 60.0)
    assert lease.acquire()
    Evaluator(database, lease, ["ops", "off"]).look(T)
    notifier = Notifier({"ops": "nothing://secretword", "off": "json://user:secretword@127.0.0.1:9/"})
    sender = Sender(database, lease, notifier)
    while sender.send_next(T):
        pass
    assert "apprise does not understand the URL" in caplog.text
    assert "the target did not take it" in caplog.text
    assert "secretword" not in caplog.text
