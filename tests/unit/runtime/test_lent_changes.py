"""A population that is changed or removed while it is lent: at most one device acts for it at any time.

The configuration is read again in each state of a loan, on the owner's side and the borrower's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from edge_agent.config.records import ObserveConfig, PopulationConfig
from edge_agent.protocol.peers.loan_effects import LoanState
from edge_agent.runtime.assembly import prepare
from edge_agent.runtime.governor.governor import BoardReadings
from edge_agent.runtime.population.suspension import SuspendReason

from .town import BOARD, DIGEST, Site, Town

HOT, COOL = BoardReadings(temperature_c=95.0), BoardReadings(temperature_c=30.0)
Change = Callable[[Site], None]


def reconfigure(site: Site, config: PopulationConfig) -> None:
    """Do what a reload does with a changed population."""
    town = site.town
    item = prepare(config, BOARD, "test", lambda _path: (town.model, DIGEST))
    gone = [name for name in site.populations.groups if name == config.name]
    site.populations.change([item], gone, [config])


def moved(site: Site) -> PopulationConfig:
    observe = (ObserveConfig(modality="smell", topic="z/elsewhere"),)
    return replace(site.populations.config.population[0], observe=observe)


def change(site: Site) -> None:
    reconfigure(site, moved(site))


def remove(site: Site) -> None:
    site.populations.change([], ["rooms"], [])


def remove_and_add_again(site: Site) -> None:
    config = moved(site)
    remove(site)
    reconfigure(site, config)


def acts(site: Site, name: str) -> bool:
    group = site.populations.groups.get(name)
    return group is not None and not group.suspended


def both_act(town: Town) -> bool:
    return acts(town.sites["east"], "rooms") and acts(town.sites["north"], "east.rooms")


def until(town: Town, condition: Callable[[], bool], seconds: float = 200.0) -> None:
    for _ in range(round(seconds / 0.05)):
        if condition():
            return
        town.after(0.05)
        assert not both_act(town)
    pytest.fail("the loan never got there")


def state(town: Town, name: str) -> LoanState | None:
    loans = town.sites[name].coordinator.loans
    assert loans is not None
    found = [LoanState(entry["state"]) for entry in loans.status()["loans"]]
    return found[0] if found else None


def reach(town: Town, owner: LoanState | None, borrower: LoanState | None) -> None:
    """Let a population be lent until the loan stands so on both sides; None: no matter."""
    town.after(5.0)
    town.sites["east"].readings = HOT
    if owner is LoanState.RECALLED or borrower is LoanState.RETURNED:
        until(town, lambda: state(town, "north") is LoanState.RUNNING)
        town.sites["east"].readings = COOL
    until(
        town,
        lambda: (
            (owner is None or state(town, "east") is owner)
            and (borrower is None or state(town, "north") is borrower)
        ),
    )


STATES = [
    (LoanState.OFFERED, None),
    (LoanState.OFFERED, LoanState.ADOPTED),
    (LoanState.LENT, LoanState.ADOPTED),
    (LoanState.LENT, LoanState.RUNNING),
    (LoanState.RECALLED, LoanState.RUNNING),
    (LoanState.RECALLED, LoanState.RETURNED),
]


class StepwiseTown(Town):
    """Each device turns once and the broker delivers once in 50 ms, so that every state of a loan is seen."""

    def after(self, seconds: float) -> None:
        for _ in range(round(seconds / 0.05)):
            self.clock.advance(0.05)
            for name, smell in self.smells.items():
                self.broker.publish(f"z/{name}", b"%d" % smell, qos=0)
            for site in list(self.sites.values()):
                site.daemon.run_once()
            self.broker.run()


def pair() -> StepwiseTown:
    both = ("east", "north")
    return StepwiseTown(both, shares=False, trusted=both, heartbeat_s=5.0, room_kb=600)


@pytest.mark.parametrize("alter", [change, remove, remove_and_add_again])
@pytest.mark.parametrize(("owner", "borrower"), STATES)
def test_a_reload_in_any_state_of_a_loan_never_lets_two_devices_act(
    owner: LoanState, borrower: LoanState | None, alter: Change
) -> None:
    town = pair()
    reach(town, owner, borrower)
    east, north = town.sites["east"], town.sites["north"]
    alter(east)
    assert not both_act(town)
    east.readings = COOL
    until(town, lambda: east.governor.rung == 0)  # until then it may be lent again, as it is now
    until(town, lambda: state(town, "east") is None and state(town, "north") is None)
    for _ in range(600):
        town.after(0.05)
        assert not both_act(town)
    assert "east.rooms" not in north.populations.groups
    assert SuspendReason.LOAN not in east.populations.reasons("rooms")
    assert acts(east, "rooms") is (alter is not remove)


def test_a_changed_population_is_asked_back_while_the_board_is_still_hot_and_lent_as_it_is_now() -> None:
    town = pair()
    reach(town, LoanState.LENT, LoanState.RUNNING)
    east, north = town.sites["east"], town.sites["north"]
    change(east)
    until(town, lambda: state(town, "east") is None)
    assert east.populations.groups["rooms"].suspended
    until(town, lambda: state(town, "north") is LoanState.RUNNING)
    assert north.populations.groups["east.rooms"].config.observe[0].topic == "z/elsewhere"
    assert not both_act(town)


def test_an_owner_that_starts_again_with_another_bundle_waits_for_the_borrower_to_stop() -> None:
    town = pair()
    reach(town, LoanState.LENT, LoanState.RUNNING)
    town.kill("east")
    loans = town.drawers["east"].files["loans"]
    town.drawers["east"].files["loans"] = loans.replace(bytes.fromhex("ab" * 8), b"otherone")
    assert loans != town.drawers["east"].files["loans"]
    town.add("east")
    assert not acts(town.sites["east"], "rooms")
    for _ in range(3000):
        town.after(0.05)
        assert not both_act(town)
    assert acts(town.sites["east"], "rooms")
    assert "east.rooms" not in town.sites["north"].populations.groups
