"""The figures as Markdown."""

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.node.load import summary


def markdown(figures: Mapping[str, Any]) -> str:
    """Return the tables of the figures that were measured."""
    machine = figures["machine"]
    parts = [
        "# The node between dcmtk and Orthanc",
        "",
        f"{machine['processor']}, {machine['cores']} cores, for sender, node and archive together; loopback. Images of "
        "1024x1024, 8 bits, from the repository's samples, each with UIDs and a study of its own; all TTA variants. "
        "Each DICOM object that an image must give counts as a result.",
    ]
    if "crashes" in figures:
        parts += ["", "## Crashes", "", *_crashes(figures["crashes"])]
        parts += ["", figures["note"]] if figures.get("note") else []
    if "load" in figures:
        parts += ["", "## Load", "", *_load(figures["load"])]
    return "\n".join(parts)


def _crashes(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    head = (
        "| event | trials | images | results | received | lost | doubled | dead letters | lines printed "
        "| with patient data |"
    )
    columns = ("event", "trials", "images", "expected", "received", "lost", "doubled", "dead", "lines", "values")
    total = {name: sum(row[name] for row in rows) for name in columns[1:]}
    return [
        head,
        "|---" * len(columns) + "|",
        *(f"| {' | '.join(str(row[name]) for name in columns)} |" for row in rows),
        f"| **all** | {' | '.join(str(total[name]) for name in columns[1:])} |",
        "",
        "*SIGKILL at the nth call* is sent by strace as a thread enters its nth such system call: flushing (`fsync`, "
        "`fdatasync`), renaming, removing and writing files, sending to a destination. A trial counts if the node was "
        "killed in this way. *The clock moved*: while the archive is down and results wait, the node's time of day is "
        "set by up to ten years; half of the time the node is killed and started meanwhile. *Copies that stall*: three "
        "at a time, appended to with pauses, filled into zeros, or under a temporary name; half of the time the node "
        "is killed meanwhile. Results of dead letters count as lost. *Lines printed* are those of the node's log, its "
        "queue, its metrics and `queue list`.",
    ]


def _load(load: Mapping[str, Any]) -> list[str]:
    memory, verdict = summary(load["memory"]), load["verdict"]
    return [
        "Seconds from the start of sending an image (dcmtk's storescu, a process each) to its last result at Orthanc.",
        "",
        "| senders | images | images/s | p50 | p90 | p99 | largest |",
        "|---|---|---|---|---|---|---|",
        *(
            f"| {phase['name']} | {phase['images']} | {phase['images_per_second']:.2f} | {phase['p50']:.2f} | "
            f"{phase['p90']:.2f} | {phase['p99']:.2f} | {phase['largest']:.2f} |"
            for phase in load["phases"]
        ),
        "",
        f"{load['minutes']:.0f} minutes. Resident memory of the node: {memory['start']:.0f} MiB at the start (once 50 "
        f"images are done), {memory['middle']:.0f} in the middle, {memory['end']:.0f} at the end, at most "
        f"{memory['most']:.0f}. Results: {verdict['expected']} expected, {verdict['received']} received, "
        f"{verdict['lost']} lost, {verdict['doubled']} doubled. Of {verdict['lines']} lines of log, queue and metrics, "
        f"{verdict['values']} contain patient data.",
    ]
