"""The demo of a fleet that learns, with few readings: all of its steps, without its figures."""

from contextlib import ExitStack
from pathlib import Path

import pytest

from examples.learning.demo import demo

pytestmark = pytest.mark.broker


def test_three_daemons_learn_and_take_what_the_fleet_learned(tmp_path: Path) -> None:
    with ExitStack() as stack:
        _, seen = demo(tmp_path, stack, 60)
    for what in (
        "each daemon answered every reading",
        "every reading was counted once",
        "three daemons took the merged model, in two waves",
        "the hub's report says the same",
    ):
        assert seen[what], what
