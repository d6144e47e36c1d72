"""Arrays from files: valid ones are read back, damaged ones are named, nothing is unpickled."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from edge_agent.errors import ConfigError
from edge_agent.wire import npz

DTYPES = st.sampled_from(["<f4", "<f8", "<i8", "u1", "?", "<U3"])


@settings(deadline=None)
@given(
    contents=st.dictionaries(
        st.from_regex(r"[A-Za-z_]\w{0,8}", fullmatch=True),
        DTYPES.flatmap(lambda dtype: arrays(dtype, array_shapes(min_dims=0, max_dims=3, min_side=0))),
        min_size=1,
        max_size=4,
    )
)
def test_what_was_written_comes_back_as_numpy_reads_it(contents: dict[str, np.ndarray]) -> None:
    data = npz.write(contents)
    for found in (npz.parse(data, "x.npz", ConfigError), dict(np.load(io.BytesIO(data)))):
        assert set(found) == set(contents)
        for name, array in contents.items():
            assert found[name].dtype == array.dtype
            np.testing.assert_array_equal(found[name], array)


def test_same_arrays_same_bytes_whatever_the_order() -> None:
    arrays_ = {"b": np.arange(3), "a": np.eye(2)}
    assert npz.write(arrays_) == npz.write(dict(reversed(arrays_.items())))


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("order", ["C", "F"])
def test_numpys_own_files_are_read(tmp_path: Path, save: object, order: str) -> None:
    array = np.asarray(np.arange(12.0).reshape(3, 4), order=order)
    save(tmp_path / "x.npz", a=array)  # type: ignore[operator]
    np.testing.assert_array_equal(npz.read(tmp_path / "x.npz", ConfigError)["a"], array)


def _compressed() -> bytes:
    out = io.BytesIO()
    np.savez_compressed(out, a=np.arange(20.0), b=np.array("[]"))
    return out.getvalue()


@pytest.mark.parametrize("raw", [npz.write({"a": np.arange(20.0), "b": np.eye(3)}), _compressed()])
def test_a_damaged_file_is_refused_in_one_line_or_still_an_array(raw: bytes) -> None:
    for position in range(len(raw)):
        damaged = bytearray(raw)
        damaged[position] ^= 1 << (position % 8)
        try:
            found = npz.parse(bytes(damaged), "x.npz", ConfigError)
        except ConfigError as error:
            assert str(error).startswith("x.npz: ")
            assert "\n" not in str(error)
        else:
            assert all(isinstance(array, np.ndarray) for array in found.values())


def entry(name: str, data: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(name, data)
    return out.getvalue()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "not a whole .npz file"),
        (entry("a.npy", b"hello"), "a is not an array"),
        (entry("a.npy", npz.npy(np.eye(2))[:-1]), "a claims 32 bytes, 31 are there"),
        (entry("a.npy", npz.npy(np.eye(2)) + b"x"), "a claims 32 bytes, 33 are there"),
        (entry("a.npy", npz.npy(np.eye(2)).replace(b"'descr'", b"'descry")), "header is not one"),
        (entry("a.npy", npz.npy(np.eye(2)).replace(b"\x93NUMPY\x01", b"\x93NUMPY\x09")), "header is not one"),
        (entry("a.npy", npz.npy(np.array(1j))), "a holds complex128, expected numbers or text"),
    ],
)
def test_what_is_wrong_is_said(data: bytes, words: str) -> None:
    with pytest.raises(ConfigError, match=r"^x\.npz: ") as caught:
        npz.parse(data, "x.npz", ConfigError)
    assert words in str(caught.value)


def test_more_than_the_limit_is_not_unpacked() -> None:
    data = npz.write({"a": np.zeros(100), "b": np.zeros(100)})
    assert len(npz.parse(data, "x.npz", ConfigError, limit=2000)) == 2
    with pytest.raises(ConfigError, match=r"b\.npy claims 928 bytes, at most 1000 are read"):
        npz.parse(data, "x.npz", ConfigError, limit=1000)


def _npy(header: str, data: bytes = b"") -> bytes:
    text = header.encode()
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + data


@pytest.mark.parametrize(
    "header",
    [
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }",
        "{'shape':(2,),'descr':'<f4','fortran_order':False}\n",
        "{'descr': '<f4', 'shape': (2L,), 'fortran_order': False, }   \n",
    ],
)
def test_a_header_is_read_however_it_is_spelt(header: str) -> None:
    assert npz.header(io.BytesIO(_npy(header))) == ((2,), False, np.dtype("<f4"))


@pytest.mark.parametrize(
    "header",
    [
        "",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2,",
        "{'descr': '<f4', 'fortran_order': False}",
        "{'descr': '<f4', 'fortran_order': 0, 'shape': (2,)}",
        "{'descr': '<f3', 'fortran_order': False, 'shape': (2,)}",
        "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2,)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (-2,)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999,)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), 'more': exit()}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (" + "1," * 40 + ")}",
        "(" * 5000,
    ],
)
def test_a_header_of_another_form_is_not_evaluated(header: str) -> None:
    with pytest.raises(ValueError, match="header"):
        npz.header(io.BytesIO(_npy(header)))
