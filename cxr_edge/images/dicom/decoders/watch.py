"""End a process that is late: by its own CPU time, and by the wall's clock once it must be frozen.

CPU time, because on a throttled or busy machine the clock on the wall says nothing of the work: a good image would be
refused. On POSIX systems the process limits its CPU time itself (`limit_cpu`, a timer of the kernel); on Windows, which
has no such timer, the parent reads it.
"""

import signal
import subprocess
import sys
import threading
import time
from typing import Final

#: How often the parent reads the CPU time where the system does not limit it.
_READ_SECONDS: Final = 0.1


class Watch:
    """Watches a process from now on until `stop`.

    Parameters
    ----------
    child : Popen
    wall_seconds : float
        Time by the wall's clock after which the process counts as frozen and is ended.
    cpu_seconds : float
        CPU time that it may use.

    Attributes
    ----------
    frozen : bool
        The process was ended by the wall's clock.
    """

    def __init__(self, child: "subprocess.Popen[bytes]", wall_seconds: float, cpu_seconds: float) -> None:
        self.frozen = False
        self._used_up = False
        self._child = child
        self._end = time.monotonic() + wall_seconds
        self._most = _cpu_seconds(child) + cpu_seconds
        self._stopped = threading.Event()
        threading.Thread(target=self._watch, name="cxr-edge decoder's watch", daemon=True).start()

    @property
    def used_up(self) -> bool:
        """Whether the process was ended by its CPU time; known once it has ended."""
        return self._used_up or (sys.platform != "win32" and self._child.returncode == -signal.SIGPROF)

    def stop(self) -> None:
        """Watch no longer."""
        self._stopped.set()

    def _watch(self) -> None:
        while not self._stopped.wait(self._pause()):
            self._used_up = _cpu_seconds(self._child) > self._most
            self.frozen = time.monotonic() >= self._end
            if self._used_up or self.frozen:
                self._child.kill()
                return

    def _pause(self) -> float:
        left = max(0.0, self._end - time.monotonic())
        return min(left, _READ_SECONDS) if sys.platform == "win32" else left


def limit_cpu(seconds: float) -> None:
    """End this process once it has used so much more CPU time in all its threads; 0 for no limit. Not on Windows."""
    if sys.platform != "win32":
        signal.signal(signal.SIGPROF, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGPROF})
        signal.setitimer(signal.ITIMER_PROF, seconds)


def _cpu_seconds(child: "subprocess.Popen[bytes]") -> float:
    """Return the CPU time of a process where its parent must limit it: on Windows; 0 elsewhere."""
    if sys.platform != "win32":
        return 0.0
    import ctypes

    times = [ctypes.c_uint64() for _ in range(4)]  # created, ended, in the kernel, in the program; units of 100 ns
    handle = ctypes.c_void_p(int(child._handle))
    if not ctypes.windll.kernel32.GetProcessTimes(handle, *map(ctypes.byref, times)):
        return 0.0
    return (times[2].value + times[3].value) / 1e7
