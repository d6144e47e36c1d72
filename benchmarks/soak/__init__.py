"""Half an hour of abuse, seeded: three daemons, Mosquitto, hub and rollouts; ``make soak MINUTES=30``."""
