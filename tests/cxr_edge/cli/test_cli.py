"""The command line as its users run it: a subprocess, its streams and its exit status."""

import csv
import importlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

import cxr_edge
from benchmarks.dicom import dicom_files
from cxr_edge import images
from cxr_edge.images import read_image
from cxr_edge.model.bundle import SHIPPED, read_bundle
from tests.conftest import AS_ANYONE, SAMPLES

COMMAND = [sys.executable, "-m", "cxr_edge"]


def run(*arguments: object, **options) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "COLUMNS": "100"}
    return subprocess.run(
        [*COMMAND, "infer", *map(str, arguments)],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
        **options,
    )


def lines_of(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines()]


def codes_of(text: str) -> dict[str, str]:
    """Return the name of every failed input → its error code."""
    return {Path(line["path"]).name: line["error"]["code"] for line in lines_of(text) if line["status"] == "error"}


@pytest.fixture
def radiographs(tmp_path: Path) -> Path:
    """Three radiographs in a tree, the same name twice."""
    root = tmp_path / "radiographs"
    for name, source in {"a.png": SAMPLES[0], "sub/a.png": SAMPLES[1], "sub/no suffix": SAMPLES[2]}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, root / name)
    return root


def test_a_run_keeps_the_contract(radiographs, tmp_path):
    out = tmp_path / "out"
    done = run(radiographs, "--tta", "--cam", 2, "--out", out, "--json")
    assert done.returncode == 0, done.stderr
    lines = lines_of(done.stdout)
    assert lines == lines_of((out / "predictions.jsonl").read_text())
    assert [line["path"] for line in lines] == [str(radiographs / n) for n in ("a.png", "sub/a.png", "sub/no suffix")]
    overlays = set()
    for line in lines:
        assert set(line) == {
            "schema", "path", "sha256", "status", "model", "tta_mode", "variants", "probabilities", "findings",
            "warnings", "ood_score",
        }  # fmt: skip
        assert (line["schema"], line["status"], line["tta_mode"], line["variants"]) == (2, "ok", "tta", 6)
        assert tuple(line["probabilities"]) == read_bundle().manifest.label_names
        probabilities = [f["probability"] for f in line["findings"]]
        assert probabilities == sorted(probabilities, reverse=True)
        for finding in line["findings"]:
            assert set(finding) - {"overlay_empty"} == {
                "label",
                "probability",
                "threshold",
                "positive",
                "std",
                "overlay_file",
            }
            assert finding["positive"] == (finding["probability"] >= finding["threshold"])
            assert finding["probability"] == line["probabilities"][finding["label"]]
        written = [f["overlay_file"] for f in line["findings"] if f["overlay_file"]]
        assert written == [f["overlay_file"] for f in line["findings"][: len(written)]]
        overlays |= set(written)
    found = sorted((out / "heatmaps").iterdir())
    assert len(found) == 6
    assert overlays == {f"heatmaps/{path.name}" for path in found}
    assert all(cv2.imread(str(path)).shape == (1024, 1024, 3) for path in found)
    rows = list(csv.DictReader((out / "predictions.csv").read_text().splitlines()))
    for row, line in zip(rows, lines, strict=True):
        assert float(row["Mass"]) == line["probabilities"]["Mass"]
        assert row["positive"] == "|".join(f["label"] for f in line["findings"] if f["positive"])
    described = json.loads((out / "run.json").read_text())
    assert described["bundle_sha256"] == cxr_edge.load().bundle_sha256
    assert {k: described[k] for k in ("tta_mode", "operating_point", "device", "version")} == {
        "tta_mode": "tta",
        "operating_point": "max_f1",
        "device": "cpu",
        "version": cxr_edge.__version__,
    }
    assert "not a medical device" in described["notice"]


def test_a_single_variant_and_the_table(radiographs):
    done = run(radiographs / "a.png", "--no-tta")
    assert done.returncode == 0
    assert "1 of 1 images read on cpu" in done.stdout
    assert "not a medical device" in " ".join(done.stdout.split())
    (line,) = lines_of(run(radiographs / "a.png", "--no-tta", "--json").stdout)
    assert (line["tta_mode"], line["variants"]) == ("single", 1)
    assert all(f["std"] is None and f["overlay_file"] is None for f in line["findings"])


def test_the_number_of_threads_does_not_change_the_results(radiographs):
    printed = [run(radiographs, "--json", "--threads", n).stdout for n in (1, 2)]
    assert printed[0] == printed[1]


def test_a_bad_input_fails_alone(radiographs, tmp_path):
    (radiographs / "b.jpg").write_text("not an image")
    (radiographs / "c.png").write_bytes(SAMPLES[0].read_bytes()[:5000])
    (radiographs / "d.png").touch()
    cv2.imwrite(str(radiographs / "e.png"), np.zeros((200, 200), np.uint8))
    cv2.imwrite(str(radiographs / "f.bmp"), np.zeros((200, 200), np.uint8))
    out = tmp_path / "out"
    done = run(radiographs, radiographs / "missing.png", "--no-tta", "--json", "--out", out)
    assert done.returncode == 1
    assert codes_of(done.stdout) == {
        "b.jpg": "not_an_image",
        "c.png": "truncated",
        "d.png": "empty_file",
        "e.png": "blank",
        "f.bmp": "unsupported_format",
        "missing.png": "not_found",
    }
    assert sum(line["status"] == "ok" for line in lines_of(done.stdout)) == 3
    assert lines_of((out / "predictions.jsonl").read_text()) == lines_of(done.stdout)
    assert len((out / "predictions.csv").read_text().splitlines()) == 10
    table = run(radiographs, "--no-tta").stdout
    assert "truncated" in table


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets any bytes be a file name")
def test_a_name_that_is_not_utf8(radiographs):
    shutil.copy(SAMPLES[0], os.fsencode(radiographs) + b"/b\xff.png")
    done = run(radiographs, "--no-tta", "--json")
    assert done.returncode == 1
    (failed,) = [line for line in lines_of(done.stdout) if line["status"] == "error"]
    assert failed["error"]["code"] == "non_utf8_name"
    assert failed["path"].endswith("b\\xff.png")
    assert run(radiographs, "--no-tta").returncode == 1


def test_a_link_on_the_way_is_followed_not_guessed(radiographs, tmp_path):
    """``link/../a.png`` is the file beside the link's target, not the one beside the link."""
    (tmp_path / "link").symlink_to(radiographs / "sub", target_is_directory=True)
    shutil.copy(SAMPLES[5], tmp_path / "a.png")
    (line,) = lines_of(run(f"{tmp_path}/link/../a.png", "--no-tta", "--json").stdout)
    assert line["sha256"] == images.read_image(radiographs / "a.png").sha256


@pytest.mark.skipif(os.name == "nt", reason="needs a POSIX shell")
def test_closed_and_full_standard_output(radiographs, tmp_path):
    infer = " ".join(map(shlex.quote, [*COMMAND, "infer", str(radiographs), "--no-tta"]))
    for redirect, status in ((">&-", 2), (">/dev/full", 2), ("| head -c 10 >/dev/null", None)):
        script = f"set -o pipefail; {infer} --json {redirect}"
        done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
        assert "Traceback" not in done.stderr
        assert status is None or done.returncode == status
    out = tmp_path / "out"
    subprocess.run(["bash", "-c", f"{infer} --out {out} | head -c 1"], capture_output=True, check=False)
    assert (out / "predictions.csv").exists()


def test_a_console_without_the_characters_of_a_name(radiographs, tmp_path):
    shutil.copy(SAMPLES[0], radiographs / "日本.png")
    done = subprocess.run(
        [*COMMAND, "infer", str(radiographs), "--no-tta"],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": "cp1252"},
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_an_image_that_breaks_between_runs_loses_its_overlay(radiographs, tmp_path):
    out = tmp_path / "out"
    assert run(radiographs, "--no-tta", "--cam", 1, "--out", out).returncode == 0
    (radiographs / "a.png").write_bytes(b"broken")
    assert run(radiographs, "--no-tta", "--cam", 1, "--out", out).returncode == 1
    assert len(list((out / "heatmaps").iterdir())) == 2
    (radiographs / "a.png").rename(radiographs / "gone.txt")
    assert run(radiographs / "sub", "--no-tta", "--cam", 1, "--out", out).returncode == 0
    assert all(line["status"] == "ok" for line in lines_of((out / "predictions.jsonl").read_text()))


def test_a_hostile_name_does_not_drive_the_terminal(tmp_path):
    shutil.copy(SAMPLES[0], tmp_path / "\x1b[31m[bold]red\n.png")
    done = run(tmp_path, "--no-tta")
    assert done.returncode == 0
    assert "\x1b" not in done.stdout
    assert "[bold]" in done.stdout


@pytest.mark.skipif(os.name == "nt", reason="Windows has other permissions")
def test_no_permission(radiographs):
    (radiographs / "b.png").write_bytes(SAMPLES[0].read_bytes())
    (radiographs / "b.png").chmod(0)
    (radiographs / "closed").mkdir(mode=0)
    shutil.copytree(radiographs / "sub", radiographs / "unsearchable")
    (radiographs / "unsearchable").chmod(0o600)
    command = [*AS_ANYONE, *COMMAND, "infer", str(radiographs), "--no-tta", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert codes_of(done.stdout) == dict.fromkeys(["b.png", "closed", "a.png", "no suffix"], "permission_denied")
    alone = [*AS_ANYONE, *COMMAND, "infer", str(radiographs / "unsearchable" / "a.png"), "--json"]
    done = subprocess.run(alone, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert codes_of(done.stdout) == {"a.png": "permission_denied"}


def output_error(*arguments: object) -> str:
    """Run as a user whom permissions bind, into a place that cannot be written; return the one error line."""
    command = [*AS_ANYONE, *COMMAND, "infer", *map(str, arguments), "--no-tta", "--device", "cpu"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("cxr-edge: output_unwritable: ")
    return line


@pytest.mark.skipif(os.name == "nt", reason="Windows has other permissions")
@pytest.mark.parametrize("option", ["--out", "--dicom-out"])
@pytest.mark.parametrize(
    ("place", "todo"),
    [
        ("closed", "let this user read and write there"),
        ("closed/new/deep", "let this user read and write there"),
        ("file", "move what is in its place"),
        ("file/new", "move what is in its place"),
    ],
)
def test_results_where_nobody_may_write_or_a_file_is(tmp_path, option, place, todo):
    (tmp_path / "closed").mkdir(mode=0o555)
    (tmp_path / "file").write_text("a letter")
    line = output_error(SAMPLES[0], option, tmp_path / place)
    assert str(tmp_path / Path(place).parts[0]) in line
    assert f"{todo} and run again, or choose another {option}" in line
    assert (tmp_path / "file").read_text() == "a letter"


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows has other permissions")
def test_results_that_may_no_longer_be_written(tmp_path):
    image, out = tmp_path / "a.png", tmp_path / "out"
    shutil.copy(SAMPLES[1], image)
    drawn = ("--cam", 1, "--report", "--out", out)
    assert run(image, *drawn, "--no-tta", "--device", "cpu").returncode == 0
    shutil.copy(SAMPLES[3], image)
    for name in (".", "heatmaps", ".report", "predictions.jsonl", "run.json", ".lock"):
        mode = (out / name).stat().st_mode
        (out / name).chmod(0o555 if (out / name).is_dir() else 0)
        assert f"{out / name}" in output_error(image, *drawn)
        (out / name).chmod(mode)
    assert run(image, *drawn, "--no-tta", "--device", "cpu").returncode == 0


@pytest.fixture
def disc(radiographs: Path, tmp_path: Path) -> Path:
    """The radiographs as on a patient's disc: with programs, texts, databases, other DICOM objects, earlier results."""
    (radiographs / "README.txt").write_text("Zum Öffnen: start.exe", encoding="cp1252")
    (radiographs / "index.html").write_text("<!DOCTYPE html><title>Images</title>")
    (radiographs / "Thumbs.db").write_bytes(bytes.fromhex("d0cf11e0a1b11ae1") + bytes(1000))
    with zipfile.ZipFile(radiographs / "sub" / "viewer.jar", "w") as archive:
        archive.writestr("Viewer.class", "x")
    image = dicom_files.image(read_image(SAMPLES[1]).pixels, StudyInstanceUID="1.2.3", SeriesInstanceUID="1.2.4")
    (tmp_path / "image.dcm").write_bytes(dicom_files.written(image))
    done = run(tmp_path / "image.dcm", "--no-tta", "--cam", 1, "--report", "--out", radiographs / "sub" / "earlier",
               "--dicom-out", radiographs / "dicom")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(list((radiographs / "dicom").iterdir())) == 5
    return radiographs


def test_what_is_plainly_no_image_is_skipped_in_a_directory_and_counted(disc, tmp_path):
    out = tmp_path / "out"
    objects = len(list((disc / "dicom").iterdir()))
    for _ in range(2):  # the second run resumes
        done = run(disc, "--no-tta", "--json", "--report", "--out", out)
        assert done.returncode == 0, done.stderr
        lines = lines_of(done.stdout)
        assert [Path(line["path"]).name for line in lines] == ["a.png", "a.png", "no suffix"]
        assert f"Skipped {4 + objects} files without a radiograph" in done.stderr
        assert f"Left out 1 directory of results: {disc / 'sub' / 'earlier'}." in done.stderr
        assert lines_of((out / "predictions.jsonl").read_text()) == lines
        assert len((out / "predictions.csv").read_text().splitlines()) == 1 + 3
        inputs = json.loads((out / "run.json").read_text())["inputs"]
        assert (inputs["read"], inputs["failed"]) == (3, 0)
        skipped = {Path(each["path"]).name: each["content"] for each in inputs["skipped"]}
        assert (
            skipped.items()
            >= {
                "README.txt": "text",
                "index.html": "text",
                "Thumbs.db": "Thumbs.db or older Office document",
                "viewer.jar": "ZIP archive",
            }.items()
        )
        assert "Comprehensive 3D SR Storage" in skipped.values()
        assert len(skipped) == 4 + objects
        assert inputs["earlier_results"] == [str(disc / "sub" / "earlier")]
        assert f"3 of 3 images read ({4 + objects} files without a radiograph skipped)" in (
            out / "report.html"
        ).read_text(encoding="utf-8")
    table = " ".join(run(disc, "--no-tta").stdout.split())
    assert f"3 of 3 images read on cpu. Skipped {4 + objects} files without a radiograph" in table


def test_what_is_skipped_in_a_directory_is_an_error_where_it_is_named(disc):
    named = [disc / "README.txt", disc / "Thumbs.db", *(disc / "dicom").iterdir()]
    done = run(*named, disc, "--no-tta", "--json")
    assert done.returncode == 1
    codes = codes_of(done.stdout)
    assert len(codes) == len(named)
    assert {codes.pop("README.txt"), codes.pop("Thumbs.db")} == {"not_an_image"}
    assert set(codes.values()) == {"unsupported_object"}
    assert len(lines_of(done.stdout)) == len(named) + 3


def test_a_directory_without_any_image_is_nothing_to_read(radiographs, tmp_path):
    (tmp_path / "papers").mkdir()
    (tmp_path / "papers" / "letter").write_text("no image")
    done = run(tmp_path / "papers", "--no-tta", "--json")
    assert (done.returncode, done.stdout) == (2, "")
    assert "no image found" in done.stderr
    assert "text (1)" in done.stderr
    assert run(radiographs, "--no-tta", "--out", tmp_path / "only" / "results").returncode == 0
    done = run(tmp_path / "only", "--no-tta")
    assert done.returncode == 2
    assert "Left out 1 directory of results" in done.stderr


def test_a_run_json_of_other_software_is_no_reason_to_leave_images_out(radiographs):
    for number, text in enumerate(('{"name": "a study"}', "[1, 2]", "not JSON", '{"version": "0.1.0"}')):
        (radiographs / "sub" / "run.json").write_text(text)
        done = run(radiographs, "--no-tta", "--json")
        assert done.returncode == 0, number
        assert len(lines_of(done.stdout)) == 3
        assert "Skipped 1 file without a radiograph: text (1)." in done.stderr


def test_a_large_archive_is_skipped_and_a_large_image_is_not(radiographs):
    with zipfile.ZipFile(radiographs / "all.zip", "w") as archive:
        archive.writestr("x", bytes(2**20))
    (radiographs / "large.pgm").write_bytes(b"P2\n1024 1024\n255\n" + b"100 " * 2**20)
    limit = f"max_file_bytes={max(path.stat().st_size for path in SAMPLES)}"
    done = run(radiographs, "--no-tta", "--json", "--limit", limit)
    assert codes_of(done.stdout) == {"large.pgm": "too_large"}
    assert "Skipped 1 file without a radiograph: ZIP archive (1)." in done.stderr


def test_an_input_that_is_gone_loses_its_overlay(radiographs, tmp_path):
    named = [radiographs / "a.png", radiographs / "sub" / "a.png"]
    arguments = [*named, "--no-tta", "--cam", 1, "--out", tmp_path / "out"]
    assert run(*arguments).returncode == 0
    named[0].unlink()
    assert run(*arguments).returncode == 1
    lines = lines_of((tmp_path / "out" / "predictions.jsonl").read_text())
    assert [line["status"] for line in lines] == ["error", "ok"]
    (left,) = (tmp_path / "out" / "heatmaps").iterdir()
    assert lines[1]["findings"][0]["overlay_file"] == f"heatmaps/{left.name}"


def test_an_image_that_becomes_a_text_loses_its_line_and_its_overlay(radiographs, tmp_path):
    out = tmp_path / "out"
    assert run(radiographs, "--no-tta", "--cam", 1, "--out", out).returncode == 0
    (radiographs / "sub" / "no suffix").write_text("moved to the archive")
    assert run(radiographs, "--no-tta", "--cam", 1, "--out", out).returncode == 0
    assert [Path(line["path"]).name for line in lines_of((out / "predictions.jsonl").read_text())] == ["a.png"] * 2
    assert len(list((out / "heatmaps").iterdir())) == 2


def test_hidden_files_links_and_the_results_directory_are_skipped(radiographs, tmp_path):
    (radiographs / ".hidden.png").write_bytes(b"x")
    (radiographs / ".git").mkdir()
    (radiographs / ".git" / "a.png").write_bytes(b"x")
    (radiographs / "loop").symlink_to(radiographs, target_is_directory=True)
    out = radiographs / "results"
    for _ in range(2):
        done = run(radiographs, "--no-tta", "--json", "--cam", 1, "--out", out)
        assert done.returncode == 0
        assert len(lines_of(done.stdout)) == 3


def test_an_image_named_twice_is_read_once(radiographs):
    assert (
        len(lines_of(run(radiographs / "a.png", radiographs, f"{radiographs}/./a.png", "--no-tta", "--json").stdout))
        == 3
    )


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["{radiographs}", "--cam", 1],
        ["{radiographs}", "--cam", -1],
        ["{radiographs}", "--colormap", "jet", "--cam", 1, "--out", "{out}"],
        ["{radiographs}", "--out", "{radiographs}"],
        ["{radiographs}", "--operating-point", "no such"],
        ["{radiographs}", "--no-such-option"],
        ["{empty}"],
        ["{empty}/missing.png"],
        [""],
        ["{radiographs}", "--out", ""],
        ["{radiographs}", "--threads", 99999999999],
        ["{radiographs}", "--limit", "max_side=wide"],
    ],
    ids=str,
)
def test_usage_errors_and_nothing_to_read(radiographs, tmp_path, arguments):
    (tmp_path / "empty").mkdir()
    places = {"radiographs": radiographs, "out": tmp_path / "out", "empty": tmp_path / "empty"}
    done = run(*(str(argument).format(**places) for argument in arguments))
    assert done.returncode == 2
    assert done.stderr
    assert done.stdout == ""


def test_a_missing_path_alone_still_has_its_line(tmp_path):
    done = run(tmp_path / "missing.png", "--json")
    assert done.returncode == 2
    assert lines_of(done.stdout)[0]["error"]["code"] == "not_found"


def test_no_model_or_device(radiographs, tmp_path):
    damaged = Path(shutil.copytree(SHIPPED, tmp_path / "bundle"))
    (damaged / "maps.onnx").write_bytes(b"")
    for arguments, message in (
        (["--bundle", tmp_path / "nowhere"], "bundle_not_found"),
        (["--bundle", damaged], "bundle_damaged"),
        (["--device", "abacus"], "device_unavailable"),
    ):
        done = run(radiographs, *arguments, "--json")
        assert done.returncode == 3
        assert message in done.stderr
        assert "Traceback" not in done.stderr
        assert done.stdout == ""


def test_an_install_without_any_runtime_names_the_extra_to_install():
    without = "import sys; sys.modules.update(onnxruntime=None, openvino=None, tensorrt=None, tensorrt_rtx=None)\n"
    script = f"{without}import cxr_edge.cli; cxr_edge.cli.app(['infer', {str(SAMPLES[0])!r}])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (3, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("cxr-edge: device_unavailable: no device works here (")
    assert "cpu: ONNX Runtime is not installed" in line
    assert "); install the extra cpu: pip install" in line


def test_another_identity_in_the_results_directory(radiographs, tmp_path):
    assert run(radiographs, "--no-tta", "--out", tmp_path / "out").returncode == 0
    done = run(radiographs, "--tta", "--out", tmp_path / "out")
    assert done.returncode == 2
    assert "tta_mode: single there, tta now" in " ".join(done.stderr.split())


def test_a_changed_image_and_a_mended_one_are_computed_again(radiographs, tmp_path):
    out = tmp_path / "out"
    (radiographs / "b.png").write_bytes(b"broken")
    assert run(radiographs, "--no-tta", "--cam", 1, "--out", out).returncode == 1
    (radiographs / "b.png").write_bytes(SAMPLES[3].read_bytes())
    (radiographs / "a.png").write_bytes(SAMPLES[4].read_bytes())
    assert run(radiographs, "--no-tta", "--cam", 1, "--out", out).returncode == 0
    fresh = tmp_path / "fresh"
    assert run(radiographs, "--no-tta", "--cam", 1, "--out", fresh).returncode == 0
    for name in ("predictions.jsonl", "predictions.csv"):
        assert (out / name).read_bytes() == (fresh / name).read_bytes()
    assert {p.name for p in (out / "heatmaps").iterdir()} == {p.name for p in (fresh / "heatmaps").iterdir()}


@pytest.fixture
def interruptible():
    """Let processes started here handle SIGINT, even if the tests run in the background of a shell that ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.slow
@pytest.mark.usefixtures("interruptible")
@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for one process")
def test_ctrl_c_exits_130_and_keeps_what_is_done(tmp_path):
    radiographs = tmp_path / "radiographs"
    radiographs.mkdir()
    for number in range(60):
        shutil.copy(SAMPLES[number % len(SAMPLES)], radiographs / f"{number:02}.png")
    out = tmp_path / "out"
    arguments = [*COMMAND, "infer", str(radiographs), "--tta", "--out", str(out)]
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    log = out / "predictions.jsonl"
    deadline = time.monotonic() + 60
    while not (log.exists() and log.read_bytes().count(b"\n") >= 3):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, printed = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "same command again" in printed
    done = len(lines_of(log.read_text()))
    assert 3 <= done < 60
    again = subprocess.run(arguments, capture_output=True, check=False)
    assert again.returncode == 0
    assert len(lines_of(log.read_text())) == 60


def test_version_and_help():
    printed = subprocess.run([*COMMAND, "--version"], capture_output=True, text=True, check=True).stdout
    assert printed == f"cxr-edge {cxr_edge.__version__}\n"
    for arguments in (["--help"], ["-h"], ["infer", "--help"]):
        printed = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, check=True).stdout
        assert len(printed.splitlines()) > 5


@pytest.mark.skipif(os.name == "nt", reason="file names are not bytes there")
def test_a_name_that_is_not_utf_8_costs_that_image_in_a_results_directory(radiographs, tmp_path):
    shutil.copy(SAMPLES[3], os.fsencode(radiographs) + b"/M\xfcller.png")
    for _ in range(2):  # resumed, too
        done = run(radiographs, "--out", tmp_path / "out", "--cam", 1, "--no-tta")
        assert done.returncode == 1, done.stderr
        assert "Traceback" not in done.stderr
        assert list(codes_of((tmp_path / "out" / "predictions.jsonl").read_text()).values()) == ["non_utf8_name"]
        assert len((tmp_path / "out" / "predictions.csv").read_text().splitlines()) == 5


def test_every_failure_is_shown_however_many_images_there_are(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.import_module("cxr_edge.cli.infer"), "MAX_ROWS", 1)
    (tmp_path / "in").mkdir()
    for number in range(3):
        shutil.copy(SAMPLES[number], tmp_path / "in" / f"{number}.png")
    (tmp_path / "in" / "z.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    done = CliRunner().invoke(
        cxr_edge.cli.app,
        ["infer", str(tmp_path / "in"), "--out", str(tmp_path / "out"), "--no-tta"],
        env={"COLUMNS": "400"},  # a long path is folded
    )
    assert done.exit_code == 1
    assert "z.png" in done.output
    assert "and 2 more" in done.output


def test_a_table_of_another_origin_is_not_overwritten(tmp_path):
    (tmp_path / "predictions.csv").write_text("mine")
    done = run(SAMPLES[0], "--out", tmp_path)
    assert done.returncode == 2
    assert "contains predictions.csv but no run.json" in " ".join(done.stderr.split())
    assert (tmp_path / "predictions.csv").read_text() == "mine"
