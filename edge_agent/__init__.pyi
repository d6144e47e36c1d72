from edge_agent.engine import Model as Model
from edge_agent.engine import Population as Population
from edge_agent.version import __version__ as __version__

__all__ = ["Model", "Population", "__version__"]
