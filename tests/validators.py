"""Others' programs that judge DICOM objects; a test that needs one skips where it is not installed."""

import glob
import shutil
import subprocess
from pathlib import Path

import pytest

#: PixelMed's rules are one style sheet larger than Java's defaults admit.
_JAVA_LIMITS = [f"-Djdk.xml.xpath{limit}=0" for limit in ("ExprGrpLimit", "ExprOpLimit", "TotalOpLimit")]


def program(name: str) -> str:
    """Return the path of a program; skip if it is not installed."""
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"needs {name}")
    return path


def errors_of(name: str, *arguments: str | Path) -> list[str]:
    """Return the lines of a validator's output that report an error; its exit status does not."""
    done = subprocess.run([program(name), *map(str, arguments)], capture_output=True, text=True, errors="replace")
    printed = (done.stdout + done.stderr).splitlines()
    assert printed, f"{name} printed nothing"
    return [line for line in printed if line.startswith(("Error", "E:", "F:", "Abort"))]


def pixelmed_errors(report: Path) -> list[str]:
    """Return the errors that PixelMed's validator finds in a structured report, without its warnings."""
    jars = [jar for name in ("pixelmed", "javax.json*", "commons-*", "slf4j-*", "hsqldb*", "vecmath*")
            for jar in glob.glob(f"/usr/share/java/{name}.jar")]  # fmt: skip
    if not any("pixelmed" in jar for jar in jars):
        pytest.skip("needs PixelMed (libpixelmed-java)")
    command = [program("java"), *_JAVA_LIMITS, "-cp", ":".join(jars), "com.pixelmed.validate.DicomSRValidator"]
    printed = subprocess.run([*command, str(report)], capture_output=True, text=True, check=True).stdout
    assert "IOD validation complete" in printed
    return [line for line in printed.splitlines() if line.startswith("Error")]
