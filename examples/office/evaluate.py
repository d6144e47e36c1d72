"""Runs agents and rules in the same rooms and prints comfort and energy.

``python examples/office/evaluate.py office.npz``. Every controller gets the same rooms, drawn from the same
seed, and only the sensors' readings: no future readings and no occupancy. The figures are given for the
whole week and for the held-out days, which the model was not trained on. The threshold rule is evaluated at
its usual limits and at two others, because a rule can always be tuned to a known week, so a single setting
would prove little.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

import readings
from agent import FloatAgents, load
from controllers import LOW, Controller, OnOff, Schedule, Threshold
from edge_agent.errors import EXIT_DONE, ConfigError
from rooms import Rooms, Score

HELD_OUT_DAYS = 2
"""As ``held_out`` in office.toml."""


def run(rooms: Rooms, controller: Controller) -> None:
    """Let ``controller`` run ``rooms`` to the end of their week."""
    while not rooms.over:
        rooms.act(controller.decide(rooms.observe(), rooms.now))


def compare(path: Path, data: readings.Readings, size: int, seed: int) -> dict[str, dict[str, Score]]:
    """Score the agents of model file ``path`` and the rules.

    Returns
    -------
    dict
        Controller to ``{"week": Score, "held_out": Score}``.
    """
    controllers: dict[str, Controller] = {
        "agents (float64)": FloatAgents(load(path), size),
        "schedule, high": Schedule(),
        "schedule, low": Schedule(level=LOW),
        "on-off, 800-1000 ppm": OnOff(),
        "two-stage, 800/1000 ppm": Threshold(),
        "two-stage, 700/900 ppm": Threshold(700.0, 900.0),
        "two-stage, 900/1100 ppm": Threshold(900.0, 1100.0),
    }
    since = np.unique(data.days())[-HELD_OUT_DAYS]
    scores = {}
    for name, controller in controllers.items():
        rooms = Rooms(data, size, seed)
        run(rooms, controller)
        scores[name] = {"week": rooms.score(), "held_out": rooms.score(since)}
    return scores


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    parser = argparse.ArgumentParser(description="Compare agents with rules over simulated rooms.")
    parser.add_argument("model", type=Path, help="npz file of edge-convert fit")
    parser.add_argument(
        "--data", type=Path, default=readings.DATA, help="CSV of readings (default: the office's)"
    )
    parser.add_argument("--rooms", type=int, default=200)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(arguments)
    try:
        scores = compare(options.model, readings.load(options.data), options.rooms, options.seed)
    except ConfigError as error:
        print(f"evaluate.py: {error}", file=sys.stderr)
        return error.exit_code
    if options.json:
        print(json.dumps({name: {k: asdict(v) for k, v in both.items()} for name, both in scores.items()}))
        return EXIT_DONE
    print(f"{options.rooms} rooms, seed {options.seed}; comfort: occupied time at or below 1000 ppm of CO2")
    print(f"{'':24}{'week':>26}{'held-out days':>32}")
    print(f"{'':24}" + f"{'comfort':>9}{'mean ppm':>10}{'kWh/room':>10}   " * 2)
    for name, both in scores.items():
        cells = [f"{s.comfort:9.1%}{s.mean_ppm:10.0f}{s.kwh:10.3f}   " for s in both.values()]
        print(f"{name:24}" + "".join(cells))
    return EXIT_DONE


if __name__ == "__main__":
    sys.exit(main())
