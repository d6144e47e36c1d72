"""A running service, asked over REST: what commands do when ``--hub URL`` is given."""

from __future__ import annotations

import argparse
import json
import secrets
import ssl
import time
from collections.abc import Iterator
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlencode, urlsplit
from urllib.request import Request, urlopen

from edge_agent.errors import ConfigError, PlatformError
from edge_agent.wire import signatures

PATIENCE_S = 30.0
POLL_S = 0.5


class RemoteHub:
    """A service.

    Parameters
    ----------
    arguments : argparse.Namespace
        ``hub``, ``token_file`` and ``ca``; see `edge_hub.connection`.

    Raises
    ------
    ConfigError
        The address is not http or https, the token is missing, or others than its owner can read it.
    """

    def __init__(self, arguments: argparse.Namespace) -> None:
        parts = urlsplit(arguments.hub)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise ConfigError(f"--hub: found {arguments.hub!r}, expected http://… or https://…")
        if arguments.token_file is None:
            raise ConfigError("--token-file: found none, expected the file with an API token for --hub")
        signatures.check_private(arguments.token_file)
        lines = arguments.token_file.read_text("utf-8").splitlines()
        if not lines or not lines[0].isascii() or not lines[0].strip():
            raise ConfigError(f"{arguments.token_file}: expected an API token in the first line")
        self._token = lines[0].strip()
        self._base = f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}/api/v1"
        try:
            ca = str(arguments.ca) if arguments.ca else None
            self._tls = ssl.create_default_context(cafile=ca) if parts.scheme == "https" else None
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(f"{arguments.ca}: not a usable certificate ({error})") from error

    def get(self, path: str, **query: object) -> Any:
        """Return what is at a path.

        Raises
        ------
        ConfigError
            The service refuses; the message is its own.
        PlatformError
            It does not answer.
        """
        return self._ask("GET", f"{path}?{urlencode(query)}" if query else path)

    def post(self, path: str, body: Any) -> Any:
        """Do something once: a repetition after a lost answer is recognised (``Idempotency-Key``)."""
        data = json.dumps(body).encode()
        return self._ask(
            "POST", path, data, {"Content-Type": "application/json", "Idempotency-Key": secrets.token_hex(16)}
        )

    def put(self, path: str, body: Any) -> Any:
        """Make or replace what is at a path."""
        return self._ask("PUT", path, json.dumps(body).encode(), {"Content-Type": "application/json"})

    def delete(self, path: str) -> None:
        """Remove what is at a path."""
        self._ask("DELETE", path)

    def upload(self, file: Path) -> Any:
        """Upload a bundle."""
        try:
            data = file.read_bytes()
        except OSError as error:
            raise ConfigError(f"{file}: {error.strerror}") from error
        return self._ask("POST", "/bundles", data, {"Content-Type": "application/octet-stream"})

    def devices(self, text: str) -> Iterator[dict[str, Any]]:
        """Yield the devices that fit a filter, by name."""
        after = ""
        while True:
            page = self.get("/devices", filter=text, limit=500, after=after)
            yield from page["devices"]
            after = page["after"]
            if not after:
                return

    def _ask(self, method: str, path: str, data: bytes | None = None, headers: Any = None) -> Any:
        request = Request(self._base + path, data, headers or {}, method=method)  # noqa: S310 - http, https
        request.add_header("Authorization", f"Bearer {self._token}")
        try:
            with urlopen(request, timeout=PATIENCE_S, context=self._tls) as answer:  # noqa: S310  # nosec B310
                return json.loads(answer.read() or b"null")
        except HTTPError as error:
            with error:
                text = _detail(error.read(), error.code)
            raise (PlatformError if error.code >= 500 else ConfigError)(f"--hub: {text}") from error
        except (URLError, OSError, HTTPException, ValueError) as error:
            reason = getattr(error, "reason", None) or error
            raise PlatformError(f"--hub {self._base}: {reason}") from error


def selected(text: str, fleet: str) -> str:
    """Return ``--to`` and ``--fleet`` as the service's filter.

    Raises
    ------
    ConfigError
        It lists several terms by commas, which a filter does not have.
    """
    if "," in text:
        raise ConfigError(f"--to: found {text!r}, expected all, a name, a pattern or a filter with --hub")
    terms = [] if fleet == "+" else [f"fleet={fleet}"]
    if text != "all":
        terms.append(text if "=" in text or " " in text else f"name={text}")
    return " ".join(terms)


def follow(hub: RemoteHub, id_: str) -> Iterator[dict[str, Any]]:
    """Yield a rollout whenever it has changed, until it has ended."""
    last = None
    while True:
        found = hub.get(f"/rollouts/{quote(id_)}")
        if found["state"] != last:
            last = found["state"]
            yield found
        if found["status"] in ("done", "stopped", "aborted", "withdrawn"):
            return
        time.sleep(POLL_S)


def wait_for_replies(hub: RemoteHub, id_: str, seconds: float) -> list[dict[str, Any]]:
    """Return what devices answered to a command within ``seconds``."""
    end = time.monotonic() + seconds
    while True:
        replies: list[dict[str, Any]] = hub.get(f"/commands/{id_}")["replies"]
        if time.monotonic() > end or all(reply["state"] != "waiting" for reply in replies):
            return replies
        time.sleep(POLL_S)


def _detail(body: bytes, status: int) -> str:
    try:
        found = json.loads(body)
        return str(found["detail"] or found["title"])
    except (ValueError, KeyError, TypeError):
        return f"status {status}"
