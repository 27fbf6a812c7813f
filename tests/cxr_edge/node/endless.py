"""A sender whose C-STORE request has no end, written byte by byte: a negotiation, and then data without end."""

import socket
import struct
import sys


def item(kind: int, value: bytes) -> bytes:
    return struct.pack(">BBH", kind, 0, len(value)) + value


def main(port: int) -> None:
    context = (
        struct.pack(">BBBB", 1, 0, 0, 0) + item(0x30, b"1.2.840.10008.5.1.4.1.1.1") + item(0x40, b"1.2.840.10008.1.2.1")
    )
    user = item(0x51, struct.pack(">I", 1 << 17)) + item(0x52, b"1.2.3") + item(0x55, b"X")
    body = struct.pack(">HH", 1, 0) + b"CXREDGE".ljust(16) + b"ENDLESS".ljust(16) + bytes(32)
    body += item(0x10, b"1.2.840.10008.3.1.1.1") + item(0x20, context) + item(0x50, user)
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(struct.pack(">BBI", 1, 0, len(body)) + body)
        assert connection.recv(1) == b"\x02", "the association was not accepted"
        fragment = struct.pack(">IBB", (1 << 16) + 2, 1, 0x00) + bytes(1 << 16)
        pdu = struct.pack(">BBI", 4, 0, len(fragment)) + fragment
        sent = 0
        try:
            while sent < 2 << 30:
                connection.sendall(pdu)
                sent += len(pdu)
        except OSError:
            sys.stdout.write(f"aborted after {sent >> 20} MiB")
            return
    sys.stdout.write("never aborted")


if __name__ == "__main__":
    main(int(sys.argv[1]))
