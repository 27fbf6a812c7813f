"""The results directory: what is written, resumed and refused."""

import csv
import errno
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cxr_edge import errors
from cxr_edge.model.labels import RESERVED
from cxr_edge.model.record import CodedError, FailureRecord, FindingRecord, Record, ResultRecord, encode_record
from cxr_edge.outputs.csv import csv_text
from cxr_edge.outputs.overlays import FOLDER, OverlayFiles, overlay_name, overlay_prefix
from cxr_edge.runs.directory import RunDirectory
from tests.conftest import ROOT

IDENTITY = {"bundle_sha256": "abc", "tta_mode": "tta"}


def line(path: str, sha256: str = "1", findings: tuple[FindingRecord, ...] = ()) -> ResultRecord:
    return ResultRecord(
        path=path, sha256=sha256, model="m", tta_mode="tta", variants=6, probabilities={}, findings=findings,
        warnings=(), ood_score=None,
    )  # fmt: skip


def failure(path: str) -> FailureRecord:
    return FailureRecord(path=path, error=CodedError("truncated", "…"))


def open_run(root: Path, **identity) -> RunDirectory:
    return RunDirectory(root, {**IDENTITY, **identity}, {"notice": "n"}, ())


def record(root: Path, lines: list[Record]) -> None:
    with open_run(root) as run:
        for each in lines:
            run.append(each.path, each)
        run.finish([each.path for each in lines], {"read": len(lines)})


def test_lines_are_in_input_order_after_errors_and_changes(tmp_path):
    record(tmp_path, [line("a"), failure("b"), line("c"), line("d")])
    with open_run(tmp_path) as run:
        assert run.reusable("a", "1", ())
        assert run.reusable("b", "1", ()) is None
        assert run.reusable("c", "2", ()) is None
        assert run.reusable("d", "1", ())
    record(tmp_path, [line("a"), line("b"), line("c", "2"), line("d")])
    lines = [json.loads(text) for text in (tmp_path / "predictions.jsonl").read_text().splitlines()]
    assert [(each["path"], each["status"], each["sha256"]) for each in lines] == [
        ("a", "ok", "1"),
        ("b", "ok", "1"),
        ("c", "ok", "2"),
        ("d", "ok", "1"),
    ]


def test_images_that_are_not_named_again_are_kept_and_failures_are_not(tmp_path):
    record(tmp_path, [line("a"), line("b"), failure("broken")])
    record(tmp_path, [line("c"), line("b")])
    paths = [json.loads(text)["path"] for text in (tmp_path / "predictions.jsonl").read_text().splitlines()]
    assert paths == ["a", "c", "b"]


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_a_half_written_line_is_dropped_and_nothing_else(tmp_path, cut):
    whole, last = encode_record(line("a")), encode_record(line("b"))
    record(tmp_path, [line("a"), line("b")])
    (tmp_path / "predictions.jsonl").write_bytes(whole + last[:-cut])
    with open_run(tmp_path) as run:
        assert run.reusable("a", "1", ())
        assert not run.reusable("b", "1", ())
        assert (tmp_path / "predictions.jsonl").read_bytes() == whole
        run.append("b", line("b"))
        assert (tmp_path / "predictions.jsonl").read_bytes() == whole + last


def test_every_line_is_on_disk_as_soon_as_it_is_appended(tmp_path):
    with open_run(tmp_path) as run:
        for number in range(3):
            run.append(str(number), line(str(number)))
            assert (tmp_path / "predictions.jsonl").read_bytes().count(b"\n") == number + 1


def test_a_line_whose_overlay_is_gone_is_computed_again(tmp_path):
    mass = FindingRecord("Mass", 0.5, 0.4, positive=True, std=None, overlay_file="heatmaps/a.png")
    with_overlay = line("a", findings=(mass,))
    (tmp_path / "heatmaps").mkdir()
    (tmp_path / "heatmaps" / "a.png").touch()
    record(tmp_path, [with_overlay])
    with open_run(tmp_path) as run:
        outputs = [OverlayFiles(tmp_path, 1, "turbo")]
        assert run.reusable("a", "1", outputs)
        (tmp_path / "heatmaps" / "a.png").unlink()
        assert run.reusable("a", "1", outputs) is None


def test_another_identity_is_refused_and_named(tmp_path):
    record(tmp_path, [line("a")])
    with (
        pytest.raises(errors.OutputMismatch, match="tta_mode: tta there, single now"),
        open_run(tmp_path, tta_mode="single"),
    ):
        pass


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"version": "0.0.9"}, "version: 0.0.9 there, 0.1.0 now); results of two versions are not mixed: choose "
         "another --out, or resume with cxr-edge 0.0.9"),
        ({"bundle_sha256": "b" * 64}, "bundle_sha256: bbbbbbbbbbbb there, aaaaaaaaaaaa now); results of two models are "
         "not mixed: choose another --out, or name the bundle of nih 1 by --bundle"),
        ({"tta_mode": "single"}, "tta_mode: single there, tta now); repeat its options or choose another --out"),
    ],
)  # fmt: skip
def test_what_to_do_about_a_directory_of_another_version_or_model(tmp_path, other, message):
    identity = {"version": "0.1.0", "bundle_sha256": "a" * 64, "tta_mode": "tta"}
    with RunDirectory(tmp_path, {**identity, **other}, {"model": "nih 1"}, ()):
        pass
    with (
        pytest.raises(errors.OutputMismatch) as raised,
        RunDirectory(tmp_path, identity, {"model": "nih 2"}, ()),
    ):
        pass
    assert str(raised.value).endswith(message)


def test_two_runs_cannot_share_a_directory(tmp_path):
    with open_run(tmp_path), pytest.raises(errors.OutputBusy), open_run(tmp_path):
        pass
    with open_run(tmp_path):
        pass


@pytest.fixture
def without_flock(request, monkeypatch):
    """A file system, such as some of FUSE and NFS, that answers every lock with an error."""
    fcntl = pytest.importorskip("fcntl")

    def refuse(*_: object) -> None:
        raise OSError(request.param, os.strerror(request.param))

    monkeypatch.setattr(fcntl, "flock", refuse)


@pytest.mark.parametrize("without_flock", [errno.ENOSYS], ids=["ENOSYS"], indirect=True)
@pytest.mark.usefixtures("without_flock")
def test_where_files_cannot_be_locked_another_lock_serves(tmp_path):
    with open_run(tmp_path), pytest.raises(errors.OutputBusy), open_run(tmp_path):
        pass
    with open_run(tmp_path) as run:
        run.append("a", line("a"))


@pytest.mark.parametrize("without_flock", [errno.ENOLCK], ids=["ENOLCK"], indirect=True)
@pytest.mark.usefixtures("without_flock")
def test_no_lock_to_be_had_is_not_taken_for_another_run(tmp_path):
    with pytest.raises(errors.OutputUnwritable, match="No locks available"), open_run(tmp_path):
        pass


@pytest.mark.parametrize("name", ["run.json", "predictions.jsonl"])
@pytest.mark.parametrize("content", ["not json\n", "[]\n", "{}\n", '{"path": 1, "status": "ok"}\n'])
def test_a_damaged_directory_is_refused_not_overwritten(tmp_path, name, content):
    record(tmp_path, [line("a")])
    (tmp_path / name).write_text(content)
    with pytest.raises(errors.OutputMismatch, match="choose another --out"), open_run(tmp_path):
        pass
    assert (tmp_path / name).read_text() == content


@pytest.mark.parametrize("name", ["run.json", "predictions.jsonl"])
def test_a_directory_in_place_of_a_file(tmp_path, name):
    record(tmp_path, [line("a")])
    (tmp_path / name).unlink()
    (tmp_path / name).mkdir()
    with pytest.raises(errors.OutputUnwritable), open_run(tmp_path):
        pass


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on file sizes, which only POSIX has")
def test_a_full_disk_leaves_whole_lines(tmp_path):
    """The second line exceeds the limit: it is taken back, and the run can resume."""
    script = f"""
import resource, signal
from pathlib import Path
from cxr_edge import errors
from tests.cxr_edge.runs.test_directory import line, open_run
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
with open_run(Path({str(tmp_path)!r})) as run:
    run.append("a", line("a"))
    size = (run.root / "predictions.jsonl").stat().st_size
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 20, resource.RLIM_INFINITY))
    try:
        run.append("b", line("b"))
    except errors.OutputUnwritable as error:
        print("refused", error)
"""
    command = [sys.executable, "-c", script]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert printed.startswith("refused")
    assert (tmp_path / "predictions.jsonl").read_bytes() == encode_record(line("a"))
    record(tmp_path, [line("a"), line("b")])


def test_a_carriage_return_in_a_name_stays_within_its_csv_row(tmp_path):
    record(tmp_path, [line("a\rb.png"), line("c")])
    rows = list(csv.reader(io.StringIO((tmp_path / "predictions.csv").read_bytes().decode(), newline="")))
    assert [row[0] for row in rows] == ["path", "a\rb.png", "c"]


def test_results_without_run_json_are_not_ours(tmp_path):
    (tmp_path / "predictions.jsonl").write_text("")
    with pytest.raises(errors.OutputMismatch, match=r"no run\.json"), open_run(tmp_path):
        pass


def test_a_file_in_place_of_the_directory(tmp_path):
    (tmp_path / "out").touch()
    with pytest.raises(errors.OutputUnwritable), open_run(tmp_path / "out"):
        pass


@pytest.mark.parametrize("path", ["image.png", "a-0123456789abcdef-b.png"])
def test_overlays_of_an_image_are_discarded_whatever_their_label(tmp_path, path):
    (tmp_path / FOLDER).mkdir()
    for name in (path, "other.png"):
        for label in ("Mass", "Infil-tration", "Pleural Effusion", "x-0123456789abcdef-y"):
            positive = label != "Mass"
            (tmp_path / overlay_name(name, label, positive=positive)).write_bytes(b"")
    with open_run(tmp_path) as run:
        run.discard_overlays(overlay_prefix(path))
    left = [file.name for file in (tmp_path / FOLDER).iterdir()]
    assert len(left) == 4
    assert all(name.startswith(overlay_prefix("other.png")) for name in left)


def test_a_report_that_lists_a_dropped_failure_is_removed(tmp_path):
    record(tmp_path, [line("a"), failure("b")])
    (tmp_path / "report.html").write_text("a, b")
    record(tmp_path, [line("a")])
    assert not (tmp_path / "report.html").exists()


def test_no_label_has_the_name_of_a_column():
    (heading,) = csv.reader(io.StringIO(csv_text([], [])))
    assert set(heading) <= RESERVED
