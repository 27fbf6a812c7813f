"""The filter before Gradio: it refuses every request that the demo's own page does not make."""

import json
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from cxr_edge.support.loopback import is_loopback

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

#: Largest body, in bytes, of a request that is not an upload: choices, and the name of an upload.
MAX_REQUEST_BYTES: Final = 65_536
#: Uploads of the largest size that the folder may hold.
MAX_WAITING_UPLOADS: Final = 16

_UPLOAD, _EVENT = "/gradio_api/upload", "/gradio_api/queue/join"
_ALLOWED: Final = {
    "GET": (
        "/", "/theme.css", "/favicon.ico", "/robots.txt",
        "/gradio_api/queue/data", "/gradio_api/upload_progress", "/gradio_api/startup-events", "/gradio_api/app_id",
    ),
    "HEAD": ("/",),
    "POST": (_UPLOAD, _EVENT, "/gradio_api/reset", "/gradio_api/cancel"),
}  # fmt: skip
_ALLOWED_BELOW: Final = {"GET": ("/static/", "/assets/", "/svelte/", "/gradio_api/heartbeat/")}


class Bounds:
    """ASGI middleware that passes on only the requests of the demo's page.

    Gradio offers far more than this page needs: it serves any file of its upload folder by name, fetches URLs that a
    visitor names, runs events past the queue, and writes sessions to disk.

    Parameters
    ----------
    app : ASGI application
    most : int
        Largest upload, in bytes.
    folder : Path
        Gradio's upload folder.
    local : bool
        Whether the server listens on loopback. Requests by any other host name are then refused (DNS rebinding).
    """

    def __init__(self, app: App, most: int, folder: Path, local: bool) -> None:
        self._app, self._most, self._folder, self._local = app, most, folder.resolve(), local

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        path = scope["path"]
        most = self._most if path == _UPLOAD else MAX_REQUEST_BYTES
        announced = headers.get("content-length", "0")
        if not _is_allowed(scope["method"], path):
            await _refuse(send, 404, "This server answers only what its own page requests.")
        elif self._is_foreign(headers, scope["method"]):
            await _refuse(
                send,
                403,
                "Expected a request from this server's own page: open it by its own address, such as localhost.",
            )
        elif not announced.isdecimal() or len(announced) > 20 or int(announced) > most:
            await _refuse(send, 413, f"Expected at most {most} bytes.")
        elif path == _UPLOAD and _bytes_below(self._folder) > MAX_WAITING_UPLOADS * self._most:
            await _refuse(send, 503, "Too many uploads are waiting: try again in a minute.")
        elif path == _EVENT:
            await self._pass_event(scope, receive, send)
        else:
            await self._app(scope, _counted(receive, most), send)

    def _is_foreign(self, headers: dict[str, str], method: str) -> bool:
        """Return whether a request is from another site's page; links to the page are allowed."""
        if self._local and not is_loopback(urlsplit(f"//{headers.get('host', '')}").hostname or ""):
            return True
        is_link = method == "GET" and headers.get("sec-fetch-mode") == "navigate"
        return headers.get("sec-fetch-site") == "cross-site" and not is_link

    async def _pass_event(self, scope: Message, receive: Receive, send: Send) -> None:
        """Pass an event on if every file that it names is an upload; refuse it otherwise."""
        counted, body = _counted(receive, MAX_REQUEST_BYTES), b""
        more = True
        while more:
            message = await counted()
            if message["type"] == "http.disconnect":
                return
            body, more = body + message.get("body", b""), message.get("more_body", False)
        try:
            named = list(_paths(json.loads(body)))
        except (ValueError, RecursionError):
            await _refuse(send, 400, "Expected JSON.")
            return
        if not all(self._is_upload(path) for path in named):
            await _refuse(send, 400, "Expected an image that was uploaded.")
            return
        whole = iter([{"type": "http.request", "body": body, "more_body": False}])

        async def again() -> Message:
            return next(whole, None) or await receive()

        await self._app(scope, again, send)

    def _is_upload(self, path: object) -> bool:
        if not isinstance(path, str) or "\0" in path:
            return False
        return Path(path).resolve().is_relative_to(self._folder)


def _is_allowed(method: str, path: str) -> bool:
    if ".." in path:
        return False
    return path in _ALLOWED.get(method, ()) or path.startswith(_ALLOWED_BELOW.get(method, ("\0",)))


def _paths(value: object) -> Iterator[object]:
    """Yield every value under a key ``path``, at any depth."""
    if isinstance(value, dict):
        for key, below in value.items():
            if key == "path":
                yield below
            else:
                yield from _paths(below)
    elif isinstance(value, list):
        for below in value:
            yield from _paths(below)


def _bytes_below(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size
        except FileNotFoundError:
            continue  # removed meanwhile
    return total


def _counted(receive: Receive, most: int) -> Receive:
    """Wrap `receive` so that a body of more than `most` bytes ends as if the client had disconnected."""
    received = 0

    async def counted() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        return message if received <= most else {"type": "http.disconnect"}

    return counted


async def _refuse(send: Send, status: int, why: str) -> None:
    body = why.encode()
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
