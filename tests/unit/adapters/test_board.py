"""Boards are told apart by the model that their firmware gives; every profile that is named exists."""

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edge_agent.adapters import board
from edge_agent.wire.topics import check_name

SHIPPED = {path.stem for path in (Path(__file__).parents[3] / "firmware_profiles").glob("*.toml")}


@pytest.mark.parametrize(
    ("model", "profile"),
    [
        ("Raspberry Pi Zero 2 W Rev 1.0", "zero2w"),
        ("Raspberry Pi 3 Model B Plus Rev 1.3", "pi3bplus"),
        ("Raspberry Pi 3 Model B Rev 1.2", "generic"),
        ("Raspberry Pi 4 Model B Rev 1.4", "pi4b"),
        ("Raspberry Pi Compute Module 4 Rev 1.1", "pi4b"),
        ("Raspberry Pi 5 Model B Rev 1.0", "pi5"),
        ("Raspberry Pi 500 Rev 1.0", "pi5"),
        ("linux,dummy-virt", "generic"),
        ("", "generic"),
    ],
)
def test_the_model_decides_the_profile(model: str, profile: str) -> None:
    assert board.profile(model) == profile
    assert profile in SHIPPED


def test_properties_of_the_device_tree_end_in_nul(tmp_path: Path) -> None:
    (tmp_path / "model").write_bytes(b"Raspberry Pi 5 Model B Rev 1.0\0")
    (tmp_path / "serial-number").write_bytes(b"10000000a1b2c3d4\0")
    assert board.model(tmp_path) == "Raspberry Pi 5 Model B Rev 1.0"
    assert board.device_name(tmp_path, "raspberrypi") == "raspberrypi-b2c3d4"


def test_without_a_device_tree_the_host_name_remains(tmp_path: Path) -> None:
    assert board.model(tmp_path) == ""
    assert board.device_name(tmp_path, "gateway.example") == "gateway"


@given(st.text(min_size=1, max_size=80))
@example("peer")
@example("...")
def test_any_host_name_gives_a_name_that_topics_take(hostname: str) -> None:
    check_name(board.device_name(Path("/nonexistent"), hostname), "device.name")
