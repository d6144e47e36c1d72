from edge_agent.engine.model import Model as Model
from edge_agent.engine.population import Population as Population

__all__ = ["Model", "Population"]
