"""STOW-RS to a destination (PS3.18, 10.5)."""

import time
import uuid
from http import HTTPStatus
from pathlib import Path
from typing import Final

import pydicom
import requests

from cxr_edge.node.config import WebDestination
from cxr_edge.node.destinations.base import Refused, Unreachable
from cxr_edge.outputs.dicom.prepared import encoded
from cxr_edge.outputs.dicom.report import CLASSES, in_class

#: Statuses that describe the object; any other but success describes the destination.
_ABOUT_THE_OBJECT: Final[frozenset[int]] = frozenset(
    {
        HTTPStatus.BAD_REQUEST,
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        HTTPStatus.UNPROCESSABLE_ENTITY,
    }
)
#: Statuses whose content states what became of each object.
_WITH_OUTCOME: Final[frozenset[int]] = frozenset({HTTPStatus.OK, HTTPStatus.ACCEPTED, HTTPStatus.CONFLICT})
#: PS3.18, table 10.5.3-2: processing failure; duplicate; class not supported; 0xA700 to 0xA7FF; not authorised.
_PROCESSING: Final = 0x0110
_DUPLICATE: Final = 0x0111
_CLASS_NOT_SUPPORTED: Final = 0x0122
_OUT_OF_RESOURCES: Final = 0xA7
_NOT_AUTHORISED: Final = 0x0124
#: Longest answer; one about a single object takes less than a kilobyte.
_MOST_BYTES: Final = 1 << 20
_CHUNK: Final = 1 << 14


class WebSender:
    """Sends each object in a transaction of its own."""

    def __init__(self, destination: WebDestination) -> None:
        self._destination = destination
        self._session: requests.Session | None = None

    def send(self, path: Path) -> None:
        """Send an object; a report in another class where the destination does not accept its own."""
        made = pydicom.dcmread(path)
        for sop_class in CLASSES if made.SOPClassUID in CLASSES else (made.SOPClassUID,):
            reason = self._store(made if sop_class == made.SOPClassUID else in_class(made, sop_class))
            if reason in (None, _DUPLICATE):
                return
            if reason >> 8 == _OUT_OF_RESOURCES or reason == _NOT_AUTHORISED:
                raise Unreachable(f"it accepts nothing (failure reason 0x{reason:04X})")
            if reason != _CLASS_NOT_SUPPORTED:
                raise Refused(f"failure reason 0x{reason:04X}")
        raise Refused(f"the destination accepts no {made.SOPClassUID.name}", forever=True)

    def withdraw(self, name: str) -> None:
        """Refuse: an archive keeps what it has."""
        raise Refused(f"the destination is an archive: remove {name} there", forever=True)

    def close(self) -> None:
        """Close the connection, and drop the token."""
        if self._session is not None:
            self._session.close()
        self._session = None

    def _store(self, made: pydicom.Dataset) -> int | None:
        """Send an object; return the failure reason if the destination did not store it (PS3.18, 10.5.3)."""
        status, content = self._post(encoded(made))
        if status in _ABOUT_THE_OBJECT:
            raise Refused(f"HTTP {status}")
        if status not in _WITH_OUTCOME:
            raise Unreachable(f"HTTP {status}")
        return _failure_reason(content, made)

    def _post(self, content: bytes) -> tuple[int, bytes]:
        """Post a file as the one part of a message (PS3.18, 8.6.1.2.1); return the answer's status and content."""
        boundary = uuid.uuid4().hex
        head = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
        headers = {"Content-Type": f'multipart/related; type="application/dicom"; boundary={boundary}'}
        try:
            with self._connected().post(
                f"{self._destination.url.rstrip('/')}/studies",
                data=head + content + f"\r\n--{boundary}--\r\n".encode(),
                headers=headers,
                timeout=self._destination.timeout_seconds,
                allow_redirects=False,  # patients' data go to no host that the configuration does not name
                stream=True,
            ) as answer:
                return answer.status_code, self._content(answer)
        except (requests.RequestException, OSError, ValueError) as error:  # ValueError: an invalid URL, token or answer
            raise Unreachable(type(error).__name__) from error

    def _content(self, answer: requests.Response) -> bytes:
        end = time.monotonic() + self._destination.timeout_seconds
        content = bytearray()
        for part in answer.iter_content(_CHUNK):
            content += part
            if len(content) > _MOST_BYTES or time.monotonic() > end:
                raise ValueError("an answer without end")
        return bytes(content)

    def _connected(self) -> requests.Session:
        if self._session is None:
            destination = self._destination
            session = requests.Session()
            session.trust_env = False
            session.headers["Accept"] = "application/dicom+json"
            if destination.tls is not None:
                session.verify = str(destination.tls.authority)
                session.cert = (str(destination.tls.certificate), str(destination.tls.key))
            if destination.token_file is not None:
                session.headers["Authorization"] = f"Bearer {destination.token_file.read_text('ascii').strip()}"
            self._session = session
        return self._session


def _failure_reason(content: bytes, made: pydicom.Dataset) -> int | None:
    """Return why an object was not stored; None if the destination confirms that it was.

    Raises
    ------
    Unreachable
        The answer states neither, as one of a proxy or of another service.
    """
    try:
        answer = pydicom.Dataset.from_json(content.decode())
        if failed := answer.get("FailedSOPSequence"):
            return int(failed[0].get("FailureReason") or _PROCESSING)
        stored = [item.get("ReferencedSOPInstanceUID") for item in answer.get("ReferencedSOPSequence", ())]
    except (ValueError, TypeError, AttributeError, KeyError):  # pydicom's errors where it is not DICOM JSON (annex F)
        stored = []
    if made.SOPInstanceUID not in stored:
        raise Unreachable("the answer does not name the object; is the URL that of a DICOMweb service?")
    return None
