"""Markdown helpers for the generated pages."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a table, an empty line at its end; a bar in a cell is escaped."""
    lines = [f"| {' | '.join(header)} |", f"|{'---|' * len(header)}"]
    lines += [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows]
    return [*lines, ""]


def prose(docstring: str) -> str:
    """Return a docstring's text: literals with one backtick, lines joined, paragraphs kept."""
    text = re.sub(r"``(.+?)``", r"`\1`", docstring.strip())
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n"))


def inline(text: str) -> str:
    """Return one paragraph for a table's cell; what looks like HTML is shown as it stands."""
    return prose(text).replace("\n\n", " ").replace("<", "&lt;")


def sentence(text: str) -> str:
    """Return ``text`` with a capital and a full stop."""
    return text[:1].upper() + text[1:].rstrip(".") + "."
