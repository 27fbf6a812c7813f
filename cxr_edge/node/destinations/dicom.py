"""C-STORE to a destination."""

import ssl
from pathlib import Path
from typing import Final

import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import (
    ExplicitVRLittleEndian,
    GrayscaleSoftcopyPresentationStateStorage,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
    SecondaryCaptureImageStorage,
)
from pynetdicom import AE, evt
from pynetdicom.association import Association

from cxr_edge.errors import NodeConfig
from cxr_edge.node.bounded import bound
from cxr_edge.node.config import DicomDestination
from cxr_edge.node.destinations.base import Lost, Refused, Unreachable
from cxr_edge.node.tls import context_of
from cxr_edge.outputs.dicom.report import CLASSES, in_class

#: Proposed presentation contexts: SOP class and transfer syntaxes. A destination accepts one syntax of each context.
PROPOSED: Final = (
    *((sop_class, (ExplicitVRLittleEndian, ImplicitVRLittleEndian)) for sop_class in CLASSES),
    (GrayscaleSoftcopyPresentationStateStorage, (ExplicitVRLittleEndian, ImplicitVRLittleEndian)),
    (SecondaryCaptureImageStorage, (JPEGBaseline8Bit,)),
    (SecondaryCaptureImageStorage, (ExplicitVRLittleEndian, ImplicitVRLittleEndian)),
)
#: PS3.4, B.2.3: stored, perhaps with attributes that the archive changed …
_STORED: Final = frozenset({0x0000, 0xB000, 0xB006, 0xB007})
#: … or stored before: our UIDs are derived from content.
_DUPLICATE: Final = 0x0111
#: High byte of 0xA700 to 0xA7FF, which describe the destination and not the object.
_OUT_OF_RESOURCES: Final = 0xA7
_NOT_AUTHORISED: Final = 0x0124
_CLASS_NOT_SUPPORTED: Final = 0x0122


class DicomSender:
    """Sends over one association, which stays open until `close`."""

    def __init__(self, destination: DicomDestination) -> None:
        self._destination = destination
        self._association: Association | None = None

    def send(self, path: Path) -> None:
        """Send an object, in another class or encoding where the destination does not accept its own."""
        association = self._connected()
        made = _as_accepted(pydicom.dcmread(path), _accepted(association))
        try:
            answer = association.send_c_store(made)
        except RuntimeError as error:  # it ended after it was found established
            raise Unreachable("the association ended") from error
        if "Status" not in answer:
            raise Lost("no answer")
        status = int(answer.Status)
        if status >> 8 == _OUT_OF_RESOURCES or status == _NOT_AUTHORISED:
            raise Unreachable(f"it accepts nothing (status 0x{status:04X})")
        if status not in _STORED and status != _DUPLICATE:
            raise Refused(f"status 0x{status:04X}", forever=status == _CLASS_NOT_SUPPORTED)

    def withdraw(self, name: str) -> None:
        """Refuse: an archive keeps what it has."""
        raise Refused(f"the destination is an archive: remove {name} there", forever=True)

    def close(self) -> None:
        """Release the association."""
        if self._association is not None and self._association.is_established:
            self._association.release()
        self._association = None

    def _connected(self) -> Association:
        if self._association is None or not self._association.is_established:
            self._association = self._associate()
        return self._association

    def _associate(self) -> Association:
        destination = self._destination
        entity = AE(ae_title=destination.calling_ae_title)
        entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = destination.timeout_seconds
        entity.connection_timeout = destination.timeout_seconds
        for sop_class, syntaxes in PROPOSED:
            entity.add_requested_context(sop_class, list(syntaxes))
        name = destination.tls_host_name or destination.host
        try:
            tls = (context_of(destination.tls, ssl.Purpose.SERVER_AUTH), name) if destination.tls else None
        except NodeConfig as error:  # the files changed since the start
            raise Unreachable(
                "our certificates cannot be read; check the files that [destinations.tls] names"
            ) from error
        try:
            association = entity.associate(
                destination.host,
                destination.port,
                ae_title=destination.ae_title,
                tls_args=tls,
                evt_handlers=[(evt.EVT_CONN_OPEN, bound)],
            )
        except OSError as error:
            raise Unreachable(error.strerror or type(error).__name__) from error
        if association.is_established:
            return association
        if association.is_rejected:
            raise Unreachable("it rejected the association; are the AE titles right?")
        raise Unreachable(
            f"no association; is it running, and is its certificate for {name}?"
            if tls
            else "no association; is it running, and are host and port right?"
        )


def _accepted(association: Association) -> set[tuple[str, str]]:
    """Return the SOP classes and transfer syntaxes that the destination accepts."""
    return {
        (str(context.abstract_syntax), str(context.transfer_syntax[0])) for context in association.accepted_contexts
    }


def _as_accepted(made: Dataset, accepted: set[tuple[str, str]]) -> Dataset:
    """Return an object in a class and an encoding that the destination accepts.

    Raises
    ------
    Refused
    """
    classes = {sop_class for sop_class, _ in accepted}
    if made.SOPClassUID in CLASSES and made.SOPClassUID not in classes:
        others = [sop_class for sop_class in CLASSES if sop_class in classes]
        if not others:
            raise Refused("the destination accepts no structured reports of any kind", forever=True)
        return in_class(made, others[0])
    if made.SOPClassUID not in classes:
        raise Refused(f"the destination accepts no {made.SOPClassUID.name}", forever=True)
    syntax = made.file_meta.TransferSyntaxUID
    if syntax.is_compressed and (made.SOPClassUID, syntax) not in accepted:
        made.decompress(generate_instance_uid=False)
    return made
