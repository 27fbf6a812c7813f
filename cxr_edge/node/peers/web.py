"""STOW-RS to an archive (PS3.18, 10.5)."""

from http import HTTPStatus
from pathlib import Path
from typing import Final

import pydicom
import requests
from dicomweb_client.web import DICOMwebClient

from cxr_edge.dicom.write.report import CLASSES, in_class
from cxr_edge.node.config import WebPeer
from cxr_edge.node.peers.base import Refused, Unreachable

#: Answers that say something about the peer, not the object.
_LATER: Final[frozenset[int]] = frozenset(
    {
        HTTPStatus.UNAUTHORIZED,
        HTTPStatus.FORBIDDEN,
        HTTPStatus.NOT_FOUND,
        HTTPStatus.REQUEST_TIMEOUT,
        HTTPStatus.TOO_MANY_REQUESTS,
    }
)
#: PS3.18, table 10.5.3-2: duplicate; class not supported.
_DUPLICATE: Final = 0x0111
_CLASS: Final = 0x0122


class WebSender:
    """Sends each object in a transaction of its own."""

    def __init__(self, peer: WebPeer) -> None:
        self._peer = peer
        self._client: DICOMwebClient | None = None

    def send(self, path: Path) -> None:
        """Send an object; a report in another class where the peer does not take its own."""
        made = pydicom.dcmread(path)
        classes = CLASSES if made.SOPClassUID in CLASSES else (made.SOPClassUID,)
        for sop_class in classes:
            reason = self._store(made if sop_class == made.SOPClassUID else in_class(made, sop_class))
            if reason in (None, _DUPLICATE):
                return
            if reason != _CLASS:
                raise Refused(f"failure reason 0x{reason:04X}")
        raise Refused(f"the peer takes no {made.SOPClassUID.name}", forever=True)

    def close(self) -> None:
        """Forget the connection, and with it the token."""
        self._client = None

    def _store(self, made: pydicom.Dataset) -> int | None:
        """Store an object; give the peer's reason if it did not (PS3.18, 10.5.3)."""
        try:
            answer = self._connected().store_instances([made])
        except requests.HTTPError as error:
            response = error.response
            if response is None:
                raise Unreachable("no answer") from None
            if response.status_code == HTTPStatus.CONFLICT:
                return _failure(pydicom.Dataset.from_json(response.content.decode()))
            if response.status_code in _LATER or response.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
                raise Unreachable(f"HTTP {response.status_code}") from None
            raise Refused(f"HTTP {response.status_code}") from None
        except requests.RequestException as error:
            raise Unreachable(type(error).__name__) from None
        return _failure(answer)

    def _connected(self) -> DICOMwebClient:
        if self._client is None:
            peer = self._peer
            session = requests.Session()
            session.trust_env = False
            if peer.tls is not None:
                session.verify = str(peer.tls.authority)
                session.cert = (str(peer.tls.certificate), str(peer.tls.key))
            if peer.token_file is not None:
                try:
                    session.headers["Authorization"] = f"Bearer {peer.token_file.read_text().strip()}"
                except OSError as error:
                    raise Unreachable(f"its token file cannot be read ({error.strerror})") from error
            self._client = DICOMwebClient(peer.url, session=session, timeout=peer.timeout_seconds)
            self._client.set_http_retry_params(retry=False)
        return self._client


def _failure(answer: pydicom.Dataset) -> int | None:
    failed = answer.get("FailedSOPSequence")
    return int(failed[0].get("FailureReason", 0x0110)) if failed else None
