"""Positions become cells: near positions share them, H3 paths are the library's, covers are complete."""

from __future__ import annotations

import h3
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.protocol.peers import proximity
from edge_agent.wire.presence import Geographic, Hexagon, Metric, Place

coordinates = st.integers(-(2**31) + 1, 2**31 - 1)
reaches = st.integers(0, 2**32)


@given(coordinates, coordinates, reaches, st.floats(-1, 1), st.floats(-1, 1))
def test_a_cover_holds_everything_within_reach(x: int, y: int, reach: int, dx: float, dy: float) -> None:
    limit = 2**31 - 1
    u = max(-limit, min(limit, x + int(dx * reach)))
    v = max(-limit, min(limit, y + int(dy * reach)))
    depth = proximity.cover(Metric(x, y), reach)
    assert proximity.path(Metric(x, y))[:depth] == proximity.path(Metric(u, v))[:depth]
    assert proximity.nearness(Metric(x, y), reach, Metric(u, v)) >= 0


@given(st.integers(-(9 * 10**8), 9 * 10**8), st.integers(-18 * 10**8, 18 * 10**8), reaches, st.floats(-1, 1))
def test_so_does_one_on_the_earth(lat: int, lon: int, reach: int, shift: float) -> None:
    other = Geographic(
        max(-(9 * 10**8), min(9 * 10**8, lat + int(shift * reach))),
        max(-18 * 10**8, min(18 * 10**8, lon - int(shift * reach))),
    )
    depth = proximity.cover(Geographic(lat, lon), reach)
    assert proximity.path(Geographic(lat, lon))[:depth] == proximity.path(other)[:depth]
    assert proximity.nearness(Geographic(lat, lon), reach, other) >= 0
    assert proximity.nearness(Geographic(lat, lon), 0, Geographic(lat, lon)) == 1000


def test_the_smallest_cells_are_a_metre_and_what_is_near_lies_in_a_small_one() -> None:
    assert proximity.path(Metric(1023, 0)) == proximity.path(Metric(0, 1023))
    assert proximity.path(Metric(1024, 0)) != proximity.path(Metric(0, 0))
    assert proximity.cover(Metric(512, 512), 100) == len(proximity.path(Metric(0, 0)))
    assert proximity.cover(Metric(0, 0), 1) == 1  # the middle of the plane: no quarter holds both sides
    assert proximity.cover(Geographic(512, 512), 100) == len(proximity.path(Geographic(0, 0)))


def test_what_is_nowhere_or_reaches_anywhere_belongs_to_the_whole_fleet() -> None:
    assert proximity.path(None) == ("nowhere",)
    assert proximity.cover(None, 5) == proximity.cover(Place("a/b"), proximity.ANYWHERE) == 0
    assert proximity.cover(Place("a/b"), 99) == 1  # places, wherever they are


def test_names_in_one_place_spread_over_quarters_alike() -> None:
    found = [proximity.spread(f"device-{number}") for number in range(400)]
    assert len(set(found)) == 400
    for level in range(16):
        counts = [sum(tokens[level] == quarter for tokens in found) for quarter in range(4)]
        assert min(counts) > 60


@given(coordinates, coordinates, reaches, coordinates, coordinates)
def test_nearness_falls_with_distance_to_the_end_of_reach(x: int, y: int, reach: int, u: int, v: int) -> None:
    near = proximity.nearness(Metric(x, y), reach, Metric(u, v))
    distance = max(abs(x - u), abs(y - v))
    assert (near == -1) == (distance > reach)
    if near >= 0:
        assert near == 1000 - 1000 * distance // (reach + 1) >= 0


@given(st.floats(-89, 89), st.floats(-179, 179), st.integers(0, 15), st.integers(0, 15))
def test_hexagon_paths_are_the_librarys_parents(lat: float, lon: float, fine: int, coarse: int) -> None:
    fine, coarse = max(fine, coarse), min(fine, coarse)
    cell = Hexagon(h3.str_to_int(h3.latlng_to_cell(lat, lon, fine)))
    parent = h3.str_to_int(h3.cell_to_parent(h3.int_to_str(cell.index), coarse))
    found = proximity.path(cell)
    assert len(found) == 2 + fine
    assert found[: 2 + coarse] == proximity.path(Hexagon(parent))


def test_places_are_near_by_the_levels_they_share() -> None:
    kitchen, hall, cellar = Place("b1/f0/kitchen"), Place("b1/f0/hall"), Place("b1/cellar")
    assert proximity.nearness(kitchen, 2, kitchen) == 1000
    assert proximity.nearness(kitchen, 2, hall) > proximity.nearness(kitchen, 2, cellar) >= 0
    assert proximity.nearness(kitchen, 1, cellar) == -1
    assert proximity.path(kitchen)[: proximity.cover(kitchen, 1)] == ("place", "b1", "f0")


def test_what_cannot_be_compared_is_near_only_to_an_unlimited_reach() -> None:
    assert proximity.nearness(Metric(0, 0), 2**32, Place("a")) == -1
    assert proximity.nearness(Metric(0, 0), proximity.ANYWHERE, Place("a")) == 0
    assert proximity.nearness(None, 0, Geographic(1, 2)) == 1000
