"""Render the figures as Markdown."""

from collections.abc import Mapping
from typing import Any


def markdown(figures: Mapping[str, Any]) -> str:
    """Return both tables."""
    rows, columns = figures["image"]
    versions, hostile = figures["machine"]["packages"], figures["hostile"]
    return "\n".join(
        [
            "# Reading DICOM",
            "",
            f"{figures['machine']['processor']}, {figures['machine']['cores']} cores, already busy with a load of "
            f"{figures['load']}; " + ", ".join(f"{name} {versions[name]}" for name in ("imagecodecs", "pydicom")) + ".",
            "",
            "## Transfer syntaxes",
            "",
            f"A real chest radiograph enlarged to {columns}x{rows}, 12 bits stored (JPEG Baseline: 8), from the bytes "
            "of a file to grey levels; decoders isolated. "
            f"Medians of {figures['rounds']} interleaved rounds, and of each "
            "round's ratio to Explicit VR Little Endian. Largest differences in grey levels of 255, of the whole image "
            "and of the 224x224 the network is shown, against the native image of as many bits.",
            "",
            "| transfer syntax | decoder | MB | bit-exact | largest difference, image / shown | ms | times native |",
            "|---|---|---|---|---|---|---|",
            *(_syntax(row) for row in figures["syntaxes"]),
            "",
            "## Hostile files",
            "",
            "Each in a process of its own with the model loaded, between two reads of a real image; "
            f"{figures['repeats']} processes for each: median and largest milliseconds to its error, and the largest "
            "peak memory of process and decoders together. Slowest of all: "
            f"{max(row['largest_ms'] for row in hostile):.0f} ms; most memory: "
            f"{max(row['peak_mib'] for row in hostile)} MiB. Next image read and answered as before: "
            f"{sum(row['next_image_is_the_same'] for row in hostile)} of {len(hostile)}.",
            "",
            "| file | KB | code | ms | largest ms | MiB | next image |",
            "|---|---|---|---|---|---|---|",
            *(_hostile(row) for row in hostile),
        ]
    )


def _syntax(row: Mapping[str, Any]) -> str:
    return (
        f"| {row['syntax']} | {row['decoder']} | {row['bytes'] / 1e6:.1f} | {'yes' if row['bit_exact'] else 'no'} | "
        f"{row['largest_level']} / {row['largest_shown']} | {row['median_ms']:.0f} | {row['ratio']:.2f} |"
    )


def _hostile(row: Mapping[str, Any]) -> str:
    return (
        f"| {row['file']} | {row['bytes'] / 1e3:.0f} | `{row['code']}` | {row['median_ms']:.0f} | "
        f"{row['largest_ms']:.0f} | {row['peak_mib']} | {'same' if row['next_image_is_the_same'] else 'DIFFERS'} |"
    )
