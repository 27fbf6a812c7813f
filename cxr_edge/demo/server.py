"""The demo's server: a model that is loaded once, and a private folder for uploads that is removed at the end."""

import atexit
import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any, Final, NoReturn

from cxr_edge.backends import Resources
from cxr_edge.demo.forgetting import Forgetting
from cxr_edge.errors import DemoUnavailable, how_to_get
from cxr_edge.images.limits import MEBIBYTE, InputLimits
from cxr_edge.model.bundle import MODEL_CARD, read_bundle
from cxr_edge.model.model import Model
from cxr_edge.support.loopback import is_loopback
from cxr_edge.support.parallel import usable_cores

DEFAULT_MAX_UPLOAD: Final = 32 * MEBIBYTE
#: Images that may wait, and visitors whose image is kept in memory.
QUEUE, VISITORS = 16, 16
#: Bytes that a form may add to its file.
_FORM: Final = MEBIBYTE

_upload_folder: str | None = None


def demo(
    bundle: str | os.PathLike[str] | None = None,
    *,
    device: str = "auto",
    precision: str | None = None,
    max_upload: int = DEFAULT_MAX_UPLOAD,
    concurrency: int = 1,
) -> "Demo":
    """Load a model and lay out the demo's page; `Demo.launch` opens it.

    Called in the main thread, this also makes SIGTERM end the process as `sys.exit` does, so that no upload is left.

    Parameters
    ----------
    bundle, device, precision
        As for `cxr_edge.load`.
    max_upload : int
        Largest image file, in bytes.
    concurrency : int
        Images processed at the same time; they share the cores.

    Returns
    -------
    Demo

    Raises
    ------
    DemoUnavailable
        The extra ``demo`` is not installed.
    BundleError, DeviceUnavailable, UnknownPrecision
        As for `cxr_edge.load`.
    ValueError
        `max_upload` is below 1 MiB, or `concurrency` below 1.
    """
    if max_upload < MEBIBYTE or concurrency < 1:
        raise ValueError(f"expected max_upload of at least {MEBIBYTE} and concurrency of at least 1")
    folder = _prepare_gradio()
    opened = read_bundle(bundle)
    # Between two visitors, spinning threads would keep cores busy for nothing.
    resources = Resources(threads=max(1, usable_cores() // concurrency), spinning=False)
    model = Model(opened, device, precision, resources, InputLimits(max_file_bytes=max_upload))
    from cxr_edge.demo.page import build

    card = opened.files[MODEL_CARD].decode() if MODEL_CARD in opened.files else "This bundle has no model card."
    return Demo(build(model, card, max_upload, concurrency), max_upload, folder)


class Demo:
    """The demo's page with its loaded model; made by `demo`."""

    def __init__(self, page: Any, max_upload: int, folder: Path) -> None:
        self._page, self._max_upload, self._folder = page, max_upload, folder
        self._forgetting: Forgetting | None = None

    def launch(
        self, host: str | None = None, port: int | None = None, *, open_browser: bool = False, block: bool = True
    ) -> str:
        """Serve the page.

        Parameters
        ----------
        host : str, optional
            Default: ``GRADIO_SERVER_NAME``, which a hosted Space sets, else ``127.0.0.1``.
        port : int, optional
            Default: ``GRADIO_SERVER_PORT``, else the first free port from 7860 on.
        open_browser : bool
        block : bool
            Return only when the server ends.

        Returns
        -------
        str
            The page's address.

        Raises
        ------
        DemoUnavailable
            The port or address cannot be used.
        """
        from gradio import themes
        from starlette.middleware import Middleware

        from cxr_edge.demo.bounds import Bounds
        from cxr_edge.demo.page import head

        if port is not None:
            _try_address(host or "127.0.0.1", port)
        local = is_loopback(host or os.environ.get("GRADIO_SERVER_NAME", "127.0.0.1"))
        bounds = Middleware(Bounds, most=self._max_upload + _FORM, folder=self._folder, local=local)
        self._page.queue(max_size=QUEUE)
        try:
            _, address, _ = self._page.launch(
                server_name=host,
                server_port=port,
                inbrowser=open_browser,
                prevent_thread_lock=True,
                quiet=True,
                share=False,
                ssr_mode=False,
                pwa=False,
                enable_monitoring=False,
                run_history=False,
                footer_links=[],
                max_file_size=self._max_upload,
                state_session_capacity=VISITORS,
                theme=themes.Base(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]),
                head=head(self._max_upload),
                app_kwargs={"middleware": [bounds]},
            )
        except OSError as error:
            raise DemoUnavailable(
                f"expected a free port, found none ({error}); end the program that uses it, or choose another port"
            ) from error
        self._forgetting = Forgetting(self._page.state_holder, self._folder)
        if block:
            self.wait()
        return str(address)

    def wait(self) -> None:
        """Wait until the server ends; Ctrl-C raises KeyboardInterrupt."""
        while self._page.is_running:
            time.sleep(0.2)

    def close(self) -> None:
        """End the server, and remove the data of its visitors."""
        self._page.close()
        if self._forgetting is not None:
            self._forgetting.end()


def _try_address(host: str, port: int) -> None:
    """Raise DemoUnavailable if an address cannot be used, with the reason: Gradio reports every one as a used port."""
    try:
        with socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET):
            pass
    except OSError as error:
        reason = str(error.strerror).partition(" (while")[0]
        raise DemoUnavailable(
            f"{host} port {port} cannot be listened on ({reason}); choose another port by --port, another "
            "address by --host, or end the program that uses it"
        ) from error


def _prepare_gradio() -> Path:
    """Import Gradio with telemetry off, and with a private upload folder that is removed when the process ends."""
    global _upload_folder
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    if _upload_folder is None:
        try:
            _upload_folder = tempfile.mkdtemp(prefix="cxr-edge-demo-")
        except OSError as error:
            raise DemoUnavailable(
                f"the demo needs a temporary folder for uploads, and none can be made ({error.strerror}); set TMPDIR "
                "to a folder that this user can write to"
            ) from error
        os.environ["GRADIO_TEMP_DIR"] = _upload_folder
        atexit.register(shutil.rmtree, Path(_upload_folder), ignore_errors=True)
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, _end)
    try:
        import gradio  # noqa: F401
    except ImportError as error:
        raise DemoUnavailable(f"the demo needs the package {error.name}; {how_to_get('demo')}") from error
    return Path(_upload_folder)


def _end(_signal: int, _frame: FrameType | None) -> NoReturn:
    """Exit on SIGTERM by `sys.exit`: by default Python would end at once, and leave uploads behind."""
    sys.exit(0)
