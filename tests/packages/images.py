"""The container images run with a read-only root file system, without privileges, and keep their state.

``make test-image`` builds both and runs this. The device's image is of arm64: on another machine its programs
run under qemu's user-mode emulation, so nothing is said here of its time or memory. Everything that a
container may write is named: a volume, and ``/run`` of the device.
"""

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from edge_agent.testing.free_ports import free_port
from edge_agent.testing.mosquitto import Mosquitto
from edge_agent.version import __version__
from tests.packages.conftest import ROOT, run
from tests.support import fan

PATIENCE_S = 120.0
STATE = "/var/lib/edge-agent"
CONFIG = """
[device]
name = "dev"
state_dir = "/var/lib/edge-agent"
[broker]
host = "127.0.0.1"
port = {port}
[[population]]
name = "rooms"
bundle = "fan.eab"
size = 1
agents = "room-{{index}}"
step = "arrival"
rate_hz = 50
tick = "arrival"
[[population.observe]]
modality = "co2"
topic = "z/{{agent}}"
wakes = true
[[population.act]]
control = "fan"
topic = "z/{{agent}}/set"
"""


class Podman:
    """Podman with a storage of its own."""

    def __init__(self, folder: Path) -> None:
        self._words = ["podman", "--root", str(folder / "root"), "--runroot", str(folder / "run")]
        self._words += ["--storage-driver", "vfs", "--cgroup-manager", "cgroupfs", "--runtime", "runc"]

    def __call__(self, *words: str | Path) -> str:
        return run(*self._words, *words).stdout

    @contextmanager
    def running(self, *words: str | Path) -> Iterator["subprocess.Popen[str]"]:
        """Run a container with a read-only root; it is killed in the end."""
        # Timers and limits of files are the machine's, which may be a container itself.
        machine = [
            "--no-healthcheck",
            "--ulimit",
            "nofile=1024:1024",
            "--ulimit",
            "nproc=1024:1024",
            "--network",
            "host",
        ]
        root = ["--read-only", "--read-only-tmpfs=false"]
        command = [*self._words, "run", "--rm", *machine, *root, *(str(word) for word in words)]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process:
            try:
                yield process
            finally:
                process.kill()


@pytest.fixture(scope="module")
def podman(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Podman]:
    made = Podman(tmp_path_factory.mktemp("podman"))
    for name in ("edge-agent_arm64", "edge-hub_*"):
        (archive,) = (ROOT / "dist").glob(f"{name}.tar")
        made("load", "--quiet", "--input", archive)
    yield made
    made("rm", "--all", "--force")


def until(happened: Callable[[], object], process: "subprocess.Popen[str]") -> None:
    """Wait for ``happened``; what the process says is shown when it does not happen."""
    end = time.monotonic() + PATIENCE_S
    while not happened():
        if process.poll() is not None or time.monotonic() > end:
            process.kill()
            raise AssertionError(process.communicate()[0])
        time.sleep(0.05)


def owned(path: Path, user: int) -> Path:
    """Return a folder that belongs to ``user``, as a volume does."""
    path.mkdir()
    os.chown(path, user, user)
    return path


def test_the_devices_image_decides_and_keeps_its_state(podman: Podman, tmp_path: Path) -> None:
    broker = Mosquitto(tmp_path)
    broker.start()
    config, state = tmp_path / "etc", owned(tmp_path / "state", 10001)
    config.mkdir(mode=0o755)
    fan.write(config / "fan.eab", fan.model())
    (config / "device.toml").write_text(CONFIG.format(port=broker.port))
    words = ["--tmpfs", "/run/edge-agent", "-v", f"{state}:{STATE}"]
    words += ["-v", f"{config}:/etc/edge-agent:ro", "--name", "device", "edge-agent:arm64"]
    # Of what an emulated process takes, much is the emulator's: more than the budget of the smallest board.
    words += ["run", "--config", "/etc/edge-agent/device.toml", "--profile", "pi5"]
    heard: list[str] = []
    client = paho.Client(CallbackAPIVersion.VERSION2)
    client.on_message = lambda _client, _data, message: heard.append(message.payload.decode())
    client.connect("127.0.0.1", broker.port)
    client.subscribe("z/room-0/set")
    client.loop_start()

    def answered(reading: bytes, action: str) -> bool:
        client.publish("z/room-0", reading)
        return action in heard

    try:
        with podman.running(*words) as device:
            until(lambda: answered(b"1500", "on"), device)
            steps = status(podman)["steps"]
            assert steps > 0
            inside = podman("exec", "device", "sh", "-c", "id -u; touch /etc/x /opt/x /tmp/x 2>&1 || true")
            assert inside.startswith("10001\n")
            assert inside.count("Read-only file system") == 3
            podman("kill", "--signal", "TERM", "device")
            assert device.wait(PATIENCE_S) == 0
        heard.clear()
        with podman.running(*words) as device:
            until(lambda: answered(b"400", "off"), device)
            assert status(podman)["steps"] > steps  # it went on from its checkpoint
    finally:
        client.loop_stop()
        client.disconnect()
        broker.stop()


def status(podman: Podman) -> dict[str, Any]:
    """Return what the daemon says of its population."""
    found: dict[str, Any] = json.loads(podman("exec", "device", "edge-agent", "status", "--json"))
    rooms: dict[str, Any] = found["populations"]["rooms"]
    return rooms


def test_the_hubs_image_serves_from_a_volume(podman: Podman, tmp_path: Path) -> None:
    port, data = free_port(), owned(tmp_path / "data", 10002)
    architecture = run("dpkg", "--print-architecture").stdout.strip()
    words = ["-v", f"{data}:/var/lib/edge-hub", "--name", "hub", f"edge-hub:{architecture}"]
    words += ["serve", "--data", "/var/lib/edge-hub/hub.db", "--listen", f"127.0.0.1:{port}"]

    def served() -> bool:
        try:
            return bool(httpx.get(f"http://127.0.0.1:{port}/healthz").json() == {"status": "ok"})
        except httpx.TransportError:
            return False

    with podman.running(*words) as hub:
        until(served, hub)
        assert podman("exec", "hub", "id", "-u") == "10002\n"
        assert (data / "hub.db").stat().st_mode & 0o777 == 0o600
        version = podman("exec", "hub", "edge-hub", "--version")
        assert version.split()[-1] == __version__
