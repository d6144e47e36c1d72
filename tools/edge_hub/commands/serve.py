"""``edge-hub serve``: the hub as a service: database, ingest, web interface, rollouts in the background.

One process and one file are enough for a house. For a fleet the database is PostgreSQL, ``edge-hub ingest
--data`` takes telemetry in, as many as wanted, and ``edge-hub serve --no-ingest`` serves, as many as wanted.

With ``--config FILE`` options come from a TOML file, by their long names with ``_`` for ``-``; what is on the
command line counts more. At the first start a link is printed that makes the first admin, once.
"""

from __future__ import annotations

import argparse
import math
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_agent.errors import ConfigError
from edge_hub import connection
from edge_hub.broker import Broker, address
from edge_hub.hub_folder import HubStore, default_folder

if TYPE_CHECKING:
    from edge_agent.wire.signatures import SecretKey
    from edge_hub.enrolment import Enrolment
    from edge_hub.jobs.maintenance import Retention
    from edge_hub.openid import OpenIdProvider

DEFAULT_LISTEN = "127.0.0.1:8321"


def add(subparsers: argparse._SubParsersAction[Any]) -> None:
    """Add the parser."""
    parser = subparsers.add_parser("serve", help="the hub as a service, with a web interface")
    parser.add_argument("--config", type=Path, help="a TOML file with these options")
    parser.add_argument("--data", help="a SQLite file, made if missing, or postgresql://USER@HOST/NAME")
    parser.add_argument(
        "--listen",
        default=DEFAULT_LISTEN,
        metavar="HOST:PORT",
        help="where to serve; default: %(default)s",
    )
    parser.add_argument(
        "--no-ingest", action="store_true", help="take no telemetry in: edge-hub ingest --data does"
    )
    parser.add_argument("--group", default="", help="share telemetry with other workers of this group")
    parser.add_argument(
        "--sign",
        type=Path,
        action="append",
        default=[],
        metavar="KEY",
        help="secret key file: lets the hub send commands and roll out",
    )
    parser.add_argument(
        "--release-key",
        type=Path,
        action="append",
        default=[],
        metavar="PUB",
        help="public release key file: a rollout is approved once edge-hub sign has released its bundle",
    )
    parser.add_argument(
        "--release-threshold", type=int, default=1, help="release keys that must have signed; default: 1"
    )
    parser.add_argument("--expires", type=float, default=7 * 86_400.0, help="seconds a document is valid")
    parser.add_argument(
        "--state", type=Path, default=default_folder(), help="the hub's folder; default: %(default)s"
    )
    parser.add_argument(
        "--keep-days", type=float, default=30.0, help="days that telemetry is kept; default: 30"
    )
    parser.add_argument(
        "--keep-rollup-days",
        type=float,
        default=365.0,
        metavar="DAYS",
        help="days that roll-ups per minute and hour are kept; default: 365",
    )
    parser.add_argument(
        "--keep-gb",
        type=float,
        default=0.0,
        metavar="GB",
        help="delete the oldest telemetry above this size; default: 0, no limit",
    )
    parser.add_argument(
        "--notify",
        type=Path,
        metavar="FILE",
        help="where notices of alerts go: lines NAME URL, each URL as apprise has it",
    )
    parser.add_argument(
        "--enrol", type=Path, metavar="FILE", help="let boards enrol; the file says what they get"
    )
    parser.add_argument("--tls-certificate", type=Path, metavar="PEM", help="serve by TLS with this")
    parser.add_argument("--tls-key", type=Path, metavar="PEM", help="its key")
    parser.add_argument(
        "--proxies",
        default="",
        metavar="ADDRESSES",
        help="proxies in front that serve by TLS and whose X-Forwarded-For is believed",
    )
    _add_openid_options(parser)
    parser.add_argument(
        "--otlp", default="", metavar="URL", help="send traces to this OpenTelemetry collector, by OTLP/HTTP"
    )
    parser.add_argument(
        "--channels",
        default="",
        metavar="URL",
        help="redis://HOST:PORT: several web workers tell their viewers the same events",
    )
    connection.add_arguments(parser)
    parser.add_argument("-v", "--verbose", action="store_true")
    parser.set_defaults(run=lambda arguments: run(arguments, parser))


def _add_openid_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--public-url", default="", metavar="URL", help="how browsers reach the hub; for --oidc-issuer"
    )
    parser.add_argument(
        "--oidc-issuer", default="", metavar="URL", help="people log in by this OpenID provider"
    )
    parser.add_argument("--oidc-client-id", default="", metavar="ID", help="how the provider knows this hub")
    parser.add_argument(
        "--oidc-client-secret-file",
        type=Path,
        metavar="FILE",
        help="a file whose first line is the secret of the client",
    )
    parser.add_argument(
        "--oidc-role",
        action="append",
        default=[],
        metavar="VALUE=ROLE",
        help="who has this value in the claim has this role; without one nobody gets in",
    )
    parser.add_argument("--oidc-role-claim", default="groups", metavar="CLAIM", help="default: %(default)s")
    parser.add_argument(
        "--oidc-name-claim", default="preferred_username", metavar="CLAIM", help="default: %(default)s"
    )


def run(arguments: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    """Serve until somebody ends it."""
    _read_config(arguments, parser)
    if not arguments.data:
        raise ConfigError("--data: found none, expected a file or postgresql://…")
    if (arguments.tls_certificate is None) != (arguments.tls_key is None):
        raise ConfigError("--tls-certificate, --tls-key: found one of them, expected both or none")
    if arguments.tls_key is not None:
        _check_certificate(arguments.tls_certificate, arguments.tls_key)
    host, port = address(arguments.listen, 0, "--listen")
    if not port:
        raise ConfigError(f"--listen: found {arguments.listen!r}, expected HOST:PORT")
    return _serve(arguments, host, port)


def _serve(arguments: argparse.Namespace, host: str, port: int) -> int:
    import logging
    import time

    from edge_agent.wire import signatures
    from edge_hub import notify, releases, rotations
    from edge_hub.api import server
    from edge_hub.api.channel import Channel
    from edge_hub.database import setup
    from edge_hub.database.engine import Database
    from edge_hub.database.schema import HEAD

    if not arguments.verbose:
        logging.getLogger("edge_hub").setLevel(logging.INFO)
    if arguments.otlp:
        from edge_hub import tracing

        tracing.set_up(arguments.otlp)
    keys = [signatures.load_secret(path) for path in arguments.sign]
    release = _release_keys(arguments, keys)
    store = HubStore(arguments.state)
    broker = Broker.of(arguments)
    with Database(arguments.data) as database:
        if database.sqlite and database.revision() != HEAD:
            from edge_hub.database.migrate import migrate

            migrate(database)
        database.check()
        settings = server.Settings(
            host,
            port,
            arguments,
            ingest=not arguments.no_ingest,
            group=arguments.group,
            keep=_retention(arguments),
            openid=_openid(arguments),
            notifier=notify.Notifier(notify.load(arguments.notify) if arguments.notify else {}),
            enrolment=_enrolment(arguments, keys),
            certificate=arguments.tls_certificate,
            certificate_key=arguments.tls_key,
            proxies=arguments.proxies,
            channel=Channel(arguments.channels) if arguments.channels else None,
            release_trust=lambda fleet: releases.trust_of(
                fleet, rotations.load(store, fleet), release, arguments.release_threshold
            ),
        )
        scheme = "https" if arguments.tls_certificate else "http"
        shown = f"[{host}]" if ":" in host else host
        print(f"edge-hub: {scheme}://{shown}:{port}/", flush=True)
        code = setup.offer(database, time.time())
        if code:
            # After '#', so that it is in no server's or proxy's log.
            link = f"{scheme}://{shown}:{port}/setup#{code}"
            print(f"edge-hub: make the first admin within an hour: {link}", flush=True)
        return server.run(database, broker, settings, keys)


def _openid(arguments: argparse.Namespace) -> OpenIdProvider | None:
    """Return the OpenID provider, None without --oidc-issuer.

    Raises
    ------
    ConfigError
        An option is missing or wrong, or others can read the file with the secret.
    """
    if not arguments.oidc_issuer:
        return None
    from edge_agent.wire import broker_login
    from edge_hub.openid import OpenIdProvider

    roles = {}
    for text in arguments.oidc_role:
        value, equals, role = text.rpartition("=")
        if not equals:
            raise ConfigError(f"--oidc-role: found {text!r}, expected VALUE=ROLE")
        roles[value] = role
    file = arguments.oidc_client_secret_file
    return OpenIdProvider(
        arguments.oidc_issuer,
        arguments.oidc_client_id,
        broker_login.password(file, "--oidc-client-secret-file") if file else "",
        f"{arguments.public_url.rstrip('/')}/api/v1/oidc/callback",
        roles,
        arguments.oidc_role_claim,
        arguments.oidc_name_claim,
    )


def _enrolment(arguments: argparse.Namespace, keys: list[SecretKey]) -> Enrolment | None:
    """Return what boards get that enrol, None without --enrol."""
    if arguments.enrol is None:
        return None
    from edge_hub import enrolment

    certificate = arguments.tls_certificate
    return enrolment.load(
        arguments.enrol,
        keys=tuple(key.public.line() for key in keys),
        release_keys=tuple(path.read_text("ascii") for path in arguments.release_key),
        release_threshold=arguments.release_threshold,
        certificate=enrolment.certificate_of(certificate) if certificate else b"",
    )


def _retention(arguments: argparse.Namespace) -> Retention:
    """Return what is kept.

    Raises
    ------
    ConfigError
        A value is out of its range, or roll-ups end before what they are made of.
    """
    from edge_hub.jobs.maintenance import Retention

    for name, least in (("keep_days", 0.0), ("keep_rollup_days", arguments.keep_days), ("keep_gb", 0.0)):
        value = getattr(arguments, name)
        if not (math.isfinite(value) and value >= least):
            option = f"--{name.replace('_', '-')}"
            raise ConfigError(f"{option}: found {value:g}, expected a number of {least:g} or more")
    return Retention(arguments.keep_days, arguments.keep_rollup_days, int(arguments.keep_gb * 1e9))


def _release_keys(arguments: argparse.Namespace, keys: list[SecretKey]) -> list[bytes]:
    """Return the release keys.

    Raises
    ------
    ConfigError
        One is a key of ``--sign``, which lies here, or more must sign than there are.
    """
    from edge_agent.wire import signatures

    found = [signatures.load_public(path).raw for path in arguments.release_key]
    for path, raw in zip(arguments.release_key, found, strict=True):
        if raw in {key.public.raw for key in keys}:
            raise ConfigError(f"{path}: is a key of --sign, expected release keys that do not lie on the hub")
    if found and not 1 <= arguments.release_threshold <= len(set(found)):
        threshold, number = arguments.release_threshold, len(set(found))
        raise ConfigError(f"--release-threshold: found {threshold} of {number} keys, expected 1 to {number}")
    return found


def _check_certificate(certificate: Path, key: Path) -> None:
    """Load what the server will load, so that an error is one line."""
    import ssl

    from edge_agent.wire import signatures

    signatures.check_private(key)
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"{certificate}: no usable certificate and key ({error})") from error


def _read_config(arguments: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """Fill in, from the file, what the command line did not say.

    Raises
    ------
    ConfigError
        The file can't be read, or a key is no option or has another type.
    """
    path = arguments.config
    if path is None:
        return
    try:
        found = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not TOML: {error}") from error
    options = {action.dest: action for action in parser._actions if action.option_strings}
    for key, value in found.items():
        action = options.get(key)
        if action is None or key in ("config", "help"):
            raise ConfigError(f"{path}: {key}: found a key that is no option of edge-hub serve")
        if getattr(arguments, key) == action.default:
            setattr(arguments, key, _typed(path, key, value, action))


def _typed(path: Path, key: str, value: Any, action: argparse.Action) -> Any:
    if isinstance(action.default, bool):
        expected, fits = "true or false", isinstance(value, bool)
    elif isinstance(action.default, list):
        fits = isinstance(value, list) and all(isinstance(item, str) for item in value)
        expected = "a list of texts"
        value = [Path(item) for item in value] if fits and action.type is Path else value
    elif action.type is float:
        expected, fits = "a number", isinstance(value, (int, float)) and not isinstance(value, bool)
    else:
        expected, fits = "a text", isinstance(value, str)
        value = Path(value) if fits and action.type is Path else value
    if not fits:
        raise ConfigError(f"{path}: {key}: found {value!r}, expected {expected}")
    return value
