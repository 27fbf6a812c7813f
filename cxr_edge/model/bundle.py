"""The model bundle: a directory whose files are all checked against the manifest's hashes.

Hashes show that a bundle is complete and unchanged. They do not show who made it.
"""

import errno
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cxr_edge import errors
from cxr_edge.model.manifest import Manifest, parse_manifest

MANIFEST: Final = "manifest.json"
MODEL_CARD: Final = "MODEL_CARD.md"
SHIPPED: Final = Path(__file__).parent.parent / "bundles" / "default"

_MAX_MANIFEST_BYTES: Final = 4 * 2**20


@dataclass(frozen=True)
class Bundle:
    """A verified bundle.

    Attributes
    ----------
    manifest : Manifest
    sha256 : str
        Hash of the manifest, which holds the hashes of all other files: the identity of the model.
    files : dict of str to bytes
        Content of every file the manifest lists, as verified.
    root : Path
        The directory.
    """

    manifest: Manifest
    sha256: str
    files: dict[str, bytes]
    root: Path

    @property
    def identity(self) -> str:
        """Name, version and the first 12 digits of the hash."""
        return f"{self.manifest.name}-{self.manifest.version}@{self.sha256[:12]}"


def read_bundle(directory: str | os.PathLike[str] | None = None) -> Bundle:
    """Read and verify a bundle.

    Parameters
    ----------
    directory : path, optional
        The shipped bundle if left out.

    Raises
    ------
    BundleNotFound, BundleInvalid, BundleVersion, BundleDamaged
    """
    root = SHIPPED if directory is None else Path(directory)
    remedy = "name a directory that `python -m export` wrote"
    data = _read(root / MANIFEST, _MAX_MANIFEST_BYTES, errors.BundleNotFound, remedy)
    try:
        manifest = parse_manifest(data)
    except errors.BundleVersion as error:
        raise errors.BundleVersion(f"{root}: {error}") from error
    except errors.BundleInvalid as error:
        raise errors.BundleInvalid(f"{root}: {error}; correct it, or copy or export the bundle again") from error
    return Bundle(
        manifest=manifest,
        sha256=hashlib.sha256(data).hexdigest(),
        files=read_files(root, manifest),
        root=root.absolute(),
    )


def read_files(root: Path, manifest: Manifest) -> dict[str, bytes]:
    """Read the files that a manifest lists, and verify them.

    Raises
    ------
    BundleDamaged
    """
    return {name: _read_verified(root / name, entry.sha256, entry.bytes) for name, entry in manifest.files.items()}


def _read_verified(path: Path, sha256: str, size: int) -> bytes:
    data = _read(path, size, errors.BundleDamaged, "copy or export the bundle again")
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise errors.BundleDamaged(
            f"{path}: expected sha256 {sha256[:12]}… as in the manifest, got {found[:12]}…; "
            "copy or export the bundle again"
        )
    return data


def _read(path: Path, limit: int, failure: type[errors.BundleError], remedy: str) -> bytes:
    try:
        if not path.is_file():  # a pipe would block
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except PermissionError as error:
        raise failure(f"{path} cannot be opened; give this user permission to read it") from error
    except OSError as error:
        raise failure(f"{path} cannot be read ({error.strerror}); {remedy}") from error
    if len(data) > limit:
        raise errors.BundleDamaged(f"{path}: expected at most {limit} bytes, got more; {remedy}")
    return data
