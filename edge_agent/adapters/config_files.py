"""Reads configuration and profile through the child process that knows pydantic.

The child is started first and waited for last, so that the parent can import its libraries meanwhile.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from edge_agent.errors import ConfigError, PlatformError
from edge_agent.runtime import config as config_records
from edge_agent.runtime import profile as profile_records
from edge_agent.runtime.config import Config
from edge_agent.runtime.profile import Profile

TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class Settings:
    """A checked configuration and the profile it runs under."""

    config: Config
    profile: Profile
    config_path: Path
    profile_path: Path


class Reading:
    """A check under way; `result` waits for it.

    Parameters
    ----------
    config : Path
        The device.toml.
    profile : str, optional
        Name or path of a profile instead of the one the file names.
    """

    def __init__(self, config: Path, profile: str | None = None) -> None:
        command = [sys.executable, "-m", "edge_agent.runtime.schema", str(config)]
        if profile is not None:
            command += ["--profile", profile]
        self._config = config
        self._child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def result(self) -> Settings:
        """Return the settings.

        Raises
        ------
        ConfigError
            One line about the first thing that is wrong.
        PlatformError
            The child did not answer.
        """
        try:
            out, err = self._child.communicate(timeout=TIMEOUT_S)
        except subprocess.TimeoutExpired as error:
            self._child.kill()
            self._child.communicate()
            raise PlatformError(f"{self._config}: not checked within {TIMEOUT_S:g} seconds") from error
        if self._child.returncode != 0:
            lines = err.decode("utf-8", "replace").strip().splitlines() or ["the check failed"]
            kind = ConfigError if self._child.returncode == ConfigError.exit_code else PlatformError
            raise kind(lines[-1])
        document = json.loads(out)
        return Settings(
            config_records.build(document["config"]),
            profile_records.build(document["profile"]),
            self._config,
            Path(document["profile_path"]),
        )
