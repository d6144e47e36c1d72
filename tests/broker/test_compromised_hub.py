"""An attacker with the hub's machine, its database and the director's key, against a real daemon and broker.

The attacker signs whatever the director can sign, and has every release that was ever given to the hub. Each
attempt must be refused with one line in ``up/reported``, and what runs must stay as it was.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edge_agent.wire import blocks, bundle, documents, signatures
from tests.broker.conftest import until
from tests.broker.lab import Lab, wait_for
from tests.broker.test_hostile_hub import TOPICS, Hub
from tests.support import fan

pytestmark = pytest.mark.broker
HALLS = {"size": 2, "rate_hz": 10, "act": [{"control": "fan", "topic": "z/{agent}/set"}]}


class Attacker(Hub):
    """The director's key and the hub's releases; `desire` publishes any body."""

    def __init__(self, lab: Lab, release_key: Path) -> None:
        super().__init__(lab)
        self.version = int(time.time() * 1000)
        self._release_secret = signatures.load_secret(release_key)

    def released(self, path: Path, number: int, **other: Any) -> dict[str, Any]:
        """Return a genuine release: made where the release key is, in the attacker's hands since."""
        document = {
            "fleet": "lab",
            "population": "rooms",
            "bundle": bundle.read(path).digest,
            "number": number,
            "issued": time.time(),
        }
        return documents.signed(document | other, documents.RELEASE, [self._release_secret])

    def document(
        self, path: Path, name: str = "rooms", cut: blocks.Cut | None = None, **entry: Any
    ) -> dict[str, Any]:
        digest = bundle.read(path).digest
        cut = cut or blocks.cut(digest, "fan", path.read_bytes(), path.as_uri())
        self.version += 1
        now = time.time()
        return {
            "fleet": "lab",
            "device": "pi",
            "version": self.version,
            "issued": now,
            "expires": now + 600.0,
            "bundles": {digest: cut.entry()},
            "populations": {name: {"bundle": digest, **entry}},
            "gates": {"shadow_seconds": 0, "trial_seconds": 0, "steps": 1, "missed_rate": 1},
        }

    def send(self, document: dict[str, Any], *statements: Any, **other: Any) -> None:
        keys = other.pop("keys", [self.secret])
        body = documents.signed(document, documents.DESIRED, keys) | other
        self.send_body(body | {"releases": list(statements)} if statements else body)

    def send_body(self, body: dict[str, Any]) -> None:
        self._say(TOPICS.desired, body, True)

    def await_refusal(self, reason: str) -> None:
        until(lambda: reason in self.refused().get("reason", ""))
        found = self.refused()["reason"]
        assert "\n" not in found
        assert len(found) <= documents.MAX_REASON

    def runs(self) -> dict[str, str]:
        populations = self.last(TOPICS.reported).get("populations", {})
        return {name: entry["bundle"] for name, entry in populations.items()}


def key(lab: Lab, name: str) -> Path:
    path = lab.folder / name
    signatures.save(signatures.generate(name), path)
    return path


@pytest.fixture
def release_key(lab: Lab) -> Path:
    made = key(lab, "release.key")
    lab.hub_lines = f"release_keys = {[f'{made}.pub']}"
    return made


@pytest.fixture
def attacker(lab: Lab, release_key: Path) -> Iterator[Attacker]:
    made = Attacker(lab, release_key)
    yield made
    made.close()


def test_a_stolen_hub_runs_nothing_that_was_not_released(lab: Lab, attacker: Attacker, capsys: Any) -> None:
    older, newer, evil = (
        lab.bundle(name, fan.model(fan.SEEN, preference))
        for name, preference in (("older", 1.1), ("newer", 1.2), ("evil", 9.0))
    )
    five, seven = attacker.released(older, 5), attacker.released(newer, 7)
    lab.boot("pi")
    wait_for(lab, capsys, 1)
    attacker.send(attacker.document(older), five)
    until(lambda: attacker.runs() == {"rooms": bundle.read(older).digest})
    genuine = documents.signed(attacker.document(newer), documents.DESIRED, [attacker.secret])
    attacker.send_body(genuine | {"releases": [seven]})
    running = {"rooms": bundle.read(newer).digest}
    until(lambda: attacker.runs() == running)
    in_force = attacker.last(TOPICS.reported)["version"]

    # 1. A bundle that the director's key has signed, and nobody has released.
    attacker.send(attacker.document(evil))
    attacker.await_refusal("is not of release 7, the newest seen")
    # 2. With a release that the director's key has signed.
    forged = attacker.released(evil, 8)
    forged["signatures"] = documents.signed(json.loads(forged["doc"]), documents.RELEASE, [attacker.secret])[
        "signatures"
    ]
    attacker.send(attacker.document(evil), forged)
    attacker.await_refusal("0 of the 1 signatures needed are by release keys")
    # 3. The older bundle, with the release that it really had.
    attacker.send(attacker.document(older), five)
    attacker.await_refusal("release 5, older than release 7")
    # 4. The older release with a higher number, the signature kept.
    renumbered = five | {"doc": five["doc"].replace(b'"number":5', b'"number":9')}
    assert renumbered["doc"] != five["doc"]
    attacker.send(attacker.document(older), renumbered)
    attacker.await_refusal("is not of release 7, the newest seen (edge-agent release 1: 0 of the 1")
    # 5. A released bundle for another population, with a configuration of the attacker's.
    attacker.send(attacker.document(newer, "halls", config=HALLS), seven)
    attacker.await_refusal("populations.halls: bundle")
    # 6. A population that was released, made to run a program.
    halls = attacker.released(newer, 8, population="halls", config=HALLS)
    shell = HALLS | {"act": [{"control": "fan", "sink": "command", "command": ["/bin/sh", "-c", "id"]}]}
    attacker.send(attacker.document(newer, "halls", config=shell), halls)
    attacker.await_refusal("populations.halls.config: not the one of release 8")
    # 7. A release for another fleet, and 8. for another device.
    attacker.send(attacker.document(evil), attacker.released(evil, 8, fleet="other"))
    attacker.await_refusal("for fleet 'other', expected 'lab'")
    attacker.send(attacker.document(evil), attacker.released(evil, 8, devices=["pi2"]))
    attacker.await_refusal("release 8: not for device 'pi'")
    # 9. A release that has expired.
    attacker.send(attacker.document(evil), attacker.released(evil, 8, expires=time.time() - 1))
    attacker.await_refusal("release 8: expired")
    # 10. The genuine document again, and 11. edited.
    attacker.send(attacker.document(evil))  # another refusal between two that say the same
    attacker.send_body(
        genuine | {"releases": [seven]} | {"doc": genuine["doc"].replace(b'"rooms"', b'"halls"')}
    )
    attacker.await_refusal("0 of the 1 signatures needed are by director keys")
    replayed = attacker.document(older) | {"version": in_force}
    attacker.send(replayed, five)
    attacker.await_refusal(f"version {in_force}, expected more than {in_force}")
    # 12. Keys of the attacker's own: by a rotation that the director signs, and without one.
    own = signatures.generate("own")
    keys = {"fleet": "lab", "version": 1, "keys": [own.public.raw.hex()], "threshold": 1}
    for named in ({}, {"release_keys": [attacker.secret.public.raw.hex()]}):
        rotation = documents.signed(keys | named, documents.KEYS, [attacker.secret])
        attacker.send(attacker.document(evil), keys=[own], rotations=[rotation])
        attacker.await_refusal("edge-agent keys 1: 0 of the 1 signatures needed are by release keys")
    attacker.send(attacker.document(evil), keys=[own])
    attacker.await_refusal("edge-agent desired 1: 0 of the 1 signatures needed are by director keys")
    # 13. The population taken away and given back as it was before.
    nothing = attacker.document(older) | {"bundles": {}, "populations": {}}
    attacker.send(nothing)
    until(lambda: attacker.last(TOPICS.reported)["version"] == nothing["version"])
    attacker.send(attacker.document(older), five)
    attacker.await_refusal("release 5, older than release 7")
    # 14. Other content under the digest of a bundle that was released.
    next_one = lab.bundle("next", fan.model(fan.SEEN, 1.3))
    digest = bundle.read(next_one).digest
    cut = blocks.cut(digest, "fan", evil.read_bytes(), evil.as_uri())
    attacker.send(attacker.document(next_one, cut=cut), attacker.released(next_one, 9))

    def ended() -> str:
        progress = attacker.last(TOPICS.reported).get("rollouts", {}).get("rooms", {})
        return str(progress.get("reason", ""))

    until(lambda: f"expected {digest}" in ended())
    assert attacker.runs() == running

    # All of it holds after a restart, and if the state file is lost.
    lab.kill("pi")
    (lab.folder / "pi" / "state" / "follower.json").unlink()
    attacker.forget()
    attacker.heard.clear()
    lab.boot("pi")
    until(lambda: attacker.runs() == {"rooms": bundle.read(lab.first).digest})
    attacker.send(attacker.document(older), five)
    attacker.await_refusal("release 5, older than release 9")
    log = lab.log("pi")
    assert "Traceback" not in log


def test_a_command_runs_no_program(lab: Lab, attacker: Attacker, capsys: Any) -> None:
    lab.boot("pi")
    wait_for(lab, capsys, 1)
    document = {"fleet": "lab", "device": "pi", "id": "x", "name": "run", "expires": time.time() + 600.0}
    document |= {"arguments": {"command": ["/bin/sh"]}}
    body = documents.signed(document, documents.COMMAND, [attacker.secret])
    attacker._say(TOPICS.command, body)
    until(lambda: TOPICS.reply("x") in attacker.heard)
    assert attacker.last(TOPICS.reply("x")) == {"id": "x", "ok": False, "reason": "no command 'run'"}


def test_a_stolen_hub_sets_no_other_key_of_the_configuration(
    lab: Lab, attacker: Attacker, capsys: Any
) -> None:
    lab.boot("pi")
    wait_for(lab, capsys, 1)
    shell = {"sink": "command", "command": ["/bin/sh"]}
    for values, key_ in (
        ({"broker": {"host": "evil"}}, "configuration.broker"),
        ({"hub": {"release_keys": []}}, "configuration.hub"),
        ({"commands": ["/bin/sh"]}, "configuration.commands"),
        ({"device": {"state_dir": "/etc"}}, "configuration: device.state_dir"),
        ({"population": {"rooms": {"bundle": "/x.eab"}}}, "population.rooms.bundle"),
        ({"population": {"rooms": {"act": {"fan": shell}}}}, "population.rooms.act.fan.command"),
        ({"population": {"rooms": {"observe": {"co2": {"path": "/etc/passwd"}}}}}, "rooms.observe.co2.path"),
    ):
        document = attacker.document(lab.first) | {"bundles": {}, "populations": {}, "configuration": values}
        attacker.send(document)
        reason = f"{key_}: can't be set by a hub"
        until(lambda reason=reason: reason in str(attacker.last(TOPICS.reported).get("configuration")))  # type: ignore[misc]
        assert attacker.last(TOPICS.reported)["configuration"]["values"] == {}
    assert attacker.runs() == {"rooms": bundle.read(lab.first).digest}
