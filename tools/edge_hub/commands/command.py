"""``edge-hub command NAME --to SELECTOR``: send a signed command and print the answers of the devices.

Exit status 0 only if every device answered that it executed the command.
"""

from __future__ import annotations

import argparse
import json
import secrets
import time
from pathlib import Path
from typing import Any

from edge_agent.errors import EXIT_DONE, EXIT_FAILED, ConfigError
from edge_agent.wire import bodies, messages, signatures, topics
from edge_hub import connection, hub_messages
from edge_hub.commands.deploy import check_fleet
from edge_hub.commands.devices import collect
from edge_hub.device_selector import select
from edge_hub.rejected import Rejected, printable
from edge_hub.reply_files import kept


def add(subparsers: argparse._SubParsersAction[Any]) -> None:
    """Add the parser."""
    parser = subparsers.add_parser("command", help="send a signed command and wait for the answers")
    parser.add_argument("name", help=bodies.COMMANDS_TEXT)
    parser.add_argument(
        "--argument",
        action="append",
        default=[],
        metavar="KEY=JSON",
        help="an argument of the command; repeatable",
    )
    parser.add_argument("--to", default="all", metavar="SELECTOR", help="all, names, patterns, key=value")
    parser.add_argument(
        "--sign", type=Path, action="append", default=[], metavar="KEY", help="secret key file"
    )
    parser.add_argument(
        "--expires", type=float, default=60.0, help="validity of the command in seconds; default: 60"
    )
    parser.add_argument(
        "--wait",
        type=float,
        default=1.0,
        help="seconds without a message after which the list of devices is complete",
    )
    parser.add_argument(
        "--answers", type=float, default=10.0, help="seconds to wait for answers; default: 10"
    )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FOLDER",
        help="write the files in the answers (support bundles) there, as DEVICE-NAME",
    )
    connection.add_arguments(parser)
    connection.add_service_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object per device")
    parser.add_argument("-v", "--verbose", action="store_true")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Send and collect."""
    check_fleet(arguments)
    if arguments.hub:
        from edge_hub import remote_commands

        return remote_commands.command(arguments, _arguments(arguments.argument))
    keys = [signatures.load_secret(path) for path in arguments.sign]
    if not keys:
        raise ConfigError("--sign: found no key, expected the secret key that the devices believe")
    values = _arguments(arguments.argument)
    names = [d.name for d in select(collect(arguments).devices.values(), arguments.to)]
    answers: dict[str, dict[str, Any]] = {}
    id_ = secrets.token_hex(8)
    rejected = Rejected()
    with connection.Connection(arguments, (f"edge/v1/{arguments.fleet}/+/up/reply/{id_}",)) as link:
        for name in names:
            wanted = {
                "fleet": arguments.fleet,
                "id": id_,
                "name": arguments.name,
                "arguments": values,
                "expires": time.time() + arguments.expires,
            }
            link.publish(*hub_messages.command(name, wanted, keys))
        end = time.monotonic() + arguments.answers
        while len(answers) < len(names) and (left := end - time.monotonic()) > 0:
            for incoming in link.messages(left):
                with rejected.around(incoming.topic, incoming.payload):
                    _note(incoming, answers)
    rejected.warn()
    for name in names:
        answer = answers.get(name, {"ok": False, "reason": "no answer"})
        shown = {"device": name} | answer | {"device": name}
        if "result" in shown:
            shown["result"] = kept(arguments.output, name, shown["result"])
        print(json.dumps(shown, default=bytes.hex) if arguments.json else _line(shown))
    return EXIT_DONE if all(answers.get(n, {}).get("ok") for n in names) else EXIT_FAILED


def _note(incoming: connection.Incoming, answers: dict[str, dict[str, Any]]) -> None:
    body = messages.decode(incoming.payload).body
    bodies.check(bodies.REPLY, body, incoming.topic)
    answers[topics.parse(incoming.topic).device] = body


def _line(answer: dict[str, Any]) -> str:
    verdict = "done" if answer["ok"] else f"not done: {printable(answer.get('reason', ''), 500)}"
    return f"{answer['device']}: {verdict} {json.dumps(answer.get('result', {}), default=bytes.hex)}"


def _arguments(pairs: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        try:
            found[key] = json.loads(text)
        except ValueError as error:
            raise ConfigError(f"--argument: found {pair!r}, expected KEY=JSON") from error
        if not equals or not key:
            raise ConfigError(f"--argument: found {pair!r}, expected KEY=JSON")
    return found
