"""Read and write messages between this process and a decoder process: a JSON head, and bytes.

Pipes are not buffered: after a fork, the lock of a buffer that another thread was using would never be free again.
"""

import io
import json
import struct
from typing import Any


def write_message(pipe: io.FileIO, head: dict[str, Any], body: bytes | memoryview) -> None:
    """Write a JSON head and the bytes that follow it."""
    encoded = json.dumps({**head, "bytes": len(body)}).encode()
    for part in (struct.pack("<I", len(encoded)) + encoded, body):
        left = memoryview(part)
        while left:
            left = left[pipe.write(left) or 0 :]


def read_message(pipe: io.FileIO) -> tuple[dict[str, Any], bytearray] | None:
    """Return a message that `write_message` wrote; None at the end of the pipe.

    Raises
    ------
    EOFError
        The pipe ends within a message.
    """
    if not (length := _up_to(pipe, 4)):
        return None
    head = json.loads(_exactly(pipe, struct.unpack("<I", length)[0]))
    return head, _exactly(pipe, head["bytes"])


def _exactly(pipe: io.FileIO, count: int) -> bytearray:
    data = _up_to(pipe, count)
    if len(data) < count:
        raise EOFError
    return data


def _up_to(pipe: io.FileIO, count: int) -> bytearray:
    """Read a number of bytes; fewer at the end of the pipe."""
    data, filled = bytearray(count), 0
    with memoryview(data) as view:
        while filled < count and (read := pipe.readinto(view[filled:])):
            filled += read
    del data[filled:]
    return data
