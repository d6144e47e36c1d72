"""A real Zigbee2MQTT with a simulated radio (``radio.js``): messages received and reported by its devices."""

from __future__ import annotations

import json
import os
import re
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tests.daemon_process import until

HERE = Path(__file__).parent
INSTALLED = HERE.parents[1] / "build/zigbee2mqtt"
TUYA = 0xEF00
_ERROR = re.compile(r"\] (\x1b\[\d+m)?error(\x1b\[\d+m)?:")
CO2 = 2
"""Datapoint of Tuya's air sensor."""
CONFIGURATION = """
version: 5
frontend: {{enabled: false}}
mqtt: {{base_topic: zigbee2mqtt, server: 'mqtt://127.0.0.1:{port}'}}
serial: {{port: /dev/null, adapter: ember}}
advanced:
  log_output: [console]
  log_level: info
  network_key: [1, 3, 5, 7, 9, 11, 13, 15, 0, 2, 4, 6, 8, 10, 12, 13]
  pan_id: 6754
  ext_pan_id: [221, 221, 221, 221, 221, 221, 221, 221]
devices:
"""


class Zigbee(NamedTuple):
    """One device of the network: model and maker as it tells them, and the clusters it serves."""

    name: str
    model: str
    maker: str
    clusters: Sequence[int]


def address(number: int) -> str:
    """Return the IEEE address of a device; 0 is the coordinator."""
    return f"0x{0x00124B0000000001 + number:016x}"


def _entry(number: int, kind: str, clusters: Sequence[int], **about: Any) -> str:
    """Return one line of herdsman's database."""
    endpoint = {
        "profId": 260,
        "epId": 1,
        "devId": 0,
        "inClusterList": list(clusters),
        "outClusterList": [],
        "clusters": {},
        "binds": [],
        "configuredReportings": [],
        "meta": {},
    }
    entry = {
        "id": number + 1,
        "type": kind,
        "ieeeAddr": address(number),
        "nwkAddr": number,
        "manufId": 4417,
        "epList": [1],
        "endpoints": {"1": endpoint},
        "interviewCompleted": True,
        "interviewState": "SUCCESSFUL",
        "meta": {"configured": 1},
        "lastSeen": None,
    }
    return json.dumps(entry | about)


class Bridge:
    """Zigbee2MQTT with ``devices``, in ``folder``, at the broker on ``port``."""

    def __init__(self, folder: Path, port: int, devices: Sequence[Zigbee]) -> None:
        lines = [_entry(0, "Coordinator", [0, 6, 10])]
        names = ""
        for number, device in enumerate(devices, 1):
            about = {
                "modelId": device.model,
                "manufName": device.maker,
                "powerSource": "Mains (single phase)",
            }
            lines.append(_entry(number, "Router", device.clusters, **about))
            names += f"  '{address(number)}': {{friendly_name: {device.name}}}\n"
        (folder / "database.db").write_text("\n".join(lines) + "\n")
        (folder / "configuration.yaml").write_text(CONFIGURATION.format(port=port) + names)
        self._numbers = {device.name: number for number, device in enumerate(devices, 1)}
        self._reports = 0
        self.log: list[str] = []
        # Inside a git repository it takes the repository's commit for its own and builds itself anew.
        self._process = subprocess.Popen(
            ["node", "--require", str(HERE / "radio.js"), "node_modules/zigbee2mqtt/index.js"],
            cwd=INSTALLED,
            env=os.environ
            | {"ZIGBEE2MQTT_DATA": str(folder), "GIT_CEILING_DIRECTORIES": str(INSTALLED.parent)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def start(self) -> None:
        """Return when it works."""
        until(self._works, "Zigbee2MQTT starts", 90.0)

    def report(self, name: str, datapoint: int, value: int) -> None:
        """Let a Tuya device report the value of a datapoint (``value``: 32 bits)."""
        self._reports += 1  # Zigbee2MQTT ignores a report whose number it has just had
        payload = [*(self._reports % 65536).to_bytes(2, "big"), datapoint, 2, 0, 4, *value.to_bytes(4, "big")]
        frame = {"from": self._numbers[name], "cluster": TUYA, "bytes": [0x09, 1, 0x02, *payload]}
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(frame) + "\n")
        self._process.stdin.flush()

    def received(self, name: str, cluster: str) -> list[tuple[str, Any]]:
        """Return the commands that a device received on a cluster, with their payloads."""
        frames = [
            json.loads(line.removeprefix("frame ")) for line in list(self.log) if line.startswith("frame ")
        ]
        wanted = address(self._numbers[name]), cluster
        return [(f["command"], f["payload"]) for f in frames if (f["to"], f["cluster"]) == wanted]

    def errors(self) -> list[str]:
        """Return what it logged as an error."""
        return [line for line in self.log if _ERROR.search(line)]

    def stop(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait(30)
        self._reader.join()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()

    def _works(self) -> bool:
        assert self._process.poll() is None, "\n".join(self.log)
        return any("Zigbee2MQTT started!" in line for line in self.log)

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.log.append(line.rstrip("\n"))
