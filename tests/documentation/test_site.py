"""The pages build without a warning, document the whole interface, and name what exists.

Links that leave the repository are not followed: `python -m sphinx -b linkcheck` does, with a network.
"""

import importlib.util
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import pytest

import cxr_edge
from cxr_edge import errors
from tests.command_line import commands, options_of
from tests.conftest import ROOT
from tests.documentation.blocks import PAGES, blocks_of, inline_code_of

DOCS = ROOT / "docs"
PYPROJECT = msgspec.toml.decode((ROOT / "pyproject.toml").read_text())
IN_THE_CLONE = re.compile(r"(training|benchmarks|cxr_edge|export|tests|examples|samples|docs(?!/_build))/[\w./-]*")


class Anchors(HTMLParser):
    """Collects every id of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.ids: set[str] = set()

    def handle_starttag(self, _: str, attrs: list[tuple[str, str | None]]) -> None:
        self.ids |= {value for name, value in attrs if name == "id" and value}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-E", "-W", "--keep-going", "-n", "-q", "-c", DOCS, ROOT, out]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return out


@pytest.mark.slow
def test_the_site_is_built_without_a_warning(site: Path) -> None:
    """Sphinx checks every link within the pages, every anchor and every reference to the interface."""
    (first,) = re.findall(r'url=([^"]+)"', (site / "index.html").read_text())
    assert first == "docs/index.html"
    assert {page.stem for page in (site / "docs").glob("*.html")} >= {page.stem for page in DOCS.glob("*.md")}


@pytest.mark.slow
def test_the_interface_is_documented(site: Path) -> None:
    anchors = Anchors()
    anchors.feed((site / "docs" / "api.html").read_text())
    documented = {anchor.rpartition(".")[2] for anchor in anchors.ids if anchor.startswith("cxr_edge.")}
    assert set(cxr_edge.__all__) - documented == set()


@pytest.mark.slow
def test_the_command_line_is_documented(site: Path) -> None:
    page = (site / "docs" / "command-line.html").read_text()
    for words in commands():
        assert re.search(rf"Usage: {' '.join(('cxr-edge', *words))} ", page), words


def test_every_error_code_has_a_cause_and_a_remedy() -> None:
    leaves = [cls for cls in vars(errors).values() if isinstance(cls, type) and issubclass(cls, errors.CxrEdgeError)]
    codes = {cls.code for cls in leaves if not cls.__subclasses__()}
    page = (DOCS / "troubleshooting.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \| (.+?) \|", page, re.MULTILINE)
    assert [code for code, _, _ in rows] == list(dict.fromkeys(code for code, _, _ in rows)), "a code is listed twice"
    assert {code for code, cause, remedy in rows if cause and remedy} == codes


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_commands_that_are_named_exist(page: Path) -> None:
    """In the text and in blocks that are not run: subcommands, options, modules, extras and groups."""
    lines = inline_code_of(page)
    for block in blocks_of(page):
        if block.language in {"bash", "powershell"}:
            lines += block.code.replace("\\\n", " ").splitlines()
    for line in lines:
        for part in re.split(r"\s(?:&&|[|;>])\s|\s#\s", line):
            check_command(part.strip(), line)


def check_command(command: str, where: str) -> None:
    words = command.split()
    if "pip install" in command:
        extras = {extra for named in re.findall(r"\[([\w,-]+)\]", command) for extra in named.split(",")}
        assert extras <= set(PYPROJECT["project"]["optional-dependencies"]), where
        assert set(re.findall(r"--group (\S+)", command)) <= set(PYPROJECT["dependency-groups"]), where
    if words[:2] in (["python", "-m"], [".venv/bin/python", "-m"]) and len(words) > 2:
        assert importlib.util.find_spec(words[2]) is not None, f"{where}: no module {words[2]}"
    if not words or Path(words[0]).stem != "cxr-edge":
        return
    path: tuple[str, ...] = ()
    while (longer := tuple(words[1 : len(path) + 2])) in commands() and longer != path:
        path = longer
    rest = words[len(path) + 1 :]
    for word in rest:
        if word.startswith("-"):
            known = options_of(commands()[path]) | {"--help"}
            assert word.partition("=")[0] in known, f"{where}: {' '.join(words[: len(path) + 1])} has no {word}"
    if not path and rest:
        assert rest[0].startswith("-"), f"{where}: no command {rest[0]}"


@pytest.mark.parametrize(
    "command",
    [
        "cxr-edge infre image",
        "cxr-edge infer --colour",
        "cxr-edge node queue list --all",
        "python -m benchmarks.nothing",
        'pip install ".[cpu,training]"',
        "pip install -e . --group cpu",
    ],
)
def test_a_command_that_does_not_exist_is_found(command: str) -> None:
    with pytest.raises(AssertionError):
        check_command(command, command)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_files_that_are_named_exist(page: Path) -> None:
    for code in inline_code_of(page):
        if IN_THE_CLONE.fullmatch(code):
            assert (ROOT / code).exists(), code


def test_wheels_are_named_by_this_version() -> None:
    named = re.findall(r"cxr_edge-([^-]+)-py3", "".join(page.read_text() for page in PAGES))
    assert set(named) == {cxr_edge.__version__}


def test_links_of_the_readme() -> None:
    """Files that exist, and headings of its own and of the pages."""
    readme = (ROOT / "README.md").read_text()
    targets = re.findall(r"\]\(([^)\s]+)\)", readme)
    assert len(targets) > 10
    for target in targets:
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        assert (ROOT / path).exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", (ROOT / (path or "README.md")).read_text(), re.MULTILINE)
            assert anchor in {slug(heading) for heading in headings}, target


def slug(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
