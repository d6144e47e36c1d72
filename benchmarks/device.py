"""A daemon in a process of its own at a Mosquitto in another: what the daemon's benchmarks measure."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.golden_models import arrays_of
from edge_agent import Model
from edge_agent.adapters.control import ask
from edge_agent.engine import golden
from edge_agent.errors import PlatformError
from edge_agent.wire import bundle

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


def grid_bundle(path: Path, name: str = "s2_grid10_T1") -> None:
    """Write the bundle of one of the golden models."""
    model = Model.quantized(arrays_of(name))
    manifest: dict[str, Any] = {"name": name, "version": "1", "kind": "pomdp", "created": 0}
    manifest |= {"source_sha256": "0" * 64, "io": {}, "memory": {}, "evaluation": {}, "requires": {}}
    bundle.write(path, manifest, model.entries() | {"golden.npz": golden.make(model)})


class Device:
    """A running daemon.

    Parameters
    ----------
    folder : Path
        Where its files go.
    population : str
        The [[population]] section; its bundle is ``grid.eab``.
    port : int, optional
        The broker's; without one there is no broker.
    device : str
        More lines of the [device] section.
    broker : str
        More lines of the [broker] section.
    """

    def __init__(
        self, folder: Path, population: str, port: int | None = None, device: str = "", broker: str = ""
    ) -> None:
        grid_bundle(folder / "grid.eab")
        section = "" if port is None else f'[broker]\nhost = "127.0.0.1"\nport = {port}\n{broker}'
        self._socket = folder / "s"
        (folder / "device.toml").write_text(
            f'[device]\nname = "dev"\nfleet = "bench"\nstate_dir = "state"\nsocket = "s"\n{device}\n'
            f"{section}{population}"
        )
        self.started = time.monotonic()
        self._log = (folder / "log").open("ab")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "edge_agent", "run", "--config", "device.toml", "--profile", "pi5"],
            cwd=folder,
            stderr=self._log,
        )

    def status(self) -> dict[str, Any]:
        """Ask the daemon."""
        return ask(self._socket, {"ask": "status"})

    def wait_until(self, population: str, key: str, value: int, seconds: float = 30.0) -> dict[str, Any]:
        """Return the status once the population's counter has reached ``value``."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                status = self.status()
            except PlatformError:
                time.sleep(0.002)
                continue
            if status["populations"][population][key] >= value:
                return status
            time.sleep(0.002)
        raise PlatformError(f"{population}.{key} did not reach {value} in {seconds:g} s")

    def wait_online(self) -> None:
        """Wait for the broker's welcome."""
        deadline = time.monotonic() + 30.0
        while time.monotonic() < deadline:
            try:
                if self.status()["broker"]["state"] == "online":
                    return
            except PlatformError:
                pass
            time.sleep(0.01)
        raise PlatformError("the daemon did not come online in 30 s")

    def cpu_s(self) -> float:
        """Return the processor seconds that the daemon has used."""
        words = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(words[11]) + int(words[12])) / TICKS_PER_SECOND

    def rss(self) -> int:
        """Return the bytes of the daemon in memory."""
        return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * os.sysconf(
            "SC_PAGE_SIZE"
        )

    def close(self) -> None:
        """End it."""
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(5.0)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._log.close()
