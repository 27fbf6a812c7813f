"""The commands and options of the command line, as it defines them."""

from functools import cache
from typing import Any

import typer.main

from cxr_edge.cli import app


@cache
def commands() -> dict[tuple[str, ...], Any]:
    """Return every command, groups included, by its words after the program's name."""
    found: dict[tuple[str, ...], Any] = {}

    def walk(command: Any, words: tuple[str, ...]) -> None:
        found[words] = command
        for name, below in getattr(command, "commands", {}).items():
            walk(below, (*words, name))

    walk(typer.main.get_command(app), ())
    return found


def options_of(command: Any) -> set[str]:
    """Return the names of a command's options and arguments."""
    return {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
