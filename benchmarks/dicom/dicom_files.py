"""DICOM images for tests and benchmarks: two real ones, and others made from given pixels."""

import copy
import importlib.util
import io
from pathlib import Path
from typing import Any

import cv2
import imagecodecs
import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels.encoders.base import RLELosslessEncoder
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian, generate_uid

_DATA = Path(importlib.util.find_spec("data_store").origin).parent / "data"
#: A real frontal chest radiograph: CR, 1841x1955, MONOCHROME1, 15 bits, window 15000/30000.
CHEST = _DATA / "RG1_UNCR.dcm"
#: A real radiograph of an ankle.
ANKLE = _DATA / "RG3_UNCR.dcm"

CODECS = {
    "1.2.840.10008.1.2.4.51": lambda p, b: imagecodecs.jpeg8_encode(p, level=100, bitspersample=b),
    "1.2.840.10008.1.2.4.57": lambda p, b: imagecodecs.jpeg8_encode(p, lossless=True, bitspersample=b, predictor=4),
    "1.2.840.10008.1.2.4.70": lambda p, b: imagecodecs.ljpeg_encode(p, bitspersample=b),
    "1.2.840.10008.1.2.4.80": lambda p, _: imagecodecs.jpegls_encode(p),
    "1.2.840.10008.1.2.4.81": lambda p, _: imagecodecs.jpegls_encode(p, level=2),
    "1.2.840.10008.1.2.4.90": lambda p, b: imagecodecs.jpeg2k_encode(
        p, codecformat="j2k", reversible=True, bitspersample=b
    ),
    "1.2.840.10008.1.2.4.91": lambda p, b: imagecodecs.jpeg2k_encode(p, codecformat="j2k", level=60, bitspersample=b),
    "1.2.840.10008.1.2.4.201": lambda p, _: imagecodecs.htj2k_encode(p),
    "1.2.840.10008.1.2.4.202": lambda p, _: imagecodecs.htj2k_encode(p),
    "1.2.840.10008.1.2.4.203": lambda p, _: imagecodecs.htj2k_encode(p),
    "1.2.840.10008.1.2.5": lambda p, _: rle(p),
}
JPEG_2000 = "1.2.840.10008.1.2.4.90"
BASELINE = "1.2.840.10008.1.2.4.50"
DEFLATED = "1.2.840.10008.1.2.1.99"
NATIVE = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian, DEFLATED)


def image(pixels: np.ndarray, *, bits: int | None = None, **attributes: Any) -> Dataset:
    """Make a Computed Radiography object of given pixels, uncompressed and without a window."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID = "1.2.840.10008.5.1.4.1.1.1"
    ds.SOPInstanceUID = generate_uid(entropy_srcs=["cxr-edge"])
    ds.Modality = "CR"
    ds.BodyPartExamined = "CHEST"
    ds.ViewPosition = "PA"
    ds.Rows, ds.Columns = pixels.shape[:2]
    ds.SamplesPerPixel = 1 if pixels.ndim == 2 else 3
    ds.PhotometricInterpretation = "MONOCHROME2" if pixels.ndim == 2 else "RGB"
    ds.BitsAllocated = 8 * pixels.dtype.itemsize
    ds.BitsStored = bits or ds.BitsAllocated
    ds.HighBit = ds.BitsStored - 1
    ds.PixelRepresentation = int(pixels.dtype.kind == "i")
    if pixels.ndim == 3:
        ds.PlanarConfiguration = 0
    ds.PixelData = pixels.tobytes()
    ds["PixelData"].VR = "OB" if pixels.dtype.itemsize == 1 else "OW"
    for keyword, value in attributes.items():
        setattr(ds, keyword, value)
    return ds


def chest(shape: tuple[int, int], bits: int) -> Dataset:
    """Return the real chest radiograph in another size, with `bits` stored and its window."""
    real = pydicom.dcmread(CHEST)
    height, width = shape
    enlarged = cv2.resize(real.pixel_array, (width, height), interpolation=cv2.INTER_CUBIC)
    unused = real.BitsStored - bits
    levels = (enlarged >> unused).astype(np.uint16 if bits > 8 else np.uint8)
    return image(
        levels,
        bits=bits,
        PhotometricInterpretation=real.PhotometricInterpretation,
        WindowCenter=float(real.WindowCenter) / 2**unused,
        WindowWidth=float(real.WindowWidth) / 2**unused,
    )


def written(ds: Dataset, syntax: str | None = None) -> bytes:
    """Return the bytes of a file, in an uncompressed transfer syntax or in the data set's own."""
    ds = copy.deepcopy(ds)
    if syntax is not None:
        if syntax == ExplicitVRBigEndian and ds.BitsAllocated == 16:
            ds.PixelData = np.frombuffer(ds.PixelData, "<u2").astype(">u2").tobytes()
        ds.file_meta.TransferSyntaxUID = UID(syntax)
    ds.file_meta.MediaStorageSOPClassUID = ds.get("SOPClassUID", "1.2.3")
    ds.file_meta.MediaStorageSOPInstanceUID = ds.get("SOPInstanceUID", "1.2.3")
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, ds, enforce_file_format=True)
    return buffer.getvalue()


def compressed(ds: Dataset, syntax: str) -> Dataset:
    """Return the same image with its pixels compressed."""
    return with_stream(ds, syntax, CODECS[syntax](stored(ds), ds.BitsStored))


def baseline(ds: Dataset) -> Dataset:
    """Return the same image of 8 bits as baseline JPEG."""
    return with_stream(ds, BASELINE, bytes(imagecodecs.jpeg8_encode(stored(ds), level=95)))


def stored(ds: Dataset) -> np.ndarray:
    """Return the stored levels of an uncompressed grey image, (H, W) uint8 or uint16."""
    dtype = np.dtype("u1" if ds.BitsAllocated == 8 else "<u2")
    return np.frombuffer(ds.PixelData, dtype, ds.Rows * ds.Columns).reshape(ds.Rows, ds.Columns)


def with_stream(ds: Dataset, syntax: str, stream: bytes) -> Dataset:
    """Return the same header with a codestream as its pixels."""
    ds = copy.deepcopy(ds)
    ds.file_meta.TransferSyntaxUID = UID(syntax)
    ds.PixelData = encapsulate([bytes(stream)])
    ds["PixelData"].VR = "OB"
    ds["PixelData"].is_undefined_length = True
    return ds


def rle(pixels: np.ndarray) -> bytes:
    """Encode pixels as DICOM's run lengths."""
    return RLELosslessEncoder.encode(
        pixels,
        rows=pixels.shape[0],
        columns=pixels.shape[1],
        number_of_frames=1,
        samples_per_pixel=1 if pixels.ndim == 2 else 3,
        bits_allocated=8 * pixels.dtype.itemsize,
        bits_stored=8 * pixels.dtype.itemsize,
        pixel_representation=0,
        photometric_interpretation="MONOCHROME2" if pixels.ndim == 2 else "RGB",
        planar_configuration=0,
        encoding_plugin="pydicom",
    )
