"""The scale-out set: broker shards behind HAProxy, PostgreSQL behind pgbouncer, hub workers, Prometheus."""
