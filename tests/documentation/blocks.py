"""The code blocks of a Markdown page, with the marks in the comments directly before them.

``<!-- not run: reason -->``, ``<!-- run by: tests/x.py::test_y -->`` (a test that takes the block from the page),
``<!-- file: node.toml -->`` (the block is that configuration, for the blocks after it), ``<!-- exit status: 2 -->``. A
``text`` block states what the block before it prints, with ``…`` for what varies.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

from tests.conftest import ROOT

PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
    *sorted((ROOT / "docs").glob("*.md")),
]
MARK = re.compile(r"<!-- (not run|run by|file|exit status): (.+?) -->", re.DOTALL)
#: Of Sphinx; they hold no code.
DIRECTIVES = {"{toctree}", "{eval-rst}", "{program-output}"}


@dataclass(frozen=True)
class Block:
    """A block of code of a page."""

    page: str
    line: int
    language: str
    code: str
    marks: dict[str, str]

    @property
    def place(self) -> str:
        """The page and line, as an editor opens them."""
        return f"{self.page}:{self.line}"

    @property
    def first_line(self) -> str:
        """Its first line, short."""
        return self.code.partition("\n")[0][:70]


def parsed(page: Path) -> list[Token]:
    """Parse a page."""
    return MarkdownIt().enable("table").parse(page.read_text())


def blocks_of(page: Path) -> list[Block]:
    """Return a page's blocks of code in order, indented ones included."""
    blocks, comment = [], ""
    for token in parsed(page):
        if token.type == "html_block":
            comment += token.content
        elif token.type in {"fence", "code_block"}:
            if token.info.partition(" ")[0] not in DIRECTIVES:
                assert token.map
                name = page.relative_to(ROOT).as_posix()
                marks = {kind: " ".join(text.split()) for kind, text in MARK.findall(comment)}
                blocks.append(Block(name, token.map[0] + 1, token.info.strip(), token.content, marks))
            comment = ""
        else:
            comment = ""
    return blocks


def inline_code_of(page: Path) -> list[str]:
    """Return what a page sets in backticks within its text."""
    return [child.content for token in parsed(page) for child in token.children or [] if child.type == "code_inline"]
