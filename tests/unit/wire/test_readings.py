"""The file of readings and its table: what is written comes back, and what is wrong is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_agent.errors import ConfigError
from edge_agent.wire import npz, readings_csv
from edge_agent.wire.readings import (
    FIELDS,
    MAX_AGENTS,
    MAX_EVENTS,
    ControlNames,
    ModalityNames,
    Readings,
    read,
    write,
)


def example() -> Readings:
    return Readings(
        ("hall", "lab"),
        (ModalityNames("co2", "ppm", (600.0, 1000.0)), ModalityNames("fan", labels=("off", "on, slow"))),
        (ControlNames("fan", ("off", "on, slow")),),
        np.array([1.5e9, 1.5e9, 1.5e9 + 60.25, 1.5e9 + 90]),
        np.array([0, 0, 1, 1]),
        np.array([0, 1, 0, 1]),
        np.array([712.5, 1.0, np.nan, np.nan]),
        np.array([1, 1, 2, -1]),
        np.array([1.5e9 + 1]),
        np.array([1]),
        np.array([0]),
        np.array([1]),
        960.0,
    )


def same(one: Readings, two: Readings) -> None:
    for name in Readings.__slots__:
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name), err_msg=name)


def test_what_is_written_comes_back_in_the_order_of_its_times(tmp_path: Path) -> None:
    path, found = tmp_path / "day.npz", example()
    write(path, found)
    same(read(path), found)
    order = [2, 0, 3, 1]
    shuffled = Readings(
        *(getattr(found, n) for n in ("agents", "modalities", "controls")),
        *(getattr(found, n)[order] for n in ("time", "agent", "modality", "value", "bin")),
        *(getattr(found, n) for n in ("action_time", "action_agent", "action_control", "action")),
        found.tick_seconds,
    )
    write(tmp_path / "other.npz", shuffled)
    same(read(tmp_path / "other.npz"), found)
    assert np.load(path)["reading_time"].dtype == np.float64  # numpy alone reads it, too


def _set(key: str, value: Any) -> Any:
    return lambda arrays: arrays.__setitem__(key, np.array(value))


def _meta(**changes: Any) -> Any:
    def change(arrays: dict[str, Any]) -> None:
        arrays["meta"] = np.array(json.dumps(json.loads(str(arrays["meta"])) | changes))

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda a: a.pop("reading_bin"), "expected reading_bin among them"),
        (_set("format", 2), "format: found 2; expected 1"),
        (_set("meta", "{"), "meta: found no JSON"),
        (_meta(agents="hall"), "meta.agents: expected a list"),
        (_meta(agents=["hall", "hall"]), "meta.agents: found a text twice"),
        (_meta(clock="sun"), "meta.clock: found sun"),
        (_meta(tick_seconds=-1), "meta.tick_seconds: found -1"),
        (_meta(modalities=[{"name": "co2", "edges": [2, 1]}, {"name": "fan"}]), "meta.modalities[0].edges"),
        (_set("reading_agent", [0, 0, 1, 2]), "reading_agent[3]: found 2; expected 0 to 1"),
        (_set("reading_bin", [1, 1, 3, -1]), "reading_bin: found 3; expected at most 2"),
        (_set("reading_value", [1.0, np.inf, 0, 0]), "reading_value: found an infinite number"),
        (_set("reading_value", [1.0]), "reading_value: found float64 (1,); expected float64 (4,)"),
        (_set("reading_time", [3.0, 2.0, 4.0, 5.0]), "reading_time[1]: found an earlier time"),
        (_set("reading_time", [3.0, np.nan, 4.0, 5.0]), "reading_time[1]: found nan"),
        (_set("action_number", [2]), "action_number: found 2; expected at most 1"),
        (_set("action_control", [0.0]), "action_control: found float64"),
    ],
)
def test_what_is_wrong_is_one_line(tmp_path: Path, change: Any, said: str) -> None:
    path = tmp_path / "day.npz"
    write(path, example())
    arrays = dict(npz.read(path, ConfigError))
    change(arrays)
    path.write_bytes(npz.write(arrays))
    with pytest.raises(ConfigError) as refused:
        read(path)
    assert said in str(refused.value)
    assert str(refused.value).startswith(f"{path}: ")
    assert "\n" not in str(refused.value)


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "day.npz").write_bytes(b"PK but no archive")
    with pytest.raises(ConfigError, match=r"not a whole \.npz file"):
        read(tmp_path / "day.npz")
    with pytest.raises(ConfigError, match="No such file"):
        read(tmp_path / "absent.npz")


def test_the_table_has_a_row_for_each_time_and_agent_and_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "day.csv"
    readings_csv.write(path, example())
    lines = path.read_text().splitlines()
    assert lines[0] == "time,agent,co2,fan,bin:co2,bin:fan,action:fan"
    assert lines[1] == '2017-07-14T02:40:00+00:00,hall,712.5,"on, slow",1,1,'
    assert lines[2] == '2017-07-14T02:40:01+00:00,lab,,,,,"on, slow"'
    columns = readings_csv.Columns({"co2": "co2", "fan": "fan"}, {"fan": "action:fan"})
    found = readings_csv.read(path, columns)
    assert (found.time[0], found.value[0], found.modalities[1].labels) == (1.5e9, 712.5, ("on, slow",))
    assert (found.action_time[0], found.controls[0].values) == (1.5e9 + 1, ("on, slow",))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("time,y\n1,2\n", "line 1: found columns time, y; expected x among them"),
        ("when,x\n1,2\n", "line 1: found columns when, x; expected time among them"),
        ("time,x\n1,2\n2\n", "line 3: found 1 cells; expected 2"),
        ("time,x\n1,2\n2,cold\n", "line 3, column x: found 'cold'; expected a finite number"),
        ("time,x\n1,2\n2,nan\n", "line 3, column x: found 'nan'; expected a finite number"),
        ("time,x\n1,2\n1,3\n", "line 3, column time: found 1; expected a later one"),
        ("time,x\nnoon,2\n", "line 2, column time: found 'noon'; expected a time like"),
        ("time,x\n1,\xff\n", "cannot be read as a CSV file"),
    ],
)
def test_a_cell_that_is_wrong_is_named(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "day.csv"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigError) as refused:
        readings_csv.read(path, readings_csv.Columns({"x": "x"}))
    assert said in str(refused.value)
    assert str(path) in str(refused.value)


def test_times_with_an_offset_are_utc_and_agents_may_share_a_time(tmp_path: Path) -> None:
    path = tmp_path / "day.csv"
    path.write_text("time,agent,x\n1970-01-01T01:00:10+01:00,a,1\n1970-01-01T00:00:10,b,2\n,a,3\n"[:-5])
    found = readings_csv.read(path, readings_csv.Columns({"x": "x"}))
    assert found.time.tolist() == [10.0, 10.0]
    assert found.agents == ("a", "b")


def test_the_page_says_what_the_file_has() -> None:
    page = (Path(__file__).parents[3] / "docs" / "how-to" / "readings.md").read_text("utf-8")
    for name, field in FIELDS.items():
        assert f"| `{name}` | {field.dtype} | {field.text} |" in page
    assert f"{MAX_EVENTS:,} readings" in page
    assert f"{MAX_AGENTS:,}\nagents" in page
