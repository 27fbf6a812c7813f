"""Measure size and speed of the HTML report of many images: ``python -m benchmarks.report_page``.

Needs Chromium and the group ``dev`` (Playwright).
"""

import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import psutil
import typer
from playwright.sync_api import Browser, Page, sync_playwright

from benchmarks.images import SAMPLES, find_images, link_images
from benchmarks.measure import machine

MEGABYTE = 1e6
#: Actions of a person in a report, as scripts.
ACTIONS = {
    "sort by probability": "document.querySelector('[data-key=probability]').click()",
    "filter by name": "{ const s = document.getElementById('search'); s.value = '7'; "
    "s.dispatchEvent(new Event('input', { bubbles: true })) }",
    "open an image": "location.hash = document.querySelector('#images tbody tr:not([hidden]) a').hash",
}


def main(
    counts: Annotated[
        list[int] | None, typer.Option("--images", metavar="N", help="Images in a report; repeatable.")
    ] = None,
    folder: Annotated[Path, typer.Option(metavar="DIR", help="Real images, repeated under new names.")] = SAMPLES,
    rounds: Annotated[int, typer.Option(min=1)] = 5,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the figures here, as JSON.")] = None,
) -> None:
    """Make reports of 10, 100 and 1,000 images, and open each in turn in a new browser."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        raise typer.BadParameter("expected chromium on the PATH (Debian: chromium)", param_hint="browser")
    images = find_images(folder)
    with tempfile.TemporaryDirectory() as work:
        reports = {count: _make(images, count, Path(work)) for count in counts or (10, 100, 1000)}
        opened: dict[int, list[dict[str, float]]] = {count: [] for count in reports}
        with sync_playwright() as playwright:
            for _ in range(rounds):
                for count, made in reports.items():
                    browser = playwright.chromium.launch(
                        executable_path=chromium, args=["--no-sandbox", "--disable-background-networking"]
                    )
                    opened[count].append(_open(browser, made["file"]))
                    browser.close()
    figures = {
        str(count): {
            "megabytes": made["file_bytes"] / MEGABYTE,
            "seconds of the run, with and without --report": made["seconds"],
            "megabytes of the run, with and without --report": made["memory"],
            "seconds to write it again": made["again"],
            "n": rounds,
            **{name: statistics.median(one[name] for one in opened[count]) for name in opened[count][0]},
        }
        for count, made in reports.items()
    }
    text = json.dumps({"machine": machine(), "distinct images": len(images), "reports": figures}, indent=2)
    typer.echo(text)
    if out is not None:
        out.write_text(text + "\n")


def _make(images: list[Path], count: int, work: Path) -> dict[str, Any]:
    inputs, results = work / f"{count}-images", work / f"{count}-results"
    inputs.mkdir()
    link_images(images, count, inputs)
    seconds, memory = _infer(inputs, results, "--report")
    again, _ = _infer(inputs, results, "--report")
    without = _infer(inputs, work / f"{count}-without")
    file = results / "report.html"
    return {
        "file": file.as_uri(),
        "file_bytes": file.stat().st_size,
        "seconds": [seconds, without[0]],
        "memory": [memory, without[1]],
        "again": again,
    }


def _infer(inputs: Path, out: Path, *options: str) -> tuple[float, float]:
    """Return a run's duration in seconds, and the peak memory of its process in megabytes."""
    started = time.perf_counter()
    command = [sys.executable, "-m", "cxr_edge", "infer", inputs, "--out", out, "--device", "cpu", *options]
    process = subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    watched, most = psutil.Process(process.pid), 0
    while process.poll() is None:
        try:
            most = max(most, watched.memory_info().rss)
        except psutil.NoSuchProcess:
            break
        time.sleep(0.02)
    if process.wait():
        raise SystemExit(f"cxr-edge infer ended with {process.returncode}")
    return time.perf_counter() - started, most / MEGABYTE


def _open(browser: Browser, url: str) -> dict[str, float]:
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    started = time.perf_counter()
    page.goto(url, wait_until="load")
    _settle(page)
    figures = {"seconds to open": time.perf_counter() - started, "megabytes of the page": _renderer_memory()}
    for name, script in ACTIONS.items():
        started = time.perf_counter()
        page.evaluate(script)
        _settle(page)
        figures[f"seconds to {name}"] = time.perf_counter() - started
    return figures


def _settle(page: Page) -> None:
    """Wait until the page has drawn its next frame."""
    page.evaluate("new Promise((done) => requestAnimationFrame(() => setTimeout(done)))")


def _renderer_memory() -> float:
    """Return the resident memory of the browser's largest page process, in megabytes."""
    pages = [p for p in psutil.Process().children(recursive=True) if "--type=renderer" in " ".join(p.cmdline())]
    return max(page.memory_info().rss for page in pages) / MEGABYTE


if __name__ == "__main__":
    typer.run(main)
