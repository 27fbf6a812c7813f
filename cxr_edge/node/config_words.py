"""msgspec's errors about a ``node.toml``, reworded for the reader of that file."""

import re
from typing import Any, Final

import msgspec

#: PS3.5, 6.2: up to 16 characters, no backslash, not blank.
AE_TITLE: Final = r"^(?=.*\S)[ -\[\]-~]{1,16}$"
NAME: Final = r"^[\w .-]{1,64}$"
URL: Final = "^https?://[^/]"

_WORDS: Final = {
    f"Expected `str` matching regex {AE_TITLE!r}": "an AE title of 1 to 16 ASCII characters, not blank, no backslash",
    f"Expected `str` matching regex {NAME!r}": "1 to 64 letters, digits, spaces, dots, underscores and hyphens",
    f"Expected `str` matching regex {URL!r}": "http:// or https:// and a host",
    "Expected `str` of length >= 1": "a text that is not empty",
}
_KINDS: Final = {
    "int": "a whole number",
    "float": "a number",
    "str": "a text in quotes",
    "bool": "true or false",
    "array": "a list: [...]",
    "object": "a table of its own",
}
_BOUNDS: Final = {">=": "of at least", "<=": "of at most", ">": "above", "<": "below"}


def in_words(error: msgspec.ValidationError, text: str) -> str:
    """Return which key of a file is wrong, what was expected and what came.

    Parameters
    ----------
    error : msgspec.ValidationError
    text : str
        Content of the file, to look up what came.
    """
    message, _, path = str(error).partition(" - at `$.")
    path = path.removesuffix("`")
    where = re.sub(r"\[(\d+)\](\.?)", lambda found: f" no. {int(found[1]) + 1}{found[2] and ', '}", path)
    if key := re.fullmatch(r"Object (missing required|contains unknown) field `(.*)`", message, re.DOTALL):
        wrong = f"expected the key {key[2]}, got none" if key[1].startswith("missing") else f"unknown key {key[2]}"
        return f"{where}: {wrong}" if where else wrong
    keys = [int(number) if number else name for name, number in re.findall(r"(\w+)|\[(\d+)\]", path)]
    return f"{where}: expected {_expected(message, keys[-1])}, got {_value(text, keys)!r}"


def _expected(message: str, key: str | int) -> str:
    if bound := re.fullmatch(r"Expected `(int|float)` (\S+) (\S+)", message):
        return f"{_KINDS[bound[1]]} {_BOUNDS[bound[2]]} {float(bound[3]):g}"
    if message.startswith("Invalid value ") and key == "kind":
        return "dicom, dicomweb or folder"
    if message.startswith("Expected `array`") and key == "destinations":
        return "[[destinations]] in double brackets"
    if kind := re.match(r"Expected `(\w+)[^`]*`, got", message):
        return _KINDS[kind[1]]
    return _WORDS.get(message, message.removeprefix("expected "))


def _value(text: str, keys: list[str | int]) -> object:
    value: Any = msgspec.toml.decode(text)
    for key in keys:
        value = value[key]
    return value
