"""Logging in by an OpenID provider, which is a process of its own."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from edge_agent.testing.free_ports import free_port
from edge_hub.cli import main
from edge_hub.database import accounts, audit
from edge_hub.openid import OpenIdProvider
from tests.hub.service import Service

ROOT = Path(__file__).parents[2]
USERS = {
    "1": {"preferred_username": "ann", "groups": ["staff", "hub-admins"]},
    "2": {"preferred_username": "bob", "groups": ["staff"]},
    "3": {"preferred_username": "eve", "groups": ["guests"]},
    "4": {"preferred_username": "ann", "groups": "staff"},
}
ROLES = {"hub-admins": "admin", "staff": "viewer"}


@pytest.fixture(scope="module")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    port = free_port()
    log = tmp_path_factory.mktemp("openid") / "provider.log"
    words = [sys.executable, "-m", "tests.support.openid_provider", str(port), json.dumps(USERS)]
    with log.open("w") as file:
        process = subprocess.Popen(words, cwd=ROOT, stdout=file, stderr=file)
    address = f"http://127.0.0.1:{port}"
    transport = httpx.HTTPTransport(retries=20)  # waits longer after each
    with httpx.Client(transport=transport) as client:
        assert client.get(f"{address}/jwks").status_code == 200, log.read_text()
    yield address
    process.terminate()
    process.wait()


@pytest.fixture
def openid(service: Service, issuer: str) -> Service:
    use(service, issuer)
    return service


def use(service: Service, issuer: str, client: str = "hub", **more: str) -> None:
    back = f"{service.address}/api/v1/oidc/callback"
    service.hub.openid = OpenIdProvider(issuer, client, "secret", back, ROLES, **more)


def at_provider(caller: httpx.Client, subject: str) -> str:
    """Begin a login and be identified by the provider; return the address that it sends the browser to."""
    answer = caller.get("/oidc/login")
    assert answer.status_code == 302, answer.text
    with httpx.Client() as browser:
        back = browser.post(answer.headers["location"], data={"sub": subject})
    assert back.status_code == 302, back.text
    return back.headers["location"]


def log_in(service: Service, subject: str) -> tuple[httpx.Client, httpx.Response]:
    caller = service.client()
    return caller, caller.get(at_provider(caller, subject))


def test_a_person_logs_in_with_the_role_of_its_groups(openid: Service) -> None:
    caller, answer = log_in(openid, "1")
    assert (answer.status_code, answer.headers["location"]) == (302, "/")
    session = caller.get("/session").json()
    assert (session["user"], session["role"]) == ("ann", "admin")
    assert caller.get("/users").status_code == 200
    assert caller.get("/oidc").json() == {"issuer": openid.hub.openid.issuer}
    bob, _ = log_in(openid, "2")
    assert bob.get("/session").json()["role"] == "viewer"
    assert bob.get("/users").status_code == 403
    assert bob.post("/tokens", json={"name": "t", "role": "viewer", "days": 1}).status_code == 403  # no CSRF


def test_cookies_of_a_login_are_kept_from_scripts_and_other_sites(openid: Service) -> None:
    caller = openid.client()
    begun = caller.get("/oidc/login").headers["set-cookie"].lower()
    assert "httponly" in begun
    assert "samesite=lax" in begun
    _, answer = log_in(openid, "2")
    cookies = [text.lower() for text in answer.headers.get_list("set-cookie")]
    session = next(text for text in cookies if text.startswith("edge_hub_session"))
    assert "httponly" in session
    assert "samesite=strict" in session


def test_without_a_role_nobody_gets_in(openid: Service) -> None:
    caller, answer = log_in(openid, "3")
    assert answer.status_code == 401
    assert "no role for '3' in the claim groups" in answer.json()["detail"]
    assert caller.get("/session").status_code == 401
    assert accounts.users_page(openid.hub.database) == []


def test_a_name_that_is_taken_is_not_taken_over(openid: Service) -> None:
    openid.add_user("ann", "admin")
    first, _ = log_in(openid, "1")
    second, _ = log_in(openid, "4")
    names = {first.get("/session").json()["user"], second.get("/session").json()["user"], "ann"}
    assert len(names) == 3
    assert second.get("/session").json()["role"] == "viewer"
    again, _ = log_in(openid, "4")
    assert again.get("/session").json()["user"] in names
    assert len(accounts.users_page(openid.hub.database)) == 3


def test_the_role_follows_the_provider_and_a_disabled_user_stays_out(openid: Service) -> None:
    log_in(openid, "1")
    user = accounts.users_page(openid.hub.database)[0]
    with openid.hub.database.write() as connection:
        accounts.change_user(connection, user["id"], role="viewer")
    caller, _ = log_in(openid, "1")
    assert caller.get("/session").json()["role"] == "admin"
    actions = [entry["action"] for entry in audit.page(openid.hub.database)]
    assert actions == ["session.begin", "user.change", "session.begin", "user.add"]
    with openid.hub.database.write() as connection:
        accounts.change_user(connection, user["id"], disabled=True)
    assert log_in(openid, "1")[1].status_code == 403


def test_a_login_that_another_browser_began_is_refused(openid: Service) -> None:
    victim, attacker = openid.client(), openid.client()
    back = at_provider(attacker, "1")
    assert victim.get(back).status_code == 403
    victim.get("/oidc/login")
    assert victim.get(back).status_code == 403
    assert victim.get("/session").status_code == 401
    assert attacker.get(back).status_code == 302


def test_a_stolen_code_is_worth_nothing_in_another_browser(openid: Service) -> None:
    """The thief has a login of its own with the right state; the provider wants PKCE's verifier."""
    code = parse_qs(urlsplit(at_provider(openid.client(), "1")).query)["code"][0]
    thief = openid.client()
    state = parse_qs(urlsplit(thief.get("/oidc/login").headers["location"]).query)["state"][0]
    answer = thief.get("/oidc/callback", params={"state": state, "code": code})
    assert (answer.status_code, answer.json()["detail"]) == (
        401,
        "openid: the provider refuses the login: invalid_grant",
    )


def test_a_code_works_once(openid: Service) -> None:
    caller = openid.client()
    back = at_provider(caller, "2")
    cookies = dict(caller.cookies)
    assert caller.get(back).status_code == 302
    assert openid.client().get(back, headers=cookie_header(cookies)).status_code == 401


def cookie_header(cookies: dict[str, str]) -> dict[str, str]:
    return {"Cookie": "; ".join(f"{name}={value}" for name, value in cookies.items())}


@pytest.mark.parametrize("what", ["audience", "issuer", "nonce", "expired", "key", "unsigned"])
def test_a_forged_token_is_refused(service: Service, issuer: str, what: str) -> None:
    use(service, issuer, f"forged-{what}")
    caller, answer = log_in(service, "1")
    assert answer.status_code == 401
    assert "the ID token is not valid" in answer.json()["detail"]
    assert caller.get("/session").status_code == 401


def test_a_provider_that_is_away_is_one_line(service: Service) -> None:
    use(service, f"http://127.0.0.1:{free_port()}")
    answer = service.client().get("/oidc/login")
    assert answer.status_code == 503
    use(service, service.address)  # something that is no provider
    assert service.client().get("/oidc/login").status_code == 503


def test_too_many_failures_lock_an_address_out(openid: Service) -> None:
    for _ in range(20):
        assert log_in(openid, "3")[1].status_code == 401
    assert log_in(openid, "1")[1].status_code == 429


def test_without_a_provider_there_is_no_login(service: Service) -> None:
    caller = service.client()
    assert caller.get("/oidc").json() == {"issuer": ""}
    assert caller.get("/oidc/login").status_code == 404
    assert caller.get("/oidc/callback").status_code == 404


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["--oidc-issuer", "http://idp.example"],
            "--oidc-issuer: found 'http://idp.example', expected https://…",
        ),
        (["--public-url", "http://hub.example"], "--public-url: found 'http://hub.example/"),
        (["--oidc-role", "staff"], "--oidc-role: found 'staff', expected VALUE=ROLE"),
        (["--oidc-role", "staff=king"], "--oidc-role staff=king: expected one of viewer, operator, admin"),
        (["--oidc-client-id", ""], "--oidc-client-id: found none"),
    ],
)
def test_wrong_options_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    good = ["--oidc-issuer", "https://idp.example", "--public-url", "https://hub.example"]
    good += ["--oidc-client-id", "hub", "--oidc-role", "staff=viewer"]
    place = ["--data", str(tmp_path / "hub.db"), "--state", str(tmp_path / "state")]
    assert main(["serve", *place, *good, *words]) == 2
    assert said in capsys.readouterr().err
