"""Checkpoints and recordings: used whole or ignored, bounded, and restored only if they fit."""

import zlib
from collections.abc import Callable
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.errors import ConfigError, PlatformError
from edge_agent.runtime.population import checkpoint
from edge_agent.runtime.population.checkpoint import Checkpoints
from edge_agent.runtime.population.group import MAX_PASSED
from edge_agent.runtime.recording import recorder
from edge_agent.runtime.recording.recorder import frame, frames
from edge_agent.testing.clock import ManualClock

MakeHouse = Callable[..., Any]


class Shelf:
    """Files in memory; refuses while ``full``."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.full = False

    def save(self, name: str, data: bytes) -> None:
        if self.full:
            raise PlatformError(f"{name}: No space left on device")
        self.files[name] = data

    def load(self, name: str) -> bytes | None:
        return self.files.get(name)


class Reel:
    """Segments in memory; refuses while ``full``."""

    def __init__(self) -> None:
        self.segments = [b""]
        self.full = False

    def write(self, data: bytes) -> None:
        if self.full:
            raise PlatformError("recording: No space left on device")
        self.segments[-1] += data

    def rotate(self) -> None:
        self.segments.append(b"")

    def close(self) -> None:
        pass


def with_checkpoints(make_house: MakeHouse, shelf: Shelf, **more: Any) -> Any:
    return make_house(checkpoints=Checkpoints(shelf, 300.0, 200.0), **more)


def test_beliefs_and_counters_come_back_after_a_restart(make_house: MakeHouse) -> None:
    shelf = Shelf()
    house = with_checkpoints(make_house, shelf)
    house.start()
    house.say("z/room-1", b'{"co2": 1200}')
    house.daemon.stop()
    again = with_checkpoints(make_house, shelf)
    again.start()
    assert again.model.actions.tolist() == [[0], [2], [0]]
    assert again.group.counters == house.group.counters
    assert again.group.counters.steps == 1


def restarted(make_house: MakeHouse, shelf: Shelf, off_s: float, jump: float = 0.0) -> Any:
    """Return a daemon of ticks of 60 s that was killed 20 s after one and is on again, the board with it."""
    settings = {"step": "rate", "tick": "bundle", "rate_hz": 1.0 / 60.0}
    house = with_checkpoints(make_house, shelf, clock=ManualClock(start=5000.0), **settings)
    house.start()
    house.after(140.0)
    house.daemon.stop()
    assert house.group.counters.ticks == 2
    clock = ManualClock(start=30.0, epoch=house.clock.time() + off_s + jump)
    again = with_checkpoints(make_house, shelf, clock=clock, **settings)
    again.start()
    return again


@pytest.mark.parametrize(
    ("off_s", "passed", "lost"), [(10.0, 0, 0), (41.0, 1, 0), (5 * 60.0, 5, 0), (100 * 60.0, MAX_PASSED, 36)]
)
def test_ticks_that_passed_while_the_daemon_was_off_are_made_up_at_their_boundaries(
    make_house: MakeHouse, off_s: float, passed: int, lost: int
) -> None:
    again = restarted(make_house, Shelf(), off_s)
    until_boundary = 60.0 - (20.0 + off_s) % 60.0
    again.after(until_boundary - 1.0)
    assert again.group.counters.ticks == 2
    again.after(2.0)
    status = again.status.status()["populations"]["rooms"]
    assert (status["passed"], status["lost"], status["ticks"]) == (passed, lost, 2 + passed + 1)
    assert again.model.passed == [[[-1, -1]] * 3] * passed
    again.after(60.0)
    assert again.group.counters.ticks == 2 + passed + 2


def test_a_clock_that_is_behind_the_checkpoint_makes_no_tick_up(make_house: MakeHouse) -> None:
    """A board without a battery for its clock begins where its clock was saved."""
    again = restarted(make_house, Shelf(), 300.0, jump=-86400.0)
    again.after(61.0)
    assert (again.group.passed, again.group.lost, again.group.counters.ticks) == (0, 0, 3)


def test_a_checkpoint_without_the_time_of_its_tick_is_read(make_house: MakeHouse) -> None:
    shelf = Shelf()
    restarted(make_house, shelf, 300.0).daemon.stop()
    populations = kept(shelf)
    for entry in populations.values():
        del entry["opened_ms"]
    shelf.files[checkpoint.NAME] = sealed({"populations": populations})
    again = with_checkpoints(make_house, shelf)
    again.start()
    assert (again.group.passed, again.group.counters.ticks) == (0, 2)


def test_another_size_or_bundle_starts_afresh(make_house: MakeHouse) -> None:
    shelf = Shelf()
    house = with_checkpoints(make_house, shelf)
    house.start()
    house.say("z/room-1", b'{"co2": 1200}')
    house.daemon.stop()
    larger = with_checkpoints(make_house, shelf, size=4)
    larger.start()
    assert larger.group.counters.steps == 0
    other = with_checkpoints(make_house, shelf)
    other.group.digest = "another"
    other.start()
    assert other.group.counters.steps == 0


def kept(shelf: Shelf) -> Any:
    return checkpoint.decode(shelf.files[checkpoint.NAME])


@pytest.mark.parametrize(
    "change", [{"steps": "3"}, {"steps": -1}, {"steps": True}, {"of a later version": 3}]
)
def test_what_is_no_state_of_one_population_keeps_no_other_from_going_on(
    make_house: MakeHouse, caplog: pytest.LogCaptureFixture, change: dict[str, Any]
) -> None:
    shelf = Shelf()
    house = with_checkpoints(make_house, shelf)
    house.start()
    house.say("z/room-1", b'{"co2": 1200}')
    house.daemon.stop()
    (name,) = house.populations.groups
    populations = kept(shelf)
    bad = populations[name] | {"counters": change}
    again = make_house()
    resumed, (fault,) = checkpoint.resume(
        {"bad": bad, name: populations[name]}, {"bad": again.group, name: again.group}, ManualClock()
    )
    assert resumed == [name]
    assert "population 'bad' cannot be restored" in str(fault)
    shelf.files[checkpoint.NAME] = sealed({"populations": {name: bad}})
    last = with_checkpoints(make_house, shelf)
    last.start()
    assert last.group.counters.steps == 0
    assert last.status.status()["checkpoint"]["failed"] == 1
    assert "cannot be restored" in caplog.text


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_no_damaged_checkpoint_is_believed(place: int, flip: int) -> None:
    good = checkpoint.encode({}, ManualClock())
    bad = bytearray(good)
    bad[place % len(bad)] ^= flip
    with pytest.raises(PlatformError):
        checkpoint.decode(bytes(bad))
    with pytest.raises(PlatformError):
        checkpoint.decode(good[: place % len(good)])


def test_a_full_disk_is_noted_and_the_device_works_on(make_house: MakeHouse) -> None:
    shelf, reel = Shelf(), Reel()
    house = make_house(
        checkpoints=Checkpoints(shelf, 300.0, 200.0), recording_file=reel, max_recording_bytes=10**6
    )
    house.start()
    shelf.full = reel.full = True
    house.say("z/room-1", b'{"co2": 1200}')
    house.after(700.0)
    status = house.status.status()
    assert status["checkpoint"]["failed"] == 2
    assert "No space" in status["checkpoint"]["reason"]
    assert "No space" in status["recorder"]["reason"]
    house.say("z/room-1", b'{"co2": 1}')
    assert house.sent("z/room-1/set")[-1] == b'{"fan": "off"}'
    shelf.full = False
    house.after(700.0)
    assert house.status.status()["checkpoint"]["reason"] == ""


def test_writes_a_day_are_bounded(make_house: MakeHouse) -> None:
    shelf = Shelf()
    checkpoints = Checkpoints(shelf, 1.0, mb_per_day=0.001)
    house = make_house(checkpoints=checkpoints)
    house.start()
    house.after(2 * 86400.0)
    assert 0 < checkpoints.counters.bytes <= 2 * 1000 + 2 * len(shelf.files["checkpoint"])


def test_a_recording_holds_each_step_and_each_segment_begins_anew(make_house: MakeHouse) -> None:
    reel = Reel()
    house = make_house(recording_file=reel, max_recording_bytes=8000, step="rate", rate_hz=5.0)
    house.start()
    for second in range(30):
        house.say(f"z/room-{second % 3}", b'{"co2": %d}' % (500 * (second % 4)))
        house.after(1.0)
    assert len(reel.segments) > 2
    assert max(map(len, reel.segments)) <= 4000 + 500
    ticks = []
    for segment in reel.segments:
        first, *rest = frames(segment)
        assert first["kind"] == "begin"
        assert first["size"] == 3
        steps = [entry for entry in rest if entry["kind"] == "step"]
        ticks += [entry["tick"] for entry in steps]
        for entry in steps:
            observed = np.frombuffer(entry["observed"], "<i2").reshape(3, 2)
            actions = np.frombuffer(entry["actions"], "<i2")
            known = observed[:, 0] >= 0
            assert (actions[known] == observed[known, 0]).all()
    assert ticks == list(range(1, len(ticks) + 1))


PLANS = st.fixed_dictionaries(
    {
        "kind": st.just("plan"),
        "population": st.text(max_size=3),
        "horizon": st.none() | st.integers(1, 9),
        "newer": st.binary(max_size=30),
    }
)


@given(st.lists(PLANS, max_size=5), st.integers(0, 400))
def test_reading_ends_at_a_torn_frame(contents: list[dict[str, Any]], cut: int) -> None:
    data = b"".join(frame(content) for content in contents)
    assert list(frames(data)) == contents
    some = list(frames(data[:cut]))
    assert some == contents[: len(some)]
    if cut < len(data):
        assert len(some) < len(contents)


def packed(content: bytes) -> bytes:
    return len(content).to_bytes(4, "little") + zlib.crc32(content).to_bytes(4, "little") + content


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (packed(b"no zlib"), "cannot be unpacked"),
        (packed(zlib.compress(b"\xc1")), "cannot be unpacked"),
        (packed(zlib.compress(bytes(recorder.MAX_FRAME + 1))), "over 67108864 bytes"),
        (frame([]), "holds list"),  # type: ignore[arg-type]
        (frame({"kind": "note"}), "kind 'note'"),
        (frame({"kind": "plan"}), "population is missing"),
        (frame({"kind": "begin", "population": "p", "digest": b"d"}), "digest is bytes"),
    ],
)
def test_a_whole_frame_of_something_else_is_named(data: bytes, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        list(frames(data))
    assert "recording: frame at byte 0" in str(caught.value)


def sealed(content: object) -> bytes:
    data = zlib.compress(msgpack.packb(content))
    return b"EACKPT01" + zlib.crc32(data).to_bytes(4, "little") + data


ENTRY = {"digest": "digest", "size": 3, "counters": {}, "beliefs": b"beliefs"}


@pytest.mark.parametrize(
    "data",
    [
        b"EACKPT01" + zlib.crc32(b"no zlib").to_bytes(4, "little") + b"no zlib",
        sealed([]),
        sealed({}),
        sealed({"populations": {"rooms": 3}}),
        sealed({"populations": {"rooms": ENTRY | {"size": "3"}}}),
        sealed({"populations": {"rooms": ENTRY | {"counters": {"unknown": 1}}}}),
    ],
)
def test_a_checkpoint_of_something_else_is_noted_and_the_daemon_starts(
    make_house: MakeHouse, data: bytes
) -> None:
    shelf = Shelf()
    shelf.files[checkpoint.NAME] = data
    house = with_checkpoints(make_house, shelf)
    house.start()
    assert house.status.status()["checkpoint"]["failed"] == 1
    assert house.group.counters.steps == 0
