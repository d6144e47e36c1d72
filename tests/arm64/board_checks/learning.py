"""Agents that learn on the board: the same counts and tables as on x86-64, and a daemon that keeps them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from board_checks import CONFIG, GIVEN, UNIT, run, status, wait_until
from board_checks.life import publish

PYTHON = "/opt/edge-agent/bin/python3"
BUNDLE = CONFIG.parent / "bundles" / "learning.eab"
# Steps a population that learns, writes a recording of it and prints what it counted and adopted. Runs on
# x86-64 too (``given``), which says what has to come out.
STEPS = """
import hashlib, json, sys
from pathlib import Path
import numpy as np
from edge_agent.runtime.population import models
from edge_agent.runtime.recording.recorder import frame

bundle, recording = sys.argv[1:]
model, digest = models.load_model(Path(bundle))
population = models.populate(model, 8, 5, learn_every=10)
begin = {"kind": "begin", "population": "rooms", "digest": digest, "bundle": "learning.eab", "size": 8,
         "seed": 5, "horizon": None, "names": [f"room-{n}" for n in range(8)],
         "beliefs": population.checkpoint(), "learn_every": 10}
entries, random = [begin], np.random.default_rng(3)
outcomes = [tensor.rows for tensor in model.A]
for tick in range(200):
    observed = np.stack([random.integers(-1, n, 8) for n in outcomes], axis=-1).astype("<i2")
    actions = population.step(observed).astype("<i2")
    entries.append({"kind": "step", "population": "rooms", "tick": tick, "agents": b"",
                    "actions": actions.tobytes(), "observed": observed.tobytes(),
                    "shape": [8, len(outcomes), actions.shape[1]]})
with open(recording, "wb") as out:
    out.write(b"".join(map(frame, entries)))
sums = hashlib.sha256(population.checkpoint()).hexdigest()
print(json.dumps({"sha256": sums, "learned": models.learned(population)}))
"""
DELIVERED = '\nbundle = "bundles/office.eab"'  # not the one in the example that is commented out
LEARNS = '\nbundle = "bundles/learning.eab"\nlearn = "population"\nlearn_every = 5'


def same_counts() -> object:
    """Counts, tables and beliefs after 200 ticks have the bits of x86-64's."""
    mine = json.loads(run(PYTHON, "-c", STEPS, GIVEN / "learning.eab", "/tmp/recording").stdout)
    assert mine == json.loads((GIVEN / "learning.json").read_text()), mine
    assert mine["learned"]["swaps"] > 0, mine
    return mine


def recorded_on_x86_64() -> object:
    """A recording that was made on x86-64 with learning is decided again with the same actions."""
    told = run("edge-agent", "replay", GIVEN / "learning.recording", "--bundle", GIVEN / "learning.eab")
    return told.stdout.splitlines()[-1]


def _adopted() -> bool:
    publish(1900, 420)
    return bool(_learned()["swaps"])


def _learned() -> dict[str, Any]:
    found: dict[str, Any] = status()["populations"]["office"]["learned"] or {"updates": 0, "swaps": 0}
    return found


def daemon() -> object:
    """The daemon learns from readings, adopts new tables, and has its counts back after SIGKILL."""
    shutil.copy(GIVEN / "learning.eab", BUNDLE)
    before = CONFIG.read_text()
    assert before.count(DELIVERED) == 1, before
    CONFIG.write_text(before.replace(DELIVERED, LEARNS))
    try:
        run("edge-agent", "check", "--config", CONFIG)
        run("systemctl", "restart", UNIT)
        wait_until("a broker", lambda: status()["broker"]["state"] == "online")
        wait_until("new tables", _adopted)
        kept = _learned()
        assert kept["swaps"] > 0, kept
        run("systemctl", "restart", UNIT)  # writes a checkpoint; the next may make up ticks
        run("systemctl", "kill", "--signal=KILL", UNIT)
        wait_until("the daemon again", lambda: Path("/run/edge-agent/control.sock").exists() and _answers())
        found = _learned()
        assert found["updates"] >= kept["updates"], (found, kept)
    finally:
        CONFIG.write_text(before)
        run("systemctl", "restart", UNIT)
    return {"kept": kept, "found": found}


def _answers() -> bool:
    try:
        return bool(status())
    except OSError:  # its socket is from before
        return False
