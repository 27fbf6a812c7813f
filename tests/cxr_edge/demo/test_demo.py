"""The demo in a real browser, as its own process: uploads, samples, errors, kept data, and network requests."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests
from playwright.sync_api import expect

from cxr_edge.demo.samples import samples
from tests.browser import DESKTOP, PHONE, overflows, pages_without_errors, violations
from tests.conftest import ROOT, SAMPLES, free_port
from tests.documentation.blocks import blocks_of

#: A console message of Gradio's own page, for every visitor.
OF_GRADIO = "Method not implemented."


class Server:
    """``cxr-edge demo`` in its own process, with its own folder for temporary files."""

    def __init__(self, folder: Path, command: list[str]) -> None:
        self.folder, self.port = folder, free_port()
        environment = {**os.environ, "TMPDIR": str(folder), "GRADIO_SERVER_PORT": str(self.port)}
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        command = [part.format(port=self.port) for part in command]
        self.process = subprocess.Popen(command, cwd=folder, env=environment, text=True, **pipes)
        self.address = f"http://127.0.0.1:{self.port}/"
        for _ in range(600):
            try:
                requests.get(self.address, timeout=5)
                return
            except requests.ConnectionError:
                assert self.process.poll() is None, self.process.stderr.read()
                time.sleep(0.1)
        self.process.kill()
        raise AssertionError("the demo did not start within a minute")

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *failure: object) -> None:
        if self.process.poll() is None:
            self.stop()

    def stop(self) -> str:
        self.process.send_signal(signal.SIGTERM)
        return self.process.communicate(timeout=30)[1]

    def kept(self) -> list[Path]:
        """Return everything in Gradio's folder, and all files elsewhere."""
        (uploads,) = self.folder.glob("cxr-edge-demo-*")
        return [*uploads.iterdir(), *(path for path in self.folder.iterdir() if path.is_file())]

    def wait_for(self, holds: Callable[[], bool], what: str) -> None:
        for _ in range(600):
            if holds():
                return
            time.sleep(0.1)
        raise AssertionError(f"not within a minute: {what}; kept: {self.kept()}")


DEMO = [sys.executable, "-m", "cxr_edge", "demo", "--port", "{port}", "--device", "cpu", "--max-upload", "1"]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with Server(tmp_path_factory.mktemp("demo"), DEMO) as started:
        yield started


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


def test_an_image_is_uploaded_explained_and_not_kept(page, server, model):
    upload(page, "<b>chest</b>.png", SAMPLES[1].read_bytes())
    image = page.locator(".cxr-image")
    image.wait_for()
    result = model.predict(SAMPLES[1])
    for finding in result.findings:
        row = image.locator("tr", has=page.get_by_role("button", name=finding.label, exact=True))
        assert f"{finding.probability:.3f}" in row.inner_text()
        assert ("positive" if finding.positive else "negative") in row.inner_text()
    image.get_by_role("button", name="Hernia").click()
    assert "Hernia (negative" in image.locator(".cxr-caption").inner_text()
    image.get_by_label("Heat map opacity").fill("10")
    assert image.locator(".cxr-map").evaluate("map => map.style.opacity") == "0.1"
    assert re.search(r"in 6 TTA variants .* in \d+ ms on cpu", page.locator(".demo-took").first.inner_text())


def test_a_sample_with_other_thresholds_and_tta_mode(page, model):
    page.get_by_label("Or choose a sample").click()
    page.get_by_role("option", name=SAMPLES[3].stem).click()
    page.locator(".cxr-image h2", has_text=SAMPLES[3].stem).wait_for()
    caption = page.locator(".cxr-caption")
    expect(caption).to_contain_text(f"Heat map of {model.predict(SAMPLES[3]).findings[0].label}")
    page.get_by_role("button", name="Mass").click()
    page.get_by_label("sensitivity_80").check()
    page.locator(".cxr-image dd", has_text="sensitivity_80").wait_for(state="attached")
    expect(caption).to_contain_text("Heat map of Mass")
    page.get_by_label("the unchanged image").check()
    page.locator(".cxr-image dd", has_text="one TTA variant").wait_for(state="attached")
    expect(caption).to_contain_text("Heat map of Mass")
    assert page.locator(".cxr-map").evaluate("map => map.width") == 512
    result = model.predict(SAMPLES[3], tta=False, operating_point="sensitivity_80")
    called = page.locator(".cxr-positive .cxr-label").all_inner_texts()
    assert called == [finding.label for finding in result.findings if finding.positive]


def test_what_cannot_be_read_is_reported_and_stays_reported(page, server):
    upload(page, "letter.txt", b"Dear colleague")
    alert = page.get_by_role("alert").filter(has_text="not_an_image")
    alert.wait_for()
    assert "letter.txt cannot be read" in alert.inner_text()
    upload(page, "cut.png", SAMPLES[0].read_bytes()[:5000])
    page.get_by_role("alert").filter(has_text="truncated").wait_for()


def test_an_image_that_is_too_large_is_reported_beside_the_one_before(page):
    upload(page, "first.png", SAMPLES[1].read_bytes())
    page.locator(".cxr-image h2", has_text="first.png").wait_for()
    upload(page, "large.dcm", bytes(2 * 2**20))
    alert = page.locator("#demo-refused")
    expect(alert).to_have_text("large.dcm is larger than 1 MiB and was not read. The image below is the one before it.")
    upload(page, "third.png", SAMPLES[3].read_bytes())
    page.locator(".cxr-image h2", has_text="third.png").wait_for()
    expect(page.locator(".cxr-caption")).to_contain_text("Heat map of")
    expect(alert).to_have_count(0)


def test_what_the_page_does_not_ask_for_is_refused(server):
    for path in ("gradio_api/file=/etc/passwd", f"gradio_api/file={SAMPLES[0]}", "file=x", "config", "gradio_api/info",
                 "gradio_api/deep_link?session_hash=x", "static/../config"):  # fmt: skip
        assert requests.get(server.address + path, timeout=30).status_code == 404, path
    for path in ("run/take_sample", "api/take_sample", "call/take_sample", "vibe-edit"):
        answered = requests.post(f"{server.address}gradio_api/{path}", json={"data": []}, timeout=30)
        assert answered.status_code == 404, path


def announced(size: int) -> Iterator[bytes]:
    """Yield a body without an announced length."""
    yield from [bytes(2**16)] * (size // 2**16)


def test_bodies_over_the_limit_are_refused(server):
    for body in ({"files": {"files": bytes(3 * 2**20)}}, {"data": announced(3 * 2**20)}):
        answered = requests.post(f"{server.address}gradio_api/upload", **body, timeout=30)
        assert answered.status_code in {400, 413}
    long = {"data": ["x" * 2**17, "tta", "max_f1"], "fn_index": 1, "session_hash": "long"}
    assert requests.post(f"{server.address}gradio_api/queue/join", json=long, timeout=30).status_code == 413


@pytest.mark.parametrize("path", ["https://example.com/", "http:/example.com", "/etc/passwd", "../../etc/passwd", 1])
def test_an_image_that_was_not_uploaded_is_not_fetched(path, server):
    """Gradio itself would fetch a URL, whatever its size."""
    image = {"path": path, "meta": {"_type": "gradio.FileData"}}
    event = {"data": [image, "tta", "max_f1"], "fn_index": 0, "trigger_id": 5, "session_hash": "elsewhere"}
    answered = requests.post(f"{server.address}gradio_api/queue/join", json=event, timeout=30)
    assert (answered.status_code, answered.text) == (400, "Expected an image that was uploaded.")


def test_pages_of_other_sites_are_refused(server):
    def get(**headers: str) -> int:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return requests.get(server.address, headers=named, timeout=30).status_code

    assert get(Host=f"evil.example:{server.port}") == 403  # its name leads to loopback: DNS rebinding
    assert get(Host=f"localhost:{server.port}") == get(Host=f"[::1]:{server.port}") == get(Host="127.0.0.1") == 200
    assert get(Sec_Fetch_Site="cross-site") == 403
    assert get(Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="navigate") == 200  # a link
    assert get(Sec_Fetch_Site="same-origin") == 200


#: A demo that removes within seconds what it otherwise removes within minutes.
SOON = """
from functools import partial

from cxr_edge.demo import server

server.Forgetting = partial(server.Forgetting, image_seconds=30, upload_seconds=8)
demo = server.demo(max_upload=1 << 20)
demo.launch(block=False)
while True:
    input()
    sessions = list(demo._page.state_holder.session_data.values())
    print(sum("cxr-image" in str(vars(session)) for session in sessions), flush=True)
"""


@pytest.fixture
def forgetful(tmp_path):
    (tmp_path / "soon.py").write_text(SOON)
    with Server(tmp_path, [sys.executable, "soon.py"]) as server:
        (tmp_path / "soon.py").unlink()
        yield server


def test_images_and_uploads_are_removed(forgetful, new_page):
    """Images of a closed page at once, of an open one after a while; interrupted uploads, too."""
    server = forgetful

    def held() -> int:
        server.process.stdin.write("\n")
        server.process.stdin.flush()
        return int(server.process.stdout.readline())

    pages = [new_page(), new_page()]
    for page in pages:
        page.goto(server.address)
        page.locator("input[type=file]").wait_for(state="attached")
        upload(page, "chest.png", SAMPLES[1].read_bytes())
        page.locator(".cxr-image").wait_for()  # the same image under one name, of two visitors
    with socket.create_connection(("127.0.0.1", server.port)) as broken:
        head = f"POST /gradio_api/upload HTTP/1.1\r\nHost: localhost\r\nContent-Length: {2**19}\r\n"
        broken.sendall(f"{head}Content-Type: multipart/form-data; boundary=b\r\n\r\n".encode())
        broken.sendall(b'--b\r\nContent-Disposition: form-data; name="files"; filename="x.png"\r\n\r\n' + bytes(2**18))
        server.wait_for(lambda: len(server.kept()) > 0, "an upload on disk")
    assert held() == 2
    pages[0].close()
    server.wait_for(lambda: held() == 1, "the image of the closed page is removed")
    server.wait_for(lambda: held() == 0, "the image of the unused page is removed")
    server.wait_for(lambda: server.kept() == [], "uploads are removed")
    pages[1].get_by_label("sensitivity_80").check()
    expect(pages[1].locator("#shown")).to_contain_text("No image is loaded, or it has been removed")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_it_is_accessible_and_fits(viewport, scheme, new_page, server):
    page = new_page(viewport, color_scheme=scheme)
    page.goto(server.address)
    page.locator("input[type=file]").wait_for(state="attached")
    upload(page, "image.png", SAMPLES[2].read_bytes())
    page.locator(".cxr-image").wait_for()
    assert "not for diagnosis" in page.locator(".demo-head").inner_text()
    assert violations(page) == []
    assert not overflows(page)
    page.get_by_role("button", name="Model card").click()
    page.get_by_role("heading", name="Intended use").wait_for()
    assert not overflows(page)


def test_on_a_phone_a_new_result_comes_into_view_and_settings_do_not_move_the_page(new_page, server):
    page = new_page(PHONE, reduced_motion="reduce")
    page.goto(server.address)
    page.locator("input[type=file]").wait_for(state="attached")
    for name, data, result in (("image.png", SAMPLES[3].read_bytes(), ".cxr-image h2"), ("a.png", b"x", ".demo-alert")):
        page.evaluate("scrollTo(0, 0)")
        upload(page, name, data)
        page.locator("#shown").locator(result, has_text=name).wait_for()
        page.wait_for_function("scrollY > 0")
        expect(page.locator("#shown").locator(result)).to_be_in_viewport()
    upload(page, "image.png", SAMPLES[3].read_bytes())
    image = page.locator(".cxr-image")
    image.wait_for()
    page.evaluate("scrollTo(0, 0)")
    page.get_by_label("youden").check()
    image.get_by_text("youden", exact=False).first.wait_for(state="attached")
    assert page.evaluate("scrollY") == 0


def test_a_port_in_use_and_the_end(server):
    same = [part.format(port=server.port) for part in DEMO]
    second = subprocess.run(same, capture_output=True, text=True, timeout=120)
    assert second.returncode == 2
    assert "demo_unavailable" in second.stderr
    in_use = f"127.0.0.1 port {server.port} cannot be listened on (Address already in use); choose another port"
    assert in_use in second.stderr
    nowhere = subprocess.run([*same[:-4], "--host", "192.0.2.1"], capture_output=True, text=True, timeout=120)
    assert nowhere.returncode == 2
    assert f"192.0.2.1 port {server.port} cannot be listened on (Cannot assign requested address)" in nowhere.stderr
    printed = server.stop()
    assert "not for diagnosis" in printed
    assert server.process.returncode == 0
    assert [path for path in server.folder.iterdir() if path.name.startswith("cxr-edge-demo-")] == []


def test_the_three_lines_of_a_hosted_space(tmp_path):
    (code,) = (block.code for block in blocks_of(ROOT / "docs" / "demo.md") if block.language == "python")
    (tmp_path / "app.py").write_text(code)
    with Server(tmp_path, [sys.executable, "app.py"]) as server:
        image = {"files": ("image.png", SAMPLES[0].read_bytes())}
        assert requests.post(f"{server.address}gradio_api/upload", files=image, timeout=30).status_code == 200
        assert list(tmp_path.glob("cxr-edge-demo-*/*/image.png"))
    assert server.process.returncode == 0
    assert list(tmp_path.iterdir()) == [tmp_path / "app.py"]


def test_the_samples_are_those_of_the_clone():
    assert samples() == {path.stem: path for path in SAMPLES}
