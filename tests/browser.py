"""A real browser for the tests: headless Chromium, pages that report their errors, and axe-core."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

#: Chromium has no sandbox when run as root; the other arguments keep it from using the network on its own.
ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
]  # fmt: skip

DESKTOP = {"width": 1280, "height": 900}
PHONE = {"width": 360, "height": 740}

NewPage = Callable[..., Page]


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start Chromium, or skip the test if it is not installed."""
    if CHROMIUM is None:
        pytest.skip("needs a Chromium on the PATH (Debian: chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@contextmanager
def pages_without_errors(browser: Browser, ignored: str = "") -> Iterator[NewPage]:
    """Yield a function that opens pages; fail at the end if the console of one had an error, or another warning."""
    errors: list[str] = []
    contexts = []

    def new_page(viewport: dict[str, int] = DESKTOP, **options: Any) -> Page:
        context = browser.new_context(viewport=viewport, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda line: errors.append(line.text) if line.type in {"error", "warning"} else None)
        return page

    yield new_page
    for context in contexts:
        context.close()
    assert [error for error in errors if error != ignored] == []


def violations(page: Page, *, within: str | None = None) -> list[str]:
    """Return what axe-core finds serious or critical: rule, count, and the first place."""
    found = Axe().run(page, context=within).response["violations"]
    return [
        f"{rule['id']} ({len(rule['nodes'])}): {rule['nodes'][0]['target']} {rule['nodes'][0]['failureSummary']}"
        for rule in found
        if rule["impact"] in {"serious", "critical"}
    ]


def overflows(page: Page) -> bool:
    """Return whether a page must be scrolled sideways."""
    return bool(page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth"))
