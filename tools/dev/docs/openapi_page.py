"""docs/reference/openapi.json: the hub's REST interface, from the application itself."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path


def document() -> str:
    """Return the OpenAPI document as JSON."""
    from edge_hub.api import app
    from edge_hub.api.hub import Hub
    from edge_hub.database.engine import Database

    with tempfile.TemporaryDirectory() as folder, Database(str(Path(folder) / "hub.db")) as database:
        made = app.make(Hub(database)).openapi_schema.to_schema()
    return json.dumps(made, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
