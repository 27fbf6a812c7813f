"""From a data set as downloaded to a cache: decode every image once, with the SDK's own code."""

import csv
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import pandas as pd
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from cxr_edge.errors import InputError
from cxr_edge.images import decode
from cxr_edge.images.files import read_bytes
from cxr_edge.model.preprocess import preprocess
from cxr_edge.outputs.csv import safe
from cxr_edge.support.parallel import map_in_order
from training.data.cache import IDENTITY, TABLE, images_file
from training.data.nih import COLUMNS, SIDE, hash_of_table, joined_labels
from training.errors import DataError
from training.files import locked, write_json
from training.labels import LabelSet

UNREADABLE = "unreadable.csv"

#: Images between two moments from which an interrupted run can continue.
CHUNK = 512


@dataclass(frozen=True)
class _Decoded:
    """One image at all sizes, or why it has none."""

    row: dict[str, Any]
    images: tuple[npt.NDArray[np.uint8], ...]
    side: int = 0
    sha256: str = ""
    error: InputError | None = None


def prepare(
    images: pd.DataFrame, out: Path, sizes: tuple[int, ...], labels: LabelSet, *, skip_unreadable: bool = False
) -> pd.DataFrame:
    """Decode images into a cache, in parallel; an interrupted run continues where it stopped.

    An image is written at all sizes before its line in ``images.csv`` is, so that a line stands for
    a whole image; what an interruption left behind the last line is cut off.

    Parameters
    ----------
    images : DataFrame
        As `training.data.nih.read_dataset` returns it.
    out : Path
        The cache; made if missing.
    sizes : tuple of int
        Sides in pixels.
    labels : LabelSet
        The label columns of `images`.
    skip_unreadable : bool
        Finish without images that cannot be read.

    Returns
    -------
    DataFrame
        The images that could not be read: image, code, message; also in ``unreadable.csv``.

    Raises
    ------
    DataError
        `images` are a cache's, `out` is a cache of other images or sizes, or another process is writing it.
    """
    if "cache" in images:
        raise DataError(f"{images['cache'].iloc[0]} is a cache already; prepare one from the data set itself")
    with locked(out):
        return _prepare(images, out, sorted(set(sizes)), labels, skip_unreadable=skip_unreadable)


def _prepare(
    images: pd.DataFrame, out: Path, sizes: list[int], labels: LabelSet, *, skip_unreadable: bool
) -> pd.DataFrame:
    identity: dict[str, Any] = {
        "sizes": sizes,
        "table_sha256": hash_of_table(images, labels.names),
        "columns": [*COLUMNS, SIDE],
        "preprocessing": "cxr_edge.preprocess",
    }
    _claim(out, identity)
    done = _cut_to_whole_images(out, identity["sizes"])
    table = images.assign(labels=joined_labels(images, labels.names))[["path", "labels", *COLUMNS]]
    waiting = table[~table["image"].isin(done)].to_dict("records")
    failed = [decoded for decoded in _decode_all(waiting, out, identity["sizes"], len(done)) if decoded.error]
    unreadable = pd.DataFrame(
        [(safe(decoded.row["image"]), decoded.error.code, str(decoded.error)) for decoded in failed if decoded.error],
        columns=["image", "code", "message"],
    )
    unreadable.to_csv(out / UNREADABLE, index=False)
    write_json(out / IDENTITY, {**identity, "finished": bool(unreadable.empty or skip_unreadable)})
    return unreadable


def _claim(out: Path, identity: dict[str, Any]) -> None:
    claimed = out / IDENTITY
    if claimed.exists():
        found = {**json.loads(claimed.read_text()), "finished": False}
        if found != {**identity, "finished": False}:
            raise DataError(
                f"{out} is a cache of other images or sizes ({found['sizes']}), or of an earlier version; "
                "choose another --out"
            )
    elif any(out.iterdir()):
        raise DataError(f"{out} is not empty and not a cache; choose another --out")
    write_json(claimed, {**identity, "finished": False})


def _cut_to_whole_images(out: Path, sizes: list[int]) -> set[str]:
    """Cut off what an interruption left half written; return the images that are there."""
    table = out / TABLE
    text = table.read_bytes() if table.exists() else b""
    if whole := text.rfind(b"\n") + 1:
        os.truncate(table, whole)
    else:
        table.write_text(",".join(["labels", *COLUMNS, SIDE, "sha256"]) + "\n")
    images = set(pd.read_csv(table, dtype={"image": str})["image"])
    for size in sizes:
        images_file(out, size).touch()
        os.truncate(images_file(out, size), len(images) * size**2)
    return images


def _decode_all(waiting: list[dict[str, Any]], out: Path, sizes: list[int], done: int) -> Iterator[_Decoded]:
    def decode_one(row: dict[str, Any]) -> _Decoded:
        try:
            data = read_bytes(row["path"])
            pixels = decode(data).pixels
        except InputError as error:
            return _Decoded(row, (), error=error)
        images = tuple(preprocess(pixels, (size, size)) for size in sizes)
        return _Decoded(row, images, min(pixels.shape), hashlib.sha256(data).hexdigest())

    columns = TextColumn("Decoding"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with ExitStack() as stack:
        bar = stack.enter_context(Progress(*columns))
        task = bar.add_task("", total=done + len(waiting), completed=done)
        files = [stack.enter_context(images_file(out, size).open("ab")) for size in sizes]
        lines = stack.enter_context((out / TABLE).open("a", newline=""))
        decoded = map_in_order(decode_one, waiting, os.cpu_count() or 1)
        while chunk := list(islice(decoded, CHUNK)):
            _append(chunk, files)
            csv.writer(lines).writerows(
                [*(one.row[column] for column in ("labels", *COLUMNS)), one.side, one.sha256]
                for one in chunk
                if not one.error
            )
            lines.flush()
            bar.update(task, advance=len(chunk))
            yield from chunk


def _append(chunk: list[_Decoded], files: Sequence[BinaryIO]) -> None:
    for one in chunk:
        for file, image in zip(files, one.images, strict=False):
            file.write(image.tobytes())
    for file in files:
        file.flush()
        os.fsync(file.fileno())
