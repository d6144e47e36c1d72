"""The hub's folder: its rollouts, the bundles it deployed, keys and known devices.

``rollouts/ID.json`` is written to a temporary file and renamed. ``ID.lock`` is held by the process that runs
the rollout. ``ID.request`` contains a request of another process (pause, resume, abort) until the first
process has read it. ``bundles/DIGEST.eab`` are copies, kept so that devices can be reverted.
``keys/FLEET.json`` contains the rotations of a fleet's keys, ``releases/FLEET.json`` its releases.
``devices/BROKER.json`` contains the devices that were heard at a broker, by fleet, each with the time of its
last message.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from edge_agent.atomic_file import replaced
from edge_agent.errors import ConfigError, PlatformError
from edge_agent.wire.topics import check_name
from edge_hub.rollout import FleetRollout


def default_folder() -> Path:
    """Return ``$XDG_STATE_HOME/edge-hub``."""
    base = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(base) / "edge-hub"


class HubStore:
    """The hub's folder; made if it is missing.

    Raises
    ------
    PlatformError
        It can't be made.
    """

    def __init__(self, folder: Path) -> None:
        self._rollouts = folder / "rollouts"
        self._bundles = folder / "bundles"
        self._keys = folder / "keys"
        self._releases = folder / "releases"
        self._devices = folder / "devices"
        try:
            self._rollouts.mkdir(parents=True, exist_ok=True)
            self._bundles.mkdir(exist_ok=True)
            self._keys.mkdir(exist_ok=True)
            self._releases.mkdir(exist_ok=True)
            self._devices.mkdir(exist_ok=True)
        except OSError as error:
            raise PlatformError(f"{folder}: {error.strerror}") from error

    def save(self, rollout: FleetRollout) -> None:
        """Write a rollout."""
        self._replace(self._rollouts / f"{rollout.id}.json", json.dumps(rollout.state(), indent=1))

    def load(self, id_: str) -> FleetRollout:
        """Return a rollout; ``latest`` is the one that was saved last.

        Raises
        ------
        ConfigError
            There is none of that id, or its file is not as it was written.
        """
        found = self.ids()
        if id_ == "latest" and found:
            id_ = found[-1]
        if id_ not in found:
            raise ConfigError(f"rollout {id_!r}: not known here; known: {', '.join(found) or 'none'}")
        path = self._rollouts / f"{id_}.json"
        try:
            return FleetRollout.of_state(json.loads(path.read_text("utf-8")))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ConfigError(f"{path}: not a rollout as it was written ({error})") from error

    def ids(self) -> list[str]:
        """Return the ids of all rollouts, the one that was saved last at the end."""
        files = sorted(self._rollouts.glob("*.json"), key=lambda path: path.stat().st_mtime_ns)
        return [path.stem for path in files]

    def keep_bundle(self, source: Path, digest: str) -> Path:
        """Copy a bundle in; return where it is."""
        kept = self.bundle(digest)
        if not kept.exists():
            try:
                with source.open("rb") as bundle, replaced(kept) as file:
                    shutil.copyfileobj(bundle, file)
            except OSError as error:
                raise PlatformError(f"{kept}: {error.strerror}") from error
        return kept

    def bundle(self, digest: str) -> Path:
        """Return where a bundle is kept, if it is."""
        return self._bundles / f"{digest}.eab"

    def keys(self, fleet: str) -> str:
        """Return what was kept of a fleet's keys, "" if nothing."""
        return _text_of(self._keys, fleet)

    def save_keys(self, fleet: str, text: str) -> None:
        """Keep the rotations of a fleet's keys."""
        self._replace(self._keys / f"{check_name(fleet, '--fleet')}.json", text)

    def releases(self, fleet: str) -> str:
        """Return what was kept of a fleet's releases, "" if nothing."""
        return _text_of(self._releases, fleet)

    def save_releases(self, fleet: str, text: str) -> None:
        """Keep a fleet's releases."""
        self._replace(self._releases / f"{check_name(fleet, '--fleet')}.json", text)

    def devices(self, broker: str) -> dict[str, dict[str, float]]:
        """Return the devices that were heard at a broker: fleet → name → Unix time of the last.

        Raises
        ------
        ConfigError
            The file is not as it was written.
        """
        path = self._devices_file(broker)
        if not path.exists():
            return {}
        try:
            return {
                str(fleet): {str(name): float(t) for name, t in names.items()}
                for fleet, names in json.loads(path.read_text("utf-8")).items()
            }
        except (ValueError, TypeError, AttributeError) as error:
            raise ConfigError(f"{path}: not a list of devices as it was written ({error})") from error

    def save_devices(self, broker: str, devices: Mapping[str, Mapping[str, float]]) -> None:
        """Keep the devices that were heard at a broker."""
        self._replace(self._devices_file(broker), json.dumps(devices, indent=0, sort_keys=True))

    def _devices_file(self, broker: str) -> Path:
        return self._devices / f"{quote(broker, safe=':')}.json"

    def request(self, id_: str, what: str) -> None:
        """Ask the process that runs a rollout to pause, resume or abort."""
        self._replace(self._rollouts / f"{id_}.request", what)

    def take_request(self, id_: str) -> str:
        """Return what was asked for since the last call, "" if nothing."""
        path = self._rollouts / f"{id_}.request"
        try:
            what = path.read_text("utf-8")
        except FileNotFoundError:
            return ""
        path.unlink(missing_ok=True)
        return what

    @contextmanager
    def running(self, id_: str) -> Iterator[bool]:
        """Hold the rollout's lock; yields False if another process does."""
        with (self._rollouts / f"{id_}.lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            yield True

    def _replace(self, path: Path, text: str) -> None:
        try:
            with replaced(path) as file:
                file.write(text.encode())
        except OSError as error:
            raise PlatformError(f"{path}: {error.strerror}") from error


def _text_of(folder: Path, fleet: str) -> str:
    path = folder / f"{check_name(fleet, '--fleet')}.json"
    return path.read_text("utf-8") if path.exists() else ""
