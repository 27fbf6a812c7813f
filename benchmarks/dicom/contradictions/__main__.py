"""Command line: ``python -m benchmarks.dicom.contradictions``."""

import collections
import json
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.dicom.contradictions.judge import Verdict, judged
from benchmarks.measure import machine


def main(
    files: Annotated[int, typer.Option(min=1, help="Files to make.")] = 2000,
    first: Annotated[int, typer.Option(min=0, help="Seed of the first file.")] = 0,
    dcmtk_every: Annotated[int, typer.Option(min=0, help="Ask dcmtk about every so many files; 0: never.")] = 10,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Write contradictions.json here.")] = None,
) -> None:
    """Read DICOM files whose header contradicts their pixels, and judge what is read without a warning.

    Exit status: 0 where nothing was silently different; else 1, with the seeds, which --first repeats.
    """
    outcomes: collections.Counter[str] = collections.Counter()
    details: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    judges: collections.Counter[str] = collections.Counter()
    finds: list[Verdict] = []
    for seed in range(first, first + files):
        verdict = judged(seed, dcmtk=dcmtk_every > 0 and seed % dcmtk_every == 0)
        outcomes[verdict.outcome] += 1
        details[verdict.outcome][verdict.detail] += bool(verdict.detail)
        judges.update(verdict.judges)
        finds += [verdict] * (verdict.outcome == "different")
    figures = {
        "machine": machine(),
        "files": files,
        "first": first,
        "outcomes": {name: outcomes[name] for name in ("equal", "refused", "warned", "different")},
        "refused": dict(details["refused"].most_common()),
        "warned": dict(details["warned"].most_common()),
        "equal_by": dict(judges.most_common()),
        "finds": [verdict._asdict() for verdict in finds],
    }
    text = json.dumps(figures, indent=1)
    typer.echo(text)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        (out / "contradictions.json").write_text(text + "\n", encoding="utf-8")
    raise typer.Exit(1 if finds else 0)


if __name__ == "__main__":
    typer.run(main)
