"""Several web workers over one database and a real Redis: a viewer may come to any of them."""

import asyncio
import contextlib
import itertools
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import httpx
import pytest
from redis import Redis as Client

from edge_agent.errors import ConfigError, PlatformError
from edge_agent.testing.free_ports import free_port
from edge_agent.testing.mosquitto import Mosquitto
from edge_hub.api.broadcast import Broadcast, Event
from edge_hub.api.channel import NAME, Channel
from edge_hub.api.hub import Hub
from edge_hub.database import accounts, sql
from edge_hub.database.engine import Database
from edge_hub.database.telemetry import Numbers
from edge_hub.domain import secrets
from edge_hub.jobs.changes import POLL_S, Changes
from edge_hub.testing.redis import Redis


@pytest.fixture
def redis() -> Iterator[Redis]:
    server = Redis()
    server.start()
    yield server
    server.kill()


class Web:
    """A web worker with one viewer, who reads all that the ring has."""

    def __init__(self, database: Database, redis: Redis) -> None:
        self.hub = Hub(database)
        self.hub.broadcast.viewers = 1
        self.channel = Channel(redis.address)
        self.seen: list[Event] = []
        self.lost = 0
        self.tasks = [
            asyncio.create_task(self.channel.run(self.hub)),
            asyncio.create_task(self.hub.broadcast.run()),
            asyncio.create_task(self._watch()),
        ]

    async def _watch(self) -> None:
        ring = self.hub.broadcast
        cursor = ring.last

        def encode(_: Broadcast, events: list[Event]) -> bytes:
            self.seen += events
            return b"x"

        while True:
            if await ring.wait(cursor):
                data, cursor = ring.events_after(cursor, encode)
                self.lost += not data

    def told(self, name: str) -> bool:
        """Whether the viewer was told of a device."""
        return any(event.kind == "registry" and name.encode() in event.data for event in self.seen)

    async def close(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


@contextlib.asynccontextmanager
async def workers(database: Database, redis: Redis, count: int = 2) -> AsyncIterator[list[Web]]:
    made = [Web(database, redis) for _ in range(count)]
    try:
        yield made
    finally:
        for web in made:
            await web.close()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.02)


def appears(database: Database, name: str) -> None:
    with database.write() as connection:
        Numbers().find_devices(connection, [("lab", name)])


async def both_hear(database: Database, webs: list[Web], name: str) -> None:
    """A device appears, and every viewer is told; those who were told to load again see it then."""
    for turn in range(100):
        appears(database, f"{name}-{turn}")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(2):
                await until(lambda turn=turn: all(web.told(f"{name}-{turn}") for web in webs))  # type: ignore[misc]
                return
    raise AssertionError(f"nobody told of {name}")


def run(story: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(story())  # type: ignore[arg-type]


def test_every_worker_has_the_same_events_under_the_same_ids(database: Database, redis: Redis) -> None:
    async def story() -> None:
        async with workers(database, redis, 3) as webs:
            await both_hear(database, webs, "a")
            await both_hear(database, webs, "b")
            rings = [web.hub.broadcast for web in webs]
            await until(lambda: len({ring.last for ring in rings}) == 1)
            assert len({ring.name for ring in rings}) == 1
            last = [{event.number: event for event in web.seen} for web in webs]
            both = last[0].keys() & last[1].keys() & last[2].keys()
            assert len(both) >= 2
            assert all(last[0][n] == last[1][n] == last[2][n] for n in both)
            assert rings[1].cursor(rings[0].id(max(both))) == max(both)

    run(story)


def test_while_redis_is_away_each_worker_asks_for_itself(database: Database, redis: Redis) -> None:
    async def story() -> None:
        async with workers(database, redis) as webs:
            await both_hear(database, webs, "before")
            name = webs[0].hub.broadcast.name
            redis.kill()
            await both_hear(database, webs, "away")
            assert not any(web.channel.connected for web in webs)
            assert name not in {web.hub.broadcast.name for web in webs}
            lost = [web.lost for web in webs]
            redis.start()
            await until(lambda: all(web.channel.connected for web in webs))
            await both_hear(database, webs, "after")
            assert webs[0].hub.broadcast.name == webs[1].hub.broadcast.name
            assert all(web.lost > before for web, before in zip(webs, lost, strict=True))  # they load again

    run(story)


def test_a_worker_that_is_gone_is_followed_by_another(database: Database, redis: Redis) -> None:
    async def story() -> None:
        async with workers(database, redis) as webs:
            await both_hear(database, webs, "a")
            first, second = webs
            name = second.hub.broadcast.name
            await first.close()
            await both_hear(database, [second], "b")
            third = Web(database, redis)
            webs.append(third)
            await both_hear(database, [second, third], "c")
            await second.close()
            await both_hear(database, [third], "d")
            assert third.hub.broadcast.name != name

    run(story)


def test_what_is_no_message_of_a_hub_stops_nothing(
    database: Database, redis: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        async with workers(database, redis) as webs:
            await both_hear(database, webs, "a")
            with Client.from_url(redis.address) as stranger:
                for noise in (b"", b"\xc1", b"\x93\xa1x\x01\x91\x01"):
                    stranger.publish(NAME, noise)
            await both_hear(database, webs, "b")

    run(story)
    assert "is no hub's message" in caplog.text


def test_nobody_asks_the_database_while_nobody_watches(
    database: Database, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    polls = []

    class Counted(Changes):
        def poll(self) -> list[Event]:
            polls.append(1)
            return super().poll()

    monkeypatch.setattr("edge_hub.api.channel.Changes", Counted)

    def ends() -> float:
        with database.read() as connection:
            return float(sql.one(connection, "SELECT max(expires) FROM leases WHERE name = 'events'") or 0.0)

    async def story() -> None:
        async with workers(database, redis) as webs:
            for web in webs:
                web.hub.broadcast.viewers = 0
            await until(lambda: ends() > 0)
            first = ends()
            await until(lambda: ends() > first + 2 * POLL_S)  # it was renewed since
            assert polls == []
            webs[1].hub.broadcast.viewers = 1
            await both_hear(database, webs, "b")

    run(story)


@pytest.mark.parametrize(
    ("address", "said"),
    [("http://x", "expected redis://HOST:PORT"), ("redis://u:secret@h:port", "can't be read")],
)
def test_a_wrong_address_is_one_line_without_its_password(address: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as refused:
        Channel(address)
    assert "secret" not in str(refused.value)


def test_a_redis_that_is_not_installed_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(PlatformError, match="install it with: sudo apt-get install redis-server"):
        Redis()


def events(port: int, token: str, last: str = "") -> Iterator[tuple[str, str]]:
    """Id and kind of the events that a worker sends."""
    headers = {"Authorization": f"Bearer {token}"} | ({"Last-Event-ID": last} if last else {})
    address = f"http://127.0.0.1:{port}/api/v1/events"
    with httpx.stream("GET", address, headers=headers, timeout=60) as answer:
        id_ = ""
        for line in answer.iter_lines():
            key, _, value = line.partition(": ")
            if key == "id":
                id_ = value
            elif key == "event":
                yield id_, value


@contextlib.contextmanager
def births(database: Database) -> Iterator[None]:
    """New devices appear all the time."""
    stopped = threading.Event()

    def work() -> None:
        number = 0
        while not stopped.wait(0.2):
            appears(database, f"n-{number}")
            number += 1

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()


def same(here: Iterator[tuple[str, str]], port: int, token: str) -> bool:
    """Whether a viewer that goes on at ``port`` gets there what follows ``here``, and nothing else."""
    *_, (last, _) = itertools.islice(here, 3)
    there = list(itertools.islice(events(port, token, last), 2))
    return there == list(itertools.islice(here, 2)) and {kind for _, kind in there} == {"registry"}


def test_a_viewer_goes_on_at_another_process_where_it_was(
    database: Database, redis: Redis, mosquitto: Mosquitto, tmp_path: Path
) -> None:
    token, now = secrets.make(secrets.TOKEN_PREFIX), time.time()
    with database.write() as connection:
        number = accounts.add_user(connection, "ann", "viewer", "", now)
        accounts.add_token(connection, "t", number, secrets.digest(token), "viewer", [], now, now + 3600)
    ports = [free_port(), free_port()]
    address = database.url.set(drivername="postgresql") if not database.sqlite else database.name
    common = ["--data", str(address), "--broker", f"127.0.0.1:{mosquitto.port}"]
    common += ["--no-ingest", "--channels", redis.address, "--state", str(tmp_path / "state")]
    command = [sys.executable, "-m", "edge_hub.cli", "serve", *common, "--listen"]
    log = tmp_path / "log"
    with log.open("wb") as file:
        processes = [
            subprocess.Popen([*command, f"127.0.0.1:{port}"], stdout=file, stderr=file) for port in ports
        ]

    def answers(port: int) -> bool:
        """Whether a worker takes events from the channel: what came before it has missed."""
        try:
            found = httpx.get(
                f"http://127.0.0.1:{port}/metrics", headers={"Authorization": f"Bearer {token}"}
            )
        except httpx.TransportError:
            return False
        return "edge_hub_channel_connected 1.0" in found.text

    try:
        end = time.monotonic() + 60
        while not all(map(answers, ports)):
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.1)
        with births(database):
            # A machine that is busy may take longer than a worker waits for what another was faster to give,
            # or than a lease lasts: then both say that all is to be loaded anew.
            assert any(same(events(ports[0], token), ports[1], token) for _ in range(10))
    finally:
        for process in processes:
            process.kill()
            process.wait()
