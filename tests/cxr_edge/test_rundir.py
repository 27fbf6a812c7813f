"""The results directory: what is written, resumed and refused."""

import json
from pathlib import Path

import pytest

from cxr_edge import errors
from cxr_edge.rundir import RunDirectory, encode_line

IDENTITY = {"bundle_sha256": "abc", "view_mode": "tta"}


def line(path: str, sha256: str = "1", **more) -> dict:
    result = {"model": "m", "view_mode": "tta", "views": 6, "probabilities": {}, "findings": [], "warnings": []}
    return {"path": path, "sha256": sha256, "status": "ok", **result, **more}


def failure(path: str) -> dict:
    return {"path": path, "status": "error", "error": {"code": "truncated", "message": "…"}}


def open_run(root: Path, **identity) -> RunDirectory:
    return RunDirectory(root, {**IDENTITY, **identity}, {"notice": "n"})


def record(root: Path, lines: list[dict]) -> None:
    with open_run(root) as run:
        for each in lines:
            run.append(each)
        run.finish([each["path"] for each in lines])


def test_lines_stand_in_input_order_after_errors_and_changes(tmp_path):
    record(tmp_path, [line("a"), failure("b"), line("c"), line("d")])
    with open_run(tmp_path) as run:
        assert run.reusable("a", "1")
        assert run.reusable("b", "1") is None
        assert run.reusable("c", "2") is None
        assert run.reusable("d", "1")
    record(tmp_path, [line("a"), line("b"), line("c", "2"), line("d")])
    lines = [json.loads(text) for text in (tmp_path / "predictions.jsonl").read_text().splitlines()]
    assert [(each["path"], each["status"], each["sha256"]) for each in lines] == [
        ("a", "ok", "1"),
        ("b", "ok", "1"),
        ("c", "ok", "2"),
        ("d", "ok", "1"),
    ]


def test_lines_of_inputs_that_are_not_named_again_are_kept(tmp_path):
    record(tmp_path, [line("a"), line("b")])
    record(tmp_path, [line("c"), line("b")])
    paths = [json.loads(text)["path"] for text in (tmp_path / "predictions.jsonl").read_text().splitlines()]
    assert paths == ["a", "c", "b"]


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_a_half_written_line_is_dropped_and_nothing_else(tmp_path, cut):
    whole, last = encode_line(line("a")), encode_line(line("b"))
    record(tmp_path, [line("a"), line("b")])
    (tmp_path / "predictions.jsonl").write_bytes(whole + last[:-cut])
    with open_run(tmp_path) as run:
        assert run.has("a")
        assert not run.has("b")
        assert (tmp_path / "predictions.jsonl").read_bytes() == whole
        run.append(line("b"))
        assert (tmp_path / "predictions.jsonl").read_bytes() == whole + last


def test_every_line_is_on_disk_as_soon_as_it_is_appended(tmp_path):
    with open_run(tmp_path) as run:
        for number in range(3):
            run.append(line(str(number)))
            assert (tmp_path / "predictions.jsonl").read_bytes().count(b"\n") == number + 1


def test_a_line_whose_overlay_is_gone_is_done_again(tmp_path):
    with_overlay = line("a", findings=[{"label": "Mass", "heatmap": "heatmaps/a.png", "positive": True}])
    (tmp_path / "heatmaps").mkdir()
    (tmp_path / "heatmaps" / "a.png").touch()
    record(tmp_path, [with_overlay])
    with open_run(tmp_path) as run:
        assert run.reusable("a", "1")
        (tmp_path / "heatmaps" / "a.png").unlink()
        assert run.reusable("a", "1") is None


def test_another_identity_is_refused_and_named(tmp_path):
    record(tmp_path, [line("a")])
    with (
        pytest.raises(errors.OutputMismatch, match="view_mode: tta there, single now"),
        open_run(tmp_path, view_mode="single"),
    ):
        pass


def test_two_runs_cannot_share_a_directory(tmp_path):
    with open_run(tmp_path), pytest.raises(errors.OutputBusy), open_run(tmp_path):
        pass
    with open_run(tmp_path):
        pass


@pytest.mark.parametrize("name", ["run.json", "predictions.jsonl"])
def test_a_damaged_directory_is_refused_not_overwritten(tmp_path, name):
    record(tmp_path, [line("a")])
    (tmp_path / name).write_text("not json\n")
    with pytest.raises(errors.OutputMismatch, match="choose another --out"), open_run(tmp_path):
        pass
    assert (tmp_path / name).read_text() == "not json\n"


def test_results_without_run_json_are_not_ours(tmp_path):
    (tmp_path / "predictions.jsonl").write_text("")
    with pytest.raises(errors.OutputMismatch, match=r"no run\.json"), open_run(tmp_path):
        pass


def test_a_file_in_place_of_the_directory(tmp_path):
    (tmp_path / "out").touch()
    with pytest.raises(errors.OutputUnwritable), open_run(tmp_path / "out"):
        pass
