"""Uncertain readings within ticks: the last evidence of a tick counts once, also in a recording's replay."""

from __future__ import annotations

import json

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_agent.engine import Model, Population
from edge_agent.engine import reference as float64
from edge_agent.runtime.population.group import Group, Step
from edge_agent.runtime.population.shadow import Shadow
from edge_agent.runtime.recording.recorder import Recorder, frames
from edge_agent.runtime.recording.replay import Moment, replay

from .test_spread import OBSERVE, belief, group, model, normal, note, tell

__all__ = ["model"]
TICK_S = 10.0
CLOSE = 0.02
"""Beliefs are stored in 8 bits a state at each step."""


class Memory:
    """A recording in memory."""

    def __init__(self) -> None:
        self.data = b""

    def write(self, data: bytes) -> None:
        self.data += data

    def rotate(self) -> None:
        raise AssertionError("the recording is small")

    def close(self) -> None:
        pass


class Rooms:
    """A group that decides within ticks of 10 s, with a recorder as the daemon has it."""

    def __init__(self, model: Model, silence: str = "unknown") -> None:
        observe = tuple(
            type(entry)(
                modality=entry.modality,
                topic=entry.topic,
                pointer=entry.pointer,
                uncertainty=entry.uncertainty,
                probabilities=entry.probabilities,
                silence=silence,  # type: ignore[arg-type]
                stale_s=25.0,
            )
            for entry in OBSERVE
        )
        self.group: Group = group(model, observe=observe, rate_hz=1.0 / TICK_S, tick="bundle")
        self.group.reopen(0.0)
        self.beside = Population(model, 3)
        self.group.shadow = Shadow(self.beside, "other", "other.eab", "rooms/other")
        self.memory = Memory()
        self.recorder = Recorder(1 << 20)
        self.recorder.start(self.memory, {"rooms": self.group})

    @property
    def agents(self) -> Population:
        assert isinstance(self.group.model_port, Population)
        return self.group.model_port

    def decide(self, now: float) -> Step:
        decision = self.group.decide(now)
        assert decision is not None
        self.recorder.decide("rooms", self.group.counters.ticks + 1, decision, {"rooms": self.group})
        self.group.observations.answered(decision.agents)
        return decision

    def close(self, boundary: float) -> Step:
        """Close the tick that ends at ``boundary``, and those before it that are still open."""
        for observed, soft in self.group.pass_ticks(boundary, boundary):
            self.recorder.record_passed("rooms", observed, soft)
        step = self.group.step(boundary, 0, boundary)
        assert step is not None
        self.recorder.step("rooms", self.group.counters.ticks, step, {"rooms": self.group})
        return step


def after(
    model: Model, prior: list[NDArray[np.float64]], observed: list[NDArray[np.float64] | int]
) -> list[NDArray[np.float64]]:
    beliefs, _ = float64.infer(model.arrays(), prior, observed)
    return list(beliefs)


def predicted(model: Model, beliefs: list[NDArray[np.float64]], action: int) -> list[NDArray[np.float64]]:
    return list(float64.predict(model.arrays(), beliefs, [action]))


def test_the_last_evidence_of_a_tick_counts_once(model: Model) -> None:
    rooms = Rooms(model)
    tell(rooms.group, 0, 980.0, [3.0, 1.0], now=1.0)
    rooms.decide(1.5)
    prior = list(model.arrays().D)
    door = np.array([0.75, 0.25])
    np.testing.assert_allclose(
        belief(rooms.group, 0), after(model, prior, [normal(980.0), door])[0], atol=CLOSE
    )
    tell(rooms.group, 0, 1250.0, None, now=4.0)
    decision = rooms.decide(4.5)
    wanted = after(model, prior, [normal(1250.0), door])
    np.testing.assert_allclose(belief(rooms.group, 0), wanted[0], atol=CLOSE)
    step = rooms.close(TICK_S)
    np.testing.assert_allclose(belief(rooms.group, 0), wanted[0], atol=CLOSE)
    assert step.chosen[0].tolist() == decision.chosen[0].tolist()
    assert (rooms.beside.codes() == rooms.agents.codes()).all()
    step = rooms.close(2 * TICK_S)
    assert (step.observed[0].tolist(), step.soft) == ([-1, -1], None)


@pytest.mark.parametrize("silence", ["unknown", "unchanged"])
def test_a_tick_that_passes_takes_its_distributions(model: Model, silence: str) -> None:
    rooms = Rooms(model, silence)
    tell(rooms.group, 0, 980.0, [3.0, 1.0], now=1.0)
    first = rooms.close(TICK_S)
    tell(rooms.group, 0, 1010.0, [0.45, 0.55], now=15.0)
    rooms.close(3 * TICK_S)  # one tick passed
    observed: list[NDArray[np.float64] | int] = [normal(1010.0), np.array([0.45, 0.55])]
    nothing: list[NDArray[np.float64] | int] = [-1, -1]
    beliefs = after(model, list(model.arrays().D), [normal(980.0), np.array([0.75, 0.25])])
    for number in range(2):
        prior = predicted(model, beliefs, int(first.chosen[0, 0]))
        counts = number == 0 or silence == "unchanged"
        beliefs = after(model, prior, observed if counts else nothing)
    np.testing.assert_allclose(belief(rooms.group, 0), beliefs[0], atol=CLOSE)
    assert (rooms.beside.codes() == rooms.agents.codes()).all()


def test_a_recording_of_ticks_with_uncertain_readings_repeats_bit_for_bit(model: Model) -> None:
    rooms = Rooms(model)
    rng = np.random.default_rng(5)
    for tick in range(0, 40, 2):
        for within in (1.0, 4.0, 7.0):
            agent = int(rng.integers(3))
            now = tick * TICK_S + within
            tell(rooms.group, agent, float(rng.uniform(300, 1700)), rng.dirichlet([1.0, 1.0]).tolist(), now)
            if within < 7.0:
                rooms.decide(now)
        rooms.close((tick + 2) * TICK_S)  # one tick passed
    entries = list(frames(rooms.memory.data))
    for kind in ("decide", "pass"):
        assert any("soft" in entry for entry in entries if entry["kind"] == kind)
    moments: list[Moment] = []
    found = replay(entries, lambda path, digest: model, note(moments))
    assert found.difference is None
    assert found.steps == 20 * 3
    assert moments[-1].population.checkpoint() == rooms.agents.checkpoint()
    bins = [{k: v for k, v in e.items() if k != "soft" or e["kind"] != "pass"} for e in entries]
    replay(bins, lambda path, digest: model, note(moments))
    assert moments[-1].population.checkpoint() != rooms.agents.checkpoint()


def test_of_readings_of_a_tick_the_newest_by_its_stamp_stands_with_its_distribution(model: Model) -> None:
    entry = type(OBSERVE[0])(
        modality="co2", topic="z/{agent}", pointer="/co2", uncertainty=150.0, stamp="/made"
    )
    rooms = group(model, observe=(entry,), rate_hz=1.0 / TICK_S, tick="bundle")
    rooms.reopen(0.0)
    for co2, made, now in ((1250.0, 5.0, 5.5), (500.0, 2.0, 6.0), (980.0, 5.0, 6.5), (1250.0, 5.0, 7.0)):
        message = json.dumps({"co2": co2, "made": made}).encode()
        rooms.inputs.message("z/r0", message, now, now)
    step = rooms.step(TICK_S, 0, TICK_S)
    assert step is not None
    assert step.soft is not None
    np.testing.assert_allclose(step.soft[0][0], normal(1250.0), atol=1e-6)
    rooms.inputs.message("z/r0", b'{"co2": 300, "made": 6.0}', 11.0, 11.0)  # late
    wanted = after(model, list(model.arrays().D), [normal(1250.0), -1])
    np.testing.assert_allclose(belief(rooms, 0), wanted[0], atol=CLOSE)
