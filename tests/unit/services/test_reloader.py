"""A reload that fails is one line in the log, and the next one starts."""

import errno
import logging
import threading
from types import SimpleNamespace
from typing import Any

import pytest

from edge_agent.errors import ConfigError
from edge_agent.services.reloader import Reloader


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ConfigError("device.toml: size: found 0"), "reload: device.toml: size: found 0"),
        (OSError(errno.EMFILE, "Too many open files"), "reload: OSError: [Errno 24] Too many open files"),
        (MemoryError(), "reload: MemoryError"),
    ],
)
def test_a_reload_that_failed_is_told_and_the_next_one_starts(
    caplog: pytest.LogCaptureFixture, error: Exception, line: str
) -> None:
    config = SimpleNamespace(population=())
    started, woken = [], threading.Event()

    def compose() -> Any:
        started.append(1)
        raise error

    reloader = Reloader(compose, SimpleNamespace(config=config), woken.set)  # type: ignore[arg-type]
    for attempt in (1, 2):
        caplog.clear()
        reloader.ask()
        woken.clear()
        reloader.run_once()
        assert woken.wait(30)
        reloader.run_once()
        assert len(started) == attempt
        last = caplog.records[-1]
        assert last.levelno == logging.ERROR
        assert last.getMessage().startswith(line)
        assert "the old configuration stays" in last.getMessage()
