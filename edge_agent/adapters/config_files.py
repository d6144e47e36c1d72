"""Reads configuration and profile through the child process that uses pydantic.

The child is started first and awaited last, so that the parent imports its libraries meanwhile.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edge_agent.errors import ConfigError, PlatformError

CHECKER = "edge_agent.config.checks"
TIMEOUT_S = 120.0  # the child starts within a second; a slow board that is busy takes a minute


def checked_population(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return a population that a hub asks for, checked and complete; blocks until the child is done.

    Raises
    ------
    ConfigError
        One line about the first thing that is wrong.
    PlatformError
        The child did not answer.
    """
    child = subprocess.Popen(
        [sys.executable, "-m", CHECKER, "--population"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    return _answer(child, "config", json.dumps(document).encode("ascii"))


class Reading:
    """A check under way; `result` waits for it.

    Parameters
    ----------
    config : Path
        The device.toml.
    profile : str, optional
        Name or path of a profile instead of the one the file names.
    remote : mapping, optional
        What a hub set in the configuration; it is checked with the file.
    """

    def __init__(
        self, config: Path, profile: str | None = None, remote: Mapping[str, Any] | None = None
    ) -> None:
        command = [sys.executable, "-m", CHECKER, str(config)]
        if profile is not None:
            command += ["--profile", profile]
        if remote:
            command.append("--remote")
        self._config = config
        self._given = json.dumps(remote).encode("ascii") if remote else None
        self._child = subprocess.Popen(
            command,
            stdin=subprocess.PIPE if remote else None,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def result(self) -> dict[str, Any]:
        """Return the checked document: ``config``, ``profile``, ``profile_path``.

        Raises
        ------
        ConfigError
            One line about the first thing that is wrong.
        PlatformError
            The child did not answer.
        """
        return _answer(self._child, str(self._config), self._given)


def _answer(child: subprocess.Popen[bytes], what: str, given: bytes | None = None) -> dict[str, Any]:
    try:
        out, err = child.communicate(given, timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired as error:
        child.kill()
        child.communicate()
        raise PlatformError(f"{what}: not checked within {TIMEOUT_S:g} seconds") from error
    if child.returncode != 0:
        lines = err.decode("utf-8", "replace").strip().splitlines() or ["the check failed"]
        kind = ConfigError if child.returncode == ConfigError.exit_code else PlatformError
        raise kind(lines[-1])
    document: dict[str, Any] = json.loads(out)
    return document
