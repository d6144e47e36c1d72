"""Enrolment: a board joins a fleet by one command; codes that are guessed, old or used; answers of others."""

import json
import re
import ssl
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from edge_agent.cli import main as agent
from edge_agent.testing.free_ports import free_port
from edge_agent.testing.mosquitto import Mosquitto
from edge_agent.wire import signatures
from edge_hub import enrolment
from edge_hub.cli import main as hub_command
from edge_hub.domain import enrolment_codes
from tests.broker.ending import end_all
from tests.hub.service import Service
from tests.hub.test_faults import MAKE_CA
from tests.hub.test_rest import fill
from tests.hub.test_service import admin, until
from tests.hub.test_tls import Encrypted
from tests.support import fan

START = """
[recorder]
path = "recording"
[[population]]
name = "rooms"
bundle = "bundles/first.eab"
size = 3
rate_hz = 10
[[population.observe]]
modality = "co2"
topic = "z/{device}/{agent}"
[[population.act]]
control = "fan"
topic = "z/{device}/{agent}/set"
"""


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("enrolment") / "ca"
    subprocess.run([MAKE_CA, folder, "127.0.0.1"], check=True, stdout=subprocess.DEVNULL)
    return folder


def settings(folder: Path, certificates: Path, **more: Any) -> Path:
    """Return the file of --enrol."""
    (folder / "start.toml").write_text(START)
    if not (folder / "first.eab").exists():
        fan.write(folder / "first.eab", fan.model(), "first", signatures.generate("release"))
    values = {
        "host": "127.0.0.1",
        "port": 8883,
        "ca": str(certificates / "ca.crt"),
        "issuer": str(certificates / "ca.crt"),
        "issuer_key": str(certificates / "ca.key"),
    } | more
    top = {"start": values.pop("start", "start.toml"), "bundles": values.pop("bundles", ["first.eab"])}
    file = folder / "enrol.toml"
    lines, above = (
        [f"{key} = {json.dumps(value)}" for key, value in part.items() if value is not None]
        for part in (values, top)
    )
    file.write_text("\n".join([*above, "[broker]", *lines, ""]))
    return file


@pytest.fixture
def enrolling(service: Service, tmp_path: Path, certificates: Path) -> Service:
    key = signatures.generate("hub")
    service.hub.enrolment = enrolment.load(settings(tmp_path, certificates), keys=(key.public.line(),))
    return service


def code_of(service: Service, **wanted: Any) -> str:
    answer = service.as_role("operator").post("/enrolments", json={"fleet": "lab"} | wanted)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["code"])


def board(folder: Path, service: Service, code: str, name: str = "pi-1", *more: str) -> int:
    folder.mkdir(exist_ok=True)
    words = ["enrol", service.address, code, "--name", name, "--config", str(folder / "device.toml")]
    return agent([*words, *more])


class Mutual(Mosquitto):
    """A broker for the hub on one port, and for devices with a certificate on another."""

    def __init__(self, folder: Path, certificates: Path) -> None:
        self.tls = free_port()
        files = {"cafile": "ca.crt", "certfile": "server.crt", "keyfile": "server.key"}
        lines = ["allow_anonymous true", f"listener {self.tls} 127.0.0.1"]
        lines += [f"{key} {certificates / name}" for key, name in files.items()]
        super().__init__(folder, (*lines, "require_certificate true", "use_identity_as_username true"))


@pytest.mark.broker
def test_one_command_joins_a_board_to_the_fleet(
    tmp_path: Path, certificates: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A real hub with a certificate of its own, a real broker that wants certificates, a real daemon."""
    broker = Mutual(tmp_path, certificates)
    broker.start()
    key = tmp_path / "director"
    signatures.save(signatures.generate("director"), key)
    file = settings(tmp_path, certificates, port=broker.tls)
    process = Encrypted(tmp_path, broker.port, certificates / "server.crt", certificates / "ca.crt")
    process._command += ["--enrol", str(file), "--sign", str(key)]
    daemon = None
    try:
        process.start()
        client = admin(process, process.trust)
        token = tmp_path / "token"
        token.touch(0o600)
        token.write_text(
            client.post("/tokens", json={"name": "t", "role": "operator", "days": 1}).json()["token"]
        )
        remote = ["--hub", process.address, "--token-file", str(token), "--ca", str(certificates / "ca.crt")]
        assert hub_command(["enrol", "--fleet", "lab", *remote]) == 0
        found = re.match(r"edge-agent (enrol \S+ [A-Z2-7]{16}\.[A-Z2-7]{26})\n", capsys.readouterr().out)
        assert found is not None
        home = tmp_path / "pi-1"
        home.mkdir()
        config = home / "device.toml"
        assert agent([*found[1].split(), "--name", "pi-1", "--config", str(config)]) == 0
        assert (home / "device.key").stat().st_mode & 0o777 == 0o600
        config.write_text(
            config.read_text().replace("[device]\n", '[device]\nstate_dir = "s"\nsocket = "c"\n')
        )
        command = [sys.executable, "-m", "edge_agent", "run", "--config", str(config)]
        with (home / "log").open("ab") as log:
            daemon = subprocess.Popen(command, cwd=home, stderr=log)
        (row,) = until(lambda: client.get("/devices?filter=online").json()["devices"])
        assert (row["fleet"], row["name"]) == ("lab", "pi-1")
        sent = client.post("/commands", json={"fleet": "lab", "name": "status", "filter": "name=pi-1"})
        until(lambda: client.get(f"/commands/{sent.json()['id']}").json()["replies"][0]["state"] == "done")
        actions = [(entry["action"], entry["who"]) for entry in client.get("/audit").json()]
        assert ("enrolment.use", "lab/pi-1") in actions
        assert found[1].split()[2] not in process.text()
        client.close()
    finally:
        end_all([p for p in (daemon, process.process) if p is not None])
        broker.stop()


def test_the_configuration_is_whole_and_a_first_one_is_kept(
    enrolling: Service, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "pi-1"
    home.mkdir()
    (home / "device.toml").write_text(
        '# mine\n[device]\nname = "old"\nfleet = "home"\nprofile = "generic"  # x\n'
    )
    assert board(home, enrolling, code_of(enrolling)) == 0
    text = (home / "device.toml").read_text()
    assert text.startswith('# mine\n[device]\nname = "pi-1"\nfleet = "lab"\nprofile = "generic"  # x\n')
    found = tomllib.loads(text)
    assert found["broker"] == {
        "host": "127.0.0.1",
        "port": 8883,
        "tls": True,
        "ca_file": "broker-ca.crt",
        "cert_file": "device.crt",
        "key_file": "device.key",
    }
    assert found["hub"] == {"keys": ["hub-1.pub"]}
    assert found["recorder"] == {"path": "recording"}
    capsys.readouterr()
    assert board(home, enrolling, code_of(enrolling)) == 2
    assert "found the section broker, expected a first configuration" in capsys.readouterr().err
    assert (home / "device.toml").read_text() == text


def test_a_password_is_given_where_the_broker_has_users(
    enrolling: Service, tmp_path: Path, certificates: Path
) -> None:
    (tmp_path / "password").write_text("open sesame\n")
    (tmp_path / "password").chmod(0o600)
    more = {"issuer": None, "issuer_key": None, "username": "edge-{device}", "password_file": "password"}
    enrolling.hub.enrolment = enrolment.load(settings(tmp_path, certificates, **more))
    home = tmp_path / "pi-1"
    assert board(home, enrolling, code_of(enrolling)) == 0
    found = tomllib.loads((home / "device.toml").read_text())["broker"]
    assert (found["username"], found["password_file"]) == ("edge-pi-1", "broker")
    assert (home / "broker").read_text() == "open sesame\n"
    assert (home / "broker").stat().st_mode & 0o777 == 0o600
    assert "sesame" not in repr(enrolling.hub.enrolment)


def refused(capsys: pytest.CaptureFixture[str], status: int) -> str:
    text = capsys.readouterr().err
    assert status in (1, 2), status
    assert text.count("\n") == 1, text
    return text


def test_a_code_is_used_once_and_by_the_same_key_again(
    enrolling: Service, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = code_of(enrolling)
    assert board(tmp_path / "a", enrolling, code) == 0
    (tmp_path / "a" / "device.toml").unlink()  # the answer was lost, say
    assert board(tmp_path / "a", enrolling, code) == 0
    capsys.readouterr()
    assert "code: has been used" in refused(capsys, board(tmp_path / "b", enrolling, code))
    assert "code: has been used" in refused(capsys, board(tmp_path / "b", enrolling, code, "pi-2"))
    assert not (tmp_path / "b" / "device.toml").exists()
    enrolling.hub.answers.forget()
    (row,) = enrolling.as_role("operator").get("/enrolments").json()
    assert (row["used_by"], "digest" in row, "code" in row) == ("pi-1", False, False)
    with enrolling.hub.database.read() as connection:
        kept = connection.exec_driver_sql("SELECT * FROM enrolments").all()
    assert code not in str(kept)


def test_a_code_that_is_old_or_removed_or_nonsense_is_refused(
    enrolling: Service, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = code_of(enrolling, hours=0.001)
    enrolling.hub.now = lambda: time.time() + 4.0
    assert "code: has expired" in refused(capsys, board(tmp_path / "a", enrolling, code))
    operator = enrolling.as_role("operator")
    made = operator.post("/enrolments", json={"fleet": "lab"}).json()
    assert operator.delete(f"/enrolments/{made['id']}").status_code == 204
    assert operator.delete(f"/enrolments/{made['id']}").status_code == 404
    assert "code: not known" in refused(capsys, board(tmp_path / "a", enrolling, made["code"]))
    assert "CODE: expected what edge-hub enrol" in refused(capsys, board(tmp_path / "a", enrolling, "abc"))


def test_codes_are_not_guessed(
    enrolling: Service, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = code_of(enrolling)
    assert board(tmp_path / "a", enrolling, code) == 0
    request = subprocess.run(
        ["openssl", "req", "-new", "-key", tmp_path / "a" / "device.key", "-subj", "/CN=x"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    client = enrolling.client()
    body = {"device": "pi-9", "request": request}
    statuses = [
        client.post("/enrol", json=body | {"code": enrolment_codes.make()}).status_code for _ in range(25)
    ]
    assert statuses == [422] * 20 + [429] * 5
    right = code_of(enrolling)
    assert client.post("/enrol", json=body | {"code": right}).status_code == 429


def test_a_name_that_is_known_needs_a_code_for_it(
    enrolling: Service, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(enrolling.hub.database, 4)
    code = code_of(enrolling)
    text = refused(capsys, board(tmp_path / "a", enrolling, code, "d001"))
    assert "d001 is known in fleet lab" in text
    bound = code_of(enrolling, device="d001")
    assert "the code is for another name" in refused(capsys, board(tmp_path / "b", enrolling, bound, "pi-2"))
    assert board(tmp_path / "a", enrolling, bound, "d001") == 0
    assert board(tmp_path / "b", enrolling, code, "pi-2") == 0  # a wrong name did not use it up


@pytest.mark.parametrize(
    "request_", ["", "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----"]
)
def test_a_request_that_is_none_is_refused(enrolling: Service, request_: str) -> None:
    body = {"code": code_of(enrolling), "device": "pi-1", "request": request_}
    answer = enrolling.client().post("/enrol", json=body)
    assert answer.status_code == 422
    assert "certificate signing request" in answer.json()["detail"]


class Impostor:
    """A server that answers anything, by TLS if it has a certificate; it keeps what it was told."""

    def __init__(self, answer: bytes, certificate: Path | None = None) -> None:
        self.told: list[bytes] = []
        impostor = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                impostor.told.append(self.rfile.read(int(self.headers["Content-Length"])))
                self.send_response(200)
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                pass

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        scheme = "http"
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate, certificate.with_suffix(".key"))
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
            scheme = "https"
        self.address = f"{scheme}://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def impostor() -> Iterator[Callable[..., Impostor]]:
    made: list[Impostor] = []

    def begin(answer: bytes, certificate: Path | None = None) -> Impostor:
        made.append(Impostor(answer, certificate))
        return made[-1]

    yield begin
    for one in made:
        one.close()


def test_another_certificate_than_the_pinned_one_is_told_nothing(
    tmp_path: Path, certificates: Path, impostor: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """The impostor's certificate is one of a believed authority, and yet it is not the hub's."""
    subprocess.run([MAKE_CA, tmp_path / "other", "127.0.0.1"], check=True, stdout=subprocess.DEVNULL)
    server = impostor(b"{}", tmp_path / "other" / "server.crt")
    code = enrolment_codes.make(enrolment.certificate_of(certificates / "server.crt"))
    words = ["--name", "pi-1", "--config", str(tmp_path / "device.toml")]
    ca = ["--ca", str(tmp_path / "other" / "ca.crt")]
    status = agent(["enrol", server.address, code, *words, *ca])
    assert "shows another certificate than the hub" in refused(capsys, status)
    status = agent(["enrol", server.address, enrolment_codes.make(), *words])
    assert "certificate: " in refused(capsys, status)  # of no authority that this machine believes
    assert server.told == []
    status = agent(["enrol", "http://hub.example", code, *words])
    assert "expected https://" in refused(capsys, status)
    assert not (tmp_path / "device.toml").exists()


GOOD = {
    "fleet": "lab",
    "device": "pi-1",
    "host": "broker",
    "port": 1883,
    "ca": "",
    "certificate": "",
    "username": "",
    "password": "",
    "keys": [],
    "release_keys": [],
    "release_threshold": 1,
    "start": START.replace("{device}", "pi-1"),
    "bundles": {},
}


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ("<html>", "something else than JSON"),
        ("[" * 100_000, "something else than JSON"),
        ({"port": "1883"}, "port: missing or of another type"),
        ({"keys": [1]}, "keys: missing or of another type"),
        ({"device": "pi-2"}, "expected this device's name"),
        ({"fleet": "a/b"}, "fleet"),
        ({"port": 0}, "makes no configuration"),
        ({"start": "[hub]\nkeys = []\n"}, "expected no section device, broker or hub"),
        ({"start": "what"}, "start: not TOML"),
        ({"start": "a = " + "[" * 100_000}, "start: not TOML"),
        ({"start": START + "[surprise]\n"}, "makes no configuration"),
        ({"bundles": {"../x.eab": "AAAA"}}, "bundles: missing or of another type"),
        ({"bundles": {"x.eab": "!"}}, "bundles: missing or of another type"),
        ({"password": "a\nb"}, "a password of one line"),
    ],
)
def test_an_answer_that_is_wrong_leaves_no_configuration(
    tmp_path: Path, impostor: Any, capsys: pytest.CaptureFixture[str], changed: Any, says: str
) -> None:
    server = impostor((changed if isinstance(changed, str) else json.dumps(GOOD | changed)).encode())
    words = ["--name", "pi-1", "--config", str(tmp_path / "device.toml")]
    assert says in refused(capsys, agent(["enrol", server.address, enrolment_codes.make(), *words]))
    assert not (tmp_path / "device.toml").exists()
    assert sorted(path.name for path in tmp_path.glob(".device*")) in ([], [".device.toml.trial.new"])


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"host": None}, "broker.host: found none"),
        ({"port": "x"}, "broker.port: found 'x', expected int"),
        ({"surprise": 1}, "broker.surprise: expected one of"),
        ({"issuer_key": None}, "expected both or none"),
        ({"issuer": "missing.crt"}, "missing.crt: No such file"),
        ({"days": 0}, "days 1 to"),
        ({"start": None}, "start: expected a file"),
        ({"start": "enrol.toml"}, "start: found the table broker"),
        ({"bundles": ["first.txt"]}, "bundles: expected a list of files"),
    ],
)
def test_a_file_that_is_wrong_stops_the_hub_with_one_line(
    tmp_path: Path, certificates: Path, capsys: pytest.CaptureFixture[str], more: dict[str, Any], says: str
) -> None:
    file = settings(tmp_path, certificates, **more)
    words = ["--data", str(tmp_path / "hub.db"), "--state", str(tmp_path), "--broker", "127.0.0.1:1"]
    assert hub_command(["serve", *words, "--enrol", str(file)]) == 2
    assert says in refused(capsys, 2)
