"""Login by an OpenID provider: the authorization code flow with PKCE, and what the provider says of a person.

Theory of operation. One random secret per login, kept in a cookie of that browser alone, gives state, nonce
and PKCE's verifier: nothing is stored on the hub, any web worker can finish the login, and a code that was
begun in another browser is worth nothing here. Authlib talks to the provider; joserfc checks signature and
claims of the ID token. Both are loaded only if a provider is configured (``pip install edge-hub[oidc]``).

The provider is discovered at each login: logins are rare, and its keys may change at any time.
"""

from __future__ import annotations

import hashlib
import hmac
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from edge_agent.errors import ConfigError, PeerError, PlatformError
from edge_hub.domain.roles import ROLES

SCOPES = "openid profile email"
ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512"]
"""Of ID tokens: signed by a key that the provider alone has."""
PATIENCE_S = 10.0
LEEWAY_S = 60
MAX_NAME = 64
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True, slots=True)
class Person:
    """Whom the provider has identified: ``subject`` never changes, ``name`` is for people."""

    subject: str
    name: str
    role: str


@dataclass(frozen=True, slots=True)
class OpenIdProvider:
    """A provider, and what its claims mean here.

    Parameters
    ----------
    issuer : str
        Its address, as its ID tokens say it.
    client_id, client_secret : str
        How it knows this hub; the secret may be empty.
    redirect_uri : str
        Where it sends browsers back to: the hub's public address with ``/api/v1/oidc/callback``.
    roles : mapping of str to str
        Value of the claim ``role_claim`` → role of this hub; of several the one that may do most.

    Raises
    ------
    ConfigError
        An address is not https, a role is none of this hub's, or the libraries are missing.
    """

    issuer: str
    client_id: str
    client_secret: str = field(repr=False)
    redirect_uri: str
    roles: Mapping[str, str]
    role_claim: str = "groups"
    name_claim: str = "preferred_username"

    def __post_init__(self) -> None:
        for option, found in (("--oidc-issuer", self.issuer), ("--public-url", self.redirect_uri)):
            if not _is_safe(found):
                raise ConfigError(f"{option}: found {found!r}, expected https://…")
        if not self.client_id:
            raise ConfigError(
                "--oidc-client-id: found none, expected the name that the provider gave this hub"
            )
        if not self.roles:
            raise ConfigError("--oidc-role: found none, expected VALUE=ROLE at least once")
        for value, role in self.roles.items():
            if role not in ROLES:
                raise ConfigError(f"--oidc-role {value}={role}: expected one of {', '.join(ROLES)}")
        _libraries()

    def address(self, secret: str) -> str:
        """Return where a browser logs in; ``secret`` is this login's.

        Raises
        ------
        PlatformError
            The provider does not answer.
        """
        with self._session() as session:
            found, _ = session.create_authorization_url(
                self._metadata(session)["authorization_endpoint"],
                state=derived(secret, "state"),
                nonce=derived(secret, "nonce"),
                code_verifier=derived(secret, "verifier"),
            )
        return str(found)

    def person(self, secret: str, code: str) -> Person:
        """Return who logged in.

        Raises
        ------
        PeerError
            The provider refuses the code, its ID token is not valid, or no role is meant for the person.
        PlatformError
            The provider does not answer.
        """
        claims = self._claims(secret, code)
        subject, found = claims["sub"], claims.get(self.role_claim, [])
        if not isinstance(subject, str) or not subject:
            raise PeerError("openid: found no subject in the ID token")
        values = [found] if isinstance(found, str) else found if isinstance(found, list) else []
        roles = [self.roles[value] for value in values if isinstance(value, str) and value in self.roles]
        if not roles:
            raise PeerError(f"openid: found no role for {subject!r} in the claim {self.role_claim}")
        name = claims.get(self.name_claim)
        shown = (
            name if isinstance(name, str) and name.isprintable() and 0 < len(name) <= MAX_NAME else subject
        )
        return Person(f"{self.issuer} {subject}", shown[:MAX_NAME], max(roles, key=ROLES.index))

    def _claims(self, secret: str, code: str) -> Mapping[str, Any]:
        import requests
        from authlib.integrations.base_client.errors import OAuthError
        from joserfc import jwt
        from joserfc.errors import JoseError
        from joserfc.jwk import KeySet

        with self._session() as session:
            metadata = self._metadata(session)
            try:
                token = session.fetch_token(
                    metadata["token_endpoint"],
                    grant_type="authorization_code",
                    code=code,
                    code_verifier=derived(secret, "verifier"),
                    timeout=PATIENCE_S,
                )
                answer = session.request("GET", metadata["jwks_uri"], withhold_token=True, timeout=PATIENCE_S)
                answer.raise_for_status()
                keys = KeySet.import_key_set(answer.json())
            except OAuthError as error:
                raise PeerError(f"openid: the provider refuses the login: {error.error}") from error
            except (requests.RequestException, ValueError, JoseError) as error:
                raise PlatformError(f"openid: {self.issuer}: {type(error).__name__}") from error
        checks = jwt.JWTClaimsRegistry(
            leeway=LEEWAY_S,
            iss={"essential": True, "value": self.issuer},
            aud={"essential": True, "value": self.client_id},
            nonce={"essential": True, "value": derived(secret, "nonce")},
            sub={"essential": True},
            exp={"essential": True},
        )
        try:
            found = jwt.decode(str(token.get("id_token", "")), keys, algorithms=ALGORITHMS)
            checks.validate(found.claims)
        except (JoseError, ValueError) as error:
            raise PeerError(f"openid: the ID token is not valid: {type(error).__name__}") from error
        if found.claims.get("azp", self.client_id) != self.client_id:
            raise PeerError("openid: the ID token is not valid: made for another client")
        claims: Mapping[str, Any] = found.claims
        return claims

    def _metadata(self, session: Any) -> dict[str, str]:
        import requests

        address = f"{self.issuer.rstrip('/')}/.well-known/openid-configuration"
        try:
            answer = session.request("GET", address, withhold_token=True, timeout=PATIENCE_S)
            answer.raise_for_status()
            found = answer.json()
        except (requests.RequestException, ValueError) as error:
            raise PlatformError(f"openid: {self.issuer}: {type(error).__name__}") from error
        wanted = ("authorization_endpoint", "token_endpoint", "jwks_uri")
        if not isinstance(found, dict) or found.get("issuer") != self.issuer:
            raise PlatformError(f"openid: {self.issuer}: found another issuer in its configuration")
        for key in wanted:
            if not isinstance(found.get(key), str) or not _is_safe(found[key]):
                raise PlatformError(f"openid: {self.issuer}: {key}: expected https://…")
        return {key: found[key] for key in wanted}

    def _session(self) -> Any:
        from authlib.integrations.requests_client import OAuth2Session

        return OAuth2Session(
            self.client_id,
            self.client_secret or None,
            scope=SCOPES,
            redirect_uri=self.redirect_uri,
            code_challenge_method="S256",
            token_endpoint_auth_method="client_secret_basic" if self.client_secret else "none",
        )


def derived(secret: str, purpose: str) -> str:
    """Return what a login's secret gives for a purpose: 64 hexadecimal digits."""
    return hmac.digest(secret.encode(), purpose.encode(), hashlib.sha256).hex()


def _is_safe(address: str) -> bool:
    parts = urlsplit(address)
    return (parts.scheme == "https" and bool(parts.netloc)) or (
        parts.scheme == "http" and parts.hostname in _LOOPBACK
    )


def _libraries() -> None:
    for name in ("authlib", "joserfc", "requests"):
        if importlib.util.find_spec(name) is None:
            raise ConfigError(f"--oidc-issuer: {name} is missing; pip install 'edge-hub[oidc]'")
