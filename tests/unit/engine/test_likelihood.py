"""The likelihood of observations for a shared factor, and impossible evidence."""

import numpy as np
import pytest

from edge_agent.engine import likelihood
from edge_agent.engine.model import Model
from edge_agent.errors import ModelError, ObservationError

A = np.array([[0.8, 0.3, 0.0], [0.2, 0.7, 1.0]])
STAY = np.eye(3)[:, :, None]


@pytest.fixture(scope="module")
def model() -> Model:
    both = np.full((2, 3, 3), 0.5)
    sure = np.array([[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    return Model.from_arrays([A, sure, both], [STAY, STAY], A_deps=[[0], [0], [0, 1]])


def test_the_likelihood_is_the_product_over_what_was_observed(model: Model) -> None:
    found = likelihood.likelihood(model, 0, [[0, -1, 1], [-1, -1, -1], [1, 0, 0]])
    assert np.allclose(found, [[1.0, 0.375, 0.0], [1.0, 1.0, 1.0], [0.2 / 0.7, 1.0, 0.0]], atol=1e-6)


@pytest.mark.parametrize(
    ("factor", "observed", "error", "message"),
    [
        (1, [[0, 0, 0]], ModelError, "no modality depends on factor 1 alone"),
        (0, [[2, 0, 0]], ObservationError, "agent 0, modality 0: 2, expected -1 to 1"),
        (0, [[-1, -1, 0], [0, 1, 0]], ObservationError, "agent 1: no state of factor 0 explains them"),
    ],
)
def test_what_cannot_be_shared_is_named(
    model: Model, factor: int, observed: list, error: type, message: str
) -> None:
    with pytest.raises(error, match=message):
        likelihood.likelihood(model, factor, observed)


@pytest.mark.parametrize("vector", [[0.0, 0.0], [-1.0, 1.0], [np.nan, 1.0], [np.inf, 1.0]])
def test_a_vector_that_is_no_likelihood_has_no_code(vector: list[float]) -> None:
    with pytest.raises(ObservationError, match="not finite, negative, or zero everywhere"):
        likelihood.codes(np.array([vector]))
