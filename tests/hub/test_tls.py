"""The service by TLS, as a process: the certificate is checked by who asks, and its end is said."""

import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from edge_agent.testing.mosquitto import Mosquitto
from edge_hub.cli import main
from tests.broker.ending import end_all
from tests.hub.test_faults import MAKE_CA, sign
from tests.hub.test_service import Process, admin

pytestmark = pytest.mark.broker


class Encrypted(Process):
    """A service with a certificate."""

    def __init__(self, folder: Path, broker: int, certificate: Path, ca: Path) -> None:
        more = ("--tls-certificate", str(certificate), "--tls-key", str(ca.parent / "server.key"))
        super().__init__(folder, str(folder / "hub.db"), broker, *more)
        self.address = f"https://127.0.0.1:{self.port}"
        self.trust = ssl.create_default_context(cafile=ca)
        self.trust_anybody = ssl._create_unverified_context()

    def _lives(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log.read_text()
        try:
            return httpx.get(self.address + "/healthz", verify=self.trust_anybody).status_code == 200
        except httpx.TransportError:
            return False


@pytest.fixture
def ca(tmp_path: Path) -> Path:
    subprocess.run([MAKE_CA, tmp_path / "ca", "127.0.0.1"], check=True, stdout=subprocess.DEVNULL)
    return tmp_path / "ca" / "ca.crt"


@pytest.fixture
def processes() -> Iterator[list[Encrypted]]:
    made: list[Encrypted] = []
    yield made
    end_all([process.process for process in made if process.process is not None])


def test_sessions_and_commands_go_by_tls(
    tmp_path: Path, mosquitto: Mosquitto, ca: Path, processes: list[Encrypted], capsys: Any
) -> None:
    process = Encrypted(tmp_path, mosquitto.port, ca.parent / "server.crt", ca)
    processes.append(process)
    process.start()
    with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        httpx.get(process.address + "/healthz")
    with pytest.raises(httpx.TransportError):
        httpx.get(f"http://127.0.0.1:{process.port}/healthz")
    client = admin(process, process.trust)
    answer = client.get("/session")
    assert answer.status_code == 200
    assert "strict-transport-security" in answer.headers
    (cookie,) = client.cookies.jar
    assert cookie.secure
    token = tmp_path / "token"
    token.touch(0o600)
    token.write_text(client.post("/tokens", json={"name": "x"}).json()["token"])
    words = ["devices", "--hub", process.address, "--token-file", str(token), "--json"]
    assert main([*words, "--ca", str(ca)]) == 0
    capsys.readouterr()
    assert main(words) != 0
    err = capsys.readouterr().err
    assert "CERTIFICATE_VERIFY_FAILED" in err
    assert err.count("\n") == 1
    client.close()
    assert process.end() == 0


def test_a_certificate_that_has_expired_is_refused_by_who_asks(
    tmp_path: Path, mosquitto: Mosquitto, ca: Path, processes: list[Encrypted], capsys: Any
) -> None:
    sign(ca.parent, -1, "expired.crt")
    process = Encrypted(tmp_path, mosquitto.port, ca.parent / "expired.crt", ca)
    processes.append(process)
    process.start()
    token = tmp_path / "token"
    token.touch(0o600)
    token.write_text("eht_x")
    words = ["devices", "--hub", process.address, "--token-file", str(token), "--ca", str(ca)]
    assert main(words) != 0
    err = capsys.readouterr().err
    assert "certificate has expired" in err
    assert err.count("\n") == 1
