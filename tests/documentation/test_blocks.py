"""Every code block of README and docs works, or names the test that runs it, or the reason why none does."""

import io
import os
import re
import shutil
import subprocess
import sys
from contextlib import redirect_stdout
from pathlib import Path

import pytest

from benchmarks.dicom.dicom_files import CHEST
from cxr_edge.errors import NodeConfig
from cxr_edge.node.config import read_config
from tests.conftest import ROOT, SAMPLES
from tests.documentation.blocks import PAGES, Block, blocks_of

pytestmark = pytest.mark.skipif(os.name == "nt", reason="the commands are written for a POSIX shell")

LONGEST_SECONDS = 600
#: Blocks that need a network, Windows, a Jetson, all of NIH, or a program that runs until it is stopped.
LEFT_OUT = 27


@pytest.fixture
def reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> "Reader":
    """A reader with the clone's samples and examples, two images and a DICOM study, and the extras."""
    for name in ("samples", "examples"):
        shutil.copytree(ROOT / name, tmp_path / name)
    for folder, images in (("images", SAMPLES[:2]), ("study", [CHEST])):
        (tmp_path / folder).mkdir()
        for image in images:
            shutil.copy(image, tmp_path / folder)
    monkeypatch.chdir(tmp_path)
    return Reader(tmp_path)


class Reader:
    """Follows a page, block by block, in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.namespace: dict[str, object] = {}
        self.printed: str | None = None
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        home = folder / "home"
        self.environment = os.environ | {
            "PATH": path, "PYTHONPATH": str(ROOT), "COLUMNS": "80", "NO_COLOR": "1",
            "HOME": str(home), "XDG_CACHE_HOME": str(home / "cache"),
        }  # fmt: skip

    def follow(self, block: Block) -> str:
        """Execute a block, or compare it with what was printed; return which."""
        if "file" in block.marks:
            return self._written(block)
        for kind in ("not run", "run by"):
            if kind in block.marks:
                self.printed = None
                return f"{kind}: {block.marks[kind]}"
        if block.language == "text":
            assert self.printed is not None, f"{block.place}: expected a block before it that is executed and prints"
            assert re.search(r"\w{3}.*\w{3}", block.code), f"{block.place}: this would match anything"
            assert matches(block.code, self.printed), f"{block.place}: it printed\n{self.printed}"
            return "compared"
        match block.language:
            case "bash":
                self.printed = self._bash(block)
            case "python":
                self.printed = self._python(block)
            case other:
                pytest.fail(
                    f"{block.place}: expected bash, python or text, got {other!r}: mark who runs it, or why not"
                )
        return "executed"

    def _written(self, block: Block) -> str:
        assert block.language == "toml", (
            f"{block.place}: expected a toml file, which is read as the node's configuration"
        )
        path = self.folder / block.marks["file"]
        path.write_text(block.code)
        read_config(path)
        return "read as a node's configuration"

    def _bash(self, block: Block) -> str:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block.code],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=LONGEST_SECONDS,
        )
        expected = int(block.marks.get("exit status", 0))
        assert done.returncode == expected, f"{block.place}: exit status {done.returncode}\n{done.stdout}"
        return done.stdout

    def _python(self, block: Block) -> str:
        with redirect_stdout(io.StringIO()) as printed:
            exec(compile(block.code, block.place, "exec"), self.namespace)
        return printed.getvalue()


def matches(documented: str, printed: str) -> bool:
    """Return whether a text, with … for anything, is what was printed; spaces at the ends of lines do not count."""
    pattern = re.escape(stripped(documented)).replace("…", "(?s:.*?)")
    return re.fullmatch(pattern, stripped(printed)) is not None


def stripped(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.strip().splitlines())


@pytest.mark.slow
@pytest.mark.training
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_a_page(page: Path, reader: Reader, record_property) -> None:
    from tests.training.conftest import write_images

    blocks = blocks_of(page)
    if any(re.search(r"\bnih\b", block.code) for block in blocks):
        write_images(reader.folder / "nih")
    for block in blocks:
        outcome = reader.follow(block)
        record_property("documented", f"{block.place}\t{block.language}\t{outcome}\t{block.first_line}")


def test_a_test_named_by_a_block_takes_it_from_the_page() -> None:
    for page in PAGES:
        for block in blocks_of(page):
            if "run by" in block.marks:
                file, _, test = block.marks["run by"].partition("::")
                source = (ROOT / file).read_text()
                (body,) = re.findall(rf"^def {test}\(.*?(?=^\S)", source + "\n#", re.MULTILINE | re.DOTALL)
                assert (f'"{page.name}"' in body) or ("command(" in body and page.name == "README.md"), block.place


def test_the_number_of_blocks_that_are_not_run() -> None:
    left_out = [block.place for page in PAGES for block in blocks_of(page) if "not run" in block.marks]
    assert len(left_out) == LEFT_OUT, "\n".join(left_out)


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("```bash\nfalse\n```\n", AssertionError),
        ("```bash\nfalse | cat\n```\n", AssertionError),
        ("<!-- exit status: 2 -->\n```bash\ntrue\n```\n", AssertionError),
        ("```python\nraise LookupError\n```\n", LookupError),
        ("```python\nprint(1)\n```\n```text\n2\n```\n", AssertionError),
        ("```python\nprint(1)\nprint(2)\n```\n```text\n1\n```\n", AssertionError),
        ("```text\nnobody printed this\n```\n", AssertionError),
        ("```python\nprint(1)\n```\n```text\n…\n```\n", AssertionError),
        ("```json\n{}\n```\n", pytest.fail.Exception),
        ("```{code-block} bash\nfalse\n```\n", pytest.fail.Exception),
        ("    false\n", pytest.fail.Exception),
        ("<!-- file: a.json -->\n```json\n{}\n```\n", AssertionError),
        ("<!-- file: node.toml -->\n```toml\ndata = 'here'\n```\n", NodeConfig),
        ("<!-- not run: far from the block -->\n\nText.\n\n```bash\nfalse\n```\n", AssertionError),
    ],
)
def test_a_wrong_block_is_found(text: str, wrong: type[BaseException], reader: Reader, monkeypatch) -> None:
    """The checks of the pages can fail."""
    monkeypatch.setattr("tests.documentation.blocks.ROOT", reader.folder)
    page = reader.folder / "page.md"
    page.write_text(text)
    with pytest.raises(wrong):
        list(map(reader.follow, blocks_of(page)))


def test_an_ellipsis_matches_anything() -> None:
    assert matches("a … s\n…\nend", "a 1.5 s  \nb\nc\nend\n")
    assert not matches("a … s", "a 1.5 s\nb")
