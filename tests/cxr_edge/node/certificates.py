"""Certificates for mutual TLS, made by OpenSSL: an authority, the node, a scanner, and a stranger to both."""

import shutil
import subprocess
from pathlib import Path

import pytest


def make(folder: Path) -> Path:
    """Fill a folder with ``NAME.crt`` and ``NAME.key`` of ca, node, scanner and stranger."""
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl")
    folder.mkdir()

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    new = ["-newkey", "rsa:2048", "-nodes"]
    openssl("req", "-x509", *new, "-keyout", "ca.key", "-out", "ca.crt", "-subj", "/CN=ca",
            "-addext", "keyUsage=critical,keyCertSign,cRLSign")  # fmt: skip
    ours = ["-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial"]
    for name in ("node", "scanner", "stranger"):
        openssl("req", *new, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        signed = ["-signkey", "stranger.key"] if name == "stranger" else ours
        openssl("x509", "-req", "-in", f"{name}.csr", *signed, "-out", f"{name}.crt")
    return folder
