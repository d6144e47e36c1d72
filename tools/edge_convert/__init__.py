"""The host side that turns float models into proven int8 bundles; ``export_pymdp`` works on live agents."""

from edge_convert.pymdp.export import export_pymdp

__all__ = ["export_pymdp"]
