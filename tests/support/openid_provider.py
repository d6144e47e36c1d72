"""An OpenID provider for tests: oidc-provider-mock as a process, with PKCE, and able to forge its tokens.

``python -m tests.support.openid_provider PORT USERS``, where USERS is JSON: subject → claims.

oidc-provider-mock does not look at PKCE. Here a code that was asked for with a challenge is given for the
verifier alone (RFC 7636, S256). A client whose name is ``forged-WHAT`` gets ID tokens with that one thing
wrong: ``audience``, ``issuer``, ``nonce``, ``expired``, ``key``, ``unsigned``.
"""

from __future__ import annotations

import base64
import hashlib
import json
import sys
import time
import warnings
from collections.abc import Callable, Iterable
from io import BytesIO
from typing import Any
from urllib.parse import parse_qs, urlsplit

warnings.simplefilter("ignore")

import oidc_provider_mock  # noqa: E402
from joserfc import jwt  # noqa: E402
from joserfc.jwk import RSAKey  # noqa: E402
from oidc_provider_mock._storage import User  # noqa: E402
from werkzeug.serving import make_server  # noqa: E402
from werkzeug.test import run_wsgi_app  # noqa: E402

KEY, OTHER = (RSAKey.generate_key(2048, {"kid": "1"}) for _ in range(2))


def forged(token: str, what: str) -> str:
    claims = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
    if what == "audience":
        claims["aud"] = "somebody-else"
    if what == "issuer":
        claims["iss"] = "https://elsewhere.example"
    if what == "nonce":
        claims["nonce"] = "0" * 64
    if what == "expired":
        claims["exp"] = int(time.time()) - 3600
    if what == "unsigned":
        parts = ({"alg": "none"}, claims)
        return (
            ".".join(base64.urlsafe_b64encode(json.dumps(p).encode()).decode().rstrip("=") for p in parts)
            + "."
        )
    return jwt.encode({"alg": "RS256", "kid": "1"}, claims, OTHER if what == "key" else KEY)


class Provider:
    """The WSGI application around the mock's."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self._challenges: dict[str, str] = {}

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        path, query = environ["PATH_INFO"], parse_qs(environ.get("QUERY_STRING", ""))
        if path == "/jwks":
            start("200 OK", [("Content-Type", "application/json")])
            return [json.dumps({"keys": [KEY.as_dict(private=False)]}).encode()]
        sent = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        environ["wsgi.input"] = BytesIO(sent)
        form = parse_qs(sent.decode())
        if path == "/oauth2/token":
            verifier = form.get("code_verifier", [""])[0].encode()
            made = base64.urlsafe_b64encode(hashlib.sha256(verifier).digest()).decode().rstrip("=")
            if self._challenges.get(form["code"][0]) != made:
                start("400 Bad Request", [("Content-Type", "application/json")])
                return [b'{"error": "invalid_grant"}']
        body, status, headers = run_wsgi_app(self._inner, environ, buffered=True)
        answer = b"".join(body)
        if path == "/oauth2/authorize" and "code_challenge" in query:
            code = parse_qs(urlsplit(headers.get("Location", "")).query).get("code", [""])[0]
            assert query["code_challenge_method"] == ["S256"]
            self._challenges[code] = query["code_challenge"][0]
        if path == "/oauth2/token" and status.startswith("200"):
            found = json.loads(answer)
            login = base64.b64decode(environ["HTTP_AUTHORIZATION"].split()[1]).decode().split(":")[0]
            found["id_token"] = forged(found["id_token"], login.removeprefix("forged-"))
            answer = json.dumps(found).encode()
            headers["Content-Length"] = str(len(answer))
        start(status, list(headers))
        return [answer]


if __name__ == "__main__":
    users = [User(sub=sub, claims=claims) for sub, claims in json.loads(sys.argv[2]).items()]
    app = oidc_provider_mock.app(user_claims=users, require_nonce=True)
    make_server("127.0.0.1", int(sys.argv[1]), Provider(app), threaded=True).serve_forever()
