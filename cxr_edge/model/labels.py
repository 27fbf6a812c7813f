"""Labels: the outputs of a model, each a record with its role, names and DICOM codes."""

import hashlib
import re
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

#: Scheme of labels without a standard code. By PS3.16, 8, the designator of a private scheme begins with 99.
PRIVATE_SCHEME: Final = "99CXREDGE"

#: Names reach file names and terminals.
Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._-]{0,63}$")]
#: RFC 5646, as far as radiology needs it.
Language = Annotated[str, Meta(pattern=r"^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$")]
#: Values of VR SH and LO (PS3.5, 6.2): at most 16 and 64 characters, without backslash and control characters.
ShortText = Annotated[str, Meta(pattern=r"^[^\\\x00-\x1f]{1,16}$")]
LongText = Annotated[str, Meta(pattern=r"^[^\\\x00-\x1f]{1,64}$")]

_MAX_VALUE: Final = 16


class Code(msgspec.Struct, frozen=True):
    """A coded term (PS3.3, 8): scheme designator such as ``SCT`` or ``DCM``, value, and meaning in English."""

    scheme: ShortText
    value: ShortText
    meaning: LongText


class Label(msgspec.Struct, frozen=True, omit_defaults=True):
    """One label.

    Attributes
    ----------
    name : str
        Identity of the label: in JSON, in thresholds, in file names.
    role : str
        ``finding`` has a threshold and is reported. ``normal``, the absence of findings, has none and is not.
    display : dict
        Language → the name that a person reads.
    code : Code or None
        Standard code of the finding in DICOM; None where no standard has one: see `coded`.
    site : Code or None
        Site in the body.
    """

    name: Name
    role: Literal["finding", "normal"] = "finding"
    display: dict[Language, LongText] = {}
    code: Code | None = None
    site: Code | None = None

    @property
    def is_finding(self) -> bool:
        """Whether the label has a threshold and is reported."""
        return self.role == "finding"

    @property
    def coded(self) -> Code:
        """The code, or where there is none, one of `PRIVATE_SCHEME` made from the name."""
        return self.code or Code(PRIVATE_SCHEME, _private_value(self.name), self.display_name())

    def display_name(self, language: str = "en") -> str:
        """Return the name in a language; in English if there is none; otherwise the label's `name`."""
        return self.display.get(language) or self.display.get("en") or self.name.replace("_", " ")


def _private_value(name: str) -> str:
    """Return a name as a code value: readable, and cut with a hash where it is too long."""
    value = re.sub(r"[^A-Z0-9]+", "_", name.upper())
    if len(value) <= _MAX_VALUE:
        return value
    return f"{value[: _MAX_VALUE - 7]}_{hashlib.sha256(name.encode()).hexdigest()[:6].upper()}"
