"""Files to run the hub with: its configuration, its container, and the set for more than one machine."""
