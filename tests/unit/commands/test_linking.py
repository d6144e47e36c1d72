"""What ``run`` makes of the configuration's words about the link."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from edge_agent.commands.linking import Telling, followed
from edge_agent.runtime import config, profile
from edge_agent.runtime.schema import compile_files

TEXT = """
[device]
name = "pi"
state_dir = "state"
[broker]
[hub]
outbox_mb = 2
outbox_days = 3
confirm = true
[[population]]
name = "rooms"
bundle = "rooms.eab"
size = 2
"""


def test_limits_and_budget_reach_the_outbox_and_telemetry(tmp_path: Path) -> None:
    (tmp_path / "device.toml").write_text(TEXT)
    compiled = compile_files(tmp_path / "device.toml", "zero2w")
    board = replace(profile.build(compiled["profile"]), telemetry_bytes_s=1234)
    telling = Telling(config.build(compiled["config"]), board, lambda: None)
    settings = telling.uplink.outbox.settings
    assert (settings.max_bytes, settings.max_age, settings.confirm) == (2_000_000, 3 * 86_400.0, True)
    assert telling.uplink.telemetry.budget == 1234
    telling.close(0.0, lambda: None)


@pytest.mark.parametrize(
    "state",
    [
        "",
        "{",
        "[]",
        "null",
        '{"active": 5}',
        '{"active": {}, "added": {"halls": {"name": 5}}}',
        '{"added": []}',
    ],
)
def test_a_damaged_state_of_what_was_obeyed_leaves_the_configured_bundles(tmp_path: Path, state: str) -> None:
    text = TEXT.replace("[hub]", '[hub]\nkeys = ["hub.pub"]').replace('"state"', json.dumps(str(tmp_path)))
    (tmp_path / "device.toml").write_text(text)
    (tmp_path / "follower.json").write_text(state)
    found = config.build(compile_files(tmp_path / "device.toml", "zero2w")["config"])
    assert followed(found) == found
