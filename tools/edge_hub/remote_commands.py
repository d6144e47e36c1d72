"""What ``edge-hub devices, command, deploy, rollout`` do with ``--hub URL``: the service does the work."""

from __future__ import annotations

import argparse
import json
import time
from typing import Any
from urllib.parse import quote

from edge_agent.errors import EXIT_DONE, EXIT_FAILED, ConfigError
from edge_hub.deployment import summary
from edge_hub.remote import RemoteHub, follow, selected, wait_for_replies
from edge_hub.reply_files import kept
from edge_hub.rollout import FleetRollout
from edge_hub.signed_json import Signed, to_plain


def devices(arguments: argparse.Namespace) -> int:
    """List the devices that the service knows."""
    hub = RemoteHub(arguments)
    for row in hub.devices(selected("all", arguments.fleet)):
        state = "online" if row["online"] else "offline"
        heard = f"heard {time.time() - row['heard']:.0f} s ago" if row["heard"] else "not heard"
        populations = " ".join(row["populations"]) or "no population"
        line = f"{row['fleet']}/{row['name']}: {state}, {populations}, {row['agents']} agents, {heard}"
        print(json.dumps(row) if arguments.json else line)
    return EXIT_DONE


def command(arguments: argparse.Namespace, values: dict[str, Any]) -> int:
    """Let the service sign and send a command, and wait for the answers."""
    hub = RemoteHub(arguments)
    wanted = {
        "fleet": arguments.fleet,
        "name": arguments.name,
        "filter": selected(arguments.to, arguments.fleet),
        "arguments": values,
        "expires_s": arguments.expires,
    }
    made = hub.post("/commands", wanted)
    replies = wait_for_replies(hub, made["id"], arguments.answers)
    for reply in replies:
        ok = reply["state"] == "done"
        reason = "no answer" if reply["state"] == "waiting" else reply["reason"]
        result = kept(arguments.output, reply["device"], reply["result"])
        row = {"device": reply["device"], "ok": ok, "reason": reason, "result": result}
        verdict = "done" if ok else f"not done: {reason}"
        print(
            json.dumps(row) if arguments.json else f"{row['device']}: {verdict} {json.dumps(row['result'])}"
        )
    return EXIT_DONE if all(reply["state"] == "done" for reply in replies) else EXIT_FAILED


def deploy(
    arguments: argparse.Namespace, gates: dict[str, float], config: dict[str, Any], release: Signed | None
) -> int:
    """Upload a bundle, let the service roll it out, and watch until it has ended."""
    if not arguments.population:
        raise ConfigError("--population: found none, expected the name of one with --hub")
    if arguments.url:
        raise ConfigError("--url: not with --hub: the service serves the bundle itself")
    hub = RemoteHub(arguments)
    if release is not None:
        hub.post("/releases", to_plain(release))
    wanted = {
        "fleet": arguments.fleet,
        "bundle": hub.upload(arguments.bundle)["digest"],
        "population": arguments.population,
        "filter": selected(arguments.to, arguments.fleet),
        "canary": arguments.canary,
        "gates": gates,
        "max_failures": arguments.max_failures,
        "patience_s": arguments.patience,
        "config": config,
        "approve": True,
    }
    return _watch(hub, hub.post("/rollouts", wanted)["id"], arguments.json)


def configure(arguments: argparse.Namespace, gates: dict[str, float], values: dict[str, Any]) -> int:
    """Let the service roll a configuration out, and watch until it has ended."""
    hub = RemoteHub(arguments)
    wanted = {
        "fleet": arguments.fleet,
        "values": values,
        "filter": selected(arguments.to, arguments.fleet),
        "canary": arguments.canary,
        "gates": gates,
        "max_failures": arguments.max_failures,
        "patience_s": arguments.patience,
        "approve": True,
    }
    return _watch(hub, hub.post("/configurations", wanted)["id"], arguments.json)


def rollout(arguments: argparse.Namespace) -> int:
    """Look at a rollout of the service, or ask it for something."""
    hub = RemoteHub(arguments)
    id_ = arguments.id
    if id_ == "latest":
        found = hub.get("/rollouts", limit=1)
        if not found:
            raise ConfigError("rollout 'latest': the service has none")
        id_ = found[0]["id"]
    if arguments.action != "status":
        hub.post(f"/rollouts/{quote(id_)}/{arguments.action}", {})
    _show(hub.get(f"/rollouts/{quote(id_)}"), arguments.json)
    return EXIT_DONE


def _watch(hub: RemoteHub, id_: str, as_json: bool) -> int:
    status = ""
    for found in follow(hub, id_):
        status = found["status"]
        _show(found, as_json)
    return EXIT_DONE if status == "done" else EXIT_FAILED


def _show(found: dict[str, Any], as_json: bool) -> None:
    made = dict(summary(FleetRollout.of_state(found["state"]))) | {"status": found["status"]}
    if as_json:
        print(json.dumps(made), flush=True)
        return
    counts = ", ".join(f"{made[key]} {key}" for key in ("waiting", "sent", "committed", "failed", "reverted"))
    wave = f"wave {made['wave']} of {made['waves']}"
    clock = time.strftime("%H:%M:%S")
    print(f"{clock} {found['id']} {made['status']}, {wave}: {counts} {made['reason']}", flush=True)
