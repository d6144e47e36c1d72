"""Which devices are meant, as a page or a script asks: a small language over fields and labels.

Theory of operation. ``site=lab profile=pi4* !online label.floor=2`` is a list of terms, all of which must
hold. A group is such a text under a name, so that a device that joins later is in it. The text is parsed
here and becomes bound values of a query, never a part of one.

========================  =============================================
term                      a device fits if
========================  =============================================
``online``, ``!online``   its last birth message says so
``name=pi-*``             its name fits the pattern
``fleet=lab``             it is in this fleet
``profile=pi4*``          its profile fits the pattern
``version=0.*``           its version fits the pattern
``population=rooms``      it runs this population
``bundle=ab12*``          it runs a bundle whose digest fits
``label.KEY=VALUE``       it has this label; the value is a pattern
``KEY!=VALUE``            the same, turned round
``silent>60``             it has not been heard for so many seconds
``text``                  its name contains the text
========================  =============================================
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from edge_agent.errors import ConfigError

FIELDS = ("name", "fleet", "profile", "version", "population", "bundle")
MAX_TERMS = 20
MAX_LENGTH = 1000
_LABEL = re.compile(r"label\.[A-Za-z0-9_.-]{1,64}")
_TERM = re.compile(r"(?P<key>[a-z]+(?:\.[A-Za-z0-9_.-]+)?)(?P<turned>!?)=(?P<value>.*)")


@dataclass(frozen=True, slots=True)
class Term:
    """One condition. ``key`` is a field, ``label.KEY``, ``online``, ``silent`` or ``text``."""

    key: str
    value: str = ""
    turned: bool = False


def parse(text: str) -> tuple[Term, ...]:
    """Return the terms of a filter.

    Raises
    ------
    ConfigError
        A term can't be read.
    """
    if len(text) > MAX_LENGTH or not text.isprintable():
        raise ConfigError(f"filter: expected at most {MAX_LENGTH} printed characters")
    words = text.split()
    if len(words) > MAX_TERMS:
        raise ConfigError(f"filter: found {len(words)} terms, expected at most {MAX_TERMS}")
    return tuple(_term(word) for word in words)


def like(pattern: str) -> str:
    """Return a pattern with ``*`` as SQL's LIKE has it, escaped with a backslash."""
    escaped = pattern.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return escaped.replace("*", "%")


def _term(word: str) -> Term:
    if word in ("online", "!online"):
        return Term("online", turned=word.startswith("!"))
    if word.startswith("silent>"):
        seconds = word.removeprefix("silent>")
        if not seconds.isascii() or not seconds.isdigit() or len(seconds) > 9:
            raise ConfigError(f"filter: found {word!r}, expected silent>SECONDS")
        return Term("silent", seconds)
    found = _TERM.fullmatch(word)
    if found is None:
        if "=" in word or word.startswith("!"):
            raise ConfigError(f"filter: found {word!r}, expected KEY=VALUE, online, silent>SECONDS or text")
        return Term("text", word)
    key = found["key"]
    if key not in FIELDS and not _LABEL.fullmatch(key):
        raise ConfigError(f"filter: found {key!r}, expected one of {', '.join(FIELDS)} or label.KEY")
    return Term(key, found["value"], bool(found["turned"]))
