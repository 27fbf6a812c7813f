"""A bundle's files on disk: hashed in the manifest, loaded once by the SDK, and put in place as a whole."""

import hashlib
import json
import tempfile
from pathlib import Path
from typing import Any

from cxr_edge.model.bundle import MANIFEST
from cxr_edge.model.manifest import parse_manifest
from cxr_edge.model.model import load
from export.errors import ExportError


def write_bundle(manifest: dict[str, Any], files: dict[str, bytes], out: Path) -> Path:
    """Write a bundle.

    Parameters
    ----------
    manifest : dict
        Its ``files`` are filled in.
    files : dict
        All but the manifest.
    out : Path
        Replaced only once the new bundle is complete.

    Raises
    ------
    ExportError, cxr_edge.errors.BundleError
        No bundle is written, and one that was there stays.
    """
    manifest = {**manifest, "files": {name: _hashed(data) for name, data in files.items()}}
    encoded = (json.dumps(manifest, indent=2) + "\n").encode()
    parse_manifest(encoded)
    return _write({**files, MANIFEST: encoded}, out)


def _hashed(data: bytes) -> dict[str, Any]:
    return {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}


def _write(files: dict[str, bytes], out: Path) -> Path:
    """Write to a directory beside `out`, load it with the SDK, and only then put it in place."""
    if out.exists() and not out.is_dir():
        raise ExportError(f"{out} is a file; name a directory by --out")
    if out.exists() and not (out / MANIFEST).is_file() and any(out.iterdir()):
        raise ExportError(f"{out} is not empty and not a bundle; name another --out")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as scratch:
        fresh, replaced = Path(scratch, "fresh"), Path(scratch, "replaced")
        fresh.mkdir()
        for name, data in files.items():
            (fresh / name).write_bytes(data)
        load(fresh, device="cpu")
        if out.exists():
            out.rename(replaced)
        try:
            fresh.rename(out)
        except OSError:
            if replaced.exists():
                replaced.rename(out)
            raise
    return out
