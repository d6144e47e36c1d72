"""The Debian packages of each release install only on that release, run there, and are removed completely.

The packages are those of ``make deb`` in all but the architecture: amd64 here, so that they run on this
machine. ``make test-debs`` runs this, for both releases or those that ``EDGE_AGENT_RELEASES`` names; ``make
test`` has the wheels (``test_wheels``). What was built is kept in
``build/debs-*`` under the digest of all that goes into it.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from edge_agent.testing.free_ports import free_port
from tests.packages.conftest import ROOT, run, unless_kept
from tests.support import fan

ROOTS = ROOT / "build" / "roots"
SUFFIXES = {"bookworm": "+deb12", "trixie": "+deb13"}
RELEASES = os.environ.get("EDGE_AGENT_RELEASES", "bookworm trixie").split()
DEBS = ROOT / "build" / f"debs-{'-'.join(RELEASES)}"
CONFIG = """
[device]
name = "dev"
state_dir = "/var/lib/edge-agent"
[[population]]
name = "rooms"
bundle = "fan.eab"
rate_hz = 1.0
size = 3
"""

pytestmark = pytest.mark.timeout(900)  # the first run installs two releases of Debian


@pytest.fixture(scope="module")
def debs(wheels: dict[str, Path]) -> Path:
    """The folder with the amd64 packages of the releases."""
    with unless_kept(DEBS.name, [DEBS]) as needed:
        if needed:
            shutil.rmtree(DEBS, ignore_errors=True)
            for release in RELEASES:
                run("tools/packaging/deb/build.sh", release, "amd64", DEBS)
                run("tools/packaging/deb/hub.sh", release, "amd64", DEBS)
    return DEBS


class Board:
    """A fresh root file system of a release."""

    def __init__(self, release: str, root: Path) -> None:
        self.release, self.root = release, root

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        inside = [ROOT / "tools/packaging/in_root.sh", self.root, *command]
        return subprocess.run(inside, capture_output=True, text=True, check=False)

    def apt(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        # A test's root need not survive a power cut.
        return self.run("apt-get", "-o", "Dpkg::Options::=--force-unsafe-io", "--yes", *arguments)

    def install(self, *packages: Path) -> subprocess.CompletedProcess[str]:
        for file in packages:
            shutil.copy(file, self.root / "root")
        return self.apt("install", *(f"/root/{file.name}" for file in packages))


@pytest.fixture(scope="module", params=RELEASES)
def board(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Board]:
    release, kept = request.param, ROOTS / request.param
    root = tmp_path_factory.mktemp(release) / "root"
    run("tools/packaging/debian_root.sh", release, kept, "python3", "systemd", "procps")
    run("cp", "--archive", "--reflink=auto", kept, root)
    yield Board(release, root)
    shutil.rmtree(root)


def package(debs: Path, name: str, suffix: str) -> Path:
    (found,) = debs.glob(f"{name}_*{suffix}_amd64.deb")
    return found


if len(RELEASES) > 1:

    def test_the_package_of_another_release_is_refused(debs: Path, board: Board) -> None:
        (other,) = set(SUFFIXES.values()) - {SUFFIXES[board.release]}
        refused = board.install(package(debs, "edge-agent", other))
        assert refused.returncode != 0
        assert "unmet dependencies" in refused.stdout + refused.stderr
        assert board.run("edge-agent", "--help").returncode != 0


def test_the_packages_of_the_release_run_and_go(debs: Path, board: Board) -> None:
    names = ("edge-agent", "edge-agent-litert", "edge-agent-onnx")
    installed = board.install(*(package(debs, name, SUFFIXES[board.release]) for name in names))
    assert installed.returncode == 0, installed.stdout + installed.stderr

    assert "usage: edge-agent" in board.run("edge-agent", "--help").stdout
    etc = board.root / "etc/edge-agent"
    fan.write(etc / "fan.eab", fan.model())
    (etc / "device.toml").write_text(CONFIG)
    checked = board.run("edge-agent", "check", "--config", "/etc/edge-agent/device.toml")
    assert checked.returncode == 0, checked.stderr
    metrics = board.run("edge-agent", "metrics")
    assert metrics.returncode == 0, metrics.stderr
    assert "edge_agent_up 0.0" in metrics.stdout
    for module in ("ai_edge_litert.interpreter", "onnxruntime"):
        imported = board.run("/opt/edge-agent/bin/python3", "-c", f"import {module}")
        assert imported.returncode == 0, imported.stderr

    # Enabled are the daemon and what updates it; its metrics are for who asks for them.
    enabled = board.root / "etc/systemd/system/multi-user.target.wants"
    assert {unit.name for unit in enabled.glob("edge-agent*")} == {
        "edge-agent.service",
        "edge-agent-repair.service",
        "edge-agent-update.path",
    }
    # The bytecode is the interpreter's own: nothing is compiled on a board whose root is read-only.
    cached = "import importlib.util as u, edge_agent.cli as m; print(u.cache_from_source(m.__file__))"
    bytecode = board.run("/opt/edge-agent/bin/python3", "-c", cached).stdout.strip()
    assert (board.root / bytecode.lstrip("/")).is_file()

    purged = board.apt("purge", *names)
    assert purged.returncode == 0, purged.stderr
    assert not (board.root / "opt/edge-agent").exists()
    assert not etc.exists()


def test_the_hubs_package_runs_as_its_user_and_goes(debs: Path, board: Board) -> None:
    installed = board.install(package(debs, "edge-hub", SUFFIXES[board.release]))
    assert installed.returncode == 0, installed.stdout + installed.stderr
    enabled = board.root / "etc/systemd/system/multi-user.target.wants"
    assert [unit.name for unit in enabled.glob("edge-hub*")] == ["edge-hub.service"]

    # Several web workers tell each other by Redis.
    shared = board.run("/opt/edge-hub/bin/python3", "-c", "import redis.asyncio")
    assert shared.returncode == 0, shared.stderr

    port = free_port()
    config = board.root / "etc/edge-hub/hub.toml"
    config.write_text(config.read_text().replace(":8321", f":{port}"))
    board.run("install", "-d", "-o", "edge-hub", "-m", "0700", "/var/lib/edge-hub")
    unit = (board.root / "usr/lib/systemd/system/edge-hub.service").read_text()
    (start,) = re.findall("^ExecStart=(.*)$", unit, re.MULTILINE)
    words = ["setpriv", "--reuid=edge-hub", "--regid=edge-hub", "--clear-groups", "env"]
    words += [*re.findall("^Environment=(.*)$", unit, re.MULTILINE), *start.split()]
    inside = [ROOT / "tools/packaging/in_root.sh", board.root, *words]
    hub = subprocess.Popen(inside, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        assert hub.stdout is not None
        lines = [hub.stdout.readline(), hub.stdout.readline()]
        assert f"http://127.0.0.1:{port}/" in lines[0], lines
        assert "/setup#" in lines[1]
        transport = httpx.HTTPTransport(retries=8)  # the address is printed just before it is served
        with httpx.Client(transport=transport) as client:
            assert client.get(f"http://127.0.0.1:{port}/healthz").json() == {"status": "ok"}
    finally:
        for process in psutil.Process(hub.pid).children(recursive=True):
            process.terminate()  # unshare itself takes no notice of SIGTERM
        hub.communicate(timeout=60)
    assert (board.root / "var/lib/edge-hub/hub.db").stat().st_mode & 0o777 == 0o600

    purged = board.apt("purge", "edge-hub")
    assert purged.returncode == 0, purged.stderr
    left = ("opt/edge-hub", "etc/edge-hub", "var/lib/edge-hub", "usr/bin/edge-hub")
    assert [path for path in left if (board.root / path).exists()] == []


def test_an_upgrade_of_debian_upgrades_the_package() -> None:
    """Of equal versions of edge-agent the newer release's package is the newer one."""
    older, newer = (f"0.1.0{suffix}" for suffix in SUFFIXES.values())
    run("dpkg", "--compare-versions", older, "lt", newer)
    run("dpkg", "--compare-versions", newer, "lt", "0.1.1+deb12")


def test_no_other_release_is_built() -> None:
    for script in ("build.sh", "hub.sh"):
        words = [ROOT / "tools/packaging/deb" / script, "buster"]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert done.returncode == 2
        assert done.stderr == "found buster, expected a Debian release: bookworm or trixie\n"
