"""Runs of many images: decode, infer and write on one thread per core, with records in input order."""

import hashlib
from collections.abc import Iterator

from cxr_edge.errors import DeviceFailed, InputError
from cxr_edge.images.files import read_bytes
from cxr_edge.model.model import failure_of
from cxr_edge.model.record import Record
from cxr_edge.outputs.analysis import Analyser
from cxr_edge.outputs.overlays import overlay_prefix
from cxr_edge.runs.directory import RunDirectory
from cxr_edge.runs.inputs import Inputs, Skipped
from cxr_edge.support.parallel import map_in_order


def infer(
    analyser: Analyser, inputs: Inputs, directory: RunDirectory | None, workers: int
) -> Iterator[Record | Skipped]:
    """Infer images from files, and write the record of each into the results directory as soon as it is done.

    Parameters
    ----------
    analyser : Analyser
    inputs : Inputs
    directory : RunDirectory or None
        Where records go. Results that it has already, and that are still valid, are not computed again.
    workers : int
        Images processed at the same time.

    Yields
    ------
    Record or Skipped
        One of each input, in input order.

    Raises
    ------
    DeviceFailed
        After the record of the image at which the device failed. The images after it are left to the next run.
    """

    def one(path: str) -> tuple[str, Record | Skipped, DeviceFailed | None]:
        try:
            return path, _infer_one(analyser, path, directory), None
        except InputError as error:
            if directory is not None:
                directory.discard_overlays(overlay_prefix(path))
            if inputs.leaves_out(path, error):
                return path, Skipped(path, error.content), None
            return path, failure_of(path, error).record(), None
        except DeviceFailed as error:
            return path, failure_of(path, error).record(), error

    for path, record, failed in map_in_order(one, inputs.paths, workers):
        if isinstance(record, Skipped):
            if directory is not None:
                directory.forget(path)
        elif directory is not None:
            directory.append(path, record)
        yield record
        if failed is not None:
            raise failed


def _infer_one(analyser: Analyser, path: str, directory: RunDirectory | None) -> Record:
    data = read_bytes(path, analyser.model.limits.max_file_bytes)
    sha256 = hashlib.sha256(data).hexdigest()
    if directory is not None:
        if record := directory.reusable(path, sha256, analyser.outputs):
            return record
        directory.discard_overlays(overlay_prefix(path))
    return analyser.run(data, path, path=path, sha256=sha256)
