"""Populations that the hub adds: planned beside the existing ones, on trial at once, removed if a gate fails.

Theory of operation. There is nothing to compare a new population with, so it acts in its trial and is
watched by its own counters. It must fit twice: into the arena as it is now, and into the plan of the next
start, which reserves room again to swap the largest population; otherwise a reboot would find a plan over
its budget. Until it is committed it is not reported and not kept: a restart in between begins its rollout
again.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

from edge_agent.config.records import Config
from edge_agent.errors import EdgeAgentError
from edge_agent.memory.budget import Line, Plan, region_bytes
from edge_agent.runtime.assembly import POPULATION_BYTES, Prepared
from edge_agent.runtime.population import models
from edge_agent.runtime.populations import Populations

SPARE = "arena"


class NewPopulations:
    """The populations on trial that are new, by name.

    Parameters
    ----------
    populations : Populations
        Where they are added.
    """

    def __init__(self, populations: Populations) -> None:
        self._populations = populations
        self._items: dict[str, Prepared] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._items

    def expect(self, item: Prepared) -> dict[str, Any]:
        """Take a prepared population in, without running it; return its configuration in plain types.

        Raises
        ------
        BudgetError
            The next start would have no room for it.
        """
        self._grown(item).check("populations of the hub")
        self._items[item.config.name] = item
        return asdict(item.config)

    def begin(self, name: str) -> str:
        """Let a population run; return why it can't, or ""."""
        try:
            self._populations.change([self._items[name]], [])
        except EdgeAgentError as error:
            del self._items[name]
            return str(error)
        return ""

    def settle(self, name: str) -> None:
        """Let a population stay."""
        item = self._items.pop(name)
        self._populations.keep(item.config, self._grown(item))

    def remove(self, name: str) -> None:
        """Remove a population again, if it ran."""
        del self._items[name]
        if name in self._populations.groups:
            self._populations.change([], [name])

    def _grown(self, item: Prepared) -> Plan:
        return grown(self._populations.plan, item, self._populations.config)


def grown(plan: Plan, item: Prepared, config: Config) -> Plan:
    """Return the plan of the next start, with ``item`` in it."""
    name, regions = item.config.name, item.regions(item.config.name)
    lines = [
        Line(name, "model (mapped)", item.model.nbytes),
        Line(name, "objects", POPULATION_BYTES),
        Line(name, "topic table", item.topic_bytes),
        *(Line(owner, "columns", region_bytes([(owner, columns)]), 0) for owner, columns in regions),
    ]
    runtime = models.runtime_lines([(name, item.model, len(item.names))])
    lines += [line for line in runtime if line not in plan.lines]
    lines += models.object_lines(name, len(item.names)) if item.learns_alone else []
    if item.config.home_assistant is not None:
        from edge_agent.runtime.reporting.agent_entities import memory_lines

        lines += memory_lines(config, [(item.config, len(item.names))])
    spare = region_bytes(regions[:2]) if config.device.spare_kb < 0 else 0
    kept = [
        replace(line, nbytes=max(line.nbytes, spare)) if line.owner == SPARE else line for line in plan.lines
    ]
    return Plan((*kept, *lines), plan.budget)


def without(plan: Plan, name: str) -> Plan:
    """Return a plan without the lines of a population."""
    return Plan(tuple(line for line in plan.lines if line.owner.split("/")[0] != name), plan.budget)
