"""The daemon's own packages, rolled out to a real daemon: a next version by REST, and back by command.

The installer is the real one, and so are the check of signatures and dpkg, in a root file system of its own.
What systemd does is done here: the installer is started when the daemon asks for it, and starts the daemon.
"""

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edge_agent.adapters.config_files import Reading
from edge_agent.config.records import build
from edge_agent.errors import EdgeAgentError
from edge_agent.package_installer import system
from edge_agent.package_installer.installer import Installer, InstallError, InstallRequest
from edge_agent.services import package_check
from edge_agent.version import __version__
from edge_agent.wire import signatures
from edge_hub.cli import main
from tests.broker.lab import Lab
from tests.hub import packaged_daemon
from tests.hub.test_service import Process, admin, as_operator, lab, start, until
from tests.unit.package import debs

__all__ = ["lab", "start"]
pytestmark = [pytest.mark.broker, pytest.mark.parametrize("data", ["sqlite"], indirect=True)]
OLD, NEXT = f"{__version__}+deb12", f"{__version__}+deb12u1"
PLAN: dict[str, Any] = {
    "fleet": "lab",
    "population": "edge-agent",
    "canary": "100%",
    "gates": {"trial_seconds": 60},
}


class BoardInARoot(system.System):
    """A board: dpkg in a root of its own, and the lab's daemon ``pi1`` as its service."""

    def __init__(self, root: Path, lab: Lab) -> None:
        super().__init__(root, debs.DPKG_OPTIONS)
        self._lab = lab

    def stage(self, request: InstallRequest) -> str:
        _, version = debs.installed(self._root).split()
        architecture = debs.run("dpkg", "--print-architecture").strip()
        released = bool(self.result().digest)
        there = package_check.InstalledPackages({"edge-agent": version}, architecture, released)
        config = build(Reading(self._lab.folder / "pi1/device.toml").result()["config"])
        try:
            return package_check.stage(config, self._folder, request.bundle, time.time(), there)
        except EdgeAgentError as error:
            raise InstallError(str(error)) from error

    def restart(self) -> None:
        self._steps = None
        self._lab.kill("pi1")
        self._lab.boot("pi1")


class PathUnit:
    """Starts the installer when the daemon asks for it, as systemd does."""

    def __init__(self, root: Path, lab: Lab) -> None:
        self.root, self._lab, self._home = root, lab, lab.folder / "pi1"
        self._home.mkdir()
        (root / "etc/edge-agent").mkdir(parents=True)
        (root / "etc/edge-agent/device.toml").symlink_to(self._home / "device.toml")
        for name in ("state", "s"):  # where the lab's configuration says
            (root / name).symlink_to(self._home / name)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def start(self) -> None:
        self._lab.boot("pi1")
        self._thread.start()

    def end(self) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(0.2):
            if (self._home / "state/update/request").exists():
                Installer(BoardInARoot(self.root, self._lab)).run()


@pytest.fixture
def board(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PathUnit]:
    monkeypatch.setattr(system, "SETTLE_S", 1.0)
    root = debs.make_root(tmp_path / "root")
    debs.install(root, debs.build(tmp_path, OLD))
    release = lab.folder / "release.key"
    signatures.save(signatures.generate("release"), release)
    lab.hub_lines = f'release_keys = ["{release}.pub"]'
    lab.program = [str(Path(packaged_daemon.__file__)), str(root / system.FOLDER)]
    made = PathUnit(root, lab)
    yield made
    made.end()


def test_a_daemon_is_updated_by_rest_and_taken_back_by_command(
    start: Any, lab: Lab, board: PathUnit, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    release = lab.folder / "release.key"
    process: Process = start("--sign", str(lab.key), "--release-key", f"{release}.pub")
    client = admin(process)
    there = as_operator(process, client, tmp_path)
    board.start()
    until(lambda: client.get("/devices", params={"filter": "online"}).json()["devices"])

    def run(*words: str) -> Any:
        assert main([*words, "--json"]) == 0
        return json.loads(capsys.readouterr().out.splitlines()[-1])

    def packed(version: str) -> tuple[str, str]:
        """Pack a version and release it; return the bundle's file and digest."""
        offered = tmp_path / version
        offered.mkdir()
        out = str(tmp_path / f"{version}.eab")
        made = run("update", "pack", str(debs.build(offered, version)), "-o", out)
        release_words = ["--population", "edge-agent", "--fleet", "lab", "--sign", str(release)]
        run("sign", out, *release_words, *there)
        return out, made["bundle"]

    def reported() -> Any:
        return client.get("/devices/lab/pi1").json()["reported"]["populations"]["edge-agent"]["bundle"]

    file, digest = packed(NEXT)
    assert client.post("/bundles", content=Path(file).read_bytes()).json()["digest"] == digest
    made = client.post("/rollouts", json=PLAN | {"bundle": digest, "approve": True})
    assert made.status_code == 201, made.text
    path = f"/rollouts/{made.json()['id']}"
    ended = until(lambda: (found := client.get(path).json())["status"] != "running" and found)
    assert ended["status"] == "done", ended["state"]["members"]
    assert debs.installed(board.root) == f"installed {NEXT}"
    until(lambda: reported() == digest)

    file, digest = packed(OLD)
    words = ["--fleet", "lab", "--canary", "100%", "--gate", "trial_seconds=60", *there]
    assert run("update", "deploy", file, *words)["committed"] == 1
    assert debs.installed(board.root) == f"installed {OLD}"
    until(lambda: reported() == digest)

    entries = client.get("/audit").json()
    ends = [entry["after"]["status"] for entry in entries if entry["action"] == "rollout.end"]
    assert ends == ["done", "done"]
    assert [entry["action"] for entry in entries].count("release.upload") == 2
    client.close()
