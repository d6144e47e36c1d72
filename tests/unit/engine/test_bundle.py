"""A model comes back from a bundle as it was written, and its golden vectors guard it."""

import json

import numpy as np
import pytest

from edge_agent.engine import golden
from edge_agent.engine.model import Model
from edge_agent.engine.population import Population
from edge_agent.errors import BundleError
from edge_agent.wire import bundle, npz

FIELDS = {
    "name": "grid",
    "version": "1",
    "kind": "pomdp",
    "created": 0,
    "source_sha256": "",
    "io": {"modalities": []},
    "memory": {},
    "evaluation": {},
    "requires": {},
}


def write(path, model, entries=None):
    payload = model.entries() | {"golden.npz": golden.make(model)} if entries is None else entries
    bundle.write(path, FIELDS, payload)
    return path


def test_round_trip(case, tmp_path) -> None:
    model = Model.quantized(case.arrays)
    loaded = Model.load(write(tmp_path / "m.eab", model))
    assert loaded.digest == model.digest
    assert loaded.entries() == model.entries()
    assert loaded.name == "grid"
    first, second = Population(model, 3), Population(loaded, 3)
    for observation in case.trace["obs"][:20]:
        rows = np.repeat(observation[np.newaxis], 3, axis=0)
        assert (first.step(rows) == second.step(rows)).all()
    assert (first.codes() == second.codes()).all()


def test_same_model_same_bytes(case) -> None:
    first, second = Model.quantized(case.arrays), Model.quantized(case.arrays)
    assert first.entries() == second.entries()
    assert golden.make(first) == golden.make(second)


def test_golden_vectors_of_another_model_are_refused(load_golden, tmp_path) -> None:
    model = Model.quantized(load_golden("s1_grid5_T1").arrays)
    other = Model.from_arrays(
        [np.eye(25) * 0.8 + 0.2 / 25], [np.repeat(np.eye(25)[:, :, np.newaxis], 5, axis=2)]
    )
    path = write(tmp_path / "m.eab", model, model.entries() | {"golden.npz": golden.make(other)})
    with pytest.raises(BundleError, match="golden"):
        Model.load(path)


@pytest.mark.parametrize("damage", ["missing", "extra", "codes", "shape", "columns", "no golden"])
def test_damage_is_named(load_golden, tmp_path, damage: str) -> None:
    model = Model.quantized(load_golden("s1_grid5_T1").arrays)
    entries = model.entries() | {"golden.npz": golden.make(model)}
    if damage == "missing":
        del entries["A_0.codes.npy"]
    elif damage == "extra":
        entries["A_9.codes.npy"] = entries["A_0.codes.npy"]
    elif damage == "codes":
        entries["A_0.codes.npy"] = entries["A_0.codes.npy"][:-1] + b"\xff"
    elif damage == "shape":
        entries["D_0.npy"] = entries["A_0.codes.npy"]
    elif damage == "columns":
        entries["B_0.palette.npy"] = entries["B_0.palette.npy"][:-4] + b"\0\0\0\x3f"
    else:
        del entries["golden.npz"]
    with pytest.raises(BundleError, match=r"m\.eab: "):
        Model.load(write(tmp_path / "m.eab", model, entries))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"policy_len": 10**9}, "policy_len"),
        ({"policy_len": "2"}, "policy_len"),
        ({"options": {"gamma": 10**400}}, "too large"),
        ({"options": {"num_iter": -1}}, "num_iter: -1, expected an integer"),
        ({"options": {"speed": 1}}, "options: speed is unknown"),
        ({"options": 7}, "int"),
        ({"A": [{"layout": "sparse"}]}, "rows"),
        ({"A": 3}, "int"),
        ({"A_deps": [[0], [1]]}, "missing"),
    ],
)
def test_a_description_of_something_else_is_refused(tmp_path, changes: dict, said: str) -> None:
    model = Model.from_arrays([np.eye(2)], [np.eye(2)[..., None]])
    entries = model.entries() | {"golden.npz": golden.make(model)}
    entries["model.json"] = bundle.canonical_json(json.loads(entries["model.json"]) | changes)
    with pytest.raises(BundleError, match=said):
        Model.load(write(tmp_path / "m.eab", model, entries))


def test_a_sparse_tensor_that_claims_more_than_memory_holds_is_refused(tmp_path) -> None:
    states = 60
    model = Model.from_arrays([np.eye(states)], [np.eye(states)[..., None]])
    entries = model.entries() | {"golden.npz": golden.make(model)}
    text = json.loads(entries["model.json"])
    assert text["A"][0]["layout"] == "sparse"
    text["A"][0]["width"] = 2**40
    entries["model.json"] = bundle.canonical_json(text)
    with pytest.raises(BundleError, match="entries, at most"):
        Model.load(write(tmp_path / "m.eab", model, entries))


@pytest.mark.parametrize("shape", [(8, 10**6, 0), (0, 5, 1), (8, 257, 1), (3,)])
def test_golden_vectors_of_another_form_are_refused(tmp_path, shape: tuple[int, ...]) -> None:
    model = Model.from_arrays([np.eye(2)], [np.eye(2)[..., None]])
    vectors = npz.write({"observations": np.zeros(shape, np.int16)})
    with pytest.raises(BundleError, match=r"golden.npz: .*shape"):
        Model.load(write(tmp_path / "m.eab", model, model.entries() | {"golden.npz": vectors}))


SPARSE = Model.from_arrays([np.eye(30)], [np.eye(30)[..., None]])


def changed(entries: dict[str, bytes], name: str, array: np.ndarray | None) -> dict[str, bytes]:
    out = {key: data for key, data in entries.items() if key != name}
    return out if array is None else out | {name: npz.npy(array)}


@pytest.mark.parametrize(
    ("name", "array", "said"),
    [
        ("A_0.palette.npy", np.array([np.nan], np.float32), "1 to 256 finite values"),
        ("A_0.palette.npy", np.array([-1, 1], np.float32), "1 to 256 finite values"),
        ("A_0.palette.npy", np.zeros(300, np.float32), "1 to 256 finite values"),
        ("A_0.palette.npy", np.zeros(2), "float64 of 1 dimensions"),
        ("A_0.codes.npy", np.full(30, 9, np.uint8), "code 9, the palette has 2"),
        ("A_0.starts.npy", np.arange(30, dtype=np.uint32), "not 30 ranges"),
        ("A_0.starts.npy", np.r_[np.arange(30), 99].astype(np.uint32), "not 30 ranges"),
        ("A_0.starts.npy", np.r_[0, 2, 1, np.arange(3, 31)].astype(np.uint32), "not 30 ranges"),
        ("A_0.columns.npy", np.full(30, 30, np.uint16), "30 columns below 30"),
        ("A_0.columns.npy", np.zeros(30, np.uint16), "column sums to 1"),
        ("D_0.npy", np.zeros(0, np.float32), "without states|expected"),
        ("D_0.npy", np.full(30, np.inf, np.float32), "not of finite float32"),
        ("utility_0.npy", np.zeros((1, 29), np.float32), "expected 30 states"),
        ("utility_0.npy", np.zeros((2, 30), np.float32), "expected 1 or 1 rows"),
        ("policies.npy", np.full((1, 1, 1), 7), "policies: entry"),
        ("more.npy", np.zeros(1), "more.npy is not part of the model"),
        ("golden.npz", None, "golden.npz is missing"),
        ("C_0.npy", None, "C_0.npy is missing"),
    ],
)
def test_what_the_kernel_could_not_take_is_refused_by_name(
    tmp_path, name: str, array: np.ndarray | None, said: str
) -> None:
    entries = SPARSE.entries() | {"golden.npz": golden.make(SPARSE)}
    with pytest.raises(BundleError, match=said):
        Model.load(write(tmp_path / "m.eab", SPARSE, changed(entries, name, array)))
