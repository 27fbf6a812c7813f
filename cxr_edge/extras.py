"""What to do where a package of an extra is missing."""

from cxr_edge._version import __version__


def how_to_get(extra: str) -> str:
    """Tell how to install an extra, in a clone and from a wheel: the package is on no index."""
    wheel = f"cxr_edge-{__version__}-py3-none-any.whl"
    return f"install the extra {extra}: pip install '.[{extra}]' in a clone, or '{wheel}[{extra}]'"
