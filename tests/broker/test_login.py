"""Reports of daemon, ``doctor`` and ``check`` about passwords, certificates and an unreachable broker."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge_agent.errors import ConfigError
from edge_agent.testing.free_ports import free_port
from edge_agent.testing.mosquitto import Mosquitto

pytestmark = pytest.mark.broker
Command = Callable[..., subprocess.CompletedProcess[str]]
MAKE_CA = Path(__file__).parents[2] / "tools" / "mosquitto" / "make_ca.sh"


def configure(folder: Path, port: int, *lines: str) -> None:
    """Set the lines of the [broker] section."""
    path = folder / "device.toml"
    head, rest = path.read_text().split("[broker]\n")
    rest = rest[rest.index("[[population]]") :]
    broker = ['host = "127.0.0.1"', f"port = {port}", *lines]
    path.write_text("\n".join([head + "[broker]", *broker, rest]))


def secret(path: Path, text: str) -> str:
    path.touch(mode=0o600)
    path.write_text(text)
    return str(path)


def lines(device: Any, words: str) -> list[str]:
    return [line for line in (device.folder / "log").read_text().splitlines() if words in line]


def doctor(device: Any) -> str:
    """Return what doctor found at the broker."""
    out: str = device.command("doctor", "--config", "device.toml").stdout
    found = out.splitlines()
    at = next(n for n, line in enumerate(found) if line[5:].startswith("broker:"))
    return " ".join(found[at : at + (1 if found[at].startswith("ok") else 2)])


def test_the_log_says_ready_and_connected(device: Any) -> None:
    device.start()
    assert [line for line in lines(device, "INFO") if "ready: full; rooms 3" in line]
    assert lines(device, f"broker: 127.0.0.1:{device.port}: connected (MQTT 5)")
    assert f"ok   broker: 127.0.0.1:{device.port}: logged in (MQTT 5)" in doctor(device)
    assert device.status()["broker"]["disconnects"] == 0  # doctor did not take its place


def test_a_broker_that_is_not_there_is_one_line(device: Any) -> None:
    port = free_port()
    configure(device.folder, port)
    device.start(online=False)
    device.until(lambda: device.status()["broker"]["attempts"] >= 3)
    assert len(lines(device, f"broker: 127.0.0.1:{port}: Connection refused; trying again")) == 1
    assert len(lines(device, "broker: 127")) == 1
    found = doctor(device)
    assert f"BAD  broker: 127.0.0.1:{port}: Connection refused" in found
    assert "check broker.host" in found


def test_a_wrong_password_is_one_line_and_the_right_one_gets_in(
    device: Any, make_mosquitto: Callable[..., Mosquitto]
) -> None:
    passwords = device.folder / "passwords"
    command = ["mosquitto_passwd", "-c", "-b", passwords, "dev", "right"]
    subprocess.run(command, check=True, capture_output=True)
    broker = make_mosquitto("allow_anonymous false", f"password_file {passwords}")
    password = secret(device.folder / "password", "wrong\n")
    configure(device.folder, broker.port, 'username = "dev"', f'password_file = "{password}"')
    device.start(online=False)
    device.until(lambda: device.status()["broker"]["attempts"] >= 3)
    said = lines(device, "broker: 127")
    assert len(said) == 1
    assert "login refused: Not authorized (look at broker.username and broker.password_file)" in said[0]
    assert "login refused: Not authorized" in doctor(device)
    assert "wrong" not in (device.folder / "log").read_text()
    device.kill()
    secret(device.folder / "password", "right\n")
    assert "logged in (MQTT 5)" in doctor(device)
    device.start()


@pytest.mark.parametrize("key", ["password_file", "ca_file", "cert_file", "key_file"])
def test_check_names_the_key_of_a_file_that_is_missing(key: str, folder: Path, edge_agent: Command) -> None:
    configure(folder, 1883, "tls = true", f'{key} = "none"')
    for command in ("check", "run"):
        refused = edge_agent(folder, command, "--config", "device.toml")
        assert refused.returncode == ConfigError.exit_code
        assert refused.stderr.splitlines() == [
            f"edge-agent: device.toml: broker.{key}: {folder}/none: No such file or directory"
        ]


class Pki:
    """A CA, a broker that asks for certificates, and certificates whose time is over."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        subprocess.run([MAKE_CA, folder, "127.0.0.1", "pi1"], check=True, stdout=subprocess.DEVNULL)

    def expire(self, name: str) -> None:
        """Sign a certificate anew, with an end that is past."""
        (self.folder / "index.txt").write_text("")
        (self.folder / "ca.cnf").write_text(
            f"[ca]\ndefault_ca=d\n[d]\ndatabase={self.folder}/index.txt\nnew_certs_dir={self.folder}\n"
            "default_md=sha256\npolicy=p\nrand_serial=yes\n[p]\ncommonName=supplied\n"
            "[e]\nsubjectAltName=IP:127.0.0.1\n"
        )
        key, request, out = (self.folder / f"{name}.{end}" for end in ("key", "csr", "crt"))
        new = ["openssl", "req", "-new", "-key", key, "-subj", f"/CN={name}", "-out", request]
        sign = ["openssl", "ca", "-batch", "-config", self.folder / "ca.cnf", "-extensions", "e"]
        sign += ["-cert", self.folder / "ca.crt", "-keyfile", self.folder / "ca.key", "-in", request]
        sign += ["-out", out, "-notext", "-startdate", "20200101000000Z", "-enddate", "20210102030405Z"]
        for command in (new, sign):
            subprocess.run(command, check=True, capture_output=True)

    def lines(self) -> list[str]:
        """Return what a device's [broker] section says."""
        files = {"ca_file": "ca.crt", "cert_file": "pi1.crt", "key_file": "pi1.key"}
        return ["tls = true", *(f'{key} = "{self.folder}/{name}"' for key, name in files.items())]


@pytest.fixture
def pki(tmp_path: Path) -> Pki:
    return Pki(tmp_path / "ca")


def broker_lines(pki: Pki) -> list[str]:
    files = {"cafile": "ca.crt", "certfile": "server.crt", "keyfile": "server.key"}
    return [
        "allow_anonymous true",
        "require_certificate true",
        *(f"{key} {pki.folder}/{name}" for key, name in files.items()),
    ]


def test_a_broker_s_certificate_that_has_expired_is_said(
    device: Any, pki: Pki, make_mosquitto: Callable[..., Mosquitto]
) -> None:
    pki.expire("server")
    configure(device.folder, make_mosquitto(*broker_lines(pki)).port, *pki.lines())
    device.start(online=False)
    device.until(lambda: device.status()["broker"]["attempts"] >= 3)
    said = lines(device, "broker: 127")
    assert len(said) == 1
    assert "the broker's certificate is refused: certificate has expired" in said[0]
    assert "certificate has expired" in doctor(device)


def test_an_own_certificate_that_has_expired_is_said(
    device: Any, pki: Pki, make_mosquitto: Callable[..., Mosquitto]
) -> None:
    broker = make_mosquitto(*broker_lines(pki))
    configure(device.folder, broker.port, *pki.lines())
    device.start()
    assert "logged in" in doctor(device)
    device.kill()
    pki.expire("pi1")
    device.start(online=False)
    device.until(lambda: device.status()["broker"]["attempts"] >= 3)
    line = f"broker.cert_file: {pki.folder}/pi1.crt: expired on 2021-01-02 03:04 UTC; renew it"
    assert len(lines(device, line)) == 1
    out = device.command("doctor", "--config", "device.toml").stdout
    assert f"BAD  certificate: {line}" in out
