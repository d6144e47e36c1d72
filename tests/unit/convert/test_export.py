"""``export_pymdp`` on agents shaped as pymdp's two generations shape theirs; live ones run in tests/parity.

The attributes are those of ``vars(agent)`` in pymdp 1.0.4 (JAX: a batch axis, policies in an object) and in
0.0.7.1 (legacy: object arrays, a list of policies).
"""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edge_agent.errors import ModelError
from edge_convert import export_pymdp
from edge_convert.readers import pymdp_npz

GOLDEN = Path(__file__).parents[2] / "golden" / "models" / "s3_tmaze_T2.npz"
SOURCE = pymdp_npz.read(GOLDEN).arrays


def jax_agent(**changes: Any) -> SimpleNamespace:
    def batched(tensors: Any) -> list[Any]:
        return [np.stack([np.full_like(t, 1 / t.shape[0]), t]).astype(np.float32) for t in tensors]

    fields = {
        "batch_size": 2,
        "action_maps": None,
        "A": batched(SOURCE.A),
        "B": batched(SOURCE.B),
        "C": batched(SOURCE.C),
        "D": batched(SOURCE.D),
        "E": np.full((2, 25), 0.04, np.float32),
        "A_dependencies": [list(d) for d in SOURCE.A_deps],
        "B_dependencies": [list(d) for d in SOURCE.B_deps],
        "policies": SimpleNamespace(policy_arr=SOURCE.policies),
        "gamma": np.array([8.0, 4.0]),
        "alpha": np.array([16.0, 2.0]),
    }
    return SimpleNamespace(**fields | changes)


def legacy_agent() -> SimpleNamespace:
    def boxed(tensors: Any) -> np.ndarray:
        box = np.empty(len(tensors), dtype=object)
        box[:] = list(tensors)
        return box

    # Legacy likelihoods span all factors.
    A = [SOURCE.A[0][..., None].repeat(2, axis=-1), SOURCE.A[1], SOURCE.A[2]]
    return SimpleNamespace(
        A=boxed(A),
        B=boxed(SOURCE.B),
        C=boxed(SOURCE.C),
        D=boxed(SOURCE.D),
        E=np.full(25, 0.04),
        policies=list(SOURCE.policies),
        gamma=16.0,
        alpha=16.0,
        use_states_info_gain=False,
        sampling_mode="marginal",
        inference_params={"num_iter": 10, "dF": 1.0, "dF_tol": 0.001},
    )


def test_jax_agent_of_a_batch_comes_back(tmp_path: Path) -> None:
    arrays = pymdp_npz.read(export_pymdp(jax_agent(), tmp_path / "a.npz", batch=1, traces=0)).arrays
    for letter in "ABCD":
        for found, wanted in zip(getattr(arrays, letter), getattr(SOURCE, letter), strict=True):
            np.testing.assert_allclose(found, wanted, rtol=1e-6)
    assert (arrays.A_deps, arrays.B_deps) == (SOURCE.A_deps, SOURCE.B_deps)
    assert np.array_equal(arrays.policies, SOURCE.policies)
    assert (arrays.gamma, arrays.alpha) == (4.0, 2.0)


def test_legacy_agent_comes_back(tmp_path: Path) -> None:
    arrays = pymdp_npz.read(
        export_pymdp(legacy_agent(), tmp_path / "a.npz", traces=0, allow=["inference_params"])
    ).arrays
    assert arrays.A_deps == ((0, 1), (0, 1), (0, 1))
    assert np.array_equal(arrays.A[0][:, :, 1], SOURCE.A[0])
    assert np.array_equal(arrays.B[0], SOURCE.B[0])
    assert np.array_equal(arrays.policies, SOURCE.policies)


def test_an_agent_that_is_to_learn_on_the_device_carries_its_concentrations(tmp_path: Path) -> None:
    pA = [np.stack([np.full_like(a, 9.0), 1.0 + 4.0 * a]) for a in SOURCE.A]
    agent = jax_agent(pA=pA, lr_pA=0.5)
    path = export_pymdp(agent, tmp_path / "a.npz", batch=1, traces=0, learn=["A"])
    carried = pymdp_npz.read(path).model("m").learning
    assert carried is not None
    with np.load(path) as found:
        for n, wanted in enumerate(pA):
            np.testing.assert_allclose(found[f"pA_{n}"], wanted[1], rtol=1e-6)
        assert (str(found["learn"]), float(found["lr_pA"])) == ('["A"]', 0.5)


@pytest.mark.parametrize(
    ("learn", "words"),
    [(["B"], "learn: the agent has no pB, expected concentrations of B"), (["E"], "learn: found 'E'")],
)
def test_what_an_agent_can_not_learn_is_refused(learn: list[str], words: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=words):
        export_pymdp(jax_agent(pB=None), tmp_path / "a.npz", traces=0, learn=learn)


def test_meta_travels(tmp_path: Path) -> None:
    meta = {"factors": [{"name": "place"}, {"name": "reward"}]}
    assert pymdp_npz.read(export_pymdp(jax_agent(), tmp_path / "a.npz", meta=meta, traces=0)).meta == meta


def test_same_agent_same_bytes(tmp_path: Path) -> None:
    first, second = (
        export_pymdp(jax_agent(), tmp_path / name, traces=0).read_bytes() for name in ("1.npz", "2.npz")
    )
    assert first == second


@pytest.mark.parametrize(
    ("agent", "batch", "words"),
    [
        (jax_agent(), 2, "batch 2, expected 0 to 1"),
        (jax_agent(preprocess_fn=len), 0, "agent: preprocess_fn is set: the device cannot run Python code"),
        (
            jax_agent(inference_algo="bp"),
            0,
            "agent: inference_algo='bp': the engine has fpi, ovf and exact, and",
        ),
        (
            jax_agent(inference_algo="mmp", categorical_obs=True),
            0,
            "agent: inference_algo='mmp' with categorical_obs=True: the engine has fpi",
        ),
        (jax_agent(learn_B=True), 0, "agent: learn_B=True with learning_mode='online': its tables change"),
        (jax_agent(D=[np.full((2, 5), -0.2), np.full((2, 2), 0.5)]), 0, "D_0: entry (0,) is -0.2"),
    ],
)
def test_agent_that_the_engine_cannot_run_is_refused(
    tmp_path: Path, agent: SimpleNamespace, batch: int, words: str
) -> None:
    with pytest.raises(ModelError) as caught:
        export_pymdp(agent, tmp_path / "a.npz", batch=batch, traces=0)
    assert words in str(caught.value)
    assert not (tmp_path / "a.npz").exists()
