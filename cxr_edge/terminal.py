"""Results as people read them in a terminal: a progress bar, a table, a closing line."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from cxr_edge.text import printable


@contextmanager
def film_counter(total: int) -> Iterator[Any]:
    """Show a progress bar on standard error where that is a terminal.

    Yields
    ------
    callable
        To be called once per film.
    """
    columns = (TextColumn("Reading films"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("films", total=total)
        yield lambda: progress.advance(task)


@contextmanager
def phases(title: str) -> Iterator[Any]:
    """Show the phases of something long on standard error where that is a terminal.

    Yields
    ------
    callable
        To be called with a phase's name and its share that is done, 0 to 1.
    """
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        tasks: dict[str, TaskID] = {"": progress.add_task(title, total=None)}

        def show(phase: str, done: float) -> None:
            if phase not in tasks:
                tasks[phase] = progress.add_task(phase, total=1.0)
            progress.update(tasks[phase], completed=done)

        yield show


def print_findings(lines: Sequence[Mapping[str, Any]], total: int, closing: str) -> None:
    """Print the positive findings of each film, or its error, and a closing line.

    Parameters
    ----------
    lines : sequence of mapping
        Result lines, all or the first of them.
    total : int
        How many there are in all.
    closing : str
    """
    console = Console()
    console.print(_table(lines))
    if len(lines) < total:
        console.print(f"… and {total - len(lines)} more", style="dim")
    console.print(_plain(closing))


def print_sections(sections: Mapping[str, Mapping[str, str]], closing: str) -> None:
    """Print named values under headings, and a closing line."""
    console = Console()
    for heading, values in sections.items():
        table = Table.grid(padding=(0, 2))
        for name, value in values.items():
            table.add_row(Text(f"  {printable(name)}", style="bold"), _plain(value))
        console.print(Text(heading, style="bold underline"))
        console.print(table)
    console.print(_plain(closing))


def _table(lines: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(show_edge=False, pad_edge=False)
    table.add_column("Film", overflow="fold", ratio=2)
    table.add_column("Positive findings (probability / threshold)", ratio=3)
    for line in lines:
        table.add_row(_plain(line["path"] or "-"), _summary(line))
    return table


def _summary(line: Mapping[str, Any]) -> Text:
    if line["status"] == "error":
        return Text(f"{line['error']['code']}: {printable(line['error']['message'])}", style="red")
    positive = [f"{f['label']} {f['probability']:.2f}/{f['threshold']:.2f}" for f in line["findings"] if f["positive"]]
    summary = Text(", ".join(positive) or "none above its threshold", style="" if positive else "dim")
    for warning in line["warnings"]:
        summary.append(f"\nwarning: {printable(warning)}", style="yellow")
    return summary


def _plain(text: str) -> Text:
    """Show text from outside without letting it drive the terminal."""
    return Text(printable(text))
