"""A real Home Assistant in the root made by ``install.sh``: started, onboarded, and queried over REST."""

from __future__ import annotations

import json
import shutil
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

from edge_agent.testing.free_ports import free_port
from tests.daemon_process import until

HERE = Path(__file__).parent
ROOT = HERE.parents[1] / "build/homeassistant/root"
CONFIGURATION = """
homeassistant:
  name: test
  unit_system: metric
  time_zone: UTC
  latitude: 0
  longitude: 0
http:
  server_host: 127.0.0.1
  server_port: {port}
api:
websocket_api:
config:
logger:
  default: warning
  logs:
    homeassistant.components.mqtt: info
"""
START_S = 600.0
"""Seconds for a start; the first one with MQTT installs what that needs."""


class HomeAssistant:
    """One installation with a configuration folder of its own."""

    def __init__(self) -> None:
        self.port = free_port()
        self._folder = ROOT / f"config-{self.port}"
        self._folder.mkdir()
        (self._folder / "configuration.yaml").write_text(CONFIGURATION.format(port=self.port))
        self._process: subprocess.Popen[bytes] | None = None
        self._token = ""
        self._log = bytearray()

    def start(self) -> None:
        """Start it and return when it runs."""
        command = [str(HERE / "enter.sh"), str(ROOT), "hass", "-c", f"/{self._folder.name}"]
        with (self._folder / "output").open("ab") as output:
            self._process = subprocess.Popen(command, stdout=output, stderr=output)
        if not self._token:
            until(lambda: self._answers("/api/onboarding"), "Home Assistant answers", START_S)
            self._onboard()
        until(self._runs, f"Home Assistant runs: {self.log()[-2000:]}", START_S)

    def stop(self) -> None:
        """End it in good order."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(START_S)
            self._process = None

    def remove(self) -> None:
        """End it and delete its folder."""
        self.stop()
        shutil.rmtree(self._folder)

    def log(self) -> str:
        """Return what it has logged since it was made."""
        return (self._folder / "output").read_text(encoding="utf-8")

    def connect(self, broker_port: int) -> None:
        """Add the MQTT integration as a user does, in the config flow."""
        flow = self.ask("/api/config/config_entries/flow", {"handler": "mqtt"})
        broker = {"broker": "127.0.0.1", "port": broker_port}
        done = self.ask(f"/api/config/config_entries/flow/{flow['flow_id']}", broker)
        assert done["type"] == "create_entry", done

    def states(self) -> dict[str, dict[str, Any]]:
        """Return all entities by their identifiers."""
        return {entity["entity_id"]: entity for entity in self.ask("/api/states")}

    def call(self, service: str, data: dict[str, Any]) -> None:
        """Call a service, as a user does who selects an option."""
        self.ask(f"/api/services/{service}", data)

    def categories(self) -> dict[str, str | None]:
        """Return each entity's category, from the file to which the registry is written after a while."""
        path = self._folder / ".storage/core.entity_registry"
        if not path.exists():
            return {}
        entities = json.loads(path.read_text(encoding="utf-8"))["data"]["entities"]
        return {entity["entity_id"]: entity["entity_category"] for entity in entities}

    def ask(self, path: str, body: Any = None, form: bool = False) -> Any:
        """Ask for a resource, or send ``body`` to it; return the answer."""
        data = None
        if body is not None:
            data = urllib.parse.urlencode(body).encode() if form else json.dumps(body).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data)
        if not form:
            request.add_header("Content-Type", "application/json")
        if self._token:
            request.add_header("Authorization", f"Bearer {self._token}")
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def _onboard(self) -> None:
        client = f"http://127.0.0.1:{self.port}/"
        user = {"client_id": client, "name": "a", "username": "a", "password": "a-b-c-d", "language": "en"}
        code = self.ask("/api/onboarding/users", user)["auth_code"]
        grant = {"grant_type": "authorization_code", "code": code, "client_id": client}
        self._token = self.ask("/auth/token", grant, form=True)["access_token"]

    def _answers(self, path: str) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.log()[-2000:]
        try:
            self.ask(path)
        except (urllib.error.URLError, ConnectionError):
            return False
        return True

    def _runs(self) -> bool:
        return self._answers("/api/config") and self.ask("/api/config")["state"] == "RUNNING"
