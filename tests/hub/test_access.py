"""Who may do what: every route against every role, and the ways around it."""

import time
from typing import Any

import httpx
from litestar.routes import HTTPRoute, WebSocketRoute

from edge_hub.api import app
from edge_hub.database import accounts, audit, setup, sql
from edge_hub.domain import secrets
from edge_hub.domain.roles import ROLES
from tests.hub.service import KEPT, PASSWORD, Service

WANTED = {
    ("GET", "/"): "public",
    ("GET", "/agent/{fleet}/{name}"): "public",
    ("GET", "/alerts"): "public",
    ("GET", "/alerts/{id_}"): "public",
    ("GET", "/enrol"): "public",
    ("GET", "/audit"): "public",
    ("GET", "/device/{fleet}/{name}"): "public",
    ("GET", "/login"): "public",
    ("GET", "/models"): "public",
    ("GET", "/learning"): "public",
    ("GET", "/learning/{fleet}/{population}/{bundle}"): "public",
    ("GET", "/models/{digest}"): "public",
    ("GET", "/rollouts"): "public",
    ("GET", "/rollouts/{id_}"): "public",
    ("GET", "/setup"): "public",
    ("GET", "/tokens"): "public",
    ("GET", "/users"): "public",
    ("GET", "/web/{path}"): "public",
    ("GET", "/healthz"): "public",
    ("GET", "/readyz"): "public",
    ("GET", "/metrics"): "viewer",
    ("GET", "/api/v1/audit"): "operator",
    ("GET", "/api/v1/audit/verify"): "operator",
    ("GET", "/api/v1/bundles"): "viewer",
    ("POST", "/api/v1/bundles"): "operator",
    ("GET", "/api/v1/bundles/{digest}"): "viewer",
    ("GET", "/api/v1/commands"): "viewer",
    ("POST", "/api/v1/commands"): "operator",
    ("GET", "/api/v1/commands/{id_}"): "viewer",
    ("GET", "/api/v1/devices"): "viewer",
    ("GET", "/api/v1/devices/count"): "viewer",
    ("GET", "/api/v1/devices/{fleet}/{name}"): "viewer",
    ("DELETE", "/api/v1/devices/{fleet}/{name}"): "operator",
    ("PUT", "/api/v1/devices/{fleet}/{name}/labels"): "operator",
    ("GET", "/api/v1/devices/{fleet}/{name}/series"): "viewer",
    ("GET", "/api/v1/devices/{fleet}/{name}/telemetry"): "viewer",
    ("GET", "/api/v1/events"): "viewer",
    ("WS", "/api/v1/events/socket"): "viewer",
    ("GET", "/api/v1/fleets"): "viewer",
    ("GET", "/api/v1/alerts"): "viewer",
    ("GET", "/api/v1/alerts/{id_}"): "viewer",
    ("POST", "/api/v1/alerts/{id_}/acknowledge"): "operator",
    ("GET", "/api/v1/alerts/rules"): "viewer",
    ("PUT", "/api/v1/alerts/rules/{name}"): "operator",
    ("DELETE", "/api/v1/alerts/rules/{name}"): "operator",
    ("GET", "/api/v1/alerts/targets"): "viewer",
    ("POST", "/api/v1/configurations"): "operator",
    ("GET", "/api/v1/enrolments"): "operator",
    ("POST", "/api/v1/enrolments"): "operator",
    ("DELETE", "/api/v1/enrolments/{id_}"): "operator",
    ("POST", "/api/v1/enrol"): "public",
    ("GET", "/api/v1/groups"): "viewer",
    ("PUT", "/api/v1/groups/{name}"): "operator",
    ("DELETE", "/api/v1/groups/{name}"): "operator",
    ("GET", "/api/v1/learning"): "viewer",
    ("GET", "/api/v1/learning/{fleet}/{population}/{digest}"): "viewer",
    ("GET", "/api/v1/learning/{fleet}/{population}/{digest}/epochs"): "viewer",
    ("POST", "/api/v1/learning/{fleet}/{population}/{digest}/rounds"): "operator",
    ("GET", "/api/v1/oidc"): "public",
    ("GET", "/api/v1/oidc/callback"): "public",
    ("GET", "/api/v1/oidc/login"): "public",
    ("GET", "/api/v1/populations"): "viewer",
    ("GET", "/api/v1/rejected"): "viewer",
    ("GET", "/api/v1/releases"): "viewer",
    ("POST", "/api/v1/releases"): "operator",
    ("GET", "/api/v1/releases/wanted"): "viewer",
    ("GET", "/api/v1/rollouts"): "viewer",
    ("POST", "/api/v1/rollouts"): "operator",
    ("GET", "/api/v1/rollouts/{id_}"): "viewer",
    ("POST", "/api/v1/rollouts/{id_}/{action}"): "operator",
    ("POST", "/api/v1/session"): "public",
    ("GET", "/api/v1/session"): "viewer",
    ("DELETE", "/api/v1/session"): "viewer",
    ("POST", "/api/v1/setup"): "public",
    ("GET", "/api/v1/tokens"): "viewer",
    ("POST", "/api/v1/tokens"): "viewer",
    ("DELETE", "/api/v1/tokens/{number}"): "viewer",
    ("GET", "/api/v1/users"): "admin",
    ("POST", "/api/v1/users"): "admin",
    ("PATCH", "/api/v1/users/{number}"): "admin",
    ("DELETE", "/api/v1/users/{number}"): "admin",
}
"""Route → the least role. A route that is not here, or not there, fails the test."""
STREAMS = {("GET", "/api/v1/events"), ("WS", "/api/v1/events/socket")}
VALUES = {
    "{digest}": "0" * 64,
    "{action}": "pause",
    "{number}": "999",
    "{fleet}": "f",
    "{name}": "n",
    "{population}": "p",
    "{bundle}": "b",
    "{id_}": "i",
    "{path}": "main.js",
}


def routes(service: Service) -> set[tuple[str, str]]:
    found = set()
    for route in app.make(service.hub).routes:
        path = route.path_format
        if path.startswith("/schema"):
            continue
        if isinstance(route, HTTPRoute):
            found |= {(method, path) for method in route.methods if method not in ("OPTIONS", "HEAD")}
        elif isinstance(route, WebSocketRoute):
            found.add(("WS", path))
    return found


def test_each_route_lets_in_who_may_and_nobody_else(service: Service) -> None:
    assert routes(service) == set(WANTED)
    callers = {"": service.client(), **{role: service.as_role(role) for role in ROLES}}
    wrong = []
    for (method, path), least in sorted(WANTED.items()):
        if (method, path) in STREAMS:
            continue
        for name, value in VALUES.items():
            path = path.replace(name, value)
        for role, caller in callers.items():
            if method == "DELETE" and path.endswith("/session") and role:
                continue
            status = caller.request(method, service.address + path).status_code
            allowed = least == "public" or (role in ROLES and ROLES.index(role) >= ROLES.index(least))
            refused = status == (403 if role else 401)
            if path.endswith("/setup"):
                refused = False
            if path.endswith("/session") and method == "POST":
                refused = False
            if allowed == refused or status >= 500:
                wrong.append((method, path, role, status))
    assert wrong == []


def test_streams_are_refused_to_strangers(service: Service) -> None:
    assert service.client().get("/events").status_code == 401


def test_the_document_is_for_who_may_look(service: Service) -> None:
    address = f"{service.address}/schema/openapi.json"
    assert service.client().get(address).status_code == 401
    assert service.as_role("viewer").get(address).json()["info"]["title"] == "edge-hub"


def test_a_scoped_token_reaches_its_scope_alone(service: Service) -> None:
    caller = service.as_role("admin", ["devices"])
    assert caller.get("/devices").status_code == 200
    assert caller.get("/users").status_code == 403
    assert "scopes are devices" in caller.get("/users").json()["detail"]
    assert caller.get("/audit").status_code == 403


def test_a_token_that_is_over_is_worth_nothing(service: Service) -> None:
    assert service.as_role("admin", lasts=-1.0).get("/devices").status_code == 401
    caller = service.as_role("viewer")
    assert caller.get("/devices").status_code == 200
    service.hub.now = lambda: time.time() + 4000
    assert caller.get("/devices").status_code == 401


def test_a_token_is_no_session_and_a_session_no_token(service: Service) -> None:
    service.add_user("ann", "admin")
    caller = service.logged_in("ann")
    cookie = caller.cookies["edge_hub_session"]
    assert service.client(cookie).get("/devices").status_code == 401
    token = caller.post("/tokens", json={"name": "x"}).json()["token"]
    other = service.client()
    other.cookies.set("edge_hub_session", token)
    assert other.get("/devices").status_code == 401


def test_a_session_begins_and_ends(service: Service) -> None:
    service.add_user("ann", "operator")
    caller = service.logged_in("ann")
    found = caller.get("/session").json()
    assert (found["user"], found["role"]) == ("ann", "operator")
    assert caller.delete("/session").status_code == 204
    assert caller.get("/session").status_code == 401


def test_the_cookie_is_kept_from_scripts_and_other_sites(service: Service) -> None:
    service.add_user("ann", "operator")
    answer = service.client().post("/session", json={"user": "ann", "password": PASSWORD})
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert "secure" not in cookie
    service.hub.secure = True
    answer = service.client().post("/session", json={"user": "ann", "password": PASSWORD})
    assert "; secure" in answer.headers["set-cookie"].lower()
    assert "strict-transport-security" in answer.headers


def test_nothing_that_a_caller_shows_is_kept_as_it_is(service: Service) -> None:
    service.add_user("ann", "admin")
    caller = service.logged_in("ann")
    token = caller.post("/tokens", json={"name": "x"}).json()["token"]
    shown = [PASSWORD, caller.cookies["edge_hub_session"], token]
    with service.hub.database.read() as connection:
        kept = [
            str(value)
            for table in ("users", "sessions", "tokens", "audit", "settings")
            for row in sql.run(connection, f"SELECT * FROM {table}")
            for value in row
        ]
    assert not [secret for secret in shown if any(secret in text for text in kept)]
    assert any(text.startswith("$argon2id$") for text in kept)


def test_a_session_that_an_attacker_planted_is_not_the_one_that_logs_in(service: Service) -> None:
    service.add_user("ann", "admin")
    planted = service.logged_in("ann").cookies["edge_hub_session"]
    victim = service.client()
    victim.cookies.set("edge_hub_session", planted)
    victim.post("/session", json={"user": "ann", "password": PASSWORD})
    attacker = service.client()
    attacker.cookies.set("edge_hub_session", planted)
    assert attacker.get("/session").status_code == 401


def test_writes_by_a_session_need_its_token(service: Service) -> None:
    service.add_user("ann", "admin")
    caller = service.logged_in("ann")
    right = caller.headers.pop("X-CSRF-Token")
    body = {"filter": "online"}
    assert caller.put("/groups/g", json=body).status_code == 403
    assert caller.put("/groups/g", json=body, headers={"X-CSRF-Token": right[:-1]}).status_code == 403
    assert caller.put("/groups/g", json=body, headers={"X-CSRF-Token": ""}).status_code == 403
    service.add_user("bob", "admin")
    other = service.logged_in("bob").headers["X-CSRF-Token"]
    assert caller.put("/groups/g", json=body, headers={"X-CSRF-Token": other}).status_code == 403
    assert caller.put("/groups/g", json=body, headers={"X-CSRF-Token": right}).status_code == 200


def test_another_sites_page_can_not_log_somebody_in(service: Service) -> None:
    service.add_user("ann", "admin")
    data = {"user": "ann", "password": PASSWORD}
    foreign = {"Origin": "https://evil.example"}
    assert service.client().post("/session", json=data, headers=foreign).status_code == 403
    own = {"Origin": service.address}
    assert service.client().post("/session", json=data, headers=own).status_code == 201


def test_a_password_is_not_guessed_for_long(service: Service) -> None:
    service.add_user("ann", "admin")
    caller = service.client()
    wrong = {"user": "ann", "password": "wrong wrong wrong"}
    statuses = [caller.post("/session", json=wrong).status_code for _ in range(7)]
    assert statuses == [401] * 5 + [429] * 2
    right = caller.post("/session", json={"user": "ann", "password": PASSWORD})
    assert (right.status_code, right.headers["retry-after"]) == (429, "300")
    service.hub.now = lambda: time.time() + 301
    assert caller.post("/session", json={"user": "ann", "password": PASSWORD}).status_code == 201


def test_an_unknown_name_is_refused_like_a_wrong_password(service: Service) -> None:
    service.add_user("ann", "admin")
    caller = service.client()
    answers = [
        caller.post("/session", json={"user": name, "password": "wrong wrong wrong"}).json()
        for name in ("ann", "nobody")
    ]
    assert answers[0] == answers[1]


def test_the_first_admin_is_made_once(service: Service) -> None:
    code = setup.offer(service.hub.database, time.time())
    caller = service.client()
    data = {"code": "wrong", "user": "ann", "password": PASSWORD}
    assert caller.post("/setup", json=data).status_code == 403
    data["code"] = code
    assert caller.post("/setup", json=data | {"password": "short"}).status_code == 422
    answer = caller.post("/setup", json=data)
    assert (answer.status_code, answer.json()["role"]) == (201, "admin")
    assert caller.get("/session").json()["user"] == "ann"
    assert service.client().post("/setup", json=data | {"user": "eve"}).status_code == 403
    assert setup.offer(service.hub.database, time.time()) == ""


def test_the_code_is_too_old_after_an_hour(service: Service) -> None:
    code = setup.offer(service.hub.database, time.time() - 3601)
    data = {"code": code, "user": "ann", "password": PASSWORD}
    assert service.client().post("/setup", json=data).status_code == 403


def test_users_come_change_and_go(service: Service) -> None:
    admin = service.as_role("admin")
    added = admin.post("/users", json={"name": "ann", "role": "viewer", "password": PASSWORD})
    assert added.status_code == 201
    number = added.json()["id"]
    assert (
        admin.post("/users", json={"name": "ann", "role": "viewer", "password": PASSWORD}).status_code == 409
    )
    ann = service.logged_in("ann")
    assert ann.put("/groups/g", json={"filter": ""}).status_code == 403
    assert admin.patch(f"/users/{number}", json={"role": "operator"}).json()["role"] == "operator"
    assert ann.get("/session").status_code == 401
    assert service.logged_in("ann").put("/groups/g", json={"filter": ""}).status_code == 200
    ann = service.logged_in("ann")
    assert admin.patch(f"/users/{number}", json={"disabled": True}).status_code == 200
    assert ann.get("/session").status_code == 401
    assert service.client().post("/session", json={"user": "ann", "password": PASSWORD}).status_code == 401
    assert admin.delete(f"/users/{number}").status_code == 204
    assert "ann" not in [user["name"] for user in admin.get("/users").json()]


def test_the_last_admin_stays(service: Service) -> None:
    admin = service.as_role("admin")
    (me,) = admin.get("/users").json()
    assert admin.delete(f"/users/{me['id']}").status_code == 409
    assert admin.patch(f"/users/{me['id']}", json={"role": "viewer"}).status_code == 409
    assert admin.patch(f"/users/{me['id']}", json={"disabled": True}).status_code == 409
    assert [user["role"] for user in admin.get("/users").json()] == ["admin"]


def test_a_token_makes_none_that_may_do_more(service: Service) -> None:
    viewer = service.as_role("viewer", ["users", "devices"])
    assert viewer.post("/tokens", json={"name": "x", "role": "admin"}).status_code == 403
    made = viewer.post("/tokens", json={"name": "x", "role": "admin", "scopes": ["devices"]}).json()
    caller = service.client(made["token"])
    assert caller.get("/devices").status_code == 200
    assert caller.get("/tokens").status_code == 403
    mine = {row["id"]: row for row in viewer.get("/tokens").json()}
    assert mine[made["id"]]["role"] == "viewer"
    assert viewer.delete(f"/tokens/{made['id']}").status_code == 204
    assert caller.get("/devices").status_code == 401


def test_one_sees_and_removes_ones_own_tokens_alone(service: Service) -> None:
    one, other = service.as_role("viewer"), service.as_role("viewer")
    number = one.post("/tokens", json={"name": "x"}).json()["id"]
    assert number not in [row["id"] for row in other.get("/tokens").json()]
    assert other.delete(f"/tokens/{number}").status_code == 404
    admin = service.as_role("admin")
    assert number in [row["id"] for row in admin.get("/tokens").json()]


def test_every_answer_carries_the_security_headers(service: Service) -> None:
    for path in ("/healthz", "/api/v1/devices", "/nowhere", "/api/v1/session"):
        headers = httpx.get(service.address + path).headers
        assert "default-src 'none'" in headers["content-security-policy"], path
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"


def entry_after(service: Service, change: Any) -> dict[str, Any]:
    change()
    found: dict[str, Any] = audit.page(service.hub.database, limit=1)[0]
    return found


def test_each_change_is_in_the_audit(service: Service) -> None:
    caller = service.as_role("admin")
    found = entry_after(service, lambda: caller.put("/groups/g", json={"filter": "online"}))
    assert (found["action"], found["object"], found["before"]) == ("group.put", "g", None)
    found = entry_after(service, lambda: caller.put("/groups/g", json={"filter": "!online"}))
    assert (found["before"]["filter"], found["after"]["filter"]) == ("online", "!online")
    before = caller.get("/audit").json()[0]["seq"]
    assert caller.put("/groups/g", json={"filter": "nonsense=1"}).status_code == 422
    assert caller.get("/audit").json()[0]["seq"] == before


def test_a_byte_that_changes_in_the_audit_is_found(service: Service) -> None:
    caller = service.as_role("admin")
    for n in range(5):
        caller.put(f"/groups/g{n}", json={"filter": "online"})
    sound = caller.get("/audit/verify").json()
    assert (sound["entries"], sound["broken"]) == (5, 0)
    changes = [
        "UPDATE audit SET who = 'somebody else' WHERE seq = 3",
        "UPDATE audit SET after = replace(after, 'online', 'onlinE') WHERE seq = 3",
        "DELETE FROM audit WHERE seq = 3",
        "UPDATE audit SET t = t + 1 WHERE seq = 3",
    ]
    for change in changes:
        with service.hub.database.write() as connection:
            savepoint = connection.begin_nested()
            sql.run(connection, change)
            assert _verify_inside(connection) in (3, 4), change
            savepoint.rollback()
    assert audit.verify(service.hub.database)["hash"] == sound["hash"]


def _verify_inside(connection: Any) -> int:
    """Follow the chain as the description has it, without the project's code for it."""
    import hashlib
    import json

    previous = "0" * 64
    for number, row in enumerate(sql.run(connection, "SELECT * FROM audit ORDER BY seq").mappings(), 1):
        entry = {key: value for key, value in row.items() if key != "hash"}
        text = json.dumps(entry, sort_keys=True, separators=(",", ":"))
        right = hashlib.sha256(text.encode()).hexdigest()
        if row["seq"] != number or row["previous"] != previous or row["hash"] != right:
            return int(row["seq"])
        previous = row["hash"]
    return 0


def test_sessions_and_tokens_that_are_over_are_removed(service: Service) -> None:
    database, now = service.hub.database, time.time()
    with database.write() as connection:
        number = accounts.add_user(connection, "ann", "viewer", KEPT, now)
        accounts.add_session(connection, secrets.digest("a"), number, "c", now, now - 1)
        accounts.add_token(connection, "t", number, secrets.digest("b"), "viewer", [], now, now - 1)
    accounts.expire(database, now)
    with database.read() as connection:
        assert sql.one(connection, "SELECT count(*) FROM sessions") == 0
        assert sql.one(connection, "SELECT count(*) FROM tokens") == 0
