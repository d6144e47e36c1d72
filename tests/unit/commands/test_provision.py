"""Provisioning writes the user's file once, and its own files each time."""

import json
import tomllib
from pathlib import Path

import pytest

from edge_agent.cli import main
from edge_agent.config.checks import compile_files


def provision(folder: Path, *more: str) -> int:
    config, drop_ins = folder / "etc" / "device.toml", folder / "drop-ins"
    return main(["provision", "--config", str(config), "--drop-ins", str(drop_ins), *more])


def limits(folder: Path) -> list[str]:
    return (folder / "drop-ins" / "memory.conf").read_text().splitlines()


def test_a_first_configuration_names_the_profile_and_limits_memory(tmp_path: Path) -> None:
    assert provision(tmp_path, "--profile", "zero2w") == 0
    assert tomllib.loads((tmp_path / "etc" / "device.toml").read_text())["device"]["profile"] == "zero2w"
    assert limits(tmp_path)[-2:] == ["MemoryHigh=56M", "MemoryMax=63M"]


def test_what_it_suggests_in_comments_is_a_valid_configuration(tmp_path: Path) -> None:
    provision(tmp_path)
    config = tmp_path / "etc" / "device.toml"
    suggested = [
        line.removeprefix("# ")
        for line in config.read_text().splitlines()
        if line.startswith(("# [", "# bundle", "[")) or " = " in line or line == "#"
    ]
    config.write_text("\n".join(line for line in suggested if line != "#"))
    compiled = compile_files(config, None)["config"]
    assert compiled["broker"]["host"] == "broker.local"
    assert compiled["population"][0]["act"][0]["template"] == '{{"fan_mode": "{value}"}}'


def test_a_configuration_that_is_there_stays_and_decides(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    provision(tmp_path, "--profile", "zero2w")
    config = tmp_path / "etc" / "device.toml"
    mine = config.read_text().replace('fleet = "home"', 'fleet = "greenhouse"\nmemory_mb = 100')
    config.write_text(mine)
    capsys.readouterr()
    assert provision(tmp_path, "--profile", "pi5", "--json") == 0
    assert config.read_text() == mine
    assert limits(tmp_path)[-2:] == ["MemoryHigh=100M", "MemoryMax=112M"]
    assert json.loads(capsys.readouterr().out)["config_written"] is False


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[device\n", "not TOML"),
        ("device = 3\n", "device: found 3, expected a table"),
        ('[device]\nmemory_mb = "much"\n', "device.memory_mb: found 'much', expected a whole number above 0"),
        ('[device]\nprofile = "amiga"\n', "device.profile: found 'amiga', expected one of"),
    ],
)
def test_a_wrong_configuration_is_one_line_and_no_limits_are_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, message: str
) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "device.toml").write_text(text)
    assert provision(tmp_path) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "drop-ins").exists()


def test_an_unknown_profile_leaves_nothing_behind(tmp_path: Path) -> None:
    assert provision(tmp_path, "--profile", "amiga") == 2
    assert not (tmp_path / "etc").exists()
