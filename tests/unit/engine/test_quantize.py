"""Palettes and codes: lossless where they can be, close where they cannot."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.engine import quantize, storage


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**32 - 1), st.integers(1, 256), st.integers(1, 4))
def test_few_values_are_kept_exactly(seed: int, values: int, controls: int) -> None:
    generator = np.random.default_rng(seed)
    tensor = generator.choice(generator.random(values), size=(5, 7, controls))
    palette, codes = quantize.palette_codes(tensor)
    np.testing.assert_array_equal(palette[codes], tensor.astype(np.float32))


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.05, 0.3, 1.0]))
def test_many_values(seed: int, concentration: float) -> None:
    tensor = np.random.default_rng(seed).dirichlet(np.full(30, concentration), size=40).T
    tensor[tensor < 1e-9] = 0
    tensor /= tensor.sum(axis=0)
    palette, codes = quantize.palette_codes(tensor)
    found = palette.astype(np.float64)[codes]
    assert ((found == 0) == (tensor == 0)).all()
    np.testing.assert_allclose(found.sum(axis=0), 1, atol=2e-2)
    hellinger = ((np.sqrt(found) - np.sqrt(tensor)) ** 2).sum(axis=0)
    assert hellinger.max() < 1e-3


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**32 - 1), st.integers(1, 200), st.sampled_from([0.01, 0.1, 1.0, 10.0]))
def test_belief_codes(seed: int, states: int, concentration: float) -> None:
    q = np.random.default_rng(seed).dirichlet(np.full(states, concentration))
    q = q / q.sum()
    found = quantize.beliefs_from_codes(quantize.belief_codes(q))
    kl = (q * np.log(np.maximum(q, 1e-300) / np.maximum(found, 2.3e-16))).sum()
    assert kl < 5e-4


def test_codes_of_many_beliefs_are_those_of_each() -> None:
    beliefs = np.array([[[0.5, 0.5, 0.0], [1.0, 0.0, 0.0]], [[0.1, 0.2, 0.7], [1e-12, 0.9, 0.1]]])
    codes = quantize.belief_codes(beliefs)
    wanted = np.floor(255 * (beliefs / beliefs.max(axis=-1, keepdims=True)) ** 0.25 + 0.5)
    np.testing.assert_array_equal(codes, wanted)
    assert codes.dtype == np.uint8
    found = quantize.beliefs_from_codes(codes)
    np.testing.assert_allclose(found.sum(axis=-1), 1.0)
    np.testing.assert_allclose(found, beliefs, atol=0.01)


@pytest.mark.parametrize("distinct", [256, 257, 5000])
def test_a_palette_has_256_values_at_most_and_bytes_for_codes(distinct: int) -> None:
    tensor = np.random.default_rng(1).permutation(np.arange(1, distinct + 1) / distinct)
    palette, codes = quantize.palette_codes(tensor)
    assert len(palette) <= 256
    assert (palette.dtype, codes.dtype) == (np.float32, np.uint8)
    assert codes.max() == len(palette) - 1
    assert len(np.unique(codes)) == distinct or distinct > 256
    if distinct == 256:
        np.testing.assert_array_equal(palette[codes], tensor.astype(np.float32))


def test_a_palette_reaches_from_the_rarest_to_the_largest_and_keeps_zero() -> None:
    tensor = np.concatenate([[0.0, 1e-6, 1.0, 3e-3, 0.1], np.linspace(0.4, 0.5, 3000)])
    palette, codes = quantize.palette_codes(tensor)
    found = palette[codes].astype(np.float64)
    assert found[0] == 0.0
    np.testing.assert_allclose(found[1:5], tensor[1:5], rtol=1e-5)  # lone values have a level of their own
    assert np.abs(found - tensor).max() < 1e-3
    assert len(np.unique(codes)) > 100  # and where the values lie, there are levels


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**32 - 1), st.integers(1, 20), st.integers(1, 20), st.integers(1, 3), st.floats(0, 1))
def test_storage_gives_back_what_the_codes_say(
    seed: int, rows: int, columns: int, controls: int, filled: float
) -> None:
    generator = np.random.default_rng(seed)
    tensor = np.where(generator.random((rows, columns, controls)) < filled, 0.25, 0.0)
    stored = storage.store(tensor, controls=True)
    expected = np.moveaxis(tensor, -1, 0).reshape(rows * controls, columns)
    np.testing.assert_array_equal(stored.matrix(), expected)
    arrays = {name: storage.mapped(data) for name, data in storage.entries("B_0", stored).items()}
    again = storage.loaded("B_0", storage.described(stored), arrays)
    np.testing.assert_array_equal(again.matrix(), expected)


def test_the_cheaper_layout_is_chosen() -> None:
    assert storage.store(np.eye(50), controls=False).sparse
    dense = np.random.default_rng(0).choice(np.arange(1, 9) / 10, size=(50, 50))
    assert not storage.store(dense, controls=False).sparse
