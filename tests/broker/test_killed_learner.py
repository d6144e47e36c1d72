"""kill -9 of a daemon that learns, under traffic. ``make faults-daemon`` runs the long form.

What a killed daemon leaves is read by this process: the counts and tables in its checkpoint are those that
the recording gives when it is decided again up to some tick. So they are of a moment between two ticks, and
no reading was counted twice. What it sends, added up by epochs, is what it counted: no count is lost or
added twice.
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
from edge_agent.wire import documents, learned, messages, signatures
from edge_agent.wire.messages import Message
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


class Fleet:
    """What the daemon sends of its counts, and the hub's key."""

    def __init__(self, device: Any) -> None:
        self.device, self.secret = device, signatures.generate("hub")
        public = signatures.save(self.secret, device.folder / "hub.key")
        path = device.folder / "device.toml"
        text = path.read_text().replace('learn = "population"', 'learn = "population"\nlearn_send_s = 3600')
        path.write_text(text.replace("[[population]]", f'[hub]\nkeys = ["{public}"]\n[[population]]'))
        self.sent = 0

    def ask(self) -> bytes:
        """Ask for what was counted; return the id under which the daemon answers."""
        self.sent += 1
        document = {"fleet": "lab", "device": "dev", "id": f"send-{self.sent}", "name": "send-learned"}
        document |= {"arguments": {}, "expires": time.time() + 60}
        body = documents.signed(document, documents.COMMAND, [self.secret])
        self.device.client.publish("edge/v1/lab/dev/down/command", messages.encode(Message(body)), 1)
        return document["id"].encode()

    def pieces(self) -> dict[tuple[int, int], learned.Piece]:
        """Return all pieces that were sent by epoch and number; repetitions are the same."""
        out: dict[tuple[int, int], learned.Piece] = {}
        for payload in self.device.said("edge/v1/lab/dev/up/learned"):
            piece = learned.from_body(messages.decode(payload).body)
            known = out.setdefault((piece.whole.epoch, piece.number), piece)
            assert known.whole == piece.whole
            assert (known.places.tolist(), known.units.tolist()) == (
                piece.places.tolist(),
                piece.units.tolist(),
            )
        return out


def test_killed_while_it_sends_each_count_arrives_once(device: Any) -> None:
    configured(device.folder)
    fleet, model = Fleet(device), learns()
    fan.write(device.folder / "fan.eab", model, key=fleet.secret)
    rng = random.Random(SEED)
    print(f"seed {SEED}")
    said = 0
    for _ in range(KILLS):
        device.start()
        end = time.monotonic() + rng.uniform(0.0, 3.0)  # the outbox writes every two seconds
        asks = sorted(rng.uniform(0.0, 1.0) for _ in range(3))
        begun = time.monotonic()
        while time.monotonic() < end:
            device.client.publish(f"z/room-{said % AGENTS}", b'{"co2": %d}' % rng.randint(300, 1500))
            said += 1
            if asks and time.monotonic() - begun > asks[0]:
                fleet.ask()
                del asks[0]
            time.sleep(0.01)
        device.kill()
    device.start()
    answer = f"edge/v1/lab/dev/up/reply/{fleet.ask().decode()}"
    device.until(lambda: device.said(answer) != [])
    path = device.folder / "state" / checkpoint.NAME
    counted = device.status()["populations"]["rooms"]["learned"]["updates"]
    device.until(lambda: sum(p.whole.updates for (_, n), p in fleet.pieces().items() if n == 0) == counted)
    device.until(lambda: not checkpoint.waiting_epochs(path.read_bytes()))
    device.kill()  # the checkpoint without epochs is later than all counts
    begin = next(frames((device.folder / "recording").read_bytes()))
    learner = taken(model, checkpoint.decode(path.read_bytes())["rooms"], begin)
    units = np.zeros(learner.increments().units.size, np.int64)
    for piece in fleet.pieces().values():
        np.add.at(units, piece.places, piece.units)
    assert units.tolist() == learner.increments().units.tolist()


def test_killed_at_any_moment_of_learning_it_has_the_counts_of_a_tick(device: Any) -> None:
    model = learns()
    fan.write(device.folder / "fan.eab", model)
    configured(device.folder)
    rng = random.Random(SEED)
    print(f"seed {SEED}")
    said = counted = found = swaps = kills = 0
    while kills < KILLS or (kills < 10 * KILLS and (swaps == 0 or found < KILLS / 3)):  # a slow machine
        kills += 1
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
