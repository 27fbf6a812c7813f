"""The CPU quota of control groups, of both versions, in containers and outside."""

import os
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

import cxr_edge
from cxr_edge.support import parallel
from cxr_edge.support.quota import cpu_quota

V1_FILES = ("cpu.cfs_quota_us", "cpu.cfs_period_us")


class Groups:
    """A made hierarchy of control groups, and the process's files that describe it."""

    def __init__(self, root: Path) -> None:
        self.root, self.proc = root / "cgroup", root / "proc"
        self.root.mkdir()
        self.proc.mkdir()

    def limit(self, group: str, value: str, *, version: int) -> None:
        folder = self.root / group
        folder.mkdir(parents=True, exist_ok=True)
        if version == 2:
            (folder / "cpu.max").write_text(f"{value}\n")
        else:
            for name, part in zip(V1_FILES, value.split(), strict=True):
                (folder / name).write_text(f"{part}\n")

    def quota(self, cgroup: str, *mounts: str) -> float | None:
        (self.proc / "cgroup").write_text(cgroup)
        (self.proc / "mountinfo").write_text("".join(mount.replace("ROOT", str(self.root)) for mount in mounts))
        return cpu_quota(self.proc)


V2 = "30 23 0:27 / ROOT rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
V1 = "31 23 0:28 / ROOT rw - cgroup cgroup rw,cpu,cpuacct\n"
OTHERS = "24 1 254:1 / / rw - ext4 /dev/vda1 rw\n33 23 0:29 / /nowhere rw - cgroup cgroup rw,cpuset\n"


@pytest.fixture
def groups(tmp_path) -> Groups:
    return Groups(tmp_path)


@pytest.mark.parametrize(
    ("limits", "cores"),
    [
        ({"a/b": "50000 100000"}, 0.5),
        ({"a": "50000 100000", "a/b": "max 100000"}, 0.5),
        ({"a": "150000 100000", "a/b": "250000 100000"}, 1.5),
        ({"": "200000 100000", "a/b": "1000 4000"}, 0.25),
        ({"a/b": "max 100000"}, None),
        ({"other": "50000 100000"}, None),
        ({"a/b": "nonsense"}, None),
        ({"a/b": "50000 0"}, None),
    ],
)
def test_the_least_quota_on_the_way_up_counts(groups, limits, cores):
    for group, value in limits.items():
        groups.limit(group, value, version=2)
    assert groups.quota("0::/a/b\n", OTHERS, V2) == cores


@pytest.mark.parametrize(
    ("limits", "cores"),
    [
        ({"a/b": "50000 100000"}, 0.5),
        ({"a": "50000 100000", "a/b": "-1 100000"}, 0.5),
        ({"a/b": "-1 100000"}, None),
    ],
)
@pytest.mark.parametrize("controllers", ["cpu,cpuacct", "cpu", "cpuacct,cpu"])
def test_version_1(groups, limits, cores, controllers):
    for group, value in limits.items():
        groups.limit(group, value, version=1)
    lines = f"9:cpuset:/\n5:{controllers}:/a/b\n1:name=systemd:/a\n0::/\n"
    mount = V1.replace("cpu,cpuacct", controllers)
    assert groups.quota(lines, OTHERS, mount) == cores


@pytest.mark.parametrize(
    ("cgroup", "root"),
    [
        ("/", "/"),  # a container with a namespace of groups
        ("/docker/abc", "/docker/abc"),  # one without, which sees its own group alone
        ("/docker/abc", "/"),  # as above, with a mount of its own group that claims to be the root
        ("/../outside", "/"),
    ],
)
@pytest.mark.parametrize("version", [1, 2])
def test_in_a_container(groups, cgroup, root, version):
    groups.limit("", "150000 100000", version=version)
    mount = (V1 if version == 1 else V2).replace(" / ROOT", f" {root} ROOT")
    lines = f"5:cpu,cpuacct:{cgroup}\n" if version == 1 else f"0::{cgroup}\n"
    assert groups.quota(lines, OTHERS, mount) == 1.5


def test_both_versions_at_once(groups, tmp_path):
    groups.limit("a", "300000 100000", version=1)
    mount = f"32 23 0:30 / {tmp_path}/unified rw - cgroup2 cgroup2 rw\n"
    assert groups.quota("5:cpu,cpuacct:/a\n0::/a\n", V1, mount) == 3


def test_a_system_without_groups(tmp_path):
    assert cpu_quota(tmp_path) is None


@pytest.mark.parametrize(("quota", "usable"), [(0.1, 1), (0.5, 1), (1.5, 2), (2.0, 2), (64.0, 16), (None, 16)])
def test_usable_cores_follow_quota_and_affinity(monkeypatch, quota, usable):
    monkeypatch.setattr(parallel.os, "sched_getaffinity", lambda _: set(range(16)), raising=False)
    monkeypatch.setattr(parallel, "cpu_quota", lambda: quota)
    assert parallel.usable_cores() == usable


def real_hierarchy() -> tuple[Path, dict[str, str]] | None:
    """Return where this machine's CPU quotas are set, and the files that set half a core; None where it has none."""
    for folder in (Path("/sys/fs/cgroup/cpu"), Path("/sys/fs/cgroup")):
        if (folder / "cpu.cfs_quota_us").exists():
            return folder, {"cpu.cfs_period_us": "100000", "cpu.cfs_quota_us": "50000"}
    if "cpu" in (text.read_text().split() if (text := Path("/sys/fs/cgroup/cgroup.subtree_control")).exists() else ()):
        return Path("/sys/fs/cgroup"), {"cpu.max": "50000 100000"}
    return None


@pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0 or real_hierarchy() is None,
    reason="needs root and control groups that limit CPU time",
)
def test_a_real_quota_is_seen():
    folder, files = real_hierarchy()
    group = folder / f"cxr-edge-{uuid.uuid4().hex}"
    group.mkdir()
    try:
        for name, value in files.items():
            (group / name).write_text(value)
        script = "from cxr_edge.support.parallel import usable_cores; print(usable_cores())"
        join = f'echo $$ > {group}/cgroup.procs && exec "$0" -c "{script}"'
        done = subprocess.run(
            ["sh", "-c", join, sys.executable],
            cwd=Path(cxr_edge.__file__).parents[1],
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout == "1\n"
    finally:
        group.rmdir()
