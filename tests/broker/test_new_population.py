"""A daemon whose hub adds a population, and a bundle that comes from a URL."""

from __future__ import annotations

import http.server
import json
import socket
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from edge_agent.wire import bundle
from tests.broker.conftest import until
from tests.broker.lab import Lab, last_line, rows, wait_for
from tests.support import fan

pytestmark = pytest.mark.broker
HALLS = """
size = {size}
rate_hz = 10
[[observe]]
modality = "co2"
source = "{source}"
topic = "z/halls"
path = "/etc/hostname"
[[act]]
control = "fan"
topic = "z/{{agent}}/set"
"""


def halls(lab: Lab, size: int = 2, source: str = "mqtt") -> list[str]:
    path = lab.folder / "halls.toml"
    path.write_text(HALLS.format(size=size, source=source))
    return ["--population", "halls", "--new", str(path)]


def refused(capsys: Any) -> str:
    (reason,) = last_line(capsys)["failures"].values()
    return str(reason)


def test_a_population_of_the_hub_stays_over_a_restart_and_goes_when_it_is_taken_back(
    lab: Lab, capsys: Any
) -> None:
    lab.boot("pi")
    wait_for(lab, capsys, 1)
    made = lab.bundle("halls", fan.model(fan.SEEN, 1.2))
    assert lab.deploy(made, *halls(lab, source="file")) == 1
    assert "source: found 'file', expected 'mqtt'" in refused(capsys)
    assert lab.deploy(made, *halls(lab, size=1_000_000)) == 1
    assert "bytes are missing" in refused(capsys)
    assert rows(lab, capsys)["pi"]["populations"] == ["rooms"]

    assert lab.deploy(made, *halls(lab)) == 0
    for restart in (True, False):
        assert rows(lab, capsys)["pi"]["agents"] == 3 + 2
        capsys.readouterr()
        assert lab.hub("command", "status", "--sign", str(lab.key), "--json", "--wait", "0.3") == 0
        running = last_line(capsys)["result"]["populations"]
        assert running["halls"]["bundle"] == bundle.read(made).digest
        if restart:
            lab.kill("pi")
            lab.boot("pi")
            wait_for(lab, capsys, 1)
    assert lab.hub("command", "reload", "--sign", str(lab.key), "--wait", "0.3") == 0
    until(lambda: "reload: 0 populations made, 0 removed" in lab.log("pi"))
    words = ["--sign", str(lab.key), "--state", str(lab.folder / "hub"), "--wait", "0.5"]
    assert lab.hub("retire", "rooms", *words, "--answers", "1") == 1  # the owner's own
    assert lab.hub("retire", "halls", *words) == 0
    assert rows(lab, capsys)["pi"]["populations"] == ["rooms"]


class Files(http.server.SimpleHTTPRequestHandler):
    """Serves a folder, ranges too; notes what was asked for, and hangs up in the middle the first time."""

    asked: list[str | None]

    def do_GET(self) -> None:
        wanted = self.headers["Range"]
        self.asked.append(wanted)
        data = Path(self.translate_path(self.path)).read_bytes()
        first = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Length", str(len(data) - first))
        self.end_headers()
        half = len(data) // 2
        self.wfile.write(data[first:] if wanted else data[:half])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def files(tmp_path: Path) -> Iterator[tuple[str, list[str | None]]]:
    asked: list[str | None] = []
    handler = type("Handler", (Files,), {"asked": asked})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=tmp_path))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_bundle_from_a_url_is_checked_as_any_other(lab: Lab, files: Any, capsys: Any) -> None:
    base, asked = files
    lab.boot("pi")
    wait_for(lab, capsys, 1)
    made = lab.bundle("other", fan.model(fan.SEEN, 1.2))
    assert lab.deploy(made, "--url", f"{base}/other.eab") == 0
    kept = json.loads((lab.folder / "pi" / "state" / "follower.json").read_text())
    assert kept["active"] == {"rooms": bundle.read(made).digest}
    # The server hung up in the middle; the hub gave what was missing.
    assert asked == [None]
    assert lab.log("pi").count("the hub is asked for the blocks") == 1


@pytest.mark.parametrize("says", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n"])
def test_a_server_that_hangs_keeps_no_rollout_waiting(lab: Lab, capsys: Any, says: bytes) -> None:
    lab.hub_lines = "download_s = 1.0"
    lab.boot("pi")
    wait_for(lab, capsys, 1)
    made = lab.bundle("other", fan.model(fan.SEEN, 1.2))
    with socket.create_server(("127.0.0.1", 0)) as server:

        def hang() -> None:
            connection, _ = server.accept()
            with connection:
                connection.sendall(says)
                while connection.recv(65536):  # until the device hangs up
                    pass

        thread = threading.Thread(target=hang, daemon=True)
        thread.start()
        assert lab.deploy(made, "--url", f"http://127.0.0.1:{server.getsockname()[1]}/m") == 0
        thread.join(30.0)
        assert not thread.is_alive()
    assert "not done within 1 s; the hub is asked for the blocks" in lab.log("pi")
    assert lab.hub("command", "status", "--sign", str(lab.key), "--json", "--wait", "0.3") == 0
    assert last_line(capsys)["result"]["hub"]["failed_downloads"] == 1
