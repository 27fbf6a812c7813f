"""The report in a real browser: from disk, by mouse and keyboard, on wide and narrow screens."""

import base64
import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from playwright.sync_api import expect

from cxr_edge.images import read_image
from cxr_edge.model.bundle import read_bundle
from cxr_edge.model.heatmaps import COLORMAPS, MAX_OPACITY, WEAK_OPACITY, overlay
from cxr_edge.outputs.html import page as report_pages
from cxr_edge.outputs.html.picture import jpeg
from cxr_edge.support.text import printable
from tests.browser import DESKTOP, PHONE, overflows, violations
from tests.conftest import SAMPLES
from tests.cxr_edge.outputs.html.conftest import HOSTILE, infer

#: Pixels that the page shows of an image, at the size of its drawing: the image with the map over it, as RGB.
COMPOSED = """(image) => {
  const picture = image.querySelector("img"), map = image.querySelector(".cxr-map");
  const canvas = new OffscreenCanvas(map.width, map.height), context = canvas.getContext("2d");
  context.drawImage(picture, 0, 0, map.width, map.height);
  context.globalAlpha = Number(map.style.opacity);
  context.drawImage(map, 0, 0);
  const { data } = context.getImageData(0, 0, map.width, map.height);
  let text = "";
  for (let at = 0; at < data.length; at += 8192) text += String.fromCharCode(...data.subarray(at, at + 8192));
  return btoa(text);
}"""


@pytest.fixture
def page(new_page, report):
    page = new_page()
    requests = []
    page.on("request", lambda request: requests.append(request.url))
    page.goto(report.as_uri())
    yield page
    assert [url for url in requests if not url.startswith("data:image/")] == [report.as_uri()] * len(
        [url for url in requests if url.startswith("file:")]
    )


def names(page) -> list[str]:
    return page.locator("#images tbody tr:visible th").all_inner_texts()


def test_the_overview_sorts_and_filters(page, report):
    assert len(names(page)) == 5
    page.get_by_role("button", name="Image", exact=True).click()
    assert page.locator("th[aria-sort]").inner_text().startswith("Image")
    in_order = names(page)
    assert [Path(name).stem for name in in_order if "0000" in name] == [path.stem for path in SAMPLES[:3]]
    page.get_by_role("button", name="Image", exact=True).click()
    assert names(page) == in_order[::-1]
    page.locator("#status").select_option(label="failed")
    assert [name.endswith("letter.png") for name in names(page)] == [True]
    assert page.locator("#shown").inner_text() == "1 of 5 images"
    page.get_by_role("button", name="Reset").click()
    page.locator("#finding").select_option(label="Effusion")
    page.get_by_role("button", name="Probability of Effusion").click()
    shown = [float(text) for text in page.locator("#images .probability:visible").all_inner_texts()]
    assert shown == sorted(shown, reverse=True)
    assert len(shown) == 4
    lines = [json.loads(line) for line in (report.parent / "predictions.jsonl").read_text().splitlines()]
    read = [line for line in lines if line["status"] == "ok"]
    for label in read_bundle().manifest.finding_names:
        page.locator("#finding").select_option(label=label)
        called = {
            printable(line["path"])
            for line in read
            if any(finding["label"] == label and finding["positive"] for finding in line["findings"])
        }
        page.locator("#status").select_option(label="positive")
        assert set(names(page)) == called, label
        page.locator("#status").select_option(label="not positive")
        assert set(names(page)) == {printable(line["path"]) for line in read} - called, label
    page.locator("#search").fill("no such image")
    assert names(page) == []
    assert page.locator("#shown").inner_text() == "0 of 5 images"


def test_an_image_is_opened_switched_and_faded(page):
    page.locator("#images tbody tr", has_text="Effusion").first.get_by_role("link").click()
    image = page.locator(".cxr-image:visible")
    expect(image).to_have_count(1)
    chosen = image.locator('.cxr-label[aria-pressed="true"]')
    caption = image.locator(".cxr-caption")
    first = chosen.inner_text()
    assert caption.inner_text().startswith(f"Heat map of {first} (positive, ")
    before = image.evaluate(COMPOSED)
    image.get_by_role("button", name="Hernia").click()
    assert chosen.all_inner_texts() == ["Hernia"]
    assert "Hernia (negative, " in caption.inner_text()
    assert caption.inner_text().endswith("its colour is weaker than that of a positive finding.")
    assert image.locator(".cxr-map").get_attribute("aria-label") == caption.inner_text()
    assert image.evaluate(COMPOSED) != before
    image.get_by_label("Heat map opacity").fill("0")
    faded = image.evaluate(COMPOSED)
    image.get_by_role("button", name="Image alone").click()
    assert chosen.count() == 0
    assert image.locator(".cxr-map").is_hidden()
    image.get_by_role("button", name="Hernia").click()
    assert image.evaluate(COMPOSED) == faded


def test_the_pages_of_many_images_are_reached_from_the_overview_and_back(new_page, images, tmp_path, monkeypatch):
    monkeypatch.setattr(report_pages, "MOST_ON_ONE", 3)
    monkeypatch.setattr(report_pages, "PER_PAGE", 2)
    infer(images, "--report", "--out", tmp_path, "--device", "cpu", status=1)
    page = new_page()
    page.goto((tmp_path / "report.html").as_uri())
    assert len(names(page)) == 5
    assert page.locator("#print-all").count() == 0
    name = page.locator("#images a").nth(2).inner_text()
    page.locator("#images a").nth(2).click()
    image = page.locator(".cxr-image:visible")
    expect(image).to_have_count(1)
    assert image.locator("h2").inner_text() == name
    assert image.locator(".cxr-map").evaluate("(map) => map.width > 1")
    assert not violations(page)
    page.get_by_role("link", name="Next page").click()
    assert page.locator(".pages strong").inner_text() == "Images 5 to 5 of 5"
    page.get_by_role("link", name="All images").click()
    assert len(names(page)) == 5
    assert not violations(page)


def test_images_are_stepped_through_by_keyboard_alone(page):
    page.locator("#images a").first.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#place")).to_have_text("Image 1 of 4")
    assert page.evaluate("document.activeElement.tagName") == "H2"
    page.get_by_role("button", name="Next image").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#place")).to_have_text("Image 2 of 4")
    page.get_by_role("link", name="Overview").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#images")).to_be_visible()
    expect(page.locator('#images a[href="#image-2"]')).to_be_focused()


@pytest.mark.parametrize("colormap", COLORMAPS)
def test_the_browser_draws_the_map_that_the_sdk_draws(colormap, model, new_page, tmp_path):
    sample = tmp_path / "oblong.png"
    cv2.imwrite(str(sample), read_image(SAMPLES[1]).pixels[200:968])
    infer(sample, "--report", "--out", tmp_path / "out", "--device", "cpu", "--colormap", colormap)
    page = new_page()
    page.goto((tmp_path / "out" / "report.html").as_uri())
    image = page.locator(".cxr-image")
    result = model.predict(sample, heatmaps=True)
    kept = cv2.imdecode(np.frombuffer(jpeg(read_image(sample).pixels, 85), np.uint8), cv2.IMREAD_GRAYSCALE)
    for label, opacity in {"Effusion": MAX_OPACITY, "Hernia": WEAK_OPACITY, "No Finding": WEAK_OPACITY}.items():
        button = image.locator(".cxr-label", has_text=label)
        if button.get_attribute("aria-pressed") == "false":
            button.click()
        shown = np.frombuffer(base64.b64decode(image.evaluate(COMPOSED)), np.uint8).reshape(384, 512, 4)[..., :3]
        whole = overlay(kept, result.heatmap(label), colormap, opacity)
        drawn = cv2.resize(whole, (512, 384), interpolation=cv2.INTER_AREA)
        difference = np.abs(shown.astype(int) - drawn[..., ::-1])
        assert difference.mean() < 2
        assert np.percentile(difference, 99) <= 12  # the browser shrinks the image by another filter


def test_hostile_names_are_shown_and_never_run(page):
    assert any(HOSTILE in name for name in names(page))
    page.locator("#images a", has_text="onerror").click()
    expect(page.locator(".cxr-image:visible h2")).to_contain_text(HOSTILE)
    assert page.title() != "run"
    assert page.locator("img[src=x]").count() == 0


@pytest.mark.parametrize("width", [320, 481, 801, 960, 1181])
def test_an_image_fits_any_width(width, new_page, report):
    page = new_page({"width": width, "height": 900})
    page.goto(f"{report.as_uri()}#image-2")
    page.locator(".cxr-caption:visible", has_text="% from the left").wait_for()
    assert page.evaluate("(e => e.scrollWidth - e.clientWidth)(document.querySelector('.chosen .cxr-findings'))") <= 0
    assert not overflows(page)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_it_is_accessible_and_fits(viewport, scheme, new_page, report):
    page = new_page(viewport, color_scheme=scheme)
    page.goto(report.as_uri())
    assert violations(page) == []
    assert not overflows(page)
    page.locator("#images a").nth(1).click()
    page.locator(".cxr-image:visible summary").click()
    assert violations(page) == []
    assert not overflows(page)


def test_without_scripts_every_image_is_there(browser, report):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(report.as_uri())
    assert page.locator(".cxr-image:visible").count() == 4
    assert "Heat maps need JavaScript." in page.locator(".cxr-caption").first.inner_text()
    context.close()


def test_it_prints_an_image_a_page(page):
    page.locator("#images a").nth(1).click()
    page.locator(".cxr-caption:visible", has_text="Heat map of").wait_for()
    assert len(re.findall(rb"/Type\s*/Page\b", page.pdf(format="A4"))) == 1
    page.get_by_role("link", name="Overview").click()
    page.locator("#images a").nth(1).click()
    image = page.locator(".cxr-image:visible")
    image.get_by_role("button", name="Hernia").click()
    page.get_by_role("link", name="Overview").click()
    expect(page.locator("#images")).to_be_visible()
    page.evaluate("window.print = () => { window.printed = document.querySelectorAll('.cxr-image.wanted').length; }")
    page.locator("#search").fill("0000")
    page.get_by_role("button", name="Print these images").click()
    assert page.evaluate("window.printed") == 3
    assert page.locator(".cxr-image.wanted").count() == 0
    page.locator("#images a").nth(1).click()
    expect(image.locator('.cxr-label[aria-pressed="true"]')).to_have_text("Hernia")
    expect(image.locator(".cxr-map")).not_to_have_attribute("width", "1")
