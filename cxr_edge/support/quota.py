"""The CPU quota of this process: how many cores' worth of time its control groups grant it (Linux).

A container with a quota (Docker's ``--cpus``, Kubernetes' ``limits.cpu``) sees every core of its host, and is stopped
for the rest of each period once it has used its share.

Source: the kernel's ``admin-guide/cgroup-v2.rst`` (``cpu.max``) and ``scheduler/sched-bwc.rst`` (``cpu.cfs_quota_us``).
"""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Final, NamedTuple

PROC: Final = Path("/proc/self")


class _Mount(NamedTuple):
    """A mounted hierarchy: the group at its root, where that is seen, and whether it is of version 2."""

    root: PurePosixPath
    point: Path
    unified: bool


def cpu_quota(proc: Path = PROC) -> float | None:
    """Return the least quota of the groups that this process is in, in cores; None without one.

    Parameters
    ----------
    proc : Path
        Folder of the process, with ``cgroup`` and ``mountinfo``.
    """
    try:
        groups = dict(_groups((proc / "cgroup").read_text(errors="replace")))
        mounts = list(_mounts((proc / "mountinfo").read_text(errors="replace")))
    except OSError:  # another system, or a kernel without control groups
        return None
    quotas = [
        quota
        for mount in mounts
        if mount.unified in groups
        for folder in _upwards(mount, groups[mount.unified])
        if (quota := _quota(folder, unified=mount.unified)) is not None
    ]
    return min(quotas, default=None)


def _groups(text: str) -> Iterator[tuple[bool, PurePosixPath]]:
    """Yield the group of this process in the hierarchy of version 2 (True) and in that of CPU time (False)."""
    for line in text.splitlines():
        number, controllers, path = line.split(":", 2)
        if number == "0" and not controllers:
            yield True, PurePosixPath(path)
        elif "cpu" in controllers.split(","):
            yield False, PurePosixPath(path)


def _mounts(text: str) -> Iterator[_Mount]:
    """Yield the mounted hierarchies that may limit CPU time; proc(5) describes the fields."""
    for line in text.splitlines():
        before, _, after = line.partition(" - ")
        kind, _, options = after.split(" ", 2)
        root, point = before.split(" ")[3:5]
        if kind == "cgroup2" or (kind == "cgroup" and "cpu" in options.split(",")):
            yield _Mount(PurePosixPath(root), Path(point), kind == "cgroup2")


def _upwards(mount: _Mount, group: PurePosixPath) -> Iterator[Path]:
    """Yield the folders of a group and of those above it, as far as the mount shows them."""
    below = group.relative_to(mount.root) if group.is_relative_to(mount.root) else PurePosixPath()
    if ".." in below.parts:  # a group outside this namespace
        below = PurePosixPath()
    yield from (mount.point / part for part in (below, *below.parents))


def _quota(folder: Path, *, unified: bool) -> float | None:
    """Return the quota that one group sets, in cores."""
    try:
        if unified:
            quota, period = (folder / "cpu.max").read_text().split()
        else:
            quota, period = ((folder / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        cores = int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):  # no such limit here, or "max"
        return None
    return cores if cores > 0 else None
