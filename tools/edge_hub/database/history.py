"""A device's measurements over time, read from the messages themselves.

Theory of operation. A message holds the counters that changed since the one before; what it does not hold
stays. So a series is made by going through the messages in the order of their time and carrying each counter
on. Of many messages, the last one of each of ``points`` equal parts of the time is shown.
"""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import select

from edge_hub.database.engine import Database
from edge_hub.database.schema import telemetry

MAX_MESSAGES = 200_000

_decoder = msgspec.msgpack.Decoder()


def series(database: Database, device: int, since: float, until: float, points: int) -> dict[str, Any]:
    """Return ``t`` and the series ``rss`` and ``POPULATION/COUNTER``; None where nothing is known yet."""
    column = telemetry.c["t"]
    query = (
        select(column, telemetry.c.body)
        .where(telemetry.c.device_id == device, column >= since, column <= until)
        .order_by(column.desc())
        .limit(MAX_MESSAGES)
    )
    with database.read() as connection:
        rows = connection.execute(query).all()[::-1]
    if not rows:
        return {"t": [], "values": {}}
    first, last = rows[0][0], rows[-1][0]
    width = max((last - first) / points, 1e-9)
    times: list[float] = []
    shown: list[dict[str, float]] = []
    now: dict[str, float] = {}
    part = -1
    for t, body in rows:
        now = now | _values(body)
        place = min(int((t - first) / width), points - 1)
        if place == part:
            times[-1], shown[-1] = t, now
        else:
            times.append(t)
            shown.append(now)
            part = place
    names = sorted(now)
    return {"t": times, "values": {name: [found.get(name) for found in shown] for name in names}}


def _values(payload: bytes) -> dict[str, float]:
    body = _decoder.decode(payload)["body"]
    found = {
        f"{population}/{counter}": value
        for population, counters in body.get("populations", {}).items()
        for counter, value in counters.items()
    }
    if body.get("rss"):
        found["rss"] = body["rss"]
    return found
