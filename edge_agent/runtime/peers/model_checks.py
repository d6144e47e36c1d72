"""Checks shared factors and role preferences of the configuration against the models."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from edge_agent.config.peer_records import objective
from edge_agent.engine.model import Model
from edge_agent.errors import ConfigError
from edge_agent.protocol.peers.preferences import adjusted
from edge_agent.runtime.peers.shared_factors import shared_factor

if TYPE_CHECKING:
    from edge_agent.config.records import Config
    from edge_agent.runtime.assembly import Prepared


def check_shares(config: Config, prepared: Iterable[Prepared], where: str) -> None:
    """Check what ``peers`` says of populations against their models; ``where`` is the configuration.

    Raises
    ------
    ConfigError
        A shared factor is none of the model's, or a role's preferences don't fit a modality.
    """
    items = list(prepared)
    for number, item in enumerate(items):
        for place, share in enumerate(item.config.share):
            key = f"{where}: population[{number}].share[{place}]"
            if isinstance(item.model, Model):
                shared_factor(share, item.model, key)
            else:
                raise ConfigError(f"{key}: {item.config.bundle} is a network, which has no factors to share")
    for number, entry in enumerate(config.objective):
        for role in objective(entry).roles:
            for item in items:
                own = {m.name: [0.0] * m.size for m in item.binding.modalities}
                try:
                    adjusted(own, role)
                except ConfigError as error:
                    raise ConfigError(f"{where}: objective[{number}]: {error}") from error
