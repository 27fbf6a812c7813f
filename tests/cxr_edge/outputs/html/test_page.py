"""The report's content, and that writing it computes no finished image again."""

import json
import re
from html.parser import HTMLParser

import msgspec
import pytest

from cxr_edge.model.bundle import read_bundle
from cxr_edge.model.record import decode_record
from cxr_edge.model.results import NOTICE
from cxr_edge.outputs.csv import csv_text
from cxr_edge.outputs.html import page
from cxr_edge.outputs.html.image import render_image
from cxr_edge.outputs.html.picture import LARGE, SMALL, ReportImage
from cxr_edge.support.text import printable
from tests.conftest import SAMPLES
from tests.cxr_edge.outputs.html.conftest import HOSTILE, infer


class Text(HTMLParser):
    """The text and tags of a page, without its scripts and styles."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.parts: list[str] = []
        self.tags: list[tuple[str, dict]] = [("", {})]
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        if self.tags[-1][0] not in {"script", "style"}:
            self.parts.append(data)


def lines_of(out) -> list[dict]:
    return [json.loads(line) for line in (out / "predictions.jsonl").read_text().splitlines()]


def test_the_report_has_the_content_of_the_lines(report):
    text = " ".join("".join(Text(report.read_text()).parts).split())
    assert NOTICE in text
    run = json.loads((report.parent / "run.json").read_text())
    assert run["bundle_sha256"] in text
    lines = lines_of(report.parent)
    assert f"4 of {len(lines)} images read" in text
    for line in lines:
        assert line["path"] in text
        if line["status"] == "error":
            assert line["error"]["code"] in text
            assert line["error"]["message"] in text
            continue
        for finding in line["findings"]:
            call = "positive" if finding["positive"] else "negative"
            row = f"{finding['label']}{call}{finding['probability']:.3f}{finding['threshold']:.3f}{finding['std']:.3f}"
            assert row in text


def test_the_page_asks_for_nothing_and_runs_only_its_own(report):
    page = Text(report.read_text())
    for tag, attributes in page.tags:
        assert "style" not in attributes
        assert not any(name.startswith("on") for name in attributes)
        if (source := attributes.get("src")) is not None:
            assert source.startswith("data:image/jpeg;base64,"), (tag, source)
        if (target := attributes.get("href")) is not None:
            assert target.startswith("#")
    (policy,) = [a["content"] for tag, a in page.tags if a.get("http-equiv") == "Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert not re.search(r"https?://", re.sub(r"<script>.*?</script>", "", report.read_text(), flags=re.DOTALL))


def test_a_finished_run_is_not_computed_again(images, report):
    before = report.stat().st_mtime_ns
    kept = {file: file.stat().st_mtime_ns for file in (report.parent / ".report").iterdir()}
    assert len(kept) == 4
    infer(images, "--report", "--out", report.parent, "--device", "cpu", status=1)
    assert {file: file.stat().st_mtime_ns for file in kept} == kept
    assert report.stat().st_mtime_ns > before


def test_images_of_a_run_without_report_are_computed_for_it(tmp_path):
    infer(SAMPLES[0], "--out", tmp_path, "--device", "cpu")
    assert not (tmp_path / "report.html").exists()
    infer(SAMPLES[0], "--out", tmp_path, "--device", "cpu", "--report")
    infer(SAMPLES[1], "--out", tmp_path, "--device", "cpu")
    infer(SAMPLES[2], "--out", tmp_path, "--device", "cpu", "--report")
    page = (tmp_path / "report.html").read_text()
    assert page.count("<article") == 2
    assert page.count("no picture kept: run it again with --report") == 1
    assert "3 of 3 images" in page


def test_an_outdated_report_is_removed(tmp_path):
    image, out = tmp_path / "image.png", tmp_path / "out"
    image.write_bytes(SAMPLES[0].read_bytes())
    infer(image, "--out", out, "--report", "--device", "cpu")
    infer(image, "--out", out, "--device", "cpu")
    assert (out / "report.html").exists()
    image.write_bytes(SAMPLES[1].read_bytes())
    infer(image, "--out", out, "--device", "cpu")
    assert not (out / "report.html").exists()


def test_a_page_that_cannot_be_written_is_reported(tmp_path):
    (tmp_path / "report.html").mkdir(parents=True)
    assert "output_unwritable" in infer(SAMPLES[0], "--out", tmp_path, "--report", "--device", "cpu", status=2)


def test_what_was_kept_of_another_content_is_not_shown(tmp_path):
    image = tmp_path / "image.png"
    image.write_bytes(SAMPLES[0].read_bytes())
    out = tmp_path / "out"
    infer(image, "--out", out, "--report", "--device", "cpu")
    (kept,) = (out / ".report").iterdir()
    old = kept.read_bytes()
    image.write_bytes(SAMPLES[1].read_bytes())
    infer(image, "--out", out, "--report", "--device", "cpu")
    assert kept.read_bytes() != old
    whole = msgspec.json.decode(kept.read_bytes(), type=ReportImage)
    cut = [msgspec.structs.replace(whole, picture=whole.picture[:99]), msgspec.structs.replace(whole, grid=(3, 3))]
    for broken in (old, b"{", b"", *map(msgspec.json.encode, cut)):
        kept.write_bytes(broken)
        infer(image, "--out", out, "--report", "--device", "cpu")
        (line,) = lines_of(out)
        assert msgspec.json.decode(kept.read_bytes(), type=ReportImage).sha256 == line["sha256"]


@pytest.fixture
def small_pages(monkeypatch):
    monkeypatch.setattr(page, "MOST_ON_ONE", 3)
    monkeypatch.setattr(page, "PER_PAGE", 2)


def test_a_report_of_many_images_is_spread_over_pages(images, tmp_path, small_pages):
    infer(images, "--report", "--out", tmp_path, "--device", "cpu", status=1)
    overview = Text((tmp_path / "report.html").read_text())
    links = [attributes["href"] for tag, attributes in overview.tags if tag == "a" and "#image" in attributes["href"]]
    assert not any(tag == "article" for tag, _ in overview.tags)
    assert "img" not in dict(overview.tags)
    lines = lines_of(tmp_path)
    read = [number for number, line in enumerate(lines, 1) if line["status"] == "ok"]
    assert links == [f"report/{(number + 1) // 2:05d}.html#image-{number}" for number in read]
    for link in links:
        file, _, anchor = link.partition("#")
        shown = Text((tmp_path / file).read_text())
        assert [a["id"] for tag, a in shown.tags if tag == "article"].count(anchor) == 1
    pages = sorted((tmp_path / "report").iterdir())
    assert [path.name for path in pages] == ["00001.html", "00002.html", "00003.html"]
    middle = Text(pages[1].read_text())
    text = " ".join("".join(middle.parts).split())
    assert f"Images 3 to 4 of {len(lines)}" in text
    assert {"../report.html", "00001.html", "00003.html"} <= {a.get("href") for _, a in middle.tags}
    assert NOTICE in text


def test_pages_of_an_earlier_report_are_removed(images, tmp_path, monkeypatch):
    with monkeypatch.context() as small:
        small.setattr(page, "MOST_ON_ONE", 3)
        small.setattr(page, "PER_PAGE", 2)
        infer(images, "--report", "--out", tmp_path, "--device", "cpu", status=1)
    assert list((tmp_path / "report").iterdir())
    infer(images, "--report", "--out", tmp_path, "--device", "cpu", status=1)
    assert not list((tmp_path / "report").iterdir())
    assert "<article" in (tmp_path / "report.html").read_text()


def test_it_needs_a_directory():
    assert "--out DIR" in infer(SAMPLES[0], "--report", status=2)


def test_an_image_is_kept_small(image, model):
    result = model.predict(image, heatmaps=True)
    picture = ReportImage.of(image, result)
    assert len(picture.maps) == len(result.labels) * 49
    assert len(picture.thumbnail) < 5000
    assert len(picture.picture) < 200_000
    from cxr_edge import images

    assert images.decode(picture.picture).pixels.shape == (LARGE[0], LARGE[0])
    assert images.decode(ReportImage.of(image, result, SMALL).picture).pixels.shape == (SMALL[0], SMALL[0])
    without = ReportImage.of(image, model.predict(image))
    assert (without.maps, without.grid) == (b"", (0, 0))


@pytest.mark.parametrize("mode", ["single", "tta", "adaptive"])
def test_an_image_states_how_it_was_computed(mode, image, model):
    options = {"single": {"tta": False}, "tta": {"tta": True}, "adaptive": {"adaptive": True}}[mode]
    settings = model.settings(heatmaps=True, operating_point="youden", **options)
    result = model.decide(model.evaluate(image, settings), settings)
    page = render_image(result.record(), ReportImage.of(image, result), model.provenance(settings), name=HOSTILE)
    text = " ".join("".join(Text(page).parts).split())
    assert {
        "single": "one TTA variant",
        "tta": "averaged over 6 TTA variants",
        "adaptive": f"{result.variants} TTA variants",
    }[mode] in text
    assert "youden, fitted on 1300 validation images" in text
    assert "max Δp to Keras" in text
    assert f"Heat maps{model.manifest.maps.method_name}" in text
    assert printable(HOSTILE) in text
    assert HOSTILE not in page


def test_the_table_for_spreadsheets_has_a_row_an_input(report):
    lines = (report.parent / "predictions.jsonl").read_bytes().splitlines()
    assert len(csv_text(map(decode_record, lines), read_bundle().manifest.label_names).splitlines()) == 1 + 5
