"""Three minutes of the soak test with every kind of fault; the verdict holds."""

import json
import subprocess
import sys

import pytest

pytestmark = [pytest.mark.broker, pytest.mark.timeout(600)]


def test_three_daemons_survive_three_minutes_of_abuse() -> None:
    command = [sys.executable, "-m", "benchmarks.soak", "--minutes", "3", "--seed", "2", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=580, check=False)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line for line in lines if line["holds"] is False] == [], done.stderr
    assert done.returncode == 0, done.stderr
    assert len(lines[0]["found"].split(", ")) >= 6
