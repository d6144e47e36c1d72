"""A population added by the hub must fit the memory plan of the next start."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edge_agent import Model
from edge_agent.config import profile
from edge_agent.config.checks import compile_files
from edge_agent.config.records import (
    BrokerConfig,
    Config,
    DeviceConfig,
    HomeAssistantConfig,
    ObserveConfig,
    PopulationConfig,
)
from edge_agent.runtime import assembly
from edge_agent.runtime.assembly import Prepared
from edge_agent.runtime.rollout.new_population import grown, without

PROFILE = """
[device]
name = "pi"
[[population]]
name = "rooms"
bundle = "b.eab"
size = 1
"""
BASE = 40_000_000
BROKER = BrokerConfig(host="h", home_assistant="ha")


def prepared(
    board: profile.Profile, name: str, size: int, states: int, shown: HomeAssistantConfig | None = None
) -> Prepared:
    likelihood = np.full((states, states), 1.0 / states)
    transition = np.repeat(np.eye(states)[:, :, None], 2, axis=2)
    model = Model.from_arrays([likelihood], [transition], [np.zeros(states)], name=name)
    observe = (ObserveConfig(modality="0", topic="z/{agent}"),)
    config = PopulationConfig(
        name=name,
        bundle=f"{name}.eab",
        size=size,
        rate_hz=1.0,
        observe=observe,
        home_assistant=shown,
    )
    return assembly.prepare(config, board, name, lambda _: (model, "digest"))


@pytest.mark.parametrize("spare_kb", [-1, 0, 300])
@pytest.mark.parametrize("size", [1, 2000])
@pytest.mark.parametrize("shown", [None, HomeAssistantConfig()])
def test_what_is_added_up_is_what_the_next_start_plans(
    tmp_path: Path, spare_kb: int, size: int, shown: HomeAssistantConfig | None
) -> None:
    (tmp_path / "device.toml").write_text(PROFILE)
    board = profile.build(compile_files(tmp_path / "device.toml", "pi4b")["profile"])
    rooms, halls = prepared(board, "rooms", 500, 5), prepared(board, "halls", size, 9, shown)
    device = DeviceConfig(name="pi", spare_kb=spare_kb)
    config = Config(device=device, broker=BROKER, population=(rooms.config,))
    both = replace(config, population=(rooms.config, halls.config))
    now = assembly.make_plan(config, board, [rooms], BASE)
    then = assembly.make_plan(both, board, [rooms, halls], BASE)

    after = grown(now, halls, config)
    assert (after.total, after.arena, after.budget) == (then.total, then.arena, then.budget)
    if spare_kb >= 0:
        assert without(after, "halls").total == now.total
