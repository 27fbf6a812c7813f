"""Read PNG, JPEG and DICOM files and arrays as 8-bit grey images."""

from cxr_edge.images.decoding import DecodedImage, decode, from_array, from_dataset, is_png_or_jpeg, read_image

__all__ = ["DecodedImage", "decode", "from_array", "from_dataset", "is_png_or_jpeg", "read_image"]
