"""Worker process: reads a good image, a hostile file and the image again; prints JSON to standard output."""

import json
import sys
import time
from pathlib import Path

import cxr_edge


def main(good: Path, hostile: Path) -> None:
    """Predict all three with one model, and print the outcome."""
    model = cxr_edge.load(device="cpu", threads=1)
    before = model.predict(good)
    start = time.perf_counter()
    try:
        model.predict(hostile)
        code = "ok"
    except cxr_edge.InputError as error:
        code = error.code
    milliseconds = (time.perf_counter() - start) * 1e3
    same = model.predict(good).findings == before.findings
    sys.stdout.write(json.dumps({"code": code, "ms": milliseconds, "next_image_is_the_same": same}))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:3]))
