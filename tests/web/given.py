"""What tests and benchmarks of the pages begin with: a large fleet."""

from __future__ import annotations

from edge_hub.database import devices
from edge_hub.database.devices import Birth
from edge_hub.database.engine import Database
from edge_hub.database.telemetry import Numbers

MANY = 20_000


def fill_many(database: Database, count: int = MANY) -> None:
    """Devices d00000…, every fifth offline, in two fleets."""
    names = [(("east", "west")[n % 2], f"d{n:05}") for n in range(count)]
    births = [
        Birth(*name, n % 5 != 0, "1.0", "pi4b-1gb", "b", 1.7e9, "{}", {"rooms": ("ab" * 32, 20)})
        for n, name in enumerate(names)
    ]
    numbers = Numbers()
    with database.write() as connection:
        numbers.find_devices(connection, names)
        devices.note_births(connection, numbers.devices, births)
