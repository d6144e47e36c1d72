"""Rollouts as background jobs: each in a thread over `edge_hub.deployment`, kept in the database.

Theory of operation. Of all processes of a service one runs rollouts, the one with the lease ``rollouts``;
when it is killed, another takes over within seconds and goes on from the rows: a document that was sent twice
says the same. Whoever loses the lease stops at the next look, before it sends anything more. A rollout whose
broker or database was away begins again from its row. Once a group's rollout is done, devices that join the
group are added and it goes on for them. Between rollouts the documents of a fleet are signed anew before they
end (`edge_hub.renewal`).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from edge_agent.errors import EdgeAgentError
from edge_agent.wire.signatures import SecretKey
from edge_hub import renewal, rotations, tracing
from edge_hub.connection import Connection
from edge_hub.database import audit, devices, leases, releases, rollouts, traceparents
from edge_hub.database.engine import Database
from edge_hub.deployment import Deployment
from edge_hub.desired import Desired
from edge_hub.domain import filters, membership
from edge_hub.hub_folder import HubStore
from edge_hub.jobs.bundle_cache import BundleCache
from edge_hub.jobs.device_spans import DeviceSpans
from edge_hub.rollout import FleetRollout

log = logging.getLogger("edge_hub")

LEASE = "rollouts"
RENEWAL = "renewal"
"""A job beside those of rollouts, whose ids have a '-'."""
RETRY_S = 2.0
RUNNER = "edge-hub"
"""Who in the audit."""
FAILURES_TOLD = 20
JOIN_S = 10.0
GATHER_S = 0.02
FILTERS = ("up/birth", "up/reported", "down/desired")
"""What a deployment hears; blocks are served by `edge_hub.jobs.director`."""


class StoppedError(Exception):
    """This process runs rollouts no more: it ends, or another has the lease."""


class DatabaseRollouts:
    """Where `Deployment` keeps a rollout: the database."""

    def __init__(self, database: Database, bundles: BundleCache, may_go_on: Callable[[], bool]) -> None:
        self._database = database
        self._bundles = bundles
        self._may_go_on = may_go_on

    def save(self, rollout: FleetRollout) -> None:
        """Write a rollout."""
        self._check()
        rollouts.save(self._database, rollout.id, rollout.state(), time.time())

    def take_request(self, id_: str) -> str:
        """Return what was asked for since the last call, "" if nothing."""
        self._check()
        return rollouts.take_request(self._database, id_)

    def bundle(self, digest: str) -> Path:
        """Return where a bundle is, if it is kept."""
        return self._bundles.path(digest)

    def _check(self) -> None:
        if not self._may_go_on():
            raise StoppedError


class RolloutRunner:
    """A thread that sees to it that every approved rollout runs.

    Parameters
    ----------
    database : Database
        Where rollouts are.
    bundles : BundleCache
        The bundles' files.
    arguments : argparse.Namespace
        Where the broker is, and ``state``: the folder with the keys' rotations, and ``expires``.
    keys : sequence of SecretKey
        What signs desired documents.
    """

    def __init__(
        self,
        database: Database,
        bundles: BundleCache,
        arguments: argparse.Namespace,
        keys: Sequence[SecretKey],
    ) -> None:
        self._database = database
        self._bundles = bundles
        self._arguments = arguments
        self._keys = keys
        self._lease = leases.Lease(database, LEASE)
        self._joined = 0.0
        self._renewed = -math.inf
        self._jobs: dict[str, threading.Thread] = {}
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="edge-hub-rollouts")

    @property
    def running(self) -> int:
        """How many rollouts this process runs."""
        return sum(job.is_alive() for name, job in self._jobs.items() if name != RENEWAL)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, and wait until every job has."""
        self._stopped.set()
        self._thread.join()

    def may_go_on(self) -> bool:
        """Whether the lease is ours and nobody asked to stop."""
        return not self._stopped.is_set() and self._lease.held

    def _run(self) -> None:
        while not self._stopped.wait(leases.RENEW_S):
            try:
                if self._lease.acquire():
                    self._look()
            except EdgeAgentError as error:
                log.warning("rollouts: %s; trying again", error)
        for job in self._jobs.values():
            job.join()
        with contextlib.suppress(EdgeAgentError):
            self._lease.give_back()

    def _look(self) -> None:
        """Start what should run and does not."""
        if time.monotonic() - self._joined > JOIN_S:
            self._joined = time.monotonic()
            self._join()
        self._jobs = {id_: job for id_, job in self._jobs.items() if job.is_alive()}
        if RENEWAL in self._jobs:
            return  # one writer of documents at a time
        wanted = rollouts.open_ids(self._database)
        if time.monotonic() - self._renewed > renewal.pause(self._arguments.expires):
            self._renewed = time.monotonic()
            if idle := sorted(set(devices.fleets(self._database)) - {fleet for _, fleet in wanted}):
                self._start(RENEWAL, self._renew, idle)
                return
        for id_, fleet in wanted:
            if id_ not in self._jobs:
                self._start(id_, self._see_through, id_, fleet)

    def _start(self, name: str, work: Callable[..., None], *values: object) -> None:
        self._jobs[name] = threading.Thread(target=work, args=values, name=f"rollout-{name}")
        self._jobs[name].start()

    def _renew(self, fleets: Sequence[str]) -> None:
        for fleet in fleets:
            try:
                with self._connected(fleet, renewal.filters(fleet)) as (link, desired):
                    count = renewal.run(link, desired, self.may_go_on)
            except EdgeAgentError as error:
                log.warning("documents of %s: %s; trying again later", fleet, error)
            except Exception:  # a defect must not be silent, and must not end the other fleets' turn
                log.exception("documents of %s", fleet)
            else:
                if count:
                    log.info("documents of %s: %d signed anew before they end", fleet, count)

    @contextlib.contextmanager
    def _connected(self, fleet: str, heard: tuple[str, ...]) -> Iterator[tuple[Connection, Desired]]:
        arguments = argparse.Namespace(**vars(self._arguments) | {"fleet": fleet})
        known = rotations.load(HubStore(arguments.state), fleet)
        with Connection(arguments, heard, gather=GATHER_S) as link:
            stored = releases.of_fleet(self._database, fleet)
            yield link, Desired(link, fleet, self._keys, known, arguments.expires, stored)

    def _join(self) -> None:
        """Add devices that joined a group to what the group has."""
        now = time.time()
        for row in rollouts.standing(self._database):
            fitting = devices.numbers_of(self._database, filters.parse(row["filter"]), now)
            rollout = FleetRollout.of_state(json.loads(row["state"]))
            if membership.join(rollout, [name for fleet, name in fitting if fleet == row["fleet"]]):
                rollouts.reopen(self._database, row["id"], rollout.state(), now)

    def _see_through(self, id_: str, fleet: str) -> None:
        """Run one rollout to its end."""
        try:
            row = rollouts.one(self._database, id_)
            if row is None:
                return
            rollout = FleetRollout.of_state(json.loads(row["state"]))
            store = DatabaseRollouts(self._database, self._bundles, self.may_go_on)
            topics = tuple(f"edge/v1/{fleet}/+/{channel}" for channel in FILTERS)
            spans = DeviceSpans(rollout)
            about = {"rollout.id": id_, "fleet": fleet}
            span = tracing.span("rollout", about, traceparents.of(self._database, id_))
            with span, self._connected(fleet, topics) as (link, desired):
                Deployment(rollout, store, link, desired).run(lambda rollout: _tell(rollout, spans))
            with self._database.write() as connection:
                rollouts.end(connection, id_, time.time())
                audit.append(connection, RUNNER, "rollout.end", id_, None, _outcome(rollout))
        except StoppedError:
            return
        except EdgeAgentError as error:
            log.warning("rollout %s: %s; trying again", id_, error)
            self._stopped.wait(RETRY_S)
        except Exception:  # a job that meets a defect must not be silent; it is tried again
            log.exception("rollout %s", id_)
            self._stopped.wait(RETRY_S)


def _outcome(rollout: FleetRollout) -> dict[str, Any]:
    """Return how a rollout ended, for the audit: with the reasons of the first devices that failed."""
    failed = [(name, member) for name, member in rollout.members.items() if member.state == "failed"]
    return {
        "status": rollout.status,
        "reason": rollout.reason,
        "counts": dict(Counter(member.state for member in rollout.members.values())),
        "failed": {name: member.reason for name, member in failed[:FAILURES_TOLD]},
    }


def _tell(rollout: FleetRollout, spans: DeviceSpans) -> None:
    log.info("rollout %s: %s, wave %d", rollout.id, rollout.status, rollout.wave + 1)
    tracing.event("progress", {"status": rollout.status, "wave": rollout.wave + 1})
    spans.make(rollout, time.time())
