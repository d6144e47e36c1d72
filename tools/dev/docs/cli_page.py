"""docs/reference/cli.md: every command and option, from the argparse parsers of the programs.

The output of argparse differs between versions of Python, so the page is generated from the parsers' actions
and not from their help text. The text of a command is the docstring of its file.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from page_text import inline, prose, sentence, table

import edge_agent.cli
import edge_convert.cli
import edge_hub.cli
from edge_agent import errors

HEAD = """\
# Commands

Three programs: `edge-agent` runs on the device, `edge-convert` and `edge-hub` on a PC. Each command
prints a table for people, and with `--json` one JSON object (or one a line) for machines; `-v` says
more. Errors are one line on standard error.
"""
ROOTS = (edge_agent.cli.parser, edge_convert.cli.parser, edge_hub.cli.parser)
EVERYWHERE = ("help", "json", "verbose")
WORDS = {
    "edge-agent": "The daemon, and commands that query it or work without it.",
    "edge-convert": "Converts a trained float model to a signed, measured int8 bundle, or refuses it.",
    "edge-hub": "Commands for a fleet, over the broker.",
}
EXITS = {
    errors.EXIT_DONE: "done",
    errors.EXIT_FAILED: "failed, or a negative result: a gate failed, a device is silent, a finding is bad",
    errors.EXIT_BAD_INPUT: "bad input: names the file, the key, what was found and what was expected",
    errors.EXIT_NO_ROOM: "does not fit the memory budget: the error line gives the number of missing bytes",
}


def page() -> str:
    """Return the page."""
    lines = [HEAD, *table(["exit status", "means"], [[str(code), words] for code, words in EXITS.items()])]
    for make in ROOTS:
        root = make()
        lines += [f"## {root.prog}", "", WORDS[root.prog], ""]
        for name, parser in commands(root).items():
            lines += [f"### {root.prog} {name}", "", _words(parser), ""]
            actions = [parser] if _choice(parser) is None else commands(parser).values()
            for action in actions:
                lines += [_usage(action), ""]
                if rows := list(_rows(action)):
                    lines += table(["argument", "default", "meaning"], rows)
    return "\n".join(lines).rstrip() + "\n"


def commands(root: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """Return a program's commands, or a command's actions; none if it has none."""
    choice = _choice(root)
    return {} if choice is None else dict(choice.choices)


def _choice(parser: argparse.ArgumentParser) -> argparse._SubParsersAction[argparse.ArgumentParser] | None:
    found = (a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    return next(found, None)


def _words(parser: argparse.ArgumentParser) -> str:
    """Return the head of the file that the command is in, without the command's name."""
    run = parser.get_default("run")
    text = prose(sys.modules[run.__module__].__doc__ or "").replace("Theory of operation. ", "")
    return sentence(text.partition("`: ")[2] or text)


def _usage(parser: argparse.ArgumentParser) -> str:
    words = [parser.prog]
    for action in _arguments(parser):
        word = (
            f"{action.option_strings[0]} {_value(action)}".strip()
            if action.option_strings
            else _value(action)
        )
        needed = action.required if action.option_strings else action.nargs != "?"
        if needed:
            words.append(word)
        elif not action.option_strings:
            words.append(f"[{word}]")
    return f"```text\n{' '.join(words)} [options]\n```"


def _arguments(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    return (a for a in parser._actions if a.dest not in EVERYWHERE)


def _value(action: argparse.Action) -> str:
    """Return what stands for the value: nothing for a switch."""
    if action.nargs == 0:
        return ""
    if action.choices is not None:
        return "|".join(str(choice) for choice in action.choices)
    if isinstance(action.metavar, tuple):
        return " ".join(action.metavar)
    return action.metavar or action.dest.upper()


def _rows(parser: argparse.ArgumentParser) -> Iterator[list[str]]:
    for action in _arguments(parser):
        names = ", ".join(f"`{name}`" for name in action.option_strings)
        value = _value(action)
        shown = f"{names} `{value}`" if names and value else names or f"`{value}`"
        yield [shown, _default(action), inline(_help(action))]


def _help(action: argparse.Action) -> str:
    """Return the option's help; the default has a column of its own."""
    default = _plain(action.default)
    text = (action.help or "") % {"default": default}
    number = f"{action.default:g}" if isinstance(action.default, float) else default
    return re.sub(
        rf"(^|; )default: ({re.escape(default)}|{re.escape(number)})$| \({re.escape(number)}\)$", "", text
    )


def _default(action: argparse.Action) -> str:
    if action.required and action.option_strings:
        return "required"
    if action.nargs == 0 or action.default in (None, [], ""):
        return ""
    return f"`{_plain(action.default)}`"


def _plain(default: object) -> str:
    """Return a default as everybody has it: the home directory is ``~``."""
    return str(default).replace(str(Path.home()), "~")
