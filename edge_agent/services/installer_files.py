"""The files between the daemon and the installer of packages (``edge_agent.package_installer``).

Theory of operation. In the daemon's state directory: ``update/message``, the signed message that asks for a
package; ``update/asked``, the request as long as its answer is not known, so that a restart asks for the same
one; ``update/request``, a copy of it that systemd watches and the installer removes. In the installer's
directory, which root writes and the daemon reads: ``result.json``.
"""

from __future__ import annotations

import json
import secrets
from pathlib import Path
from typing import Any

from edge_agent.atomic_file import replaced
from edge_agent.errors import PlatformError
from edge_agent.runtime.rollout.package_update import InstallerAnswer
from edge_agent.version import __version__

FOLDER = Path("/var/lib/edge-agent-update")


class InstallerFiles:
    """A `runtime.rollout.package_update.InstallerPort`.

    Parameters
    ----------
    state_dir : Path
        The daemon's state directory.
    folder : Path
        The installer's directory.
    """

    def __init__(self, state_dir: Path, folder: Path) -> None:
        self._own = state_dir / "update"
        self._folder = folder

    def installed(self) -> str:
        """Return the digest of the package bundle that this daemon was installed from, "" if from none."""
        result = _read(self._folder / "result.json")
        version, digest = result.get("version"), result.get("digest")
        same = isinstance(version, str) and version.split("+")[0] == __version__
        return digest if same and isinstance(digest, str) else ""

    def keep(self, message: bytes) -> None:
        """Keep the signed message that asks for a package."""
        self._write("message", message)

    def ask(self, bundle: str, trial_s: float) -> None:
        """Ask for the installation of a complete bundle, unless that was done already."""
        asked = _read(self._own / "asked")
        if asked.get("bundle") != bundle:
            asked = {"id": secrets.token_hex(8), "bundle": bundle, "trial_s": trial_s}
            self._write("asked", json.dumps(asked).encode())
        if self.answer(bundle) is None:
            self._write("request", json.dumps(asked).encode())

    def answer(self, bundle: str) -> InstallerAnswer | None:
        """Return what became of it, None if that is not known yet."""
        asked, result = _read(self._own / "asked"), _read(self._folder / "result.json")
        if asked.get("bundle") != bundle or result.get("request") != asked.get("id"):
            return None
        outcome, reason = str(result.get("outcome")), str(result.get("reason"))
        return InstallerAnswer(outcome == "installed", f"{outcome}: {reason}")

    def close(self) -> None:
        """Withdraw what was asked for, or record its answer."""
        for name in ("request", "asked"):
            (self._own / name).unlink(missing_ok=True)

    def _write(self, name: str, data: bytes) -> None:
        try:
            self._own.mkdir(mode=0o700, exist_ok=True)
            with replaced(self._own / name, 0o600) as file:
                file.write(data)
        except OSError as error:
            raise PlatformError(f"{self._own / name}: {error.strerror}") from error


def _read(path: Path) -> dict[str, Any]:
    """Return what a file holds, {} if it is missing or is no object."""
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
