"""Counts compared with recorded ones, which are valid for certain versions, a bundle and a CPU."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Literal

from benchmarks.instructions.measure import Counts

BASELINE: Final = Path(__file__).parent / "baseline.json"

#: Share of the baseline by which a count may differ, by kind; counts of other kinds must be equal.
MARGINS: Final = {"instructions": 0.03, "bytes allocated": 0.03, "bytes at the peak": 0.03}

Verdict = Literal["same", "more", "less"]


@dataclass(frozen=True)
class Baseline:
    """Recorded counts.

    Attributes
    ----------
    identity : dict
        The versions, the bundle and the CPU that they are valid for.
    margins : dict
        Kind → share by which a count may differ; 0 where a kind is not named.
    counts : dict
        Kind → name → count.
    """

    identity: dict[str, str]
    margins: dict[str, float]
    counts: Counts


@dataclass(frozen=True)
class Row:
    """One count and its baseline; None if one of the two is missing."""

    kind: str
    name: str
    found: int | None
    baseline: int | None
    margin: float

    @property
    def change(self) -> float | None:
        """Return the share of the baseline by which it differs; None without a baseline."""
        if self.found is None or not self.baseline:
            return None
        return self.found / self.baseline - 1

    @property
    def verdict(self) -> Verdict:
        """Return ``more`` or ``less`` beyond the margin, or ``same``."""
        found, expected = self.found or 0, self.baseline or 0
        if abs(found - expected) <= self.margin * expected:
            return "same"
        return "more" if found > expected else "less"


def compare(counts: Counts, baseline: Baseline) -> list[Row]:
    """Compare counts with a baseline, for every kind and name in either."""
    rows = []
    for kind in {**baseline.counts, **counts}:
        found, expected = counts.get(kind, {}), baseline.counts.get(kind, {})
        margin = baseline.margins.get(kind, 0.0)
        rows += [Row(kind, name, found.get(name), expected.get(name), margin) for name in {**expected, **found}]
    return rows


def differences(baseline: Baseline, identity: Mapping[str, str]) -> list[str]:
    """Return in what this machine differs from the one that the baseline is valid for.

    A key that `identity` leaves out is not compared.
    """
    return [
        f"{key}: {baseline.identity.get(key)} in the baseline, {value} here"
        for key, value in identity.items()
        if baseline.identity.get(key) != value
    ]


def read_baseline() -> Baseline:
    """Read the recorded baseline; return an empty one if there is none."""
    if not BASELINE.exists():
        return Baseline({}, MARGINS, {})
    return Baseline(**json.loads(BASELINE.read_text()))


def record(counts: Counts, identity: Mapping[str, str]) -> None:
    """Write counts as the new baseline."""
    text = json.dumps(asdict(Baseline(dict(identity), MARGINS, counts)), indent=1, ensure_ascii=False)
    BASELINE.write_text(f"{text}\n")
