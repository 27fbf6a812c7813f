"""Make text from outside safe to show and to store."""


def printable(text: str) -> str:
    """Escape what is not printable, so that a name cannot drive the terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def printable_path(path: str) -> str:
    """Return a path as valid Unicode: bytes that are not UTF-8 appear as backslash escapes."""
    try:
        return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:
        return path.encode("utf-8", "backslashreplace").decode("utf-8")
