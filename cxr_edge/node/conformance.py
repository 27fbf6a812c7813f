"""The DICOM conformance statement (PS3.2), generated from the tables that the node itself uses."""

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
    IntakeOutcome.DUPLICATE: "received before: the same pixels and header under the same SOP Instance UID",
    IntakeOutcome.CORRECTED: "received before with another header: results are made anew, see below",
    IntakeOutcome.CONFLICT: "other pixels were received before under this SOP Instance UID",
    IntakeOutcome.MISMATCH: "the SOP Instance UID of the data set differs from that of the request",
    IntakeOutcome.UNUSABLE: "the header cannot be read, or pixels or the SOP instance, series or study UID are missing",
    IntakeOutcome.TOO_LARGE: "the image is larger than the limit",
    IntakeOutcome.NO_SPACE: "too little disk space, or the disk cannot be written",
}


def statement() -> str:
    """Return the statement as Markdown."""
    defaults, queue = Receive(), Queue()
    return f"""\
# DICOM conformance statement of cxr-edge {__version__}

{NOTICE} `cxr-edge node conformance` prints this text from the tables that the node itself uses.

## Roles

| service | SOP classes | role |
|---|---|---|
| Verification | {_name(_VERIFICATION)} | SCP |
| Storage | {len(receive.SOP_CLASSES)} classes of radiographs, below | SCP |
| Storage | {len({sop for sop, _ in PROPOSED})} classes of results, below | SCU |
| Studies Service (STOW-RS, PS3.18, 10.5) | the same classes of results | user agent |

## Images that are received (Storage SCP)

{_table(("SOP class", "UID"), ((_name(uid), f"`{uid}`") for uid in receive.SOP_CLASSES))}

Each in any of these transfer syntaxes:

{_table(("transfer syntax", "UID"), ((_name(uid), f"`{uid}`") for uid in receive.TRANSFER_SYNTAXES))}

Images are stored as they came, bit for bit. The called AE title is required; it is `{defaults.ae_title}` by default.
Calling AE titles can be restricted. By default there are at most {defaults.max_associations} associations at a time and
{defaults.max_image_mib} MiB an image (an association that sends {receive.SLACK_MIB} MiB more is closed). An association
may be silent for {defaults.idle_seconds:g} s, and its negotiation may take {defaults.negotiation_seconds:g} s. Extended
negotiation and asynchronous operations are not supported.

Answers to a C-STORE request:

{_table(("status", "meaning"), ((f"`0x{receive.STATUS[kind]:04X}`", text) for kind, text in _MEANING.items()))}

## Results that are sent (Storage SCU)

One presentation context is proposed for each row. An object whose context is refused is sent in the next one that fits.

{_table(("SOP class", "UID", "transfer syntaxes"), _proposed())}

Success and the warnings `0xB000`, `0xB006` and `0xB007` count as stored. So does `0x0111`, because the UIDs of results
are derived from image, model and settings. `0x0122` is final. After `0xA7xx` or `0x0124`, or while the destination
cannot be reached, everything for it waits and is tried again for ever, at intervals from
{queue.first_wait_seconds:g} to {queue.longest_wait_seconds:g} s. After any other status, or none, an object is tried
again, {queue.attempts} times in all.

Identifiers of received images that break the syntax of UIDs (PS3.5, 9.1), as those with a leading zero, are accepted,
and results refer to them as they are. A request whose SOP Instance UID has over 64 characters ends the association.

An image that is sent again with a corrected header (patient, study, series, or any other text attribute that its
results depend on) is worked on anew: its new results have UIDs of their own. Results with the earlier data that still
wait are not sent any more. An archive keeps those that it has; remove them there, as the images that were corrected.
From destinations that are folders they are removed.

Results are created in three series of their own in the image's study: report (modality SR), captures (OT),
presentation state (PR). Attributes of patient and study are copied, with the image's character set and time zone.
Dates and times of a result are in that zone; without one in the image they are in the node's own, and the result does
not name it. Codes are SNOMED CT, DCM, UCUM and the private scheme `{SCHEME}`, which each report declares.

## Security

If configured, TLS 1.2 or later with certificates on both sides (PS3.15, B.12). By default the node listens on loopback;
it accepts another address only with a list of callers or with TLS. Nothing is encrypted at rest.
"""


def _proposed() -> Iterable[tuple[str, str, str]]:
    for sop_class, syntaxes in PROPOSED:
        yield _name(sop_class), f"`{sop_class}`", ", ".join(_name(uid) for uid in syntaxes)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(line)} |" for line in (head, *rows)]
    return "\n".join([lines[0], "|---" * len(head) + "|", *lines[1:]])


def _name(uid: str) -> str:
    return UID(uid).name
