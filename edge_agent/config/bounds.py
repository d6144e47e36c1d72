"""Bounds of configuration values, as pydantic reads them.

The daemon never imports this file: its library costs 0.8 MB. ``config.records`` and ``config.profile`` name
these types in annotations, which stay text there; ``config.checks`` makes the names known to pydantic.
"""

from __future__ import annotations

from typing import Annotated

from annotated_types import Ge, Gt, Le, Len, MinLen

Name = Annotated[str, Len(1, 64)]
Text = Annotated[str, MinLen(1)]
Positive = Annotated[float, Gt(0.0)]
NotNegative = Annotated[float, Ge(0.0)]
Window = Annotated[int, Ge(1), Le(64)]
Port = Annotated[int, Ge(1), Le(65535)]
Count = Annotated[int, Ge(0)]
OneOrMore = Annotated[int, Ge(1)]
Interval = Annotated[float, Ge(0.1), Le(86_400.0)]
Rate = Annotated[float, Gt(0.0), Le(1000.0)]
Celsius = Annotated[float, Gt(0.0), Le(125.0)]
Keepalive = Annotated[int, Ge(5), Le(65535)]
Probability = Annotated[float, Ge(0.0), Le(1.0)]
Priority = Annotated[int, Ge(0), Le(9)]
Threads = Annotated[int, Ge(0), Le(64)]
LearnEvery = Annotated[int, Ge(1), Le(2**31 - 1)]
Agents = Annotated[int, Ge(0), Le(1_000_000)]
Seed = Annotated[int, Ge(0), Le(2**63 - 1)]
Spare = Annotated[int, Ge(-1)]
Budget = Annotated[int, Ge(16)]
Value = str | bool | int | float
NotEmpty = MinLen(1)
