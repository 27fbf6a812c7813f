"""Results as DICOM objects, which an archive shows beside the film."""

from cxr_edge.dicom.write.objects import ResultObject, other_names, write_objects
from cxr_edge.dicom.write.origin import Origin

__all__ = ["Origin", "ResultObject", "other_names", "write_objects"]
