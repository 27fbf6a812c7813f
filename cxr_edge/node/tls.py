"""Mutual TLS, for servers and clients (PS3.15, B.12)."""

import ssl

from cxr_edge.errors import NodeConfig
from cxr_edge.node.config import Tls


def context_of(tls: Tls, purpose: ssl.Purpose) -> ssl.SSLContext:
    """Return a context that presents our certificate and requires one of the other side.

    Parameters
    ----------
    tls : Tls
    purpose : ssl.Purpose
        ``CLIENT_AUTH`` for a server, ``SERVER_AUTH`` for a client.

    Raises
    ------
    NodeConfig
        A file cannot be read, or is not a certificate.
    """
    for path in (tls.authority, tls.certificate, tls.key):
        try:
            path.read_bytes()
        except OSError as error:
            raise NodeConfig(f"expected a PEM file in {path}, which cannot be read ({error.strerror})") from error
    try:
        context = ssl.create_default_context(purpose, cafile=str(tls.authority))
        context.load_cert_chain(tls.certificate, tls.key)
    except (OSError, ssl.SSLError) as error:
        raise NodeConfig(
            f"expected PEM files of certificates in {tls.authority} and {tls.certificate}, and of the latter's key, "
            f"without a password, in {tls.key}; got {error.strerror or error}"
        ) from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    return context
