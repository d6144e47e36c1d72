"""The installer with the real dpkg, in a root file system of its own: update, failure, kill -9, repair."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from edge_agent.package_installer.installer import Installer, InstallError, InstallRequest
from edge_agent.package_installer.system import System
from tests.unit.package import debs


class BoardInARoot:
    """The real board but for systemd, the daemon, and the check of signatures (`test_package_check`)."""

    def __init__(self, root: Path, offered: Path) -> None:
        self.system = System(root, debs.DPKG_OPTIONS)
        self.root, self.offered = root, offered
        self.unhealthy_versions: set[str] = set()
        self.started = ""
        for name in ("journal", "write_journal", "result", "write_result", "request", "drop_request"):
            setattr(self, name, getattr(self.system, name))
        for name in ("save_installed", "install", "monotonic"):
            setattr(self, name, getattr(self.system, name))

    def ask(self, request: str = "r1", bundle: str = "b" * 64, trial_s: float = 10.0) -> None:
        path = self.root / "var/lib/edge-agent/update/request"
        path.write_text(json.dumps({"id": request, "bundle": bundle, "trial_s": trial_s}))

    def stage(self, request: InstallRequest) -> str:
        staged = self.root / "var/lib/edge-agent-update/staged"
        shutil.rmtree(staged, ignore_errors=True)
        staged.mkdir()
        shutil.copy(self.offered, staged / "edge-agent.deb")
        return self.offered.name.split("_")[1]

    def restart(self) -> None:
        self.started = self.program()

    def unhealthy(self) -> str:
        return "not connected to the broker: refused" if self.started in self.unhealthy_versions else ""

    def sleep(self, seconds: float) -> None:
        del seconds
        self.monotonic = lambda: 1e9  # the trial is over

    def program(self) -> str:
        return (self.root / debs.PROGRAM).read_text()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = debs.make_root(tmp_path / "root")
    debs.install(root, debs.build(tmp_path, "1.0", postinst="echo configured"))
    return root


def test_a_package_is_installed_and_the_one_before_is_kept(root: Path, tmp_path: Path) -> None:
    board = BoardInARoot(root, debs.build(tmp_path, "2.0"))
    board.ask()
    result = Installer(board).run()
    assert (result.outcome, result.version, result.digest) == ("installed", "2.0", "b" * 64)
    assert debs.installed(root) == "installed 2.0"
    assert board.program() == board.started == "2.0"
    # What was installed before is a package again: the same files and scripts.
    saved = root / "var/lib/edge-agent-update/saved/edge-agent.deb"
    assert debs.run("dpkg-deb", "--show", saved).split() == ["edge-agent", "1.0"]
    assert debs.PROGRAM in debs.run("dpkg-deb", "--contents", saved)
    assert "echo configured" in debs.run("dpkg-deb", "--ctrl-tarfile", saved)


def test_an_unhealthy_package_gives_way_to_the_one_before(root: Path, tmp_path: Path) -> None:
    board = BoardInARoot(root, debs.build(tmp_path, "2.0"))
    board.unhealthy_versions.add("2.0")
    board.ask()
    result = Installer(board).run()
    assert (result.outcome, result.digest) == ("restored", "")
    assert result.reason == "trial of 10 s: not connected to the broker: refused"
    assert debs.installed(root) == "installed 1.0"
    assert board.program() == board.started == "1.0"


def test_a_package_whose_script_fails_gives_way(root: Path, tmp_path: Path) -> None:
    board = BoardInARoot(root, debs.build(tmp_path, "2.0", postinst="exit 1"))
    board.ask()
    result = Installer(board).run()
    assert result.outcome == "restored"
    assert debs.installed(root) == "installed 1.0"
    assert board.program() == board.started == "1.0"


def test_dpkg_killed_while_it_unpacks_is_repaired_at_boot(root: Path, tmp_path: Path) -> None:
    """The new package's script kills dpkg once, after its files were unpacked and before it is configured."""
    killed = tmp_path / "killed"
    script = f"[ -e {killed} ] || {{ touch {killed}; kill -9 $PPID; }}"
    board = BoardInARoot(root, debs.build(tmp_path, "2.0", postinst=script))
    board.ask()

    install = board.install

    def install_and_lose_power(saved: bool) -> None:
        try:
            install(saved)
        except InstallError as error:
            if killed.exists():
                raise KeyboardInterrupt from error  # the installer dies with dpkg
            raise

    board.install = install_and_lose_power  # type: ignore[attr-defined]
    with pytest.raises(KeyboardInterrupt):
        Installer(board).run()
    assert debs.installed(root).split()[0] == "half-configured"

    board.install = install  # type: ignore[attr-defined]
    Installer(board).repair()
    assert debs.installed(root) == "installed 2.0"
    assert Installer(board).run().outcome == "installed"


def test_a_version_that_was_installed_by_hand_is_not_taken_for_the_hubs(root: Path, tmp_path: Path) -> None:
    board = BoardInARoot(root, debs.build(tmp_path, "2.0"))
    board.ask()
    Installer(board).run()
    debs.install(root, debs.build(tmp_path, "2.1"))
    assert board.system.result().digest == ""


@pytest.mark.parametrize("content", ["", "[]", '{"id": "r"}', '{"id": "r", "bundle": "b", "trial_s": "x"}'])
def test_a_request_that_is_none_is_removed(root: Path, content: str) -> None:
    path = root / "var/lib/edge-agent/update/request"
    path.write_text(content)
    assert System(root, debs.DPKG_OPTIONS).request() is None
    assert not path.exists()


def test_a_request_behind_a_link_is_not_read(root: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text('{"id": "r", "bundle": "b", "trial_s": 30}')
    path = root / "var/lib/edge-agent/update/request"
    path.symlink_to(elsewhere)
    assert System(root, debs.DPKG_OPTIONS).request() is None
    assert elsewhere.exists()
