"""A file of readings is taken whole or refused with the cell named."""

from pathlib import Path

import pytest

import readings
from edge_agent.errors import ConfigError


def _spoil(tmp_path: Path, line: int, old: str, new: str) -> Path:
    lines = readings.DATA.read_text().splitlines()
    assert old in lines[line - 1]
    lines[line - 1] = lines[line - 1].replace(old, new)
    path = tmp_path / "spoilt.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_the_office_week() -> None:
    data = readings.load(readings.DATA)
    assert len(data) == 509
    assert data.hours == pytest.approx(16 / 60)
    assert [data.values[name][0] for name in ("temperature", "humidity", "light", "co2")] == [
        23.18,
        27.272,
        426.0,
        721.25,
    ]


@pytest.mark.parametrize(
    ("line", "old", "new", "named"),
    [
        (7, "616.5", "bad", ("line 7", "column V4", "'bad'")),
        (7, "616.5", "nan", ("line 7", "column V4", "'nan'")),
        (9, "2015-02-04", "someday", ("line 9", "column time")),
        (9, "2015-02-04", "2014-02-04", ("line 9", "column time", "later")),
        (5, ",640.0", "", ("line 5", "4 cells", "5")),
        (1, "V4", "CO2", ("line 1", "V4")),
    ],
)
def test_a_bad_cell_is_named_in_one_line(
    tmp_path: Path, line: int, old: str, new: str, named: tuple[str, ...]
) -> None:
    text = readings.DATA.read_text().splitlines()[line - 1]
    path = _spoil(tmp_path, line, old if old in text else text.rsplit(",", 1)[1], new)
    with pytest.raises(ConfigError) as refused:
        readings.load(path)
    error = str(refused.value)
    assert "\n" not in error
    assert all(part in error for part in (str(path), *named)), error


def test_a_missing_file_and_too_short_a_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.csv"):
        readings.load(tmp_path / "absent.csv")
    short = tmp_path / "short.csv"
    short.write_text("\n".join(readings.DATA.read_text().splitlines()[:10]))
    with pytest.raises(ConfigError, match="found 9 readings"):
        readings.load(short)
