"""Read and write messages between this process and a decoder process: a JSON head, and bytes."""

import json
import struct
from typing import IO, Any


def write_message(pipe: IO[bytes], head: dict[str, Any], body: bytes | memoryview) -> None:
    """Write a JSON head and the bytes that follow it."""
    encoded = json.dumps({**head, "bytes": len(body)}).encode()
    pipe.write(struct.pack("<I", len(encoded)) + encoded)
    pipe.write(body)
    pipe.flush()


def read_message(pipe: IO[bytes]) -> tuple[dict[str, Any], bytes] | None:
    """Return a message that `write_message` wrote; None at the end of the pipe.

    Raises
    ------
    EOFError
        The pipe ends within a message.
    """
    if not (length := pipe.read(4)):
        return None
    head = json.loads(_exactly(pipe, struct.unpack("<I", length)[0]))
    return head, _exactly(pipe, head["bytes"])


def _exactly(pipe: IO[bytes], count: int) -> bytes:
    data = pipe.read(count)
    if len(data) < count:
        raise EOFError
    return data
