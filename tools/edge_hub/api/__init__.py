"""The service's interfaces: REST, streams, metrics."""
