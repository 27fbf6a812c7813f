"""The import of the SDK: what it must never load, what it must document."""

import subprocess
import sys

HEAVY = (
    "tensorflow",
    "keras",
    "jax",
    "torch",
    "pandas",
    "sklearn",
    "onnx",
    "tf2onnx",
    "matplotlib",
    "rich.progress",
    "pydicom",
    "imagecodecs",
)


def test_import_loads_no_heavy_package():
    script = (
        f"import sys, cxr_edge; cxr_edge.load(device='cpu');print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_version_is_the_package_metadata():
    from importlib.metadata import version

    import cxr_edge

    assert cxr_edge.__version__ == version("cxr-edge")


def test_every_public_name_is_documented():
    import cxr_edge

    for name in cxr_edge.__all__:
        assert getattr(cxr_edge, name).__doc__, name
