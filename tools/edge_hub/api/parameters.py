"""Parameters that several routes have."""

from __future__ import annotations

from typing import Annotated

from litestar.params import PathParameter, QueryParameter

FAR = 1e12
"""A time after all that there is, Unix seconds."""

Limit = Annotated[int, QueryParameter(ge=1, le=500)]
UnixTime = Annotated[float, QueryParameter(ge=-FAR, le=FAR)]
Before = Annotated[float, QueryParameter(ge=0, le=FAR, description="what was made before this Unix time")]
DigestPath = Annotated[str, PathParameter(pattern=r"^[0-9a-f]{64}$")]
Id = Annotated[str, PathParameter(pattern=r"^[A-Za-z0-9_.-]{1,160}$")]
GroupName = Annotated[str, PathParameter(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$")]


def may(role: str, scope: str) -> dict[str, str]:
    """Return what a route's guard looks at."""
    return {"role": role, "scope": scope}
