"""One change to several devices: sends a new desired document to each and waits for their reports.

Used for changes that need no trial and therefore no waves; ``edge_hub.deployment`` handles bundles.
"""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

from edge_agent.errors import PeerError
from edge_agent.wire import bodies, messages, topics
from edge_hub import absent, connection, releases, rotations
from edge_hub.commands.devices import collect
from edge_hub.desired import Desired
from edge_hub.device_selector import select
from edge_hub.hub_folder import HubStore
from edge_hub.rejected import Rejected

log = logging.getLogger("edge_hub")

Changes = Callable[[Mapping[str, Any]], dict[str, Any]]
"""From a device's last document to the keys that its next one has otherwise."""
Fulfilled = Callable[[Mapping[str, Any]], bool]
"""Whether a device's reported document says that it is done."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of commands that tell devices something."""
    parser.add_argument("--to", default="all", metavar="SELECTOR", help="the devices; default: all")
    parser.add_argument(
        "--wait",
        type=float,
        default=1.0,
        help="seconds without a message after which the list of devices is complete",
    )
    parser.add_argument("--answers", type=float, default=10.0, help="seconds to wait for reports")


def send(arguments: argparse.Namespace, changes: Changes, fulfilled: Fulfilled) -> dict[str, dict[str, Any]]:
    """Send chosen devices a change that they have not reported yet; return what each reports in the end."""
    known = rotations.load(HubStore(arguments.state), arguments.fleet)
    signers = rotations.signers(arguments.sign, arguments.fleet, known)
    heard = collect(arguments)
    absent.warn(absent.find(HubStore(arguments.state), arguments.broker, arguments.fleet, heard))
    devices = select(heard.devices.values(), arguments.to)
    reports = {device.name: dict(device.reported) for device in devices}
    rejected = Rejected()
    fleet = f"edge/v1/{arguments.fleet}/+"
    with connection.Connection(
        arguments, (f"{fleet}/up/reported", f"{fleet}/down/desired"), quiet=arguments.wait
    ) as link:
        stored = releases.load(HubStore(arguments.state), arguments.fleet)
        desired = Desired(link, arguments.fleet, signers, known, arguments.expires, stored)
        while not link.settled:
            link.insist()
            for message in link.messages(min(arguments.wait, 0.2)):
                with rejected.around(message.topic, message.payload):
                    _note(message, desired, reports)
        for name in [name for name, report in reports.items() if not fulfilled(report)]:
            version = int(reports[name].get("version", 0))
            try:
                desired.publish(name, changes(desired.of(name)), version, time.time())
            except PeerError as error:
                log.warning("not sent: %s", error)
        end = time.monotonic() + arguments.answers
        while not all(map(fulfilled, reports.values())) and (left := end - time.monotonic()) > 0:
            for message in link.messages(left):
                with rejected.around(message.topic, message.payload):
                    _note(message, desired, reports)
    rejected.warn()
    return reports


def _note(message: connection.Incoming, desired: Desired, reports: dict[str, dict[str, Any]]) -> None:
    address = topics.parse(message.topic)
    if address.channel == "down/desired":
        desired.note(address.device, message.payload)
    elif address.device in reports and message.payload:
        body = messages.decode(message.payload).body
        bodies.check(bodies.REPORTED, body, message.topic)
        reports[address.device] = body
