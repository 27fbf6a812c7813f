"""Command line: ``python -m benchmarks.instructions``."""

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.instructions.baseline import BASELINE, Row, compare, differences, read_baseline, record
from benchmarks.instructions.measure import ValgrindMissing, measure


def main(
    renew: Annotated[bool, typer.Option("--record", help="Record the counts as the new baseline.")] = False,
) -> None:
    """Count what one image costs, and compare it with the baseline.

    CPU instructions under valgrind (an emulated CPU with AVX2 and without AVX-512), bytes of arrays, calls of the
    network, nodes of the graphs. About two minutes.

    Exit status: 0 all within the margins, or recorded; 1 a count differs; 3 counts cannot be made or compared here.
    """
    try:
        counts, identity = measure()
    except ValgrindMissing as error:
        typer.echo(error, err=True)
        raise typer.Exit(3) from error
    baseline = read_baseline()
    rows = compare(counts, baseline)
    _print(rows)
    other = differences(baseline, identity)
    if not baseline.identity:
        typer.echo("No baseline is recorded yet.", err=True)
    else:
        for difference in other:
            typer.echo(f"The baseline was recorded with another {difference}.", err=True)
    if renew:
        record(counts, identity)
        typer.echo(f"Recorded in {BASELINE.name}.")
    elif other:
        raise typer.Exit(3)
    elif any(row.verdict != "same" for row in rows):
        typer.echo(
            "More is a regression to fix. If it is intended, or if it is less: run --record, and commit the baseline."
        )
        raise typer.Exit(1)


def _print(rows: list[Row]) -> None:
    """Print every count that has a margin, and those exact counts that differ."""
    console = Console()
    for kind in dict.fromkeys(row.kind for row in rows):
        of_kind = [row for row in rows if row.kind == kind]
        shown = [row for row in of_kind if row.margin or row.verdict != "same"]
        if not shown:
            console.print(f"{kind}: all {len(of_kind)} counts as recorded")
            continue
        table = Table("", "one image", "baseline", "change", title=f"{kind}, margin {of_kind[0].margin:.0%}")
        for row in shown:
            change = "" if row.change is None else f"{row.change:+.2%}"
            cell = change if row.verdict == "same" else f"{change} {row.verdict}".strip()
            table.add_row(row.name, _number(row.found), _number(row.baseline), cell)
        console.print(table)


def _number(count: int | None) -> str:
    return "none" if count is None else f"{count:,}"


if __name__ == "__main__":
    typer.run(main)
