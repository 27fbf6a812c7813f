"""Terminal output: progress bars, tables, a closing line."""

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

from cxr_edge.model.record import FailureRecord, Record
from cxr_edge.support.text import printable


@contextmanager
def image_counter(total: int) -> Iterator[Any]:
    """Show a progress bar of images on standard error, where that is a terminal.

    Yields
    ------
    callable
        To be called once per image.
    """
    columns = (TextColumn("Reading images"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("images", total=total)
        yield lambda: progress.advance(task)


@contextmanager
def phases(title: str) -> Iterator[Any]:
    """Show the phases of a long task on standard error, where that is a terminal.

    Yields
    ------
    callable
        To be called with a phase's name and the share of it that is done, 0 to 1.
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


def print_findings(records: Sequence[Record], total: int, closing: str) -> None:
    """Print the positive findings of each image, or its error, and a closing line.

    Parameters
    ----------
    records : sequence of Record
        All records, or the first of them.
    total : int
        Number of all records.
    closing : str
        Last line of the output.
    """
    console = Console()
    console.print(_table(records))
    if len(records) < total:
        console.print(f"… and {total - len(records)} more", style="dim")
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


def _table(records: Sequence[Record]) -> Table:
    table = Table(show_edge=False, pad_edge=False)
    table.add_column("Image", overflow="fold", ratio=2)
    table.add_column("Positive findings (probability / threshold)", ratio=3)
    for record in records:
        table.add_row(_plain(record.path or "-"), _summary(record))
    return table


def _summary(record: Record) -> Text:
    if isinstance(record, FailureRecord):
        return Text(f"{record.error.code}: {printable(record.error.message)}", style="red")
    positive = [f"{f.label} {f.probability:.2f}/{f.threshold:.2f}" for f in record.positive]
    summary = Text(", ".join(positive) or "none above its threshold", style="" if positive else "dim")
    for warning in record.warnings:
        summary.append(f"\nwarning: {printable(warning.message)}", style="yellow")
    return summary


def _plain(text: str) -> Text:
    """Return text from outside with its control characters made visible, so that it cannot control the terminal."""
    return Text(printable(text))
