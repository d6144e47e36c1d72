"""``edge-agent`` on a board whose installer's directory is FOLDER.

``python packaged_daemon.py FOLDER run --config FILE``
"""

import sys
from pathlib import Path

from edge_agent.cli import main
from edge_agent.services import installer_files

if __name__ == "__main__":
    vars(installer_files)["FOLDER"] = Path(sys.argv[1])
    sys.exit(main(sys.argv[2:]))
