"""What the demo's server refuses before Gradio sees it: bodies that are too large, and files."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]


class Bounds:
    """ASGI middleware.

    Gradio gives out what lies in its upload folder to whoever names it, and so would give one visitor's film to
    another. The page needs no file, so that none is given out.

    Parameters
    ----------
    app : ASGI application
    most : int
        Bytes of a request's body.
    """

    def __init__(self, app: App, most: int) -> None:
        self._app, self._most = app, most

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if any(part in scope["path"] for part in ("/file=", "/file/", "/proxy=", "/stream/")):
            await _refuse(send, 404, "This server gives out no files.")
            return
        announced = dict(scope["headers"]).get(b"content-length", b"0")
        if not announced.isdigit() or int(announced) > self._most:
            await _refuse(send, 413, f"Expected at most {self._most} bytes.")
            return
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            # A body of unannounced length: what is too much is taken for the end of the connection.
            return message if received <= self._most else {"type": "http.disconnect"}

        await self._app(scope, counted, send)


async def _refuse(send: Send, status: int, why: str) -> None:
    body = why.encode()
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
