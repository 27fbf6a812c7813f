"""Read one image in every transfer syntax: its decoder, whether all bits survive, and its time relative to native."""

from typing import Any, Final

import numpy as np
import numpy.typing as npt
from pydicom.uid import UID, ExplicitVRLittleEndian

from benchmarks.dicom import dicom_files
from benchmarks.dicom.dicom_files import BASELINE, CODECS, NATIVE, baseline, chest, written
from benchmarks.measure import interleaved, summary
from cxr_edge.images import decode
from cxr_edge.images.dicom.codestreams import codecs
from cxr_edge.images.dicom.header import syntaxes as transfer_syntaxes
from cxr_edge.model.preprocess import preprocess

#: Bits stored; the most that JPEG's extended process has.
BITS: Final = 12
#: Bits of JPEG's baseline process.
BASELINE_BITS: Final = 8
#: Codec → the library in imagecodecs that it calls.
LIBRARIES: Final = {
    codecs._jpeg: "libjpeg-turbo",
    codecs._jpeg_ls: "CharLS",
    codecs._jpeg_2000: "OpenJPEG",
}


def syntaxes(shape: tuple[int, int], rounds: int) -> list[dict[str, Any]]:
    """Read a real image of 12 bits, native and in every other transfer syntax, from file to grey levels.

    Parameters
    ----------
    shape : (int, int)
        Rows and columns the image is enlarged to.
    rounds : int
    """
    native = chest(shape, BITS)
    datasets = {syntax: (native, syntax) for syntax in NATIVE}
    datasets |= {syntax: (dicom_files.compressed(native, syntax), None) for syntax in CODECS}
    eight = chest(shape, BASELINE_BITS)
    datasets[BASELINE] = (baseline(eight), None)
    files = {syntax: written(dataset, target) for syntax, (dataset, target) in datasets.items()}
    expected = {bits: decode(written(of_bits)).pixels for bits, of_bits in ((BITS, native), (BASELINE_BITS, eight))}
    times = summary(
        interleaved({syntax: lambda data=data: decode(data) for syntax, data in files.items()}, rounds),
        ExplicitVRLittleEndian,
    )
    rows = []
    for syntax, data in files.items():
        bits = BASELINE_BITS if syntax == BASELINE else BITS
        rows.append(
            {
                "syntax": UID(syntax).name,
                "uid": str(syntax),
                "decoder": _decoder(syntax),
                "bits": bits,
                "bytes": len(data),
                **_differences(decode(data).pixels, expected[bits]),
                **times[syntax],
            }
        )
    return rows


def _decoder(syntax: str) -> str:
    if syntax in codecs.CODECS:
        return f"imagecodecs: {LIBRARIES[codecs.CODECS[syntax][1]]}"
    return {transfer_syntaxes.RLE: "imagecodecs: its own", transfer_syntaxes.DEFLATED: "zlib"}.get(syntax, "none")


def _differences(decoded: npt.NDArray[Any], expected: npt.NDArray[Any]) -> dict[str, Any]:
    """Compare the grey levels of the whole image, and those of the network's input."""

    def largest(one: npt.NDArray[Any], other: npt.NDArray[Any]) -> int:
        return int(np.abs(one.astype(int) - other.astype(int)).max())

    size = (224, 224)
    return {
        "bit_exact": bool(np.array_equal(decoded, expected)),
        "largest_level": largest(decoded, expected),
        "largest_shown": largest(preprocess(decoded, size), preprocess(expected, size)),
    }
