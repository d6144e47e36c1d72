"""Where notices of alerts go: targets with a name and an apprise URL (mail, webhook, ntfy, MQTT, and so on).

The file of ``--notify`` has one target per line: ``NAME URL``. URLs hold passwords: nobody but the file's
owner may read it, and they are in no log, no answer and no database. apprise is loaded when the first notice
goes out.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from pathlib import Path

from edge_agent.errors import ConfigError
from edge_agent.wire import signatures

NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://\S+")
_TELL_URLS = ("apprise", "requests", "urllib3", "paho")
"""Loggers of libraries that write addresses, with what is secret in them."""


def load(path: Path) -> dict[str, str]:
    """Return the URL of each target by name.

    Raises
    ------
    ConfigError
        The file can't be read, others can read it, or a line is not ``NAME URL``; the line is not shown.
    """
    signatures.check_private(path)
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {getattr(error, 'strerror', None) or 'not UTF-8'}") from error
    found: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if len(words) != 2 or not NAME.fullmatch(words[0]) or not _URL.fullmatch(words[1]):
            raise ConfigError(f"{path}: line {number}: expected NAME URL, the URL as apprise has it")
        if words[0] in found:
            raise ConfigError(f"{path}: line {number}: found {words[0]} again, expected each name once")
        found[words[0]] = words[1]
    return found


class Notifier:
    """Sends notices.

    Parameters
    ----------
    targets : mapping
        Name → URL.
    """

    def __init__(self, targets: Mapping[str, str]) -> None:
        self._targets = dict(targets)

    @property
    def targets(self) -> list[str]:
        """The names of all targets, sorted."""
        return sorted(self._targets)

    def send(self, target: str, title: str, body: str, severity: str) -> bool:
        """Give a notice to a target; return whether it took it.

        Raises
        ------
        ConfigError
            apprise is not installed, or does not understand the URL.
        """
        for name in _TELL_URLS:
            logging.getLogger(name).setLevel(logging.CRITICAL)
        try:
            import apprise
        except ImportError as error:
            raise ConfigError(
                "--notify: apprise is not installed; run: pip install 'edge-hub[notify]'"
            ) from error
        sender = apprise.Apprise()
        if not sender.add(self._targets[target]):
            raise ConfigError(f"--notify: {target}: apprise does not understand the URL")
        kind = {"critical": apprise.NotifyType.FAILURE, "cleared": apprise.NotifyType.SUCCESS}
        return bool(
            sender.notify(
                body, title, notify_type=kind.get(severity, apprise.NotifyType.WARNING), body_format="text"
            )
        )
