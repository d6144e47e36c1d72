"""The soak in its shortest form: every kind of abuse once, and the verdict holds."""

import json
import subprocess
import sys

import pytest

pytestmark = pytest.mark.broker


def test_three_daemons_survive_each_kind_of_abuse() -> None:
    command = [sys.executable, "-m", "benchmarks.soak", "--minutes", "0", "--seed", "2", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line for line in lines if line["holds"] is False] == [], done.stderr
    assert done.returncode == 0, done.stderr
    assert len(lines[0]["found"].split(", ")) == 6
