"""kill -9 of a daemon that learns, under traffic. ``make faults-daemon`` runs the long form.

What a killed daemon leaves is read by this process: the counts and tables in its checkpoint are those that
the recording gives when it is decided again up to some tick. So they are of a moment between two ticks, and
no reading was counted twice.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_agent.engine import Model, Population
from edge_agent.engine.counts.concentrations import Concentrations
from edge_agent.engine.counts.learner import Learner
from edge_agent.runtime.population import checkpoint, models
from edge_agent.runtime.recording.recorder import frames
from edge_agent.runtime.recording.replay import Moment, replay
from tests.support import fan

pytestmark = pytest.mark.broker
KILLS = 50 if os.environ.get("EDGE_AGENT_FAULTS") == "long" else 3
SEED = int(os.environ.get("EDGE_AGENT_SEED", "1"))
AGENTS, EVERY = 3, 7


def learns() -> Model:
    """The fan's agent, whose A, B and D learn fast."""
    plain = fan.model()
    A, B = ([np.asarray(t) + 0.1 for t in tensors] for tensors in (plain.arrays().A, plain.arrays().B))
    given = Concentrations.of(plain, A, B, [np.ones(2)], lr_pA=5.0, lr_pB=5.0)
    return replace(plain, learning=given.stored())


def configured(folder: Path) -> None:
    path = folder / "device.toml"
    text = path.read_text().replace(
        "rate_hz = 50", f'rate_hz = 50\nlearn = "population"\nlearn_every = {EVERY}'
    )
    text = text.replace('name = "dev"', 'name = "dev"\ncheckpoint_s = 0.02\ncheckpoint_mb_per_day = 1e9')
    path.write_text(text)


def taken(model: Model, saved: Mapping[str, Any], begin: Mapping[str, Any]) -> Learner:
    """The learner that a checkpoint of the daemon's gives, which has to be whole."""
    population = models.populate(
        model, AGENTS, int(begin["seed"]), redecides=bool(begin.get("redecides")), learn_every=EVERY
    )
    population.restore(saved["beliefs"])
    assert isinstance(population, Population)
    assert isinstance(population.runner, Learner)
    return population.runner


def test_killed_at_any_moment_of_learning_it_has_the_counts_of_a_tick(device: Any) -> None:
    model = learns()
    fan.write(device.folder / "fan.eab", model)
    configured(device.folder)
    rng = random.Random(SEED)
    print(f"seed {SEED}")
    said = counted = found = swaps = 0
    for _ in range(KILLS):
        device.start()
        learned = device.status()["populations"]["rooms"]["learned"]
        assert counted <= learned["updates"] <= said
        end = time.monotonic() + rng.uniform(0.0, 0.6)
        while time.monotonic() < end:
            device.client.publish(f"z/room-{said % AGENTS}", b'{"co2": %d}' % rng.randint(300, 1500))
            said += 1
            time.sleep(0.002)
        device.kill()
        whole = list(frames((device.folder / "recording").read_bytes()))
        begin = whole[0]
        states = {begin["beliefs"]}

        def watch(name: str, tick: int, moment: Moment, states: set[bytes] = states) -> bool:
            states.add(moment.population.checkpoint())
            return False

        assert replay(whole, lambda path, digest: model, watch).difference is None
        path = device.folder / "state" / checkpoint.NAME
        if not path.exists():
            continue
        saved = checkpoint.decode(path.read_bytes())["rooms"]
        learner = taken(model, saved, begin)
        assert learned["updates"] <= learner.updates <= said
        counted, swaps = learner.updates, learner.swaps
        found += saved["beliefs"] in states
    assert found >= KILLS / 3  # of the others the last frames were still in the recorder's memory
    assert swaps > 0
