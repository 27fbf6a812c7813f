"""``node.toml``: what is accepted, and what is refused with a message that helps."""

import os
import re
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from cxr_edge.errors import NodeConfig
from cxr_edge.node.config import (
    DicomDestination,
    FolderDestination,
    Metrics,
    Model,
    Queue,
    Receive,
    Results,
    Tls,
    Watch,
    WebDestination,
    read_config,
)  # fmt: skip
from cxr_edge.node.example import EXAMPLE
from cxr_edge.node.node import folders
from cxr_edge.node.tables import FORMAT
from tests.conftest import AS_ANYONE

DESTINATION = '[[destinations]]\nkind = "folder"\nname = "out"\nfolder = "out"\n'

DICOM = '[[destinations]]\nkind = "dicom"\nname = "a"\nhost = "127.0.0.1"\nport = PORT\nae_title = "A"\n'
TLS = '[destinations.tls]\ncertificate = "no.crt"\nkey = "no.key"\nauthority = "no.ca"\n'


def of(tmp_path: Path, text: str):
    (tmp_path / "node.toml").write_text(text)
    return read_config(tmp_path / "node.toml")


def test_defaults_are_on_loopback(tmp_path: Path) -> None:
    config = of(tmp_path, f'data = "data"\n{DESTINATION}')
    assert config.data == tmp_path / "data"
    assert config.receive is not None
    assert (config.receive.host, config.receive.ae_title) == ("127.0.0.1", "CXREDGE")
    assert config.receive.max_associations >= 10
    assert config.destinations == (FolderDestination("out", tmp_path / "out"),)


def test_the_example_is_a_configuration(tmp_path: Path) -> None:
    config = of(tmp_path, EXAMPLE)
    assert isinstance(config.destinations[0], DicomDestination)
    uncommented = re.sub(r"^# ", "", EXAMPLE, flags=re.M)
    whole = of(tmp_path, uncommented)
    assert {destination.name for destination in whole.destinations} == {"archive", "web-archive", "results"}
    assert {destination.tls is not None for destination in whole.destinations[:2]} == {True}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_files_of_windows_shells_are_read(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "node.toml").write_text(EXAMPLE, encoding=encoding)
    assert read_config(tmp_path / "node.toml").destinations[0].name == "archive"


def test_other_bytes_are_reported(tmp_path: Path) -> None:
    (tmp_path / "node.toml").write_bytes(EXAMPLE.encode() + b"# \xff")
    with pytest.raises(NodeConfig, match="UTF-8"):
        read_config(tmp_path / "node.toml")


def test_the_example_has_every_key() -> None:
    keys = set(re.findall(r"^(?:# )?([a-z_]+) = ", EXAMPLE, re.M))
    structs = (Receive, DicomDestination, WebDestination, FolderDestination, Model, Results, Queue, Watch, Metrics, Tls)
    fields = {field.name for struct in structs for field in msgspec.structs.fields(struct)}
    assert keys == (fields - {"tls"}) | {"data", "kind"}


def test_what_the_example_comments_out_is_the_default(tmp_path: Path) -> None:
    text = re.sub(r"^# (?=(max|idle|negot|tta|adapt|strict|colormap|attempts|first|longest|calling|timeout))", "",
                  EXAMPLE.partition("# [[destinations]]")[0], flags=re.M)  # fmt: skip
    uncommented, plain = of(tmp_path, text), of(tmp_path, EXAMPLE)
    assert replace(uncommented.model, tta=None) == plain.model
    assert replace(uncommented, model=plain.model) == plain


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "expected the key data, got none"),
        (f'data = "d"\nunknown = 1\n{DESTINATION}', "unknown key unknown"),
        (f'data = "d"\n[model]\nunknown = 1\n{DESTINATION}', "model: unknown key unknown"),
        (f'data = ""\n{DESTINATION}', "data: expected a path in quotes, got ''"),
        (f"data = 5\n{DESTINATION}", "data: expected a path in quotes, got 5"),
        (
            f'data = "d"\n[receive]\nport = 70000\n{DESTINATION}',
            "receive.port: .* whole number of at most 65535, got 70000",
        ),
        (f'data = "d"\n[receive]\nport = "a"\n{DESTINATION}', "receive.port: expected a whole number, got 'a'"),
        (
            f'data = "d"\n[receive]\nidle_seconds = 0\n{DESTINATION}',
            "receive.idle_seconds: expected a number above 0, got 0",
        ),
        (
            f'data = "d"\n[receive]\nae_title = "THIS-ONE-IS-TOO-LONG"\n{DESTINATION}',
            "1 to 16 .*, got 'THIS-ONE-IS-TOO-LONG'",
        ),
        (
            f'data = "d"\n[receive]\ncallers = ["A", " "]\n{DESTINATION}',
            "receive.callers no. 2: expected an AE title .* ' '",
        ),
        (
            f'data = "d"\n[receive]\ncallers = "A"\n{DESTINATION}',
            r"receive.callers: expected a list: \[\.\.\.\], got 'A'",
        ),
        (f'data = "d"\n[model]\ntta = "yes"\n{DESTINATION}', "model.tta: expected true or false, got 'yes'"),
        (
            f'data = "d"\n[results]\noverlays = -1\n{DESTINATION}',
            "results.overlays: .* whole number of at least 0, got -1",
        ),
        (f'data = "d"\nmodel = 5\n{DESTINATION}', "model: expected a table of its own, got 5"),
        ('data = "d"\ndestinations = 5\n', r"destinations: expected \[\[destinations\]\] in double brackets, got 5"),
        ('data = "d"\n[[destinations]]\nname = "a"\n', "destinations no. 1: expected the key kind, got none"),
        (
            f'data = "d"\n{DESTINATION}[[destinations]]\nkind = "ftp"\n',
            "destinations no. 2, kind: .* dicom, dicomweb or folder, got 'ftp'",
        ),
        (
            'data = "d"\n' + DICOM.replace("PORT", "104").replace("127.0.0.1", ""),
            "destinations no. 1, host: expected a text that is not empty, got ''",
        ),
        (f'data = "d"\n[receive]\nhost = "0.0.0.0"\n{DESTINATION}', "callers"),
        (f'data = "d"\n[receive]\nhost = "xray.example"\n{DESTINATION}', "callers"),
        (f'data = "d"\n[results]\ncolormap = "jet"\n{DESTINATION}', "turbo"),
        ('data = "d"\n', "destinations"),
        (f'data = "d"\n{DESTINATION}{DESTINATION}', "a different name for each"),
        (f'data = "out/data"\n{DESTINATION}', "not inside each other"),
        (f'data = "d"\n[watch]\nfolder = "d"\n{DESTINATION}', "not inside each other"),
        (f'data = "d"\n[watch]\nfolder = "out"\n{DESTINATION}', "not inside each other"),
        (f'data = "d"\n[watch]\nfolder = "d/images"\n{DESTINATION}', "not inside each other"),
        (
            'data = "d"\n[[destinations]]\nkind = "folder"\nname = "a\\nb"\nfolder = "out"\n',
            r"name: expected 1 to 64 .*, got 'a\\nb'",
        ),
        (
            'data = "d"\n[[destinations]]\nkind = "dicomweb"\nname = "w"\nurl = "http://"\n',
            "url: expected http:// .* host, got 'http://'",
        ),
        (
            'data = "d"\n[[destinations]]\nkind = "dicomweb"\nname = "w"\nurl = "http://pacs.example/"\n'
            'token_file = "t"\n',
            "use https",
        ),
        ("data = ", "not valid TOML: .* node example"),
    ],
)
def test_what_is_wrong_is_reported(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(NodeConfig, match=expected) as raised:
        of(tmp_path, text)
    assert not re.search(r"regex|\$|`(int|float|str|bool|array|object)", str(raised.value)), "msgspec's own wording"


def test_other_addresses_need_callers_or_tls(tmp_path: Path) -> None:
    assert of(tmp_path, f'data = "d"\n[receive]\nhost = "0.0.0.0"\ncallers = ["XRAY1"]\n{DESTINATION}')


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cxr_edge", "node", *map(str, arguments)], capture_output=True, text=True
    )


def test_on_the_command_line(tmp_path: Path) -> None:
    assert run("example").stdout == EXAMPLE
    without = run()
    assert (without.returncode, "--config" in without.stderr) == (2, True)
    missing = run("--config", tmp_path / "none.toml")
    assert (missing.returncode, "node_config" in missing.stderr) == (2, True)
    (tmp_path / "node.toml").write_text(f'data = "data"\n{DESTINATION}')
    no_certificate = DICOM.replace("PORT", "104") + TLS
    (tmp_path / "tls.toml").write_text(f'data = "data"\n{no_certificate}')
    no_key = run("--config", tmp_path / "tls.toml")
    assert (no_key.returncode, "expected a PEM file" in no_key.stderr) == (2, True)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "queue.sqlite").write_bytes(b"no database at all" * 100)
    damaged = run("--config", tmp_path / "node.toml")
    assert (damaged.returncode, "cannot be opened" in damaged.stderr) == (2, True)
    assert "Traceback" not in damaged.stderr
    assert "cannot be used" in run("queue", "list", "--config", tmp_path / "node.toml").stderr
    (tmp_path / "data" / "queue.sqlite").unlink()
    with closing(sqlite3.connect(tmp_path / "data" / "queue.sqlite")) as later:
        later.execute(f"PRAGMA user_version = {FORMAT + 1}")
    for command in ((), ("queue", "list")):
        refused = run(*command, "--config", tmp_path / "node.toml")
        told = f"another version of cxr-edge: expected format {FORMAT}, got {FORMAT + 1}" in refused.stderr
        assert (refused.returncode, told) == (2, True)
        assert "Traceback" not in refused.stderr
    shutil.rmtree(tmp_path / "data")
    assert "holds no queue" in run("--config", tmp_path / "node.toml", "queue", "list").stderr
    unused = run("queue", "list", "--config", tmp_path / "node.toml")
    assert (unused.returncode, "holds no queue" in unused.stderr) == (2, True)


@pytest.mark.skipif(os.name == "nt", reason="Windows has other permissions")
def test_folders_that_may_not_be_written(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o555)
    (tmp_path / "locked").mkdir()
    (tmp_path / "locked" / ".lock").touch(mode=0)
    (tmp_path / "file").touch()
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "queue.sqlite").touch(mode=0o444)
    for place, expected, text in (
        ("closed/data", "set data to a folder of yours", 'data = "closed/data"'),
        ("locked", "set data to a folder of yours", 'data = "locked"'),
        ("file", "set data to a folder of yours", 'data = "file"'),
        ("old", "give it to this user", 'data = "old"'),
        ("closed/in", "let this user read and write there", 'data = "new"\n[watch]\nfolder = "closed/in"'),
    ):
        (tmp_path / "node.toml").write_text(f"{text}\n{DESTINATION}")
        command = [*AS_ANYONE, sys.executable, "-m", "cxr_edge", "node", "--config", str(tmp_path / "node.toml")]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 2, done.stderr
        (line,) = done.stderr.splitlines()
        assert line.startswith("cxr-edge: node_config: ")
        assert str(tmp_path / place) in line
        assert expected in line


def test_a_file_in_place_of_the_data_is_left_as_it_is(tmp_path):
    config = of(tmp_path, f'data = "data"\n{DESTINATION}')
    config.data.write_text("a file")
    config.data.chmod(0o644)
    with pytest.raises(NodeConfig, match="data is not a folder; set data to a folder of yours"):
        folders(config.data)
    assert config.data.stat().st_mode & 0o777 == 0o644
