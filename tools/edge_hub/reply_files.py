"""Files in the answers of devices: written to a folder, and replaced by their paths in what is printed."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edge_agent.errors import PlatformError


def kept(folder: Path | None, device: str, result: Any) -> Any:
    """Return an answer's result; with ``folder`` the file in it, if there is one, is written there.

    The file is called DEVICE-NAME; of the name that the device gives only the last part counts.

    Raises
    ------
    PlatformError
        The file can't be written.
    """
    match result:
        case Mapping() if folder is not None and isinstance(result.get("data"), str):
            path = folder / f"{device}-{Path(str(result.get('name', ''))).name or 'file'}"
            try:
                folder.mkdir(parents=True, exist_ok=True)
                path.write_bytes(base64.b64decode(result["data"], validate=True))
            except binascii.Error as error:
                raise PlatformError(f"{device}: its file is not base64") from error
            except OSError as error:
                raise PlatformError(f"{path}: {error.strerror}") from error
            return {**result, "data": "", "path": str(path)}
    return result
