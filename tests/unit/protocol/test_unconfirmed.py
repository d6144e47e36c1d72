"""Unconfirmed messages are kept, and sent again when later ones are confirmed or the hub is silent."""

import pytest

from edge_agent.protocol.unconfirmed import OVERTAKEN, UNCONFIRMED, Held, Unconfirmed


@pytest.fixture
def unconfirmed() -> Unconfirmed:
    """Return one that holds numbers 1 to 300, acknowledged in that order."""
    made = Unconfirmed(seconds=100.0)
    assert all(made.hold(Held(n, n * 10, ((n, n),), n)) for n in range(1, 301))
    return made


def test_what_was_overtaken_by_many_goes_again_and_is_held_no_longer(unconfirmed: Unconfirmed) -> None:
    assert unconfirmed.confirm([(400, 500)], ()) == ([], [])
    free, late = unconfirmed.confirm([(250, 250)], ())
    assert free == [Held(250, 2500, ((250, 250),), 250)]
    assert late == list(range(1, 250 - OVERTAKEN))
    assert list(unconfirmed.numbers) == [*range(250 - OVERTAKEN, 250), *range(251, 301)]


def test_every_range_that_the_hub_names_is_free(unconfirmed: Unconfirmed) -> None:
    free, _ = unconfirmed.confirm([(1, 2), (4, 4)], ())
    assert [held.seq for held in free] == [1, 2, 4]


def test_the_hub_may_be_silent_for_so_long_after_each_word(unconfirmed: Unconfirmed) -> None:
    assert unconfirmed.overdue(0.0) == []
    unconfirmed.confirm([(300, 300)], ())
    assert unconfirmed.overdue(50.0) == []
    assert unconfirmed.overdue(149.0) == []
    assert len(unconfirmed.overdue(150.0)) == len(range(200, 300))
    assert unconfirmed.overdue(1e9) == []


def test_a_word_that_came_early_frees_one_entry_once(unconfirmed: Unconfirmed) -> None:
    unconfirmed.confirm([(301, 302)], in_flight=[301, 303])
    assert unconfirmed.hold(Held(303, 1, (), 301))
    assert not unconfirmed.hold(Held(301, 1, (), 302))
    assert unconfirmed.hold(Held(301, 1, (), 303))


def test_so_many_are_held_and_no_more(unconfirmed: Unconfirmed) -> None:
    for n in range(301, UNCONFIRMED + 1):
        assert not unconfirmed.full
        unconfirmed.hold(Held(n, 1, (), n))
    assert unconfirmed.full
