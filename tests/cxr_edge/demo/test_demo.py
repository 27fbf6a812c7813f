"""The demo in a real browser, as its own process: uploads, samples, errors, what is kept, and whom it asks."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import requests

from cxr_edge.demo.samples import samples
from tests.browser import DESKTOP, PHONE, overflows, pages_without_errors, violations
from tests.conftest import ROOT, SAMPLES

#: What Gradio's own page writes into the console of every visitor.
OF_GRADIO = "Method not implemented."


class Server:
    """``cxr-edge demo`` in a process of its own, with a folder for temporary files of its own."""

    def __init__(self, folder: Path, command: list[str]) -> None:
        self.folder = folder
        environment = {**os.environ, "TMPDIR": str(folder), "GRADIO_SERVER_PORT": "7934"}
        self.process = subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True)
        self.address = "http://127.0.0.1:7934/"
        for _ in range(600):
            try:
                requests.get(self.address, timeout=5)
                return
            except requests.ConnectionError:
                assert self.process.poll() is None, self.process.stderr.read()
                time.sleep(0.1)
        raise AssertionError("the demo did not start within a minute")

    def stop(self) -> str:
        self.process.send_signal(signal.SIGTERM)
        return self.process.communicate(timeout=30)[1]

    def kept(self) -> list[Path]:
        return [path for path in self.folder.rglob("*") if path.is_file() and path.stat().st_size]


DEMO = [sys.executable, "-m", "cxr_edge", "demo", "--port", "7934", "--device", "cpu", "--max-upload", "1"]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    started = Server(tmp_path_factory.mktemp("demo"), DEMO)
    yield started
    if started.process.poll() is None:
        started.stop()


@pytest.fixture
def new_page(browser):
    with pages_without_errors(browser, ignored=OF_GRADIO) as make:
        yield make


@pytest.fixture
def page(new_page, server):
    page = new_page(DESKTOP)
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(server.address)
    page.locator("input[type=file]").wait_for(state="attached")
    yield page
    assert [url for url in asked if not url.startswith((server.address, "data:", "blob:"))] == []


def upload(page, name: str, data: bytes) -> None:
    page.locator("input[type=file]").set_input_files({"name": name, "mimeType": "", "buffer": data})


def test_a_film_is_uploaded_explained_and_not_kept(page, server, model):
    upload(page, "<b>chest</b>.png", SAMPLES[1].read_bytes())
    film = page.locator(".cxr-film")
    film.wait_for()
    result = model.predict(SAMPLES[1])
    for finding in result.findings:
        row = film.locator("tr", has=page.get_by_role("button", name=finding.label, exact=True))
        assert f"{finding.probability:.3f}" in row.inner_text()
        assert ("positive" if finding.positive else "negative") in row.inner_text()
    film.get_by_role("button", name="Hernia").click()
    assert "Hernia (negative" in film.locator(".cxr-caption").inner_text()
    film.get_by_label("Heat map opacity").fill("10")
    assert film.locator(".cxr-map").evaluate("map => map.style.opacity") == "0.1"
    assert re.search(r"in 6 views .* in \d+ ms on cpu", page.locator(".demo-took").first.inner_text())
    assert server.kept() == []


def test_a_sample_by_other_thresholds_and_views(page, model):
    page.get_by_label("Or take a sample").click()
    page.get_by_role("option", name=SAMPLES[3].stem).click()
    page.locator(".cxr-film h2", has_text=SAMPLES[3].stem).wait_for()
    page.get_by_label("sensitivity_80").check()
    page.locator(".cxr-film dd", has_text="sensitivity_80").wait_for(state="attached")
    page.get_by_label("one view").check()
    page.locator(".cxr-film dd", has_text="one view").wait_for(state="attached")
    result = model.predict(SAMPLES[3], tta=False, operating_point="sensitivity_80")
    called = page.locator(".cxr-positive .cxr-label").all_inner_texts()
    assert called == [finding.label for finding in result.findings if finding.positive]


def test_what_cannot_be_read_is_told_and_stays_told(page, server):
    upload(page, "letter.txt", b"Dear colleague")
    alert = page.get_by_role("alert").filter(has_text="not_an_image")
    alert.wait_for()
    assert "letter.txt cannot be read" in alert.inner_text()
    upload(page, "cut.png", SAMPLES[0].read_bytes()[:5000])
    page.get_by_role("alert").filter(has_text="truncated").wait_for()
    assert server.kept() == []


def test_bodies_over_the_limit_and_files_are_refused(server):
    refused = requests.post(f"{server.address}gradio_api/upload", files={"files": bytes(3 * 2**20)}, timeout=30)
    assert refused.status_code == 413
    for path in ("gradio_api/file=/etc/passwd", f"gradio_api/file={SAMPLES[0]}", "file=x"):
        assert requests.get(server.address + path, timeout=30).status_code == 404
    assert server.kept() == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_it_is_accessible_and_fits(viewport, scheme, new_page, server):
    page = new_page(viewport, color_scheme=scheme)
    page.goto(server.address)
    page.locator("input[type=file]").wait_for(state="attached")
    upload(page, "film.png", SAMPLES[2].read_bytes())
    page.locator(".cxr-film").wait_for()
    assert "not for diagnosis" in page.locator(".demo-head").inner_text()
    assert violations(page) == []
    assert not overflows(page)
    page.get_by_role("button", name="Model card").click()
    page.get_by_role("heading", name="Intended use").wait_for()
    assert not overflows(page)


def test_a_port_in_use_and_the_end(server):
    second = subprocess.run(DEMO, capture_output=True, text=True, timeout=120)
    assert second.returncode == 2
    assert "demo_unavailable" in second.stderr
    assert "choose another port" in second.stderr
    told = server.stop()
    assert "not for diagnosis" in told
    assert server.process.returncode == 0
    assert [path for path in server.folder.iterdir() if path.name.startswith("cxr-edge-demo-")] == []


def test_the_three_lines_of_a_hosted_space(tmp_path):
    (code,) = re.findall(r"```python\n(from cxr_edge.demo.*?)```", (ROOT / "docs" / "demo.md").read_text(), re.DOTALL)
    (tmp_path / "app.py").write_text(code)
    Server(tmp_path, [sys.executable, "app.py"]).stop()


def test_the_samples_are_those_of_the_clone():
    assert samples() == {path.stem: path for path in SAMPLES}
