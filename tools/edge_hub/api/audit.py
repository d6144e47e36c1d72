"""The audit: read and verified."""

from __future__ import annotations

from typing import Annotated, Any

from litestar import Request, Response, get
from litestar.params import QueryParameter

from edge_hub.api.hub import hub_of
from edge_hub.api.parameters import Limit, may
from edge_hub.api.schemas import (
    AuditEntry,
    AuditState,
)
from edge_hub.database import audit


@get("/audit", opt=may("operator", "audit"), summary="The audit")
async def list_audit(
    request: Request[Any, Any, Any],
    limit: Limit = 50,
    before: Annotated[int, QueryParameter(ge=0, le=2**31 - 1)] = 0,
) -> Response[list[AuditEntry]]:
    """Return who changed what, newest first."""
    hub = hub_of(request)
    return await hub.answer(request, lambda: audit.page(hub.database, before, limit))


@get("/audit/verify", opt=may("operator", "audit"), summary="Follow the audit's chain")
async def verify_audit(request: Request[Any, Any, Any]) -> Response[AuditState]:
    """Check every entry's hash; note the last hash elsewhere to see later that nothing was cut off."""
    hub = hub_of(request)
    return await hub.answer(request, lambda: audit.verify(hub.database))


HANDLERS = [list_audit, verify_audit]
