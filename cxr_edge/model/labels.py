"""Labels: the outputs of a model, each a record with its role, names and DICOM codes."""

import hashlib
import re
from collections.abc import Sequence
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

#: Scheme of labels without a standard code. By PS3.16, 8, the designator of a private scheme begins with 99.
PRIVATE_SCHEME: Final = "99CXREDGE"

#: Names reach file names and terminals.
Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._-]{0,63}\Z")]
#: RFC 5646, as far as radiology needs it.
Language = Annotated[str, Meta(pattern=r"^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*\Z")]
#: What a person reads, in any script.
Displayed = Annotated[str, Meta(pattern=r"^[^\\\x00-\x1f]{1,64}\Z")]
#: Values of VR SH and LO (PS3.5, 6.2) in the default repertoire, which every image's character set contains: at most 16
#: and 64 characters, without backslash.
ShortText = Annotated[str, Meta(pattern=r"^[ -\[\]-~]{1,16}\Z")]
LongText = Annotated[str, Meta(pattern=r"^[ -\[\]-~]{1,64}\Z")]

#: Names of other columns in tables of results and of images.
RESERVED: Final = frozenset({
    "path", "sha256", "status", "error_code", "error_message", "model", "tta_mode", "variants", "positive", "warnings",
    "image", "labels", "patient", "age", "sex", "view", "official", "split", "collection", "markers_blacked", "cache",
    "row",
})  # fmt: skip

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
        Language → the name that a person reads: for programs that show results, and in DICOM for a label without code.
    code : Code or None
        Standard code of the finding in DICOM; None where no standard has one: see `coded`.
    site : Code or None
        Site in the body.
    """

    name: Name
    role: Literal["finding", "normal"] = "finding"
    display: dict[Language, Displayed] = {}
    code: Code | None = None
    site: Code | None = None

    @property
    def is_finding(self) -> bool:
        """Whether the label has a threshold and is reported."""
        return self.role == "finding"

    @property
    def coded(self) -> Code:
        """The code, or where there is none, one of `PRIVATE_SCHEME` made from the name."""
        meaning = self.display_name()
        return self.code or Code(PRIVATE_SCHEME, _private_value(self.name), meaning if meaning.isascii() else self.name)

    def display_name(self, language: str = "en") -> str:
        """Return the name in a language; in English if there is none; otherwise the label's `name`."""
        return self.display.get(language) or self.display.get("en") or self.name.replace("_", " ")


def label_problems(labels: Sequence[Label]) -> list[str]:
    """Return what is wrong with the labels of a model, in words; nothing where all is well.

    Names are compared as file names are, where the file system ignores case and a space is an underscore.
    """
    names = [label.name for label in labels]
    problems = [] if len(set(names)) == len(names) else [f"labels: expected distinct names, got {names}"]
    if not any(label.is_finding for label in labels):
        problems.append("labels: expected at least one of the role 'finding', got none")
    problems += [
        f"labels: the name {name!r} is that of another column in tables of results or images; choose another"
        for name in names
        if name.lower() in RESERVED
    ]
    by_code: dict[tuple[str, str], str] = {}
    by_file: dict[str, str] = {}
    for label in labels:
        code = (label.coded.scheme, label.coded.value)
        if (other := by_code.setdefault(code, label.name)) != label.name:
            problems.append(
                f"labels: {other} and {label.name} have the same code {code[1]} of {code[0]}; give each its own"
            )
        if (other := by_file.setdefault(label.name.lower().replace(" ", "_"), label.name)) != label.name:
            problems.append(f"labels: {other} and {label.name} would share file names; choose other names")
    return problems


def _private_value(name: str) -> str:
    """Return a name as a code value: readable, and cut with a hash where it is too long."""
    value = re.sub(r"[^A-Z0-9]+", "_", name.upper())
    if len(value) <= _MAX_VALUE:
        return value
    return f"{value[: _MAX_VALUE - 7]}_{hashlib.sha256(name.encode()).hexdigest()[:6].upper()}"
