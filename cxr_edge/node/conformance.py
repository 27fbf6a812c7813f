"""The DICOM conformance statement (PS3.2), made from what the node is made of, so that it cannot be wrong."""

from collections.abc import Iterable, Sequence

from pydicom.uid import UID

from cxr_edge._version import __version__
from cxr_edge.model.results import NOTICE
from cxr_edge.node import receive
from cxr_edge.node.config import Queue, Receive
from cxr_edge.node.destinations.dicom import PROPOSED
from cxr_edge.node.intake import IntakeOutcome
from cxr_edge.outputs.dicom.codes import SCHEME

_VERIFICATION = "1.2.840.10008.1.1"
_MEANING = {
    IntakeOutcome.QUEUED: "stored on disk and queued, both flushed",
    IntakeOutcome.DUPLICATE: "known already: the same pixels, patient, study and series under the same UID",
    IntakeOutcome.CONFLICT: "another image is known under this SOP Instance UID",
    IntakeOutcome.MISMATCH: "the data set's SOP Instance UID is not the one of the request",
    IntakeOutcome.UNUSABLE: "no header that can be read, no pixels, or a UID missing: SOP instance, series or study",
    IntakeOutcome.TOO_LARGE: "a longer image than is taken",
    IntakeOutcome.NO_SPACE: "too little disk space, or the disk cannot be written",
}


def statement() -> str:
    """Give the statement as Markdown."""
    defaults, queue = Receive(), Queue()
    return f"""\
# DICOM conformance statement of cxr-edge {__version__}

{NOTICE} This text is printed by `cxr-edge node conformance`, from the tables that the node itself uses.

## Roles

| service | SOP classes | role |
|---|---|---|
| Verification | {_name(_VERIFICATION)} | SCP |
| Storage | {len(receive.SOP_CLASSES)} kinds of radiograph, below | SCP |
| Storage | {len({sop for sop, _ in PROPOSED})} kinds of result, below | SCU |
| Studies Service (STOW-RS, PS3.18, 10.5) | the same kinds of result | user agent |

## Images that are received (Storage SCP)

{_table(("SOP class", "UID"), ((_name(uid), f"`{uid}`") for uid in receive.SOP_CLASSES))}

Each in any of these transfer syntaxes:

{_table(("transfer syntax", "UID"), ((_name(uid), f"`{uid}`") for uid in receive.TRANSFER_SYNTAXES))}

Images are stored as they came, bit by bit. Called AE title: `{defaults.ae_title}` unless configured, and required;
calling AE titles can be named. Unless configured: at most {defaults.max_associations} associations at a time,
{defaults.max_image_mib} MiB an image (an association that sends {receive.SLACK_MIB} more is ended),
{defaults.idle_seconds:g} s of silence, {defaults.negotiation_seconds:g} s for the negotiation. No extended negotiation,
no asynchronous operations.

A C-STORE request is answered:

{_table(("status", "meaning"), ((f"`0x{receive.STATUS[kind]:04X}`", text) for kind, text in _MEANING.items()))}

## Results that are sent (Storage SCU)

One presentation context for each row; what is refused is sent in the next one of its kind.

{_table(("SOP class", "UID", "transfer syntaxes"), _proposed())}

Success, and the warnings `0xB000`, `0xB006` and `0xB007`, count as stored, and so does `0x0111`: UIDs of results are
derived from image, model and settings. `0x0122` is final. After `0xA7xx` or `0x0124`, or while the destination cannot
be reached, everything for it waits, for ever, with waits from {queue.first_wait_seconds:g} to
{queue.longest_wait_seconds:g} s. Any other status, or none, is tried again, {queue.attempts} times in all.

Results are created in three series of their own in the image's study: report (modality SR), captures (OT),
presentation state (PR). Patient's and study's attributes are copied with the image's character set. Codes are SNOMED
CT, DCM, UCUM and the private scheme `{SCHEME}`, which each report declares.

## Security

TLS 1.2 or later with certificates on both sides (PS3.15, B.12), if configured. The node listens on loopback unless
it is told another address, which it takes only with named callers or TLS. Nothing is encrypted at rest.
"""


def _proposed() -> Iterable[tuple[str, str, str]]:
    for sop_class, syntaxes in PROPOSED:
        yield _name(sop_class), f"`{sop_class}`", ", ".join(_name(uid) for uid in syntaxes)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(line)} |" for line in (head, *rows)]
    return "\n".join([lines[0], "|---" * len(head) + "|", *lines[1:]])


def _name(uid: str) -> str:
    return UID(uid).name
