"""What the demo's server refuses before Gradio sees it: everything that its page does not ask for."""

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

#: Bytes of a request that is no upload: choices, and the name of an upload.
MOST_WORDS: Final = 65_536
#: Uploads that may wait in the folder, in lengths of the longest.
WAITING: Final = 16

_UPLOAD, _EVENT = "/gradio_api/upload", "/gradio_api/queue/join"
_ASKED: Final = {
    "GET": (
        "/", "/theme.css", "/favicon.ico", "/robots.txt",
        "/gradio_api/queue/data", "/gradio_api/upload_progress", "/gradio_api/startup-events", "/gradio_api/app_id",
    ),
    "HEAD": ("/",),
    "POST": (_UPLOAD, _EVENT, "/gradio_api/reset", "/gradio_api/cancel"),
}  # fmt: skip
_ASKED_BELOW: Final = {"GET": ("/static/", "/assets/", "/svelte/", "/gradio_api/heartbeat/")}


class Bounds:
    """ASGI middleware.

    Gradio offers far more than this page needs: it gives out what lies in its upload folder to whoever names it,
    fetches addresses that a visitor names, runs events past the queue, writes sessions to disk.

    Parameters
    ----------
    app : ASGI application
    most : int
        Bytes of an upload.
    folder : Path
        Where Gradio puts uploads.
    local : bool
        The server listens on loopback: a page elsewhere whose name leads here is refused (DNS rebinding).
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
        most = self._most if path == _UPLOAD else MOST_WORDS
        announced = headers.get("content-length", "0")
        if not _is_asked(scope["method"], path):
            await _refuse(send, 404, "The page of this server asks for nothing of that name.")
        elif self._is_foreign(headers, scope["method"]):
            await _refuse(
                send, 403, "Another site's page asks: open this server by its own address, such as localhost."
            )
        elif not announced.isdecimal() or len(announced) > 20 or int(announced) > most:
            await _refuse(send, 413, f"Expected at most {most} bytes.")
        elif path == _UPLOAD and _bytes_below(self._folder) > WAITING * self._most:
            await _refuse(send, 503, "Too many uploads wait: try again in a minute.")
        elif path == _EVENT:
            await self._pass_event(scope, receive, send)
        else:
            await self._app(scope, _counted(receive, most), send)

    def _is_foreign(self, headers: dict[str, str], method: str) -> bool:
        """Tell whether a browser says that another site asks; anybody may link to the page."""
        if self._local and not is_loopback(urlsplit(f"//{headers.get('host', '')}").hostname or ""):
            return True
        is_link = method == "GET" and headers.get("sec-fetch-mode") == "navigate"
        return headers.get("sec-fetch-site") == "cross-site" and not is_link

    async def _pass_event(self, scope: Message, receive: Receive, send: Send) -> None:
        """Pass an event on whose files, if it names any, are uploads."""
        counted, body = _counted(receive, MOST_WORDS), b""
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


def _is_asked(method: str, path: str) -> bool:
    if ".." in path:
        return False
    return path in _ASKED.get(method, ()) or path.startswith(_ASKED_BELOW.get(method, ("\0",)))


def _paths(value: object) -> Iterator[object]:
    """Give whatever an event calls a path, however deep."""
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
            continue  # forgotten meanwhile
    return total


def _counted(receive: Receive, most: int) -> Receive:
    """Take what is more than announced, or was not announced and is too much, for the end of the connection."""
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
