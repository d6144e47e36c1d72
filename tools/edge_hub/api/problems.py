"""Errors as problem documents (RFC 9457)."""

from __future__ import annotations

import logging
from typing import Any, TypeVar

import msgspec
from litestar import Request, Response
from litestar.exceptions import HTTPException, ValidationException

from edge_agent.errors import BundleError, ConfigError, EdgeAgentError, PeerError, PlatformError
from edge_hub.api.schemas import Problem

log = logging.getLogger("edge_hub")
T = TypeVar("T")

MEDIA_TYPE = "application/problem+json"
_TITLES = {
    400: "Bad request",
    401: "Not logged in",
    403: "Not allowed",
    404: "Not found",
    405: "Method not allowed",
    409: "Conflict",
    413: "Too large",
    422: "Can't be done as asked",
    429: "Too many requests",
    500: "A defect of the hub",
    503: "Not available at the moment",
}


class ProblemError(HTTPException):
    """A problem with its status and what was found and expected."""

    def __init__(self, status: int, detail: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(detail=detail, status_code=status, headers=headers)


class CheckedRequest(Request[Any, Any, Any]):
    """A request whose body is refused where the framework would take what it cannot read for a defect."""

    async def json(self) -> Any:
        """Return the body, decoded.

        Raises
        ------
        ProblemError
            It is nested too deeply, or not UTF-8.
        """
        try:
            return await super().json()
        except RecursionError as error:
            raise ProblemError(400, "body: nested too deeply") from error
        except UnicodeDecodeError as error:
            raise ProblemError(400, "body: not UTF-8") from error


def known(found: T | None, what: str) -> T:
    """Return what was found.

    Raises
    ------
    ProblemError
        Nothing was found (404).
    """
    if found is None:
        raise ProblemError(404, f"{what}: not known")
    return found


def document(status: int, detail: str, path: str, errors: list[str] | None = None) -> bytes:
    """Return a problem document."""
    title = _TITLES.get(status, "Error")
    return msgspec.json.encode(Problem(title, status, detail, instance=path, errors=errors or []))


def answer(
    request: Request[Any, Any, Any],
    status: int,
    detail: str,
    headers: dict[str, str] | None = None,
    errors: list[str] | None = None,
) -> Response[bytes]:
    """Return a problem as a response."""
    body = document(status, detail, request.url.path, errors)
    return Response(body, status_code=status, media_type=MEDIA_TYPE, headers=headers)


def from_http(request: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
    """Turn an error of the framework or of a handler into a problem."""
    errors: list[str] = []
    detail = error.detail
    if isinstance(error, ValidationException):
        extra = error.extra if isinstance(error.extra, list) else []
        errors = [f"{item.get('key', '')}: {item.get('message', '')}" for item in extra]
        detail = "; ".join(errors) or detail
    headers = {k: str(v) for k, v in (error.headers or {}).items()}
    return answer(request, error.status_code, detail, headers, errors)


def from_ours(request: Request[Any, Any, Any], error: EdgeAgentError) -> Response[bytes]:
    """Turn an error of the project's tree into a problem: its type says whose fault it is."""
    match error:
        case ConfigError() | BundleError() | PeerError():
            return answer(request, 422, str(error))
        case PlatformError():
            log.warning("%s %s: %s", request.method, request.url.path, error)
            return answer(request, 503, "The database does not answer.", {"Retry-After": "2"})
    return from_defect(request, error)


def from_defect(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """Log an unhandled exception; the caller gets no details."""
    log.error("%s %s", request.method, request.url.path, exc_info=error)
    return answer(request, 500, "The hub's log has the details.")


HANDLERS: dict[Any, Any] = {
    HTTPException: from_http,
    EdgeAgentError: from_ours,
    Exception: from_defect,
}
