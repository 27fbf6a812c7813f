"""Removal of visitors' data: uploads on disk, and images in memory.

Gradio itself keeps the image of a closed page for an hour, the result that was shown for ever, and an interrupted
upload on disk until the server ends.
"""

import shutil
import threading
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

#: Seconds after its last use at which an image is removed from memory.
IMAGE_SECONDS: Final = 600
#: Seconds that an upload stays on disk; it is read within a few, unless others are before it.
UPLOAD_SECONDS: Final = 120


class Forgetting:
    """A thread that removes old images and uploads, every few seconds.

    Parameters
    ----------
    sessions : gradio.state_holder.StateHolder
    folder : Path
        Gradio's upload folder.
    image_seconds, upload_seconds : float
    """

    def __init__(
        self, sessions: Any, folder: Path, image_seconds: float = IMAGE_SECONDS, upload_seconds: float = UPLOAD_SECONDS
    ) -> None:
        self._sessions, self._folder = sessions, folder
        self._image_seconds, self._upload_seconds = image_seconds, upload_seconds
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="forgetting", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Stop the thread; what is left is removed with the folder and the process."""
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(min(self._image_seconds, self._upload_seconds) / 12):
            self._forget_images()
            self._forget_uploads()

    def _forget_images(self) -> None:
        """Remove sessions whose page is closed or that have expired, with everything shown in them."""
        limit = datetime.now() - timedelta(seconds=self._image_seconds)  # noqa: DTZ005 - as Gradio records it
        holder = self._sessions
        for name, session in list(holder.session_data.items()):
            if session.is_closed or holder.time_last_used.get(name, limit) <= limit:
                with holder.lock:
                    holder.session_data.pop(name, None)
                    holder.time_last_used.pop(name, None)

    def _forget_uploads(self) -> None:
        limit = time.time() - self._upload_seconds
        for path in list(self._folder.iterdir()):
            try:
                if max(below.stat().st_mtime for below in (path, *path.rglob("*"))) <= limit:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
            except FileNotFoundError:
                continue  # Gradio moved it: the next round sees it
