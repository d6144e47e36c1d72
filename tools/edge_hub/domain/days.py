"""Which day a message belongs to: what storage is divided by.

The device's clock decides, so that a message that is sent again falls on the same day. A clock that is far
off (a board without a clock before it reached a time server) must not make days at will: such messages are of
day 0, which is deleted by the time of arrival.
"""

from __future__ import annotations

DAY_S = 86_400.0
WEEK_S = 7 * DAY_S
UNSET = 0
AHEAD_DAYS = 1
BACK_DAYS = 400


def near(now: float) -> range:
    """Return the days that a message's clock may show at Unix time ``now``."""
    today = int(now // DAY_S)
    return range(today - BACK_DAYS, today + AHEAD_DAYS + 1)
