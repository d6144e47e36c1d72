"""One self-contained HTML page: headings, tables, plots as inline images. It loads nothing from anywhere."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence
from typing import Any

from edge_convert.console import text

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 960px; margin: 2em auto; padding: 0 1em;
} h1 { font-size: 1.5em; } h2 { font-size: 1.15em; margin-top: 2em; } table { border-collapse: collapse;
font-size: 0.92em; } td, th { padding: 0.15em 0.8em 0.15em 0; text-align: left; border-bottom: 1px solid #ddd;
vertical-align: top; overflow-wrap: anywhere; } p.verdict { background: #eef3f8; padding: 0.6em 1em;
border-left: 4px solid #4477aa; } img { max-width: 100%; }
"""


class Page:
    """A page that grows from top to bottom."""

    def __init__(self, title: str) -> None:
        self._title = html.escape(title)
        self._parts: list[str] = []

    def section(self, title: str, words: str = "") -> None:
        """Begin a section; ``words`` say what is seen."""
        self._parts.append(f"<h2>{html.escape(title)}</h2>")
        if words:
            self._parts.append(f"<p>{html.escape(words)}</p>")

    def verdict(self, words: str) -> None:
        """Add a sentence that must not be missed."""
        self._parts.append(f'<p class="verdict">{html.escape(words)}</p>')

    def facts(self, facts: Mapping[str, Any]) -> None:
        """Add a table of keys and values."""
        rows = (
            f"<tr><th>{html.escape(k)}</th><td>{html.escape(text(v))}</td></tr>" for k, v in facts.items()
        )
        self._parts.append(f"<table>{''.join(rows)}</table>")

    def rows(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Add a table with a column for each key."""
        keys = list(dict.fromkeys(key for row in rows for key in row))
        head = "".join(f"<th>{html.escape(key)}</th>" for key in keys)
        body = "".join(
            "<tr>" + "".join(f"<td>{html.escape(text(row.get(key)))}</td>" for key in keys) + "</tr>"
            for row in rows
        )
        self._parts.append(f"<table><tr>{head}</tr>{body}</table>")

    def image(self, png: bytes, what: str) -> None:
        """Add a plot; ``what`` is said where it cannot be seen."""
        data = base64.b64encode(png).decode("ascii")
        self._parts.append(f'<img alt="{html.escape(what)}" src="data:image/png;base64,{data}">')

    def html(self) -> str:
        """Return the page."""
        return (
            f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{self._title}</title>'
            f"<style>{_STYLE}</style></head><body><h1>{self._title}</h1>{''.join(self._parts)}</body></html>\n"
        )
