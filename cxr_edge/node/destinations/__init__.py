"""Ways to send a result: C-STORE, STOW-RS, a folder. One method, three exceptions."""

from cxr_edge.node.config import DicomPeer, Peer, WebPeer
from cxr_edge.node.destinations.base import Lost, Refused, Sender, Unreachable

__all__ = ["Lost", "Refused", "Sender", "Unreachable", "sender_of"]


def sender_of(peer: Peer) -> Sender:
    """Give what sends to a peer; it connects when it first sends."""
    if isinstance(peer, DicomPeer):
        from cxr_edge.node.destinations.dicom import DicomSender

        return DicomSender(peer)
    if isinstance(peer, WebPeer):
        from cxr_edge.node.destinations.web import WebSender

        return WebSender(peer)
    from cxr_edge.node.destinations.folder import FolderSender

    return FolderSender(peer)
