"""Bundles: uploaded, looked at, kept."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from litestar import Request, Response, get, post

from edge_agent.errors import BundleError, ConfigError
from edge_agent.wire import bundle
from edge_hub.api.hub import Hub, caller_of, hub_of
from edge_hub.api.parameters import FAR, Before, DigestPath, Limit, may
from edge_hub.api.problems import ProblemError, known
from edge_hub.api.schemas import (
    Bundle,
    BundleDetail,
)
from edge_hub.database import audit, bundles

MAX_BUNDLE = 64 * 1024 * 1024


@get("/bundles", opt=may("viewer", "bundles"), summary="Bundles")
async def list_bundles(
    request: Request[Any, Any, Any], limit: Limit = 50, before: Before = FAR
) -> Response[list[Bundle]]:
    """Return the bundles that were uploaded, newest first."""
    hub = hub_of(request)
    return await hub.answer(request, lambda: bundles.page(hub.database, limit, before))


@get("/bundles/{digest:str}", opt=may("viewer", "bundles"), summary="One bundle with its manifest")
async def get_bundle(request: Request[Any, Any, Any], digest: DigestPath) -> Response[BundleDetail]:
    """Return a bundle: its manifest has input and output, memory, and the conversion's report."""
    hub = hub_of(request)
    return await hub.answer(request, lambda: known(bundles.one(hub.database, digest), f"bundle {digest}"))


@post(
    "/bundles",
    opt=may("operator", "bundles"),
    summary="Upload a bundle",
    description="The body is the .eab file. It is read as a device reads it, and refused if it is damaged.",
    status_code=201,
    request_max_body_size=MAX_BUNDLE,
)
async def upload_bundle(request: Request[Any, Any, Any]) -> Response[Bundle]:
    """Check a bundle and keep it; the same one again changes nothing."""
    hub, who = hub_of(request), caller_of(request).name
    with tempfile.NamedTemporaryFile(prefix="edge-hub-", suffix=".eab") as file:
        size = 0
        async for part in request.stream():
            size += len(part)
            if size > MAX_BUNDLE:
                raise ProblemError(413, f"bundle: expected at most {MAX_BUNDLE} bytes")
            file.write(part)
        file.flush()
        row, fresh = await hub.change(_keep_bundle, hub, Path(file.name), size, who)
    return Response(Bundle(**row), status_code=201 if fresh else 200)


def _keep_bundle(hub: Hub, path: Path, size: int, who: str) -> tuple[dict[str, Any], bool]:
    try:
        found = bundle.read(path)
    except BundleError as error:
        raise ConfigError(str(error).replace(str(path), "bundle")) from error
    row = {
        "digest": found.digest,
        "name": found.name,
        "version": str(found.manifest["version"]),
        "kind": str(found.manifest["kind"]),
        "size": size,
        "signer": found.signer.fingerprint if found.signer else "",
        "uploaded": hub.now(),
        "uploaded_by": who,
    }
    with hub.database.write() as connection:
        fresh = bundles.add(connection, row | {"manifest": dict(found.manifest)}, path.read_bytes())
        if fresh:
            audit.append(connection, who, "bundle.upload", found.digest, None, row)
    if not fresh:
        known = bundles.one(hub.database, found.digest) or row
        row = {key: known[key] for key in row}
    return row, fresh


HANDLERS = [list_bundles, get_bundle, upload_bundle]
