"""Images in: PNG, JPEG and DICOM files, and arrays, to 8-bit grey films."""

from cxr_edge.images.decoding import Film, decode, from_array, from_dataset, is_picture, read_film

__all__ = ["Film", "decode", "from_array", "from_dataset", "is_picture", "read_film"]
