"""docs/reference/template.md: every key of the templates of ``edge-convert fit``, from its records."""

from __future__ import annotations

from config_page import sections
from pydantic import TypeAdapter

from edge_convert.fit.template import Template

HEAD = """\
# Templates of models

`edge-convert fit READINGS --template FILE` reads one TOML file. It names what there is to infer; the numbers
come from the readings ([how](../how-to/readings.md)). A key that is not listed here is an error.
"""


def page() -> str:
    """Return the page."""
    return "\n".join([HEAD, *sections(TypeAdapter(Template).json_schema(), "", "##")]).rstrip() + "\n"
