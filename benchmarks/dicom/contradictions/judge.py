"""Judge how files are read: by what was encoded, by pydicom's pixels and by dcmtk's."""

import io
import subprocess
import tempfile
import warnings
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pydicom
from pydicom.dataset import Dataset

from benchmarks.dicom.contradictions.changes import contradiction
from benchmarks.dicom.contradictions.made import NATIVE, Made, Values, readings
from cxr_edge import InputLimits, errors, images

Grey = npt.NDArray[np.float64]

LIMITS: Final = InputLimits(min_side=8, isolated=False)
#: Grey levels of 255 by which roundings differ, and those of lossy codecs: at most, and on average.
_ROUNDED: Final = 1.01
_LOSSY: Final = (40.0, 3.0)
#: Codestreams that dcmtk's plain program does not show → the program that does; None: no program.
_PROGRAMS: Final = {
    "1.2.840.10008.1.2.4.50": "dcmj2pnm",
    "1.2.840.10008.1.2.4.51": "dcmj2pnm",
    "1.2.840.10008.1.2.4.57": "dcmj2pnm",
    "1.2.840.10008.1.2.4.70": "dcmj2pnm",
    "1.2.840.10008.1.2.4.80": "dcml2pnm",
    "1.2.840.10008.1.2.4.90": None,
    "1.2.840.10008.1.2.4.201": None,
}


class Verdict(NamedTuple):
    """What became of a file.

    Attributes
    ----------
    outcome : str
        ``equal``, ``refused``, ``warned`` or ``different``: silently, so a find.
    detail : str
        The code of the refusal, or what differs.
    judges : tuple of str
        Who read the file and gave the same levels.
    """

    seed: int
    outcome: str
    detail: str
    judges: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()
    syntax: str = ""


def judged(seed: int, *, dcmtk: bool) -> Verdict:
    """Make the file of a seed, read it, and judge it.

    Parameters
    ----------
    seed : int
    dcmtk : bool
        Ask dcmtk too, where the file is read without a warning: a process for each file.
    """
    made, data = contradiction(seed)
    return _verdict(seed, made, data, dcmtk=dcmtk)._replace(changes=tuple(made.changes), syntax=made.syntax)


def _verdict(seed: int, made: Made, data: bytes, *, dcmtk: bool) -> Verdict:
    try:
        read = images.decode(data, LIMITS)
    except errors.InputError as error:
        return Verdict(seed, "refused", error.code)
    expected = [shown(values, made.dataset) for values in readings(made)]
    as_encoded = any(_same(read.pixels, grey, lossy=made.is_lossy) for grey in expected)
    if any(warning.code != "grey_levels" for warning in read.warnings):
        return Verdict(seed, "warned", "as encoded" if as_encoded else "otherwise")
    if not as_encoded:
        return Verdict(seed, "different", "from what was encoded")
    judges = {"pydicom": by_pydicom(data, made), "dcmtk": by_dcmtk(data, made) if dcmtk else None}
    for name, grey in judges.items():
        if grey is not None and not _same(read.pixels, grey, lossy=made.is_lossy):
            return Verdict(seed, "different", f"from what {name} shows")
    return Verdict(seed, "equal", "", tuple(name for name, grey in judges.items() if grey is not None))


def shown(values: Values | Grey, ds: Dataset) -> Grey:
    """Return the grey levels of stored values, 0 to 255, by the window and the photometric interpretation."""
    if "WindowWidth" in ds:
        center, width = float(ds.WindowCenter), float(ds.WindowWidth)
        grey = np.clip((values - (center - 0.5)) / (width - 1) + 0.5, 0, 1) * 255  # PS3.3, C.11.2.1.2.1
    else:
        grey = values.astype(np.float64)
    return 255 - grey if ds.PhotometricInterpretation == "MONOCHROME1" else grey


def _same(pixels: npt.NDArray[np.uint8], grey: Grey, *, lossy: bool) -> bool:
    if pixels.shape != grey.shape:
        return False
    apart = np.abs(pixels - grey)
    most, mean = _LOSSY if lossy else (_ROUNDED, _ROUNDED)
    return bool(apart.max() <= most and apart.mean() <= mean)


def by_pydicom(data: bytes, made: Made) -> Grey | None:
    """Return the grey levels of pydicom's pixels; None where it does not read the file or warns.

    It leaves High Bit to its callers, and the bits of a codestream's samples outside Bits Stored. By
    Planar Configuration it reorders what no codestream has in planes, and with Adobe's marker it
    takes for luma and chroma what Pillow has converted.
    """
    ds = made.dataset
    compressed = made.syntax not in NATIVE
    outside = ds.HighBit != ds.BitsStored - 1 or (compressed and made.precision != ds.BitsStored)
    if outside or (compressed and ds.get("PlanarConfiguration")) or "markers: Adobe 1" in made.changes:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            levels = pydicom.dcmread(io.BytesIO(data)).pixel_array
        except Exception:  # whatever it raises, it does not vouch for the file
            return None
    if levels.ndim == 3:  # converted to RGB
        return levels[..., 1].astype(np.float64)
    return shown(levels.astype(np.int32), ds)


def by_dcmtk(data: bytes, made: Made) -> Grey | None:
    """Return the grey levels that dcmtk shows; None where it does not read the file or warns."""
    program = _PROGRAMS.get(made.syntax, "dcm2pnm")
    if program is None:
        return None
    window = ["+Wi", "1"] if "WindowWidth" in made.dataset else []
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "in.dcm"), Path(folder, "out.pnm")
        source.write_bytes(data)
        done = subprocess.run([program, *window, "+op", source, target], capture_output=True, text=True, check=False)
        if done.returncode or done.stderr or not target.exists():
            return None
        return _pnm(target.read_bytes())


def _pnm(data: bytes) -> Grey:
    """Read a binary PGM or PPM of 8 bits; of a PPM, green."""
    kind, width, height, _ = data.split(maxsplit=4)[:4]
    samples = 3 if kind == b"P6" else 1
    count = int(width) * int(height) * samples
    pixels = np.frombuffer(data[-count:], np.uint8).reshape(int(height), int(width), samples)
    return pixels[..., samples // 2].astype(np.float64)
