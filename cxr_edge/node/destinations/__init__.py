"""Senders to destinations: C-STORE, STOW-RS, a folder. One method, three exceptions."""

from cxr_edge.node.config import Destination, DicomDestination, WebDestination
from cxr_edge.node.destinations.base import Lost, Refused, Sender, Unreachable

__all__ = ["Lost", "Refused", "Sender", "Unreachable", "sender_of"]


def sender_of(destination: Destination) -> Sender:
    """Return the sender to a destination; it connects when it first sends."""
    if isinstance(destination, DicomDestination):
        from cxr_edge.node.destinations.dicom import DicomSender

        return DicomSender(destination)
    if isinstance(destination, WebDestination):
        from cxr_edge.node.destinations.web import WebSender

        return WebSender(destination)
    from cxr_edge.node.destinations.folder import FolderSender

    return FolderSender(destination)
