"""schemathesis over the OpenAPI document of a running service: no answer of 500 or above.

``python -m tests.hub.fuzzed_rest SCHEMATHESIS [EXAMPLES]``; ``make security-hub`` runs it.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from edge_hub.database.engine import Database
from edge_hub.database.migrate import migrate
from tests.hub.service import Service
from tests.hub.test_rest import Sender, fill

# Who is removed can ask nothing more, and a stream does not end.
LEFT_OUT = r"^/api/v1/(events|session|users/\{number\}|tokens/\{number\})$"


def main() -> int:
    """Fuzz as each role; return the number of roles with findings."""
    program, examples = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "30"
    failed = 0
    for role in ("admin", "viewer"):
        with tempfile.TemporaryDirectory() as folder, Database(str(Path(folder) / "hub.db")) as database:
            migrate(database)
            fill(database, 10)
            service = Service(database)
            service.hub.sender = Sender()
            token = service.as_role(role).headers["Authorization"]
            words = [
                program,
                "run",
                f"{service.address}/schema/openapi.json",
                "-H",
                f"Authorization: {token}",
            ]
            words += ["--checks", "not_a_server_error", "--max-examples", examples, "--workers", "1"]
            words += ["--exclude-path-regex", LEFT_OUT]
            failed += subprocess.run(words, check=False).returncode != 0
            service.close()
    return failed


if __name__ == "__main__":
    sys.exit(main())
