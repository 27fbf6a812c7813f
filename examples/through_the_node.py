"""A scanner's software with a node: sends images by C-STORE, receives reports by C-STORE, reads findings from them.

The node's configuration names this program as a destination:

    [[destinations]]
    kind = "dicom"
    name = "scanner"
    host = "127.0.0.1"
    port = 11113
    ae_title = "SCANNER"

    python examples/through_the_node.py IMAGE.dcm …
"""

import queue
import sys

import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import Comprehensive3DSRStorage, JPEGBaseline8Bit, SecondaryCaptureImageStorage
from pynetdicom import AE, AllStoragePresentationContexts, evt

NODE = ("127.0.0.1", 11112, "CXREDGE")
OURS = ("127.0.0.1", 11113, "SCANNER")


def send(image: Dataset) -> int:
    """Send an image to the node; return the status of its answer."""
    entity = AE(ae_title=OURS[2])
    entity.add_requested_context(image.SOPClassUID, image.file_meta.TransferSyntaxUID)
    association = entity.associate(*NODE[:2], ae_title=NODE[2])
    if not association.is_established:
        raise SystemExit("the node accepts no association: is it running, and may this AE title call?")
    try:
        return int(association.send_c_store(image).Status)
    finally:
        association.release()


def findings(report: Dataset) -> list[tuple[str, float, str]]:
    """Return finding, probability and decision from a report (TID 1500)."""
    read = []
    for group in report.ContentSequence[-1].ContentSequence:
        items = {item.ConceptNameCodeSequence[0].CodeMeaning: item for item in group.ContentSequence}
        read.append(
            (
                items["Finding"].ConceptCodeSequence[0].CodeMeaning,
                float(items["Probability"].MeasuredValueSequence[0].NumericValue),
                items["Presence of property"].ConceptCodeSequence[0].CodeMeaning,
            )
        )
    return read


def is_of(report: Dataset, image: Dataset) -> bool:
    """Return whether a report is of an image: results of earlier images may still arrive."""
    return any(
        referenced.ReferencedSOPInstanceUID == image.SOPInstanceUID
        for study in report.CurrentRequestedProcedureEvidenceSequence
        for series in study.ReferencedSeriesSequence
        for referenced in series.ReferencedSOPSequence
    )


def main(paths: list[str]) -> None:
    """Send images, and print their findings."""
    results: queue.Queue[Dataset] = queue.Queue()

    def received(event: evt.Event) -> int:
        if event.request.AffectedSOPClassUID == Comprehensive3DSRStorage:  # the other objects are for display
            results.put(event.dataset)
        return 0x0000

    entity = AE(ae_title=OURS[2])
    entity.supported_contexts = AllStoragePresentationContexts
    entity.add_supported_context(SecondaryCaptureImageStorage, JPEGBaseline8Bit)
    server = entity.start_server(OURS[:2], block=False, evt_handlers=[(evt.EVT_C_STORE, received)])
    try:
        for path in paths:
            image = pydicom.dcmread(path)
            status = send(image)
            if status != 0x0000:
                raise SystemExit(f"{path}: the node does not accept it: status 0x{status:04X}")
            print(f"{path}: taken")
            try:
                while not is_of(report := results.get(timeout=60), image):
                    pass
            except queue.Empty:
                raise SystemExit(
                    "no report within a minute; is this program a destination of the node? An image that the node "
                    "received before gets no second report"
                ) from None
            for finding, probability, decision in findings(report):
                print(f"  {finding}: {probability:.2f}, {decision.lower()}")
            print(f"  {report.SeriesDescription}")
    finally:
        server.shutdown()


if __name__ == "__main__":
    main(sys.argv[1:] or sys.exit(__doc__))
