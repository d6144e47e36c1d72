"""Floor 3: clocks, brokers and sinks for tests, shipped for users too."""
