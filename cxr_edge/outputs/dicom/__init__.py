"""Results as DICOM objects, which archives show beside the image."""

from cxr_edge.outputs.dicom.directory import DicomDirectory
from cxr_edge.outputs.dicom.objects import DicomObjects, ResultObject, write_objects

__all__ = ["DicomDirectory", "DicomObjects", "ResultObject", "write_objects"]
