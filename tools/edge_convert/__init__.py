"""The host side that turns float models into proven int8 bundles."""
