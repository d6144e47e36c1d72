"""The root helper that installs updates of the daemon: standard library alone, see `installer`."""
