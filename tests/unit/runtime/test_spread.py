"""Readings with an uncertainty and arrays of probabilities, from the message to the beliefs and back."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from edge_agent.config.agent_names import AgentNames
from edge_agent.config.records import ObserveConfig, PopulationConfig
from edge_agent.engine import Model, Population
from edge_agent.engine import reference as float64
from edge_agent.engine.binding import Binding, Fault
from edge_agent.errors import ConfigError
from edge_agent.memory.arena import Arena, total
from edge_agent.runtime import assembly
from edge_agent.runtime.peers.loan_payload import movable
from edge_agent.runtime.population.channels import channels
from edge_agent.runtime.population.group import Group, Step
from edge_agent.runtime.population.shadow import Shadow
from edge_agent.runtime.population.spread import Spread
from edge_agent.runtime.recording.explain import explain
from edge_agent.runtime.recording.recorder import begin_frame, frames, step_frame
from edge_agent.runtime.recording.replay import Moment, replay
from tests.unit.runtime.town import BOARD

EDGES = (600.0, 1000.0, 1400.0)
META: dict[str, Any] = {
    "modalities": [{"name": "co2", "unit": "ppm", "edges": EDGES}, {"name": "door"}],
    "factors": [{"name": "air"}],
    "controls": [{"name": "fan", "values": ["off", "on"]}],
}
BINDING = Binding(META, (4, 2), (2,), "rooms.eab")


def said(document: Any, **entry: Any) -> Any:
    """Return what an observe entry reads in a message."""
    modality = entry.pop("modality", "co2")
    stated = ObserveConfig(modality=modality, topic="z", pointer="/x", **entry)
    (channel,) = channels([("observe[0].modality", stated)], BINDING, AgentNames("a", 1, "p"), "p")
    (field,) = channel.fields
    value = field.value(document)
    return value if value is None or isinstance(value, Fault) else field.encode(value, document)


@given(
    value=st.floats(-3000.0, 5000.0), deviation=st.floats(1e-3, 1e5), scale=st.sampled_from([1.0, 0.5, -2.0])
)
def test_an_uncertain_reading_is_the_normal_distribution_over_the_bins(
    value: float, deviation: float, scale: float
) -> None:
    found = said({"x": value}, uncertainty=deviation, scale=scale)
    below = [0.0, *(NormalDist(value * scale, deviation * abs(scale)).cdf(e) for e in EDGES), 1.0]
    np.testing.assert_allclose(found.weights, np.diff(below), atol=1e-6)
    assert found.code == said({"x": value}, scale=scale)


@given(st.lists(st.floats(0.0, 1e300), min_size=4, max_size=4).filter(lambda p: sum(p) > 0))
def test_probabilities_are_normalised(given: list[float]) -> None:
    found = said({"x": given}, probabilities=True)
    shares = np.array(given) / max(given)
    np.testing.assert_allclose(found.weights, shares / shares.sum(), atol=1e-6)
    assert given[found.code] == max(given)


@pytest.mark.parametrize(
    ("value", "entry", "expected"),
    [
        ([0.5, 0.5, 0.0], {"probabilities": True}, Fault.NOT_PROBABILITIES),
        ([0.5, 0.5, 0.5, -0.5], {"probabilities": True}, Fault.NOT_PROBABILITIES),
        ([0, 0, 0, 0], {"probabilities": True}, Fault.NOT_PROBABILITIES),
        ([1, 0, 0, float("nan")], {"probabilities": True}, Fault.NOT_PROBABILITIES),
        ([1, 0, 0, float("inf")], {"probabilities": True}, Fault.NOT_PROBABILITIES),
        ([1e308, 1e308, 1e308, 1e308], {"probabilities": True}, Fault.NOT_PROBABILITIES),
        ([1, 0, 0, True], {"probabilities": True}, Fault.NOT_PROBABILITIES),
        ([10**400, 0, 0, 0], {"probabilities": True}, Fault.NOT_PROBABILITIES),
        ([1, 0, 0, "0"], {"probabilities": True}, Fault.NOT_PROBABILITIES),
        (700, {"probabilities": True}, Fault.NOT_PROBABILITIES),
        ([0.5, 0.5, 0.0, 0.0], {}, Fault.NOT_A_NUMBER),
        ([0.5, 0.5, 0.0, 0.0], {"uncertainty": 1.0}, Fault.NOT_A_NUMBER),
        (10**400, {"uncertainty": 1.0}, Fault.OUT_OF_RANGE),
        (None, {"uncertainty": 1.0}, None),
        (None, {"probabilities": True}, None),
    ],
)
def test_what_is_no_distribution_is_a_fault(value: Any, entry: dict[str, Any], expected: Any) -> None:
    assert said({"x": value}, **entry) is expected


@pytest.mark.parametrize(
    ("message", "stated", "expected"),
    [
        ({"x": 900, "s": 50}, {}, 50.0),
        ({"x": 900, "s": 50}, {"uncertainty": 9.0}, 50.0),
        ({"x": 900}, {"uncertainty": 9.0}, 9.0),
        ({"x": 900, "s": None}, {"uncertainty": 9.0}, 9.0),
        ({"x": 900, "s": 0}, {}, 0.0),
        ({"x": 900}, {}, Fault.NO_SUCH_KEY),
        ({"x": 900, "s": -1}, {}, Fault.OUT_OF_RANGE),
        ({"x": 900, "s": float("nan")}, {}, Fault.OUT_OF_RANGE),
        ({"x": 900, "s": "wide"}, {}, Fault.NOT_A_NUMBER),
        ({"x": 900, "s": True}, {}, Fault.NOT_A_NUMBER),
    ],
)
def test_a_message_may_state_its_own_deviation(message: Any, stated: Any, expected: Any) -> None:
    found = said(message, uncertainty_pointer="/s", **stated)
    if isinstance(expected, Fault):
        assert found is expected
    elif expected == 0.0:
        assert found == 1  # a certain reading: its bin
    else:
        assert found.weights[0] == pytest.approx(NormalDist(900, expected).cdf(600), abs=1e-6)


def test_what_the_model_cannot_use_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match=r"observe\[0\]\.uncertainty: found 2\.0, expected edges of modal"):
        said({}, modality="door", uncertainty=2.0)
    numbers = Binding({}, (0, 0), (2,), "net.eab")
    entry = ObserveConfig(modality="0", topic="z", probabilities=True)
    with pytest.raises(ConfigError, match=r"probabilities: found True, expected none: net\.eab is a network"):
        channels([("observe[0].modality", entry)], numbers, AgentNames("a", 1, "p"), "p")


@pytest.fixture
def model() -> Model:
    rng = np.random.default_rng(3)
    likelihood = [rng.dirichlet(np.ones(n), size=3).T for n in (4, 2)]
    transition = rng.dirichlet(np.ones(3), size=(3, 2)).transpose(2, 0, 1)
    preferences = [rng.normal(size=4), np.zeros(2)]
    return Model.from_arrays(likelihood, [transition], preferences, meta=META)


OBSERVE = (
    ObserveConfig(modality="co2", topic="z/{agent}", pointer="/co2", uncertainty=150.0, silence="unchanged"),
    ObserveConfig(modality="door", topic="d/{agent}", probabilities=True, stale_s=20.0, silence="unchanged"),
)


def group(
    model: Model, step: Any = "arrival", observe: tuple[ObserveConfig, ...] = OBSERVE, **more: Any
) -> Group:
    config = PopulationConfig(
        **{
            "name": "rooms",
            "bundle": "rooms.eab",
            "size": 3,
            "agents": "r{index}",
            "step": step,
            "observe": observe,
            "rate_hz": 1.0,
            "tick": "arrival",
        }
        | more
    )
    item = assembly.prepare(config, BOARD, "population[0]", lambda _: (model, "digest"))
    columns = [column for _, region in item.regions("rooms") for column in region]
    return assembly.build(item, Arena(2 * total(columns) + 65536), "rooms")


def tell(rooms: Group, agent: int, co2: float | None, door: list[float] | None, now: float = 10.0) -> None:
    if co2 is not None:
        rooms.inputs.message(f"z/r{agent}", json.dumps({"co2": co2}).encode(), now, now)
    if door is not None:
        rooms.inputs.message(f"d/r{agent}", json.dumps(door).encode(), now, now)


def stepped(rooms: Group, now: float) -> Step:
    step = rooms.step(now, 0)
    assert step is not None
    rooms.observations.answered(step.agents)
    return step


def belief(rooms: Group, agent: int) -> NDArray[np.float32]:
    assert isinstance(rooms.model_port, Population)
    return np.asarray(rooms.model_port.beliefs(0)[agent])


def normal(value: float) -> NDArray[np.float64]:
    cdf = [0.0, *(NormalDist(value, 150.0).cdf(edge) for edge in EDGES), 1.0]
    return np.diff(cdf)


def test_beliefs_follow_the_distributions_that_messages_gave(model: Model) -> None:
    rooms = group(model)
    tell(rooms, 0, 980.0, [3.0, 1.0])
    tell(rooms, 2, None, [1.0, 9.0])
    stepped(rooms, 10.5)
    arrays = model.arrays()
    wanted, _ = float64.infer(arrays, arrays.D, [normal(980.0), np.array([0.75, 0.25])])
    np.testing.assert_allclose(belief(rooms, 0), wanted[0], atol=6e-3)
    # The same by the formula: ln q(s) = ln D(s) + the sum over outcomes of p(o) ln A(o | s).
    logs = np.log(arrays.D[0]) + sum(
        p @ np.log(np.asarray(a)) for p, a in zip((normal(980.0), [0.75, 0.25]), arrays.A, strict=True)
    )
    np.testing.assert_allclose(wanted[0], np.exp(logs) / np.exp(logs).sum(), atol=1e-9)
    wanted, _ = float64.infer(arrays, arrays.D, [-1, np.array([0.1, 0.9])])
    np.testing.assert_allclose(belief(rooms, 2), wanted[0], atol=6e-3)


def test_a_stale_distribution_does_not_count_and_an_outcome_replaces_one(model: Model) -> None:
    rooms = group(model, observe=(OBSERVE[0], OBSERVE[1], ObserveConfig(modality="door", topic="e/{agent}")))
    tell(rooms, 0, 980.0, [3.0, 1.0])
    step = stepped(rooms, 10.5)
    assert step.soft is not None
    assert set(step.soft) == {0, 1}
    rooms.inputs.message("e/r0", b"1", 11.0, 11.0)
    step = stepped(rooms, 11.5)
    assert step.observed.tolist() == [[1, 1]]
    assert step.soft is not None
    assert set(step.soft) == {0}  # the door is certain now
    rooms.inputs.message("e/r0", b"1", 400.0, 400.0)
    step = stepped(rooms, 400.5)
    assert (step.observed.tolist(), step.soft) == ([[-1, 1]], None)


def test_a_stale_distribution_does_not_count_beside_a_fresh_one(model: Model) -> None:
    rooms = group(model, step="rate", tick="ignore")
    tell(rooms, 0, None, [0.9, 0.1], now=10.0)
    chosen = int(stepped(rooms, 10.5).chosen[0, 0])
    tell(rooms, 1, None, [0.2, 0.8], now=100.0)
    step = stepped(rooms, 100.5)
    assert step.observed[:, 1].tolist() == [-1, 1, -1]
    assert step.soft is not None
    np.testing.assert_allclose(step.soft[1], [[0.0, 0.0], [0.2, 0.8], [0.0, 0.0]], atol=1e-6)
    arrays = model.arrays()
    before, _ = float64.infer(arrays, arrays.D, [-1, np.array([0.9, 0.1])])
    np.testing.assert_allclose(belief(rooms, 0), float64.predict(arrays, before, [chosen])[0], atol=6e-3)


def test_a_bulk_message_s_bins_replace_distributions(model: Model) -> None:
    rooms = group(model)
    tell(rooms, 0, 980.0, [3.0, 1.0])
    rooms.observations.set_all(np.array([[3, -1], [-1, -1], [-1, -1]], np.int16), 10.2)
    step = stepped(rooms, 10.5)
    assert step.observed.tolist() == [[3, 0]]
    assert step.soft is not None
    assert set(step.soft) == {1}


def test_a_population_without_such_entries_has_no_room_for_them(model: Model) -> None:
    plain = tuple(ObserveConfig(modality=e.modality, topic=e.topic, pointer=e.pointer) for e in OBSERVE)
    sizes = []
    for observe in (plain, OBSERVE):
        config = PopulationConfig(name="r", bundle="b", size=1000, observe=observe, rate_hz=1.0)
        item = assembly.prepare(config, BOARD, "p", lambda _: (model, "digest"))
        sizes.append(sum(column.nbytes for _, region in item.regions("r") for column in region))
    assert sizes[1] - sizes[0] == 1000 * (4 + 2) * 4


def recorded(rooms: Group) -> Iterator[bytes]:
    rng = np.random.default_rng(7)
    yield begin_frame("rooms", rooms)
    for tick in range(30):
        now = 10.0 * tick
        for agent in range(3):
            door = rng.dirichlet([1.0, 1.0]).tolist() if rng.random() < 0.5 else None
            tell(rooms, agent, float(rng.uniform(300, 1700)) if rng.random() < 0.8 else None, door, now)
        if rooms.wants_step:
            step = stepped(rooms, now)
            yield step_frame("rooms", tick, step, 3)


def note(moments: list[Moment]) -> Callable[[str, int, Moment], bool]:
    def watch(name: str, tick: int, moment: Moment) -> bool:
        moments.append(moment)
        return False

    return watch


def test_a_recording_repeats_distributions_bit_for_bit(model: Model) -> None:
    rooms = group(model)
    data = b"".join(recorded(rooms))
    moments: list[Moment] = []
    found = replay(frames(data), lambda path, digest: model, note(moments))
    assert found.difference is None
    assert found.steps > 20
    assert isinstance(rooms.model_port, Population)
    assert moments[-1].population.checkpoint() == rooms.model_port.checkpoint()
    uncertain = next(m for m in moments if m.soft is not None and 0 in m.soft and m.soft[0][0].any())
    assert uncertain.soft is not None
    weights = uncertain.soft[0][0]
    text = explain(uncertain, int(uncertain.agents[0])).observed[0]
    assert text.endswith(f"(probability {weights[int(uncertain.observed[0, 0])]:.3g})")
    bins = [{k: v for k, v in entry.items() if k != "soft"} for entry in frames(data)]
    without: list[Moment] = []
    replay(bins, lambda path, digest: model, note(without))
    assert without[-1].population.checkpoint() != rooms.model_port.checkpoint()


def test_distributions_that_do_not_fit_the_model_are_refused(model: Model) -> None:
    entries = list(frames(b"".join(recorded(group(model)))))
    step = next(entry for entry in entries if "soft" in entry)
    step["soft"] = {"0": b"1234"}
    with pytest.raises(ConfigError, match="recording: step: soft: 0 has 4 bytes, expected"):
        replay(entries, lambda path, digest: model)
    step["soft"] = {"7": b""}
    with pytest.raises(ConfigError, match="soft has modality '7', expected one of 0, 1"):
        replay(entries, lambda path, digest: model)


def test_a_shadow_sees_the_same_distributions(model: Model) -> None:
    rooms = group(model)
    beside = Population(model, 3)
    rooms.shadow = Shadow(beside, "other", "other.eab", "rooms/other")
    tell(rooms, 0, 980.0, [3.0, 1.0])
    stepped(rooms, 10.5)
    assert isinstance(rooms.model_port, Population)
    assert (beside.codes() == rooms.model_port.codes()).all()


def test_a_population_of_uncertain_readings_is_not_lent(model: Model) -> None:
    plain = tuple(ObserveConfig(modality=e.modality, topic=e.topic) for e in OBSERVE)
    assert movable(group(model, observe=plain).config)
    assert not movable(group(model).config)


def test_a_spread_stands_for_its_bin_in_the_history(model: Model) -> None:
    rooms = group(model)
    tell(rooms, 1, 1010.0, [0.2, 0.8])
    stepped(rooms, 10.5)
    assert rooms.history.select(1)["observation"].tolist() == [[2, 1]]
    assert rooms.observations.latest(1) == ["1000..1400 ppm", "1"]
    assert isinstance(said({"x": 1010}, uncertainty=1.0), Spread)
