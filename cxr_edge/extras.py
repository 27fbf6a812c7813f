"""What to do where a package of an extra is missing."""


def how_to_get(extra: str) -> str:
    """Tell how to install an extra, in a clone and from a wheel: the package is on no index."""
    return f"install the extra {extra}: pip install '.[{extra}]' in a clone, or 'cxr_edge-….whl[{extra}]'"
