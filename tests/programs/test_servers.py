"""Servers that load a program once and fork their workers from it: gunicorn --preload, uWSGI without lazy-apps."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from urllib.error import URLError
from urllib.request import urlopen

import psutil
import pytest

from benchmarks.dicom import dicom_files
from benchmarks.dicom.dicom_files import JPEG_2000, image, written
from cxr_edge import images
from tests.conftest import ROOT, free_port

pytestmark = pytest.mark.slow

#: A server that hangs is killed, after a time in which no machine would still be at work.
PATIENCE = 120

APPLICATION = """
import json, os
import cxr_edge
model = cxr_edge.load(device="cpu", threads=2, spinning=False)
if os.environ["WARM"]:
    model.predict(os.environ["PNG"], tta=False)
def application(environ, start_response):
    source = os.environ["DICOM" if environ["PATH_INFO"] == "/dicom" else "PNG"]
    try:
        answer = model.predict(source, tta=False).probabilities
    except cxr_edge.CxrEdgeError as error:
        answer = f"{error.code}: {error}"
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(answer).encode()]
"""

SERVERS = {
    "gunicorn": [
        "-m", "gunicorn", "--preload", "--workers=2", "--bind=127.0.0.1:{port}", "--no-control-socket",
        f"--graceful-timeout={2 * PATIENCE}", "application:application",
    ],
    "uwsgi": [
        "-c", "import pyuwsgi; pyuwsgi.run()", "--master", "--processes=2", "--http-socket=127.0.0.1:{port}",
        "--wsgi-file=application.py", "--die-on-term", "--need-app", f"--worker-reload-mercy={2 * PATIENCE}",
    ],
}  # fmt: skip


@pytest.fixture(params=["", "warm"], ids=["cold", "warm"])
def warm(request) -> str:
    return request.param


@pytest.fixture(params=SERVERS)
def server(request, warm, image_path, tmp_path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A server with two workers, and its address."""
    compressed = tmp_path / "image.dcm"
    compressed.write_bytes(written(dicom_files.compressed(image(images.read_image(image_path).pixels), JPEG_2000)))
    (tmp_path / "application.py").write_text(APPLICATION)
    port = free_port()
    environment = {"PYTHONPATH": str(ROOT), "WARM": warm, "PNG": str(image_path), "DICOM": str(compressed)}
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, *(word.format(port=port) for word in SERVERS[request.param])],
            cwd=tmp_path,
            env={**os.environ, **environment},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        yield process, f"http://127.0.0.1:{port}"
    finally:
        if process.poll() is None:
            for child in psutil.Process(process.pid).children(recursive=True):
                child.kill()
            process.kill()
            process.wait()
            pytest.fail(f"the server did not end: {(tmp_path / 'log').read_text()}")


def get(address: str) -> object:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            with urlopen(address, timeout=PATIENCE) as answer:
                return json.load(answer)
        except URLError:
            assert time.monotonic() < deadline
            time.sleep(0.1)


def test_workers_answer_and_the_server_stops(server, model, image_path):
    process, address = server
    expected = model.predict(image_path, tta=False).probabilities
    assert [get(f"{address}/{kind}") for kind in ("png", "dicom") * 2] == [expected] * 4
    everyone = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE) == 0
    gone, alive = psutil.wait_procs(everyone, PATIENCE)
    assert not alive
    assert len(gone) >= 3, "two workers, and at least one decoder"


def test_workers_that_predicted_nothing_stop_too(server):
    process, address = server
    get(f"{address}/png")
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE) == 0
