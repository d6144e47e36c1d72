"""Checks a package bundle as root before it is installed; the daemon that asks for it is not believed.

Theory of operation. The daemon keeps the signed message that asked for the package beside its request. The
check starts from that message: the desired document must be signed for this device by the hub's keys, and
name the bundle, and a release by the release keys must name it too (`protocol.release_check`). The keys are
those of the configuration, which only root can write, or of the rotations that root has followed since. The
newest release that was accepted is kept in root's folder, so an older one never counts again.

The bundle is copied there before it is read: its file belongs to the daemon. A version below the installed
one is accepted only if the installed one came by a release itself: then the newer release that names the
older version is a decision of who holds the keys. Without that a release from before the first update could
take the device back to what it ran then.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_agent.atomic_file import replaced, sync_folder
from edge_agent.errors import BundleError, ConfigError, PeerError, PlatformError
from edge_agent.protocol.release_check import check_released
from edge_agent.services.kept_state import configured_trust
from edge_agent.wire import bodies, bundle, documents, fields, messages, package, releases
from edge_agent.wire.documents import Document, Trust
from edge_agent.wire.releases import Released

if TYPE_CHECKING:
    from edge_agent.config.records import Config

MESSAGE = "update/message"
"""Beside the request, in the daemon's state directory: the signed message on the desired topic."""
MEMORY = "releases.json"
STAGED = "staged"


@dataclass(frozen=True, slots=True)
class InstalledPackages:
    """What dpkg has: versions by package name, the processor's architecture, and whether `package.POPULATION`
    came by a release.
    """

    versions: Mapping[str, str]
    architecture: str
    released: bool


def read_installed(folder: Path) -> InstalledPackages:
    """Return what is installed; ``folder`` has the installer's last result.

    Raises
    ------
    PlatformError
        There is no dpkg, or it fails.
    """
    listed = _run(
        "dpkg-query", "--show", "--showformat=${db:Status-Status} ${Package} ${Version}\\n", "edge-agent*"
    )
    rows = [line.split() for line in listed.splitlines()]
    versions = {row[1]: row[2] for row in rows if len(row) == 3 and row[0] == "installed"}
    try:
        last = json.loads((folder / "result.json").read_text("utf-8"))
    except (OSError, ValueError):
        last = {}
    released = bool(last.get("digest")) and last.get("version") == versions.get(package.POPULATION)
    return InstalledPackages(versions, _run("dpkg", "--print-architecture").strip(), released)


def stage(config: Config, folder: Path, digest: str, now: float, installed: InstalledPackages) -> str:
    """Check the package bundle that the daemon asks for and put its packages into ``folder``/staged.

    Parameters
    ----------
    config : Config
        The device's configuration, with the keys.
    folder : Path
        The installer's; only root can write there.
    digest : str
        Of the bundle.
    now : float
        Unix time.
    installed : InstalledPackages
        What is there.

    Returns
    -------
    str
        The version of the packages.

    Raises
    ------
    EdgeAgentError
        What is wrong; nothing was changed.
    """
    state_dir = Path(config.device.state_dir)
    fields.check_text("bundle", digest, releases.DIGEST)
    if not digest.isalnum():
        raise ConfigError(f"bundle: found {digest!r}, expected a digest in hex")
    kept = _Memory.read(folder / MEMORY, config.device.fleet, configured_trust(config))
    with _opened(state_dir / MESSAGE, messages.MAX_BYTES) as file:
        memory = _check_message(kept, file.read(), config.device.name, digest, now)
    copy = folder / "bundle.eab"
    try:
        arrived = state_dir / "bundles" / f"{digest}.eab"
        with _opened(arrived, bundle.MAX_BYTES) as source, replaced(copy, 0o600) as target:
            shutil.copyfileobj(source, target, 1 << 20)
        found = bundle.read(copy)
        if found.digest != digest:
            raise BundleError(f"the bundle's digest is {found.digest:.12}, expected {digest:.12}")
        version = _unpack(found, folder, installed)
    except OSError as error:
        raise PlatformError(f"{folder}: {error.strerror}") from error
    finally:
        copy.unlink(missing_ok=True)
    memory.write(folder / MEMORY)
    return version


@dataclass(frozen=True, slots=True)
class _Memory:
    """The keys and the newest release of the package that root has accepted."""

    trust: Trust
    newest: Mapping[str, Released]

    @classmethod
    def read(cls, path: Path, fleet: str, configured: Trust) -> _Memory:
        if not configured.has_release_keys:
            raise ConfigError("hub.release_keys: found none, expected the keys that sign packages")
        try:
            found = json.loads(path.read_text("utf-8"))
            learnt, newest = Trust.of_state(fleet, found["trust"]), releases.of_state(found["releases"])
        except FileNotFoundError:
            return cls(configured, {})
        except (OSError, ValueError, KeyError, TypeError, PeerError) as error:
            raise PlatformError(f"{path}: not as it was written ({error!r})") from error
        return cls(learnt if learnt.version > configured.version else configured, newest)

    def write(self, path: Path) -> None:
        state = {
            "trust": self.trust.state(),
            "releases": {name: released.state() for name, released in self.newest.items()},
        }
        with replaced(path, 0o600) as file:
            file.write(json.dumps(state).encode())


def _check_message(kept: _Memory, payload: bytes, device: str, digest: str, now: float) -> _Memory:
    body = messages.decode(payload).body
    trust = kept.trust.rotated(body)
    document: Document = trust.opened(body, documents.DESIRED, bodies.DESIRED)
    if document["device"] != device:
        raise PeerError(f"desired: for device {document['device']!r}, expected {device!r}")
    wanted: dict[str, Any] = document.get("populations", {}).get(package.POPULATION, {})
    if wanted.get("bundle") != digest:
        raise PeerError(f"desired: names bundle {wanted.get('bundle')!r:.14}, expected {digest:.12}")
    alone = document | {"populations": {package.POPULATION: {"bundle": digest}}}
    newest = check_released(trust, alone, body.get("releases", []), kept.newest, {}, lambda _: "", now)
    return _Memory(trust, newest)


def _unpack(found: bundle.Bundle, folder: Path, installed: InstalledPackages) -> str:
    """Write the packages that this device has, once each is what the manifest says."""
    version, architecture = str(found.manifest["version"]), found.manifest["requires"].get("architecture")
    offered = package.packages(found)
    if architecture != installed.architecture:
        raise BundleError(f"package: for {architecture}, expected {installed.architecture}")
    here = installed.versions.get(package.POPULATION, "")
    if not here:
        raise PlatformError(f"package {package.POPULATION} was not installed by dpkg")
    if lacking := sorted(installed.versions.keys() - offered.keys()):
        raise BundleError(f"package: {lacking[0]} is installed here and not in the bundle")
    if not installed.released and not _is_newer(version, here):
        raise BundleError(
            f"package: version {version}, expected more than {here}, which no release installed"
        )
    staged = folder / STAGED
    shutil.rmtree(staged, ignore_errors=True)
    staged.mkdir(mode=0o700)
    for name in sorted(installed.versions.keys() & offered.keys()):
        path = staged / f"{name}{package.SUFFIX}"
        with replaced(path, 0o600) as file:
            file.write(offered[name])
        said = _run("dpkg-deb", "--show", "--showformat=${Package} ${Version} ${Architecture}", str(path))
        if said != (expected := f"{name} {version} {architecture}"):
            raise BundleError(f"package: {path.name} is {said!r}, expected {expected!r}")
    sync_folder(folder)
    return version


def _opened(path: Path, most: int) -> Any:
    """Open a file of the daemon: a plain one, of at most ``most`` bytes, not behind a link."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise PlatformError(f"{path}: {error.strerror}") from error
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode) or found.st_size > most:
        os.close(descriptor)
        raise PlatformError(f"{path}: not a plain file of at most {most} bytes")
    return open(descriptor, "rb")


def _is_newer(version: str, other: str) -> bool:
    return not subprocess.run(["dpkg", "--compare-versions", version, "gt", other], check=False).returncode


def _run(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise PlatformError(f"{command[0]}: {error.strerror}") from error
    if done.returncode:
        raise PlatformError(f"{command[0]}: {(done.stderr.strip() or 'failed').splitlines()[-1]}")
    return done.stdout
