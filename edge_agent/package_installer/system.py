"""The board under the installer: dpkg, systemd, the daemon's control socket, and the installer's files."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from edge_agent.package_installer.installer import InstallError, InstallJournal, InstallRequest, InstallResult

SERVICE = "edge-agent.service"
CONFIG = "etc/edge-agent/device.toml"
FOLDER = "var/lib/edge-agent-update"
STATE_DIR = "/var/lib/edge-agent"
SOCKET = "/run/edge-agent/control.sock"
REQUEST = "update/request"
MAX_REQUEST_BYTES = 4096
SETTLE_S = 10.0
"""How long a daemon must have been up before it is healthy."""
TRIAL_S = (10.0, 3600.0)
"""What the length of a trial may be, seconds."""
DPKG_S = 1800.0
START_S = 1800.0
"""Beyond the time that the unit gives the daemon."""


class System:
    """The board itself.

    Parameters
    ----------
    root : Path
        The root of the file system; another than ``/`` for tests and for images.
    dpkg_options : sequence of str
        For dpkg, besides ``--root``.
    """

    def __init__(self, root: Path = Path("/"), dpkg_options: Sequence[str] = ()) -> None:
        self._root = root
        self._dpkg = ("dpkg", *([f"--root={root}"] if root != Path("/") else []), *dpkg_options)
        self._folder = root / FOLDER
        config = _config(root / CONFIG)
        device: dict[str, Any] = config.get("device", {})
        self._state_dir = root / str(device.get("state_dir", STATE_DIR)).lstrip("/")
        self._steps: int | None = None
        self._socket = root / str(device.get("socket", SOCKET)).lstrip("/")

    def journal(self) -> InstallJournal | None:
        """Return the installation under way."""
        found = self._read("journal.json")
        return InstallJournal.of_state(found) if found else None

    def write_journal(self, journal: InstallJournal | None) -> None:
        """Make a stage durable."""
        path = self._folder / "journal.json"
        if journal is not None:
            _write(path, journal.state(), 0o600)
            return
        path.unlink(missing_ok=True)
        _sync(self._folder)

    def result(self) -> InstallResult:
        """Return the last result; without a digest if another version was installed since, by hand."""
        result = InstallResult(**self._read("result.json"))
        if result.digest and result.version != self._installed_version():
            return replace(result, digest="", version="")
        return result

    def write_result(self, result: InstallResult) -> None:
        """Make a result durable; the daemon reads it."""
        _write(self._folder / "result.json", asdict(result), 0o644)

    def request(self) -> InstallRequest | None:
        """Return what the daemon asks for, None if it is nothing that can be read."""
        try:
            descriptor = os.open(self._state_dir / REQUEST, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            with open(descriptor, "rb") as file:
                found = json.loads(file.read(MAX_REQUEST_BYTES))
            low, high = TRIAL_S
            return InstallRequest(
                str(found["id"]), str(found["bundle"]), min(max(float(found["trial_s"]), low), high)
            )
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
            print(f"{self._state_dir / REQUEST}: not a request ({error!r})", file=sys.stderr)
            self.drop_request()
            return None

    def drop_request(self) -> None:
        """Remove what the daemon asks for."""
        (self._state_dir / REQUEST).unlink(missing_ok=True)

    def stage(self, request: InstallRequest) -> str:
        """Let ``edge-agent stage-package`` check what is asked for; return its version."""
        words = ["/usr/bin/edge-agent", "stage-package", request.bundle, "--json"]
        if self._root != Path("/"):
            words = ["chroot", str(self._root), *words]
        found = json.loads(_run(words, 600.0))
        return str(found["version"])

    def save_installed(self) -> None:
        """Pack what dpkg has installed of the staged packages again."""
        try:
            self._save_installed(self._folder / "saved", self._folder / "packing")
        except OSError as error:
            raise InstallError(f"the installed package cannot be saved: {error}") from error

    def _save_installed(self, saved: Path, work: Path) -> None:
        shutil.rmtree(saved, ignore_errors=True)
        shutil.rmtree(work, ignore_errors=True)
        saved.mkdir(mode=0o700)
        for staged in sorted((self._folder / "staged").glob("*.deb")):
            self._pack(staged.stem, work)
            target = saved / staged.name
            _run(["dpkg-deb", "--root-owner-group", "-Znone", "--build", str(work), str(target)], DPKG_S)
            shutil.rmtree(work)
            _sync(target)
        _sync(saved)

    def install(self, saved: bool) -> None:
        """Install the staged packages, or the saved ones, with dpkg."""
        folder = self._folder / ("saved" if saved else "staged")
        files = sorted(str(path) for path in folder.glob("*.deb"))
        _run(
            [*self._dpkg, "--install", *files],
            DPKG_S,
            EDGE_AGENT_UPDATE="1",
            DEBIAN_FRONTEND="noninteractive",
        )

    def restart(self) -> None:
        """Restart the daemon and wait until it is ready."""
        self._steps = None
        _run(["systemctl", "daemon-reload"], 120.0)
        _run(["systemctl", "restart", SERVICE], START_S)

    def unhealthy(self) -> str:
        """Return why the daemon is not healthy, "" if it is."""
        try:
            status = _ask(self._socket)
        except (OSError, ValueError) as error:
            return f"the daemon does not answer ({error})"
        if status["broker"]["state"] != "online":
            return f"not connected to the broker: {status['broker']['reason'] or status['broker']['state']}"
        steps = sum(found["steps"] for found in status["populations"].values())
        if self._steps is None:
            self._steps = steps  # what earlier runs counted is in it
        if steps <= self._steps:
            return "no agent has stepped"
        if status["uptime_s"] < SETTLE_S:
            return f"up for {status['uptime_s']:g} s, expected {SETTLE_S:g}"
        return ""

    def monotonic(self) -> float:
        """Return the time in seconds."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)

    def _read(self, name: str) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads((self._folder / name).read_text("utf-8"))
        except FileNotFoundError:
            return {}
        return found

    def _pack(self, name: str, work: Path) -> None:
        """Lay out an installed package as dpkg-deb wants it: files, scripts, control file."""
        control = work / "DEBIAN"
        control.mkdir(parents=True)
        status = _run([*self._query(), "--status", name], 60.0).splitlines()
        kept = [line for line in status if not line.startswith(("Status:", "Config-Version:"))]
        (control / "control").write_text("\n".join(kept) + "\n", "utf-8")
        info = self._root / "var/lib/dpkg/info"
        for script in ("preinst", "postinst", "prerm", "postrm"):
            if (source := info / f"{name}.{script}").exists():
                shutil.copy2(source, control / script)
        for line in _run([*self._query(), "--listfiles", name], 60.0).splitlines():
            source, target = self._root / line.lstrip("/"), work / line.lstrip("/")
            if source.is_symlink() or source.is_file():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, target, follow_symlinks=False)
            elif source.is_dir():
                target.mkdir(parents=True, exist_ok=True)

    def _installed_version(self) -> str:
        return _run([*self._query(), "--show", "--showformat=${Version}", "edge-agent"], 60.0)

    def _query(self) -> tuple[str, ...]:
        return ("dpkg-query", f"--admindir={self._root / 'var/lib/dpkg'}")


def _config(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}  # the daemon's defaults; what is wrong with it is what `edge-agent check` says


def _ask(path: Path) -> dict[str, Any]:
    """Return the daemon's status from its control socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(10.0)
        connection.connect(str(path))
        connection.sendall(b'{"ask": "status"}\n')
        received = b"".join(iter(lambda: connection.recv(65536), b""))
    found: dict[str, Any] = json.loads(received)
    return found


def _run(command: Sequence[str], seconds: float, **environment: str) -> str:
    """Run a command and return what it prints.

    Raises
    ------
    InstallError
        It fails or takes longer; the message is its last line.
    """
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            stdin=subprocess.DEVNULL,
            text=True,
            timeout=seconds,
            env=os.environ | {"LC_ALL": "C.UTF-8"} | environment,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise InstallError(f"{command[0]}: no end within {seconds:g} s") from error
    except OSError as error:
        raise InstallError(f"{command[0]}: {error.strerror}") from error
    if done.returncode:
        lines = [line for line in (*done.stdout.splitlines(), *done.stderr.splitlines()) if line.strip()]
        raise InstallError(lines[-1].strip() if lines else f"{command[0]}: exit status {done.returncode}")
    return done.stdout


def _write(path: Path, value: Mapping[str, Any], mode: int) -> None:
    """Replace a file as a whole and make it durable."""
    beside = path.with_name(f".{path.name}.new")
    with beside.open("w", encoding="utf-8") as file:
        os.fchmod(file.fileno(), mode)
        json.dump(value, file)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
    _sync(path.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
