"""Refuse DICOM objects that hold no radiograph, and name them as what they are."""

from typing import Final

from pydicom.config import IGNORE
from pydicom.uid import UID

from cxr_edge.errors import UnsupportedObject
from cxr_edge.images.dicom.header import tags
from cxr_edge.images.dicom.header.elements import Elements
from cxr_edge.images.result_mark import RESULT
from cxr_edge.support.maker import MAKER, SOFTWARE

#: What the name of every class of images contains, and of no other (PS3.6, table A-1).
_IMAGE: Final = "Image"
#: Attributes that `check_kind` needs; they are at the beginning of a data set.
WANTED: Final = (tags.SOP_CLASS_UID, tags.SOP_INSTANCE_UID)


def check_kind(elements: Elements, media_class: str = "") -> None:
    """Refuse an object without an image.

    Parameters
    ----------
    elements : Elements
        With the attributes `WANTED`.
    media_class : str
        Media Storage SOP Class UID of the file (PS3.10, 7.1), which counts where the data set has none: a DICOMDIR.

    Raises
    ------
    UnsupportedObject
        With the name of its class as its `content`.
    """
    if content := without_image(elements.text(tags.SOP_CLASS_UID) or media_class):
        raise UnsupportedObject(
            f"expected a radiograph, got a DICOM object without an image ({content}); leave it out", content
        )


def check_origin(elements: Elements) -> None:
    """Refuse an image that is a result of this software.

    Raises
    ------
    UnsupportedObject
        With its `content`.
    """
    if (elements.text(tags.MANUFACTURER), elements.text(tags.MODEL_NAME)) == (MAKER, SOFTWARE):
        raise UnsupportedObject(f"expected a radiograph, got a {RESULT}; use the image that it was made from", RESULT)


def without_image(sop_class: str) -> str:
    """Return the name of a class of objects that hold no image; empty for classes of images and unknown ones."""
    name = class_name(sop_class)
    return "" if _IMAGE in name else name


def class_name(sop_class: str) -> str:
    """Return the name of a class of objects (PS3.6, table A-1); empty for an unknown one."""
    uid = UID(sop_class, validation_mode=IGNORE)  # a warning would quote the value
    return uid.name if uid.type == "SOP Class" else ""
