"""Concentrations in a bundle: they come back as they were given, and are checked."""

import json
from dataclasses import replace

import numpy as np
import pytest

from edge_agent.engine import payload
from edge_agent.engine.counts.concentrations import Concentrations
from edge_agent.engine.counts.learner import Learner
from edge_agent.engine.model import Model
from edge_agent.engine.population import Population
from edge_agent.errors import ModelError
from tests.unit.engine.counts.conftest import readings
from tests.unit.engine.counts.test_columns import line


def written(model: Model) -> dict[str, bytes]:
    return payload.entries(model)


def loaded(entries: dict[str, bytes]) -> Model:
    model = Model(name="again", meta={}, **payload.fields(entries))
    payload.check(model)
    return model


def grid() -> tuple[Model, Concentrations]:
    A, B = line(np.random.default_rng(0))
    model = Model.from_arrays([A], [B])
    return model, Concentrations.of(model, [10 * A + 0.01], [20 * B + 0.5], lr_pB=0.25)


def test_what_a_bundle_carries_counts_and_learns_as_what_was_given(learned) -> None:
    model = replace(learned.model, learning=learned.concentrations.stored())
    again = loaded(written(model))
    assert payload.digest(again) == payload.digest(model) != payload.digest(learned.model)
    table = readings(np.random.default_rng(0), 30, 12)
    found = []
    for own, given in ((model, learned.concentrations), (again, Concentrations.carried(again))):
        learner = Learner(Population(own, 30, changing=True), given, every=4)
        acts = [learner.population.step(one).tobytes() for one in table]
        found.append((acts, learner.increments().encoded()))
        assert learner.swaps == 3
    assert found[0][1] == found[1][1]
    assert found[0][0] == found[1][0]


def test_large_concentrations_are_carried_by_their_entries() -> None:
    model, given = grid()
    again = loaded(written(replace(model, learning=given.stored())))
    carried = Concentrations.carried(again)
    assert carried.A[0].sparse
    assert carried.B[0].sparse
    assert carried.lr_pB == 0.25
    learner = Learner(Population(again, 3, changing=True), carried, every=2)
    after = carried.after(learner.increments())
    assert after.A[0] == pytest.approx(given.A[0], rel=1e-6)
    assert after.B[0] == pytest.approx(given.B[0], rel=1e-6)


def test_a_model_without_concentrations_keeps_its_bytes() -> None:
    model, given = grid()
    plain, with_counts = written(model), written(replace(model, learning=given.stored()))
    assert "learning" not in json.loads(plain["model.json"])
    assert not any(name.startswith("p") and name[1] in "ABD" for name in plain)
    assert {name: with_counts[name] for name in plain if name != "model.json"} == {
        name: data for name, data in plain.items() if name != "model.json"
    }


@pytest.mark.parametrize(
    ("change", "line_"),
    [
        ({"lr_pA": 0.0}, "lr_pA: 0.0, expected a number above 0"),
        ({"lr_pB": float("nan")}, "lr_pB: nan, expected a number above 0"),
        ({"A": (None,), "B": (None,)}, "nothing learns"),
    ],
)
def test_bad_learning_is_refused(change, line_: str) -> None:
    model, given = grid()
    with pytest.raises(ModelError, match=line_):
        payload.check(replace(model, learning=given.stored()._replace(**change)))


def test_concentrations_of_another_shape_or_without_counts_are_refused() -> None:
    model, given = grid()
    own = given.stored()
    empty = replace(own.A[0], palette=np.zeros_like(own.A[0].palette), background=0.0)
    with pytest.raises(ModelError, match="pA_0: expected counts from 0, and one above 0 in each column"):
        payload.check(replace(model, learning=own._replace(A=(empty,))))
    with pytest.raises(ValueError, match=r"pB_0: 40 x 40, expected 120 x 40"):
        payload.check(replace(model, learning=own._replace(B=own.A)))
    with pytest.raises(ModelError, match="no concentrations"):
        Concentrations.carried(model)
