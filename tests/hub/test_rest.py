"""The REST interface: pages, filters, answers, problems, idempotency, and the document of it all."""

import json
import re
import time
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_agent.errors import ConfigError
from edge_agent.wire import bodies, bundle, messages, signatures
from edge_agent.wire.messages import Message
from edge_hub.api import app
from edge_hub.api.hub import Hub
from edge_hub.api.schemas import NewCommand
from edge_hub.database import audit, commands, devices, rollouts, sql, telemetry
from edge_hub.database.devices import Birth
from edge_hub.database.engine import Database
from edge_hub.database.telemetry import Numbers
from edge_hub.domain import filters
from edge_hub.ingest import decode
from tests.hub.service import Service

NOW = time.time()
DOCUMENT = Path(__file__).parents[2] / "docs" / "reference" / "openapi.json"


def fill(database: Database, count: int) -> None:
    """Devices d000…; every third offline, two profiles, a label, heard one second after the other."""
    numbers = Numbers()
    names = [("lab" if n % 2 else "home", f"d{n:03}") for n in range(count)]
    births = [
        Birth(
            *name,
            n % 3 != 0,
            "1.0",
            ("pi4b-1gb", "pi5-4gb")[n % 2],
            "b",
            NOW,
            json.dumps({"n": n}),
            {"rooms": ("ab" * 32, 10 + n)},
        )
        for n, name in enumerate(names)
    ]
    with database.write() as connection:
        numbers.find_devices(connection, names)
        devices.note_births(connection, numbers.devices, births)
        for n, name in enumerate(names):
            devices.set_labels(connection, numbers.devices[name], {"floor": str(n % 5)})
    heard = {name: (NOW - n, NOW - n, 1000 + n) for n, name in enumerate(names)}
    counters = {name: {"rooms": f'{{"tick": {n}, "decisions": {n * 2}}}'} for n, name in enumerate(names)}
    telemetry.note_latest(database, numbers, heard, counters)


def names(answer: Any) -> list[str]:
    return [row["name"] for row in answer.json()["devices"]]


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ("", lambda n: True),
        ("online", lambda n: n % 3 != 0),
        ("!online", lambda n: n % 3 == 0),
        ("profile=pi5*", lambda n: n % 2 == 1),
        ("profile!=pi5*", lambda n: n % 2 == 0),
        ("fleet=lab online", lambda n: n % 2 == 1 and n % 3 != 0),
        ("label.floor=2", lambda n: n % 5 == 2),
        ("label.floor!=2", lambda n: n % 5 != 2),
        ("label.nothing=2", lambda n: False),
        ("name=d01*", lambda n: 10 <= n < 20),
        ("name=d_1*", lambda n: False),
        ("D00", lambda n: n < 10),
        ("population=rooms", lambda n: True),
        ("bundle=ab*", lambda n: True),
        ("bundle=cd*", lambda n: False),
        ("silent>30", lambda n: n > 29),
        ("version=1.0 population!=rooms", lambda n: False),
    ],
)
def test_a_filter_finds_what_fits(service: Service, text: str, fits: Any) -> None:
    fill(service.hub.database, 40)
    service.hub.now = lambda: NOW + 0.5
    answer = service.as_role("viewer").get("/devices", params={"filter": text, "limit": 100})
    assert sorted(names(answer)) == [f"d{n:03}" for n in range(40) if fits(n)]


@pytest.mark.parametrize("text", ["nonsense=1", "silent>x", "!name", "a=b=c d=", "label.=1", "x" * 1001])
def test_a_filter_that_can_not_be_read_is_a_problem(service: Service, text: str) -> None:
    answer = service.as_role("viewer").get("/devices", params={"filter": text})
    assert answer.status_code in (400, 422)
    assert answer.headers["content-type"] == "application/problem+json"
    found = answer.json()
    assert (found["status"], found["instance"]) == (answer.status_code, "/api/v1/devices")
    assert found["detail"]


@pytest.mark.parametrize("sort", ["name", "heard", "rss"])
@pytest.mark.parametrize("descending", [False, True])
def test_pages_hold_each_device_once_whatever_comes_meanwhile(
    service: Service, sort: str, descending: bool
) -> None:
    fill(service.hub.database, 30)
    caller, seen, after = service.as_role("viewer"), [], ""
    while True:
        query = {"limit": 7, "after": after, "sort": sort, "descending": descending}
        answer = caller.get("/devices", params=query)
        seen += names(answer)
        if len(seen) == 7:
            with service.hub.database.write() as connection:
                sql.run(connection, "UPDATE devices SET forgotten = ? WHERE name = ?", (True, seen[0]))
        after = answer.json()["after"]
        if not after:
            break
    order = [f"d{n:03}" for n in range(30)]
    if (sort == "heard") != descending:
        order.reverse()
    assert seen == order


def test_a_row_says_how_a_device_is(service: Service) -> None:
    fill(service.hub.database, 2)
    row = service.as_role("viewer").get("/devices").json()["devices"][1]
    wanted = {
        "fleet": "lab",
        "name": "d001",
        "online": True,
        "version": "1.0",
        "profile": "pi5-4gb",
        "agents": 11,
        "labels": {"floor": "1"},
        "rss": 1001,
        "tick": 1,
        "decisions": 2,
        "populations": ["rooms"],
    }
    assert {key: row[key] for key in wanted} == wanted


def test_one_device_with_its_gaps_and_series(service: Service) -> None:
    database = service.hub.database
    fill(database, 2)
    batch = [
        decode.telemetry(
            "lab",
            "d001",
            messages.encode(
                Message(
                    {"outbox": "x", "rss": 50 + n, "populations": {"rooms": {"tick": n}}}, seq=n, t=NOW + n
                )
            ),
            NOW,
        )
        for n in (1, 2, 5)
    ]
    batch.append(
        decode.telemetry(
            "lab", "d001", messages.encode(Message({"outbox": "x", "delta": True}, seq=6, t=NOW + 6)), NOW
        )
    )
    telemetry.store(database, Numbers(), batch, lambda m: "")
    caller = service.as_role("viewer")
    found = caller.get("/devices/lab/d001").json()
    assert found["birth"] == {"n": 1}
    assert [(row["messages"], row["gaps"]) for row in found["gaps"]] == [(4, 2)]
    series = caller.get("/devices/lab/d001/series").json()
    assert series["resolution"] == "raw"
    assert series["t"] == [NOW + n for n in (1, 2, 5, 6)]
    assert series["values"] == {"rss": [51, 52, 55, 55], "rooms/tick": [1, 2, 5, 5]}
    thinned = caller.get("/devices/lab/d001/series", params={"points": 2}).json()
    assert thinned["t"] == [NOW + 2, NOW + 6]
    assert caller.get("/devices/lab/nothing").status_code == 404
    assert caller.get("/devices/lab/nothing/series").status_code == 404


def test_devices_are_counted_by_the_filter_that_lists_them(service: Service) -> None:
    fill(service.hub.database, 12)
    caller = service.as_role("viewer")
    assert caller.get("/devices/count").json() == {"devices": 12, "online": 8, "agents": sum(range(10, 22))}
    for text in ("fleet=lab online", "!online", "name=nothing"):
        found = caller.get("/devices", params={"filter": text}).json()["devices"]
        counted = caller.get("/devices/count", params={"filter": text}).json()
        assert counted["devices"] == len(found)
        assert counted["online"] == sum(row["online"] for row in found)
    assert caller.get("/devices/count?filter=x%3D1").status_code == 422


def test_labels_groups_and_forgetting(service: Service) -> None:
    fill(service.hub.database, 3)
    caller = service.as_role("operator")
    assert caller.put("/devices/lab/d001/labels", json={"labels": {"site": "east"}}).status_code == 200
    assert names(caller.get("/devices", params={"filter": "label.site=east"})) == ["d001"]
    assert caller.put("/devices/lab/d001/labels", json={"labels": {"a b": "c"}}).status_code == 400
    assert caller.put("/devices/lab/zzz/labels", json={"labels": {}}).status_code == 404
    assert caller.put("/groups/east", json={"filter": "label.site=east"}).status_code == 200
    assert [group["name"] for group in caller.get("/groups").json()] == ["east"]
    assert caller.delete("/groups/east").status_code == 204
    assert caller.delete("/groups/east").status_code == 404
    assert caller.delete("/devices/lab/d001").status_code == 204
    assert names(caller.get("/devices")) == ["d000", "d002"]
    actions = [entry["action"] for entry in audit.page(service.hub.database)]
    assert actions == ["device.forget", "group.delete", "group.put", "device.labels"]


def test_summaries(service: Service) -> None:
    fill(service.hub.database, 6)
    caller = service.as_role("viewer")
    assert [(f["fleet"], f["devices"], f["online"]) for f in caller.get("/fleets").json()] == [
        ("home", 3, 2),
        ("lab", 3, 2),
    ]
    assert [(p["fleet"], p["devices"], p["agents"]) for p in caller.get("/populations").json()] == [
        ("home", 3, 36),
        ("lab", 3, 39),
    ]


def test_equal_questions_are_computed_once_and_known_answers_not_sent_again(service: Service) -> None:
    fill(service.hub.database, 40)
    caller = service.as_role("viewer")
    service.hub.answers._clock = lambda: 0.0
    before = service.hub.answers.computed
    first = caller.get("/devices", headers={"Accept-Encoding": "identity"})
    packed = caller.get("/devices", headers={"Accept-Encoding": "gzip"})
    assert packed.headers["content-encoding"] == "gzip"
    assert packed.json() == first.json()
    assert service.hub.answers.computed == before + 1
    known = caller.get("/devices", headers={"If-None-Match": first.headers["etag"]})
    assert (known.status_code, known.content) == (304, b"")
    caller2 = service.as_role("operator")
    caller2.put("/devices/lab/d001/labels", json={"labels": {"new": "1"}})
    again = caller.get("/devices", headers={"If-None-Match": first.headers["etag"]})
    assert again.status_code == 200
    assert again.headers["etag"] != first.headers["etag"]


def test_whoever_hears_of_a_change_reads_it_however_fresh_the_answer_before(service: Service) -> None:
    """A page asks as soon as it hears an event, and not again: a device's answer to a command is stored by
    the thread that receives it, without a request.
    """
    fill(service.hub.database, 2)
    service.hub.answers._clock = lambda: 0.0  # what is kept stays fresh
    service.hub.sender = Sender()
    caller = service.as_role("operator")
    id_ = caller.post("/commands", json={"fleet": "lab", "name": "log", "filter": "name=d001"}).json()["id"]

    def states() -> list[str]:
        return [reply["state"] for reply in caller.get(f"/commands/{id_}").json()["replies"]]

    assert states() == ["waiting"]
    assert commands.answer(service.hub.database, id_, "d001", True, "", {"lines": []}, NOW)
    with caller.stream("GET", "/events") as stream:
        lines = stream.iter_lines()
        next(lines)  # from now on events are heard
        service.call(service.hub.broadcast.say, "replies", [])
        while next(lines) != "event: replies":
            pass
        assert states() == ["done"]


def test_an_answer_given_again_is_the_same_as_the_first(service: Service) -> None:
    fill(service.hub.database, 40)
    caller = service.as_role("viewer")
    service.hub.answers._clock = lambda: 0.0
    etag = caller.get("/devices?limit=7").headers["etag"]
    for asked in ({"Accept-Encoding": "identity"}, {"Accept-Encoding": "gzip"}, {"If-None-Match": etag}):
        service.hub.answers.forget()
        first, again = (caller.get("/devices?limit=7", headers=asked) for _ in range(2))
        assert (again.status_code, again.content) == (first.status_code, first.content)
        ours = ("content-type", "content-length", "content-encoding", "etag", "cache-control", "vary")
        for name in (*ours, "content-security-policy", "x-content-type-options"):
            assert again.headers.get(name) == first.headers.get(name), name


def test_an_answer_is_given_again_only_to_who_was_let_through_to_it(service: Service) -> None:
    fill(service.hub.database, 4)
    service.hub.answers._clock = lambda: 0.0
    for asked in ("/devices", "/audit"):
        admin, stranger = service.as_role("admin"), service.client("not-a-token")
        narrow = service.as_role("viewer", scopes=["models"])
        assert [admin.get(asked).status_code for _ in range(2)] == [200, 200]
        assert stranger.get(asked).status_code == 401
        assert service.client().get(asked).status_code == 401
        assert narrow.get(asked).status_code == 403
    assert service.as_role("viewer").get("/audit").status_code == 403


def test_who_logged_out_gets_no_kept_answer(service: Service) -> None:
    service.hub.answers._clock = lambda: 0.0
    service.add_user("ann", "viewer")
    ann = service.logged_in("ann")
    cookie = dict(ann.cookies)
    assert [ann.get("/devices").status_code for _ in range(2)] == [200, 200]
    assert ann.delete("/session").status_code == 204
    late = service.client()
    late.cookies.update(cookie)
    assert late.get("/devices").status_code == 401


def test_a_write_with_a_key_is_done_once(service: Service) -> None:
    admin = service.as_role("admin")
    body = {"name": "ann", "role": "viewer", "password": "correct horse battery"}
    key = {"Idempotency-Key": "k1"}
    first = admin.post("/users", json=body, headers=key)
    again = admin.post("/users", json=body, headers=key)
    assert (again.status_code, again.json()) == (201, first.json())
    assert again.headers["idempotent-replay"] == "true"
    assert again.headers["content-type"] == first.headers["content-type"]
    assert admin.post("/users", json=body | {"name": "bob"}, headers=key).status_code == 422
    other = service.as_role("admin")
    assert other.post("/users", json=body, headers=key).status_code == 409
    assert admin.post("/users", json=body, headers={"Idempotency-Key": "x" * 200}).status_code == 400


def test_a_key_at_work_is_a_conflict_and_one_whose_process_died_is_free_later(service: Service) -> None:
    from edge_hub.database import idempotency

    database = service.hub.database
    assert idempotency.begin(database, "me", "k", "r", NOW) is None
    assert idempotency.begin(database, "me", "k", "r", NOW + 1) == ("r", idempotency.RUNNING, b"")
    assert idempotency.begin(database, "me", "k", "r", NOW + 130) is None
    idempotency.give_up(database, "me", "k")
    assert idempotency.begin(database, "me", "k", "r", NOW) is None
    idempotency.finish(database, "me", "k", 201, b"x")
    assert idempotency.begin(database, "me", "k", "r", NOW + 80_000) == ("r", 201, b"x")
    assert idempotency.begin(database, "me", "k", "r", NOW + 90_000) is None


def make_bundle(folder: Path, name: str = "rooms", size: int = 3000) -> tuple[Path, str]:
    key = folder / "hub.key"
    if not key.exists():
        signatures.save(signatures.generate("hub"), key)
    manifest = {
        "name": name,
        "version": "1",
        "kind": "pomdp",
        "created": 0,
        "source_sha256": "",
        "io": {},
        "memory": {},
        "evaluation": {"kl": 0.01},
        "requires": {},
    }
    path = folder / f"{name}.eab"
    bundle.write(path, manifest, {"A.npy": bytes(size)}, signatures.load_secret(key))
    return path, bundle.read(path).digest


def test_a_bundle_is_uploaded_looked_at_and_refused_if_damaged(service: Service, tmp_path: Path) -> None:
    path, digest = make_bundle(tmp_path)
    caller = service.as_role("operator")
    answer = caller.post("/bundles", content=path.read_bytes())
    assert (answer.status_code, answer.json()["digest"]) == (201, digest)
    assert caller.post("/bundles", content=path.read_bytes()).status_code == 200
    assert [row["name"] for row in caller.get("/bundles").json()] == ["rooms"]
    assert caller.get(f"/bundles/{digest}").json()["manifest"]["evaluation"] == {"kl": 0.01}
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    refused = caller.post("/bundles", content=bytes(damaged))
    assert refused.status_code == 422
    assert "/tmp" not in refused.json()["detail"]
    assert caller.post("/bundles", content=b"").status_code == 422
    assert caller.get(f"/bundles/{'0' * 64}").status_code == 404
    assert caller.get("/bundles/..%2f..%2fetc%2fpasswd").status_code in (400, 404)


def test_a_rollout_is_planned_approved_and_steered(service: Service, tmp_path: Path) -> None:
    fill(service.hub.database, 20)
    caller = service.as_role("operator")
    path, digest = make_bundle(tmp_path)
    caller.post("/bundles", content=path.read_bytes())
    caller.put("/groups/lab", json={"filter": "profile=pi5*"})
    plan = {"fleet": "lab", "bundle": digest, "population": "rooms", "group": "lab", "canary": "10%,100%"}
    made = caller.post("/rollouts", json=plan)
    assert made.status_code == 201, made.text
    found = made.json()
    assert (found["status"], len(found["state"]["members"])) == ("proposed", 10)
    assert [len(wave) for wave in found["state"]["waves"]] == [1, 9]
    id_ = found["id"]
    assert caller.post(f"/rollouts/{id_}/pause").status_code == 409
    assert caller.post(f"/rollouts/{id_}/approve").json()["status"] == "running"
    assert caller.post(f"/rollouts/{id_}/approve").status_code == 409
    assert caller.post(f"/rollouts/{id_}/pause").status_code == 202
    assert rollouts.take_request(service.hub.database, id_) == "pause"
    assert rollouts.take_request(service.hub.database, id_) == ""
    assert caller.get("/rollouts").json()[0]["counts"] == {"waiting": 10}
    assert caller.get(f"/rollouts/{id_}").json()["approved_by"].startswith("operator")
    assert caller.post("/rollouts", json=plan | {"bundle": "0" * 64}).status_code == 404
    assert caller.post("/rollouts", json=plan | {"canary": "x"}).status_code == 422
    assert caller.post("/rollouts", json=plan | {"gates": {"nothing": 1}}).status_code == 422
    assert caller.post("/rollouts", json=plan | {"filter": "name=zzz"}).status_code == 422
    assert caller.post("/rollouts", json=plan | {"group": "zzz"}).status_code == 404
    other = caller.post("/rollouts", json=plan).json()["id"]
    assert caller.post(f"/rollouts/{other}/abort").json()["status"] == "withdrawn"


class Sender:
    """Keeps what it was to send."""

    def __init__(self) -> None:
        self.sent: list[tuple[dict[str, Any], list[str]]] = []

    def send(self, command: dict[str, Any], devices: list[str]) -> None:
        self.sent.append((command, devices))


def test_the_commands_are_those_that_devices_know() -> None:
    assert get_args(get_type_hints(NewCommand)["name"]) == bodies.COMMAND_NAMES


@pytest.mark.parametrize("arguments", ['{"a": 99999999999999999999}', '{"a": ' + "[" * 900 + "]" * 900 + "}"])
def test_a_command_that_cannot_be_sent_is_not_kept(service: Service, arguments: str) -> None:
    fill(service.hub.database, 6)
    caller, service.hub.sender = service.as_role("operator"), Sender()
    body = '{"fleet": "lab", "name": "status", "filter": "online", "arguments": ' + arguments + "}"
    refused = caller.post("/commands", content=body, headers={"content-type": "application/json"})
    assert refused.status_code == 422, refused.text
    assert refused.json()["detail"].startswith("arguments: "), refused.text
    assert caller.get("/commands").json() == []


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"[" * 20_000, "body: nested too deeply"),
        (b'{"filter": "\xff"}', "body: not UTF-8"),
        (b"", ""),
    ],
)
def test_a_body_that_cannot_be_read_is_no_defect(service: Service, body: bytes, says: str) -> None:
    caller = service.as_role("operator")
    refused = caller.put("/groups/g", content=body, headers={"content-type": "application/json"})
    assert refused.status_code == 400, refused.text
    assert says in refused.json()["detail"]


def test_a_command_goes_to_who_fits_and_answers_are_shown(service: Service) -> None:
    fill(service.hub.database, 6)
    caller = service.as_role("operator")
    wanted = {"fleet": "lab", "name": "reset", "filter": "online", "arguments": {"population": "rooms"}}
    assert caller.post("/commands", json=wanted).status_code == 409
    sender = service.hub.sender = Sender()
    made = caller.post("/commands", json=wanted)
    assert made.status_code == 202, made.text
    id_ = made.json()["id"]
    assert [names for _, names in sender.sent] == [["d001", "d005"]]
    database = service.hub.database
    assert commands.answer(database, id_, "d001", True, "", {"agents": 3}, NOW)
    assert not commands.answer(database, id_, "d001", False, "late", {}, NOW)
    assert not commands.answer(database, id_, "stranger", True, "", {}, NOW)
    service.call(service.hub.answers.forget)
    replies = caller.get(f"/commands/{id_}").json()["replies"]
    assert [(r["device"], r["state"]) for r in replies] == [("d001", "done"), ("d005", "waiting")]
    assert caller.post("/commands", json=wanted | {"name": "format"}).status_code == 400
    assert caller.post("/commands", json=wanted | {"filter": "name=z"}).status_code == 422
    assert [command["name"] for command in caller.get("/commands").json()] == ["reset"]


def test_what_was_put_aside_is_listed(service: Service) -> None:
    telemetry.put_aside(service.hub.database, [(NOW, "t", f"reason {n}", b"x") for n in range(5)])
    caller = service.as_role("viewer")
    first = caller.get("/rejected", params={"limit": 3}).json()
    assert [row["reason"] for row in first] == ["reason 4", "reason 3", "reason 2"]
    rest = caller.get("/rejected", params={"before": first[-1]["id"]}).json()
    assert [row["reason"] for row in rest] == ["reason 1", "reason 0"]


def test_problems_name_what_was_found(service: Service) -> None:
    caller = service.as_role("admin")
    answer = caller.post("/users", json={"name": "a b", "role": "viewer", "password": "x"})
    assert answer.status_code == 400
    assert answer.json()["errors"]
    assert caller.post("/users", content=b"{").status_code == 400
    assert caller.post("/users", json={"name": "a", "role": "king", "password": "x"}).status_code == 400
    assert caller.get("/nowhere").status_code == 404
    assert caller.put("/devices").status_code == 405
    assert caller.get("/devices", params={"limit": 0}).status_code == 400
    for problem in (caller.get("/nowhere"), caller.put("/devices")):
        assert problem.headers["content-type"] == "application/problem+json"


def test_a_body_without_end_is_cut_off(service: Service) -> None:
    caller = service.as_role("operator")

    def endless() -> Any:
        for _ in range(200):
            yield bytes(1024 * 1024)

    answer = caller.put("/groups/g", content=endless())
    assert answer.status_code == 413
    answer = caller.post("/bundles", content=endless())
    assert answer.status_code == 413
    assert caller.get("/groups").status_code == 200


def test_a_database_that_is_away_is_said_so(service: Service) -> None:
    caller = service.as_role("viewer")
    assert caller.get(service.address + "/readyz").json()["status"] == "ok"
    service.hub.troubles.append(lambda: "the broker is not there")
    answer = caller.get(service.address + "/readyz")
    assert (answer.status_code, answer.json()["troubles"]) == (503, ["the broker is not there"])
    assert caller.get(service.address + "/healthz").status_code == 200


def test_metrics_are_readable(service: Service) -> None:
    from prometheus_client.parser import text_string_to_metric_families

    fill(service.hub.database, 6)
    service.hub.gauges.append(lambda: {"messages_stored_total": 7.0})
    text = service.as_role("viewer", ["metrics"]).get(service.address + "/metrics").text
    found = {s.name: s.value for family in text_string_to_metric_families(text) for s in family.samples}
    assert found["edge_hub_messages_stored_total"] == 7.0
    assert found["edge_fleet_devices"] == 3.0


def test_devices_that_are_connected_and_not_heard_are_counted(service: Service) -> None:
    fill(service.hub.database, 6)
    service.hub.now = lambda: NOW + 298.5  # heard 298.5 s ago and more, one second between two devices
    text = service.as_role("viewer", ["metrics"], 1e9).get(service.address + "/metrics").text
    silent = dict(re.findall(r'^edge_fleet_silent{fleet="(\w+)"} (\S+)$', text, re.MULTILINE))
    assert silent == {"home": "2.0", "lab": "1.0"}  # d002 and d004, d005; d003 is offline


def test_the_document_in_the_repository_is_the_applications(tmp_path: Path) -> None:
    hub = Hub(Database(str(tmp_path / "x.db")))
    made = json.loads(json.dumps(app.make(hub).openapi_schema.to_schema()))
    assert json.loads(DOCUMENT.read_text("utf-8")) == made, "run: make docs-reference"
    hub.database.close()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(max_size=60))
def test_no_filter_is_more_than_refused(text: str) -> None:
    try:
        filters.parse(text)
    except ConfigError as error:
        assert "filter" in str(error)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.characters(codec="ascii", min_codepoint=33), min_size=1, max_size=30))
def test_no_value_is_taken_for_sql(database: Database, value: str) -> None:
    """Quotes, percent signs and the like find nothing, and never everything."""
    for key in (*filters.FIELDS, "label.x"):
        terms = [filters.Term(key, value.replace("*", ""))]
        assert devices.page(database, terms, NOW).rows == []
    devices.page(database, [filters.Term("text", value)], NOW, after=value)
