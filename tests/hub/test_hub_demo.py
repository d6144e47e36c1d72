import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.broker
ROOT = Path(__file__).parents[2]


def test_the_hubs_demo_happens_in_every_part() -> None:
    command = [sys.executable, "-m", "examples.hub.demo", "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    seen = json.loads(done.stdout.splitlines()[-1])["seen"]
    assert len(seen) == 5
    assert all(seen.values())
