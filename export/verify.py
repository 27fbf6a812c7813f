"""Runtimes and variants of a bundle compared with one of them: ``python -m export verify``."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from cxr_edge.model.bundle import Bundle, read_bundle
from export.errors import ExportError
from export.gate import LIMITS, Runtime, answers, compare, verdict
from export.images import listed_images
from export.variants import look_of
from training.data.nih import read_dataset
from training.data.splits import of_collections
from training.evaluation.evaluate import part_of_split
from training.evaluation.looks import record_look
from training.evaluation.resampling import Bootstrap
from training.labels import LabelSet


def verify(
    root: Path | None,
    reference: str,
    candidates: list[str] | None,
    *,
    images: Path,
    data: Path | None,
    part: str,
    limits: dict[str, float],
    collections: Sequence[str] = (),
    resamples: int,
) -> dict[str, dict[str, Any]]:
    """Compare runtimes with a reference.

    Parameters
    ----------
    root : Path or None
        The bundle; None for the shipped one.
    reference : str
        As ``device:precision``.
    candidates : list of str or None
        Likewise; None for every other variant on the CPU.
    images : Path
        Folder of images, where `data` is None.
    data : Path or None
        The data set that the bundle was trained by, with its labels.
    part : str
        Of `data`: ``validation`` or ``test``.
    limits : dict
        Instead of those of the candidate's precision; see `export.gate.Limits`.
    collections : sequence of str
        Of `data`: these alone; all, if left out.
    resamples : int
        Of the bootstrap.

    Returns
    -------
    dict
        Candidate → its figures; see `export.gate.verdict`.

    Raises
    ------
    ExportError
        A runtime is not written as it must be, or there is nothing to compare.
    """
    bundle = read_bundle(root)
    right = parse_runtime(reference, bundle)
    others = [Runtime("cpu", name) for name in bundle.manifest.variants if Runtime("cpu", name) != right]
    compared = others if candidates is None else [parse_runtime(text, bundle) for text in candidates]
    if not compared:
        raise ExportError(f"{bundle.identity} has no other variant; name a --candidate, such as cuda:fp32")
    if data is None:
        table = listed_images(images)
    else:
        all_images = read_dataset(data, LabelSet.of(bundle.manifest.labels))
        table = of_collections(part_of_split(bundle, all_images, part)[0], collections)
    expected = answers(bundle, right, table)
    found = {}
    for runtime in compared:
        figures = compare(bundle.manifest, expected, answers(bundle, runtime, table), table, Bootstrap(resamples))
        if data is not None and part == "test":
            record_look(look_of(bundle, right, runtime, figures))
        found[str(runtime)] = verdict(figures, replace(LIMITS[runtime.precision], **limits))
    return found


def parse_runtime(text: str, bundle: Bundle) -> Runtime:
    """Read ``device:precision``.

    Raises
    ------
    ExportError
    """
    device, _, precision = text.partition(":")
    if precision not in LIMITS or not device or device == "auto":
        raise ExportError(
            f"expected DEVICE:PRECISION with a precision out of {', '.join(LIMITS)}, such as cpu:fp16, got {text!r}; "
            f"{bundle.identity} has the variants {', '.join(bundle.manifest.variants)}"
        )
    return Runtime(device, precision)
