"""The installer's program: ``package_installer.pyz [--repair]``, as root, by systemd."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from edge_agent.package_installer.installer import Installer, InstallError
from edge_agent.package_installer.system import System


def main(argv: Sequence[str] | None = None) -> int:
    """Run the installer; the exit status is 1 if it has to be run again."""
    parser = argparse.ArgumentParser(description="Install an update of edge-agent that the hub asked for.")
    parser.add_argument("--repair", action="store_true", help="only finish what dpkg was interrupted in")
    arguments = parser.parse_args(argv)
    installer = Installer(System())
    try:
        if arguments.repair:
            installer.repair()
            return 0
        result = installer.run()
    except (InstallError, OSError) as error:
        print(f"edge-agent update: {error}", file=sys.stderr)
        return 1
    print(f"edge-agent update: {result.outcome or 'nothing to do'} {result.version} {result.reason}".rstrip())
    return 0
