"""Ten devices in ten processes with a real Mosquitto: one plan, and a new one when a member is killed."""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_agent.testing.mosquitto import Mosquitto
from tests.broker.ending import end_all

pytestmark = pytest.mark.broker

DEVICES = 10
SCRIPT = Path(__file__).with_name("peer_process.py")


class Processes:
    """The devices' processes, and the last thing each one said."""

    def __init__(self, port: int) -> None:
        self.says: dict[int, dict] = {}
        self.running: dict[int, subprocess.Popen[str]] = {}
        self._lines: queue.Queue[tuple[int, str]] = queue.Queue()
        for number in range(DEVICES):
            command = [sys.executable, str(SCRIPT), str(port), str(number), str(DEVICES)]
            self.running[number] = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            threading.Thread(target=self._listen, args=(number, self.running[number])).start()

    def _listen(self, number: int, process: subprocess.Popen[str]) -> None:
        with process.stdout as lines:
            for line in lines:
                self._lines.put((number, line))

    def until(self, condition: Callable[[], bool], seconds: float = 40.0) -> None:
        end = time.monotonic() + seconds
        while not condition():
            try:
                number, line = self._lines.get(timeout=max(0.0, end - time.monotonic()))
            except queue.Empty:
                pytest.fail(f"not in {seconds} s: {self.says}")
            self.says[number] = json.loads(line)

    def agreed(self) -> bool:
        said = [self.says.get(number, {}) for number in self.running]
        one_plan = len({s.get("plan") for s in said}) == 1 and said[0].get("coalitions", 0) >= 2
        return one_plan and all(s.get("agreed") and s["here"] == len(self.running) for s in said)

    def kill(self, number: int) -> None:
        process = self.running.pop(number)
        process.kill()
        process.wait()

    def stop(self) -> None:
        end_all(self.running.values())


def test_ten_processes_agree_and_go_on_without_one_that_is_killed(mosquitto: Mosquitto) -> None:
    processes = Processes(mosquitto.port)
    try:
        processes.until(processes.agreed)
        before = dict(processes.says)
        number = next(n for n, said in before.items() if len(said["mine"]) > 1)
        lost = f"device-{number:05d}"
        processes.kill(number)
        processes.until(processes.agreed)
        assert all(lost not in processes.says[n]["mine"] for n in processes.running)
        assert processes.says[min(processes.running)]["plan"] != before[0]["plan"]
    finally:
        processes.stop()
