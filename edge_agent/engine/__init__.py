"""Floor 2: a pure library of discrete active-inference agents in 8 bits."""

from edge_agent.engine.model import Model
from edge_agent.engine.population import Population

__all__ = ["Model", "Population"]
