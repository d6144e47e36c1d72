"""The pages in a browser: static files, the same for everybody. What they show comes from the REST interface.

Theory of operation. The files of ``edge_hub/web`` are read and compressed once per process. Every page has
the same HTML file, and its address selects what is shown. So an address can be sent to somebody, and no file
holds anything secret: the files are public, the interface is not. A file is sent with its digest as ETag, so
that a new version of the hub is seen at the next load.
"""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from litestar import Request, Response, get
from litestar.params import FromPath

from edge_hub.api.access import PUBLIC
from edge_hub.api.problems import known

FOLDER = Path(__file__).parents[1] / "web"
TYPES = {
    ".html": "text/html",
    ".js": "text/javascript",
    ".css": "text/css",
    ".svg": "image/svg+xml",
    ".LICENSE": "text/plain",
}
ADDRESSES = [
    "/",
    "/login",
    "/setup",
    "/device/{fleet:str}/{name:str}",
    "/agent/{fleet:str}/{name:str}",
    "/rollouts",
    "/rollouts/{id_:str}",
    "/models",
    "/models/{digest:str}",
    "/alerts",
    "/alerts/{id_:str}",
    "/learning",
    "/learning/{fleet:str}/{population:str}/{bundle:str}",
    "/enrol",
    "/audit",
    "/users",
    "/tokens",
]
OPEN = {"role": PUBLIC}


@dataclass(frozen=True, slots=True)
class PageFile:
    """A file as it is sent."""

    body: bytes
    packed: bytes
    etag: str
    media_type: str


@cache
def files() -> dict[str, PageFile]:
    """Return all files by their path below `FOLDER`."""
    found = {}
    for path in sorted(FOLDER.rglob("*")):
        if path.suffix in TYPES:
            body = path.read_bytes()
            etag = f'"{hashlib.blake2b(body, digest_size=12).hexdigest()}"'
            packed = gzip.compress(body, 9, mtime=0)
            found[path.relative_to(FOLDER).as_posix()] = PageFile(body, packed, etag, TYPES[path.suffix])
    return found


@get(ADDRESSES, opt=OPEN, include_in_schema=False)
async def get_page(request: Request[Any, Any, Any]) -> Response[bytes]:
    """Return the HTML file of all pages."""
    return _sent(request, files()["index.html"])


@get("/web/{path:path}", opt=OPEN, include_in_schema=False)
async def get_file(request: Request[Any, Any, Any], path: FromPath[Path]) -> Response[bytes]:
    """Return a script, style or image."""
    name = path.as_posix().lstrip("/")
    return _sent(request, known(files().get(name), f"/web/{name}"))


def _sent(request: Request[Any, Any, Any], file: PageFile) -> Response[bytes]:
    headers = {"ETag": file.etag, "Cache-Control": "no-cache", "Vary": "Accept-Encoding"}
    if file.etag in request.headers.get("if-none-match", ""):
        return Response(b"", status_code=304, headers=headers)
    body = file.body
    if "gzip" in request.headers.get("accept-encoding", ""):
        body = file.packed
        headers["Content-Encoding"] = "gzip"
    return Response(body, media_type=file.media_type, headers=headers)


HANDLERS = [get_page, get_file]
