"""Engines on disk: found by their identity, never run when stale, foreign, truncated or tampered with."""

import json
import multiprocessing
import os
import resource
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from cxr_edge.backends.tensorrt import choose, store
from cxr_edge.backends.tensorrt.build import Profile, Settings
from cxr_edge.backends.tensorrt.choose import load_engine
from cxr_edge.backends.tensorrt.library import Library, load_library
from cxr_edge.backends.tensorrt.store import build_stored, identify, list_engines
from cxr_edge.errors import CacheUnusable, DeviceUnavailable, EngineBuildFailed
from cxr_edge.model.bundle import read_bundle
from cxr_edge.support.cache import cache_folder
from tests.conftest import AS_ANYONE

SETTINGS = Settings("sm_86", Profile(1, 2, 6))


class Built(NamedTuple):
    file: Path
    description: store.Description
    fresh: bool


def build(library: Library, graph: bytes, precision: str, settings: Settings, **options) -> Built:
    return Built(*build_stored(library, "maps.onnx", graph, precision, settings, **options))


@pytest.fixture(scope="module")
def library() -> Library:
    return load_library("tensorrt_rtx")


@pytest.fixture(scope="module")
def graph() -> bytes:
    return read_bundle().files["maps.fp16.onnx"]


@pytest.fixture(scope="module")
def twin(graph) -> bytes:
    """Return another model of the same shapes."""
    model = onnx.load_from_string(graph)
    tensor = next(t for t in model.graph.initializer if len(t.dims) == 2)
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float16(2), tensor.name))
    return model.SerializeToString()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("CXR_EDGE_CACHE", str(folder))
    return folder


@pytest.fixture
def on_a_gpu(library, monkeypatch):
    """Return a function that makes the search behave as on a machine with that GPU. Nothing is run."""

    def pretend(architecture: str, version: str | None = None) -> None:
        versioned = _Versioned(library, version or library.version)
        monkeypatch.setattr(choose, "_library_and_gpu", lambda: (versioned, architecture))

    return pretend


class _Versioned:
    def __init__(self, library: Library, version: str) -> None:
        self.name, self.version = library.name, version


def test_an_engine_is_built_once(library, graph):
    first = build(library, graph, "fp16", SETTINGS)
    second = build(library, graph, "fp16", SETTINGS)
    assert (first.fresh, second.fresh) == (True, False)
    assert first.description == second.description
    assert build(library, graph, "fp16", SETTINGS, force=True).fresh
    (listed,) = list_engines()
    assert (listed.file, listed.fault) == (first.file, "")


def test_the_key_holds_everything_an_engine_depends_on(library, graph, twin):
    base = identify(library, graph, "fp16", SETTINGS)
    others = [
        identify(library, twin, "fp16", SETTINGS),
        identify(library, graph, "fp32", SETTINGS),
        identify(library, graph, "fp16", replace(SETTINGS, architecture="sm_89")),
        identify(library, graph, "fp16", replace(SETTINGS, profile=Profile(1, 1, 6))),
        identify(library, graph, "fp16", replace(SETTINGS, version_compatible=True)),
        identify(library, graph, "fp16", replace(SETTINGS, hardware="ampere_plus")),
        *(msgspec.structs.replace(base, **{name: "other"}) for name in ("library", "version", "platform")),
    ]
    assert len({identity.key for identity in (base, *others)}) == 1 + len(others)
    assert identify(library, graph, "fp16", SETTINGS).key == base.key


def test_two_models_of_the_same_shape_have_two_engines(library, graph, twin, on_a_gpu):
    built = {data: build(library, data, "fp16", SETTINGS) for data in (graph, twin)}
    on_a_gpu("sm_86")
    for data, stored in built.items():
        _, plan, identity = load_engine(data, "fp16", 6)
        assert plan == stored.file.read_bytes()
        assert identity == stored.description.identity
    assert built[graph].file != built[twin].file


def test_an_engine_of_another_machine_is_reported_and_not_loaded(library, graph, on_a_gpu):
    build(library, graph, "fp16", SETTINGS)
    for architecture, version, precision, misfit in (
        ("sm_89", None, "fp16", "was built for sm_86"),
        ("sm_86", "99.0.0.1", "fp16", f"was built by tensorrt_rtx {library.version}"),
        ("sm_86", None, "fp32", "is of fp16"),
    ):
        on_a_gpu(architecture, version)
        with pytest.raises(DeviceUnavailable, match=f"{misfit}.*run `cxr-edge engine build`"):
            load_engine(graph, precision, 6)


def describe(built: Built, **identity) -> None:
    """Describe an engine as if it were another; TensorRT for RTX builds no compatible ones."""
    other = msgspec.structs.replace(built.description.identity, **identity)
    described = msgspec.structs.replace(built.description, identity=other)
    built.file.with_suffix(".json").write_bytes(msgspec.json.encode(described))


def test_compatible_engines_go_further(library, graph, on_a_gpu):
    describe(build(library, graph, "fp16", SETTINGS), version_compatible=True, hardware="ampere_plus")
    for architecture, version in (("sm_89", None), ("sm_86", "99.0.0.1")):
        on_a_gpu(architecture, version)
        assert load_engine(graph, "fp16", 6)[2].hardware == "ampere_plus"
    on_a_gpu("sm_75")
    with pytest.raises(DeviceUnavailable, match="was built for sm_86"):
        load_engine(graph, "fp16", 6)
    on_a_gpu("sm_86", "1.0.0.0")
    with pytest.raises(DeviceUnavailable, match="was built by"):
        load_engine(graph, "fp16", 6)


def test_the_engine_built_for_this_gpu_comes_first(library, graph, on_a_gpu):
    own = build(library, graph, "fp16", SETTINGS)
    foreign = build(library, graph, "fp16", replace(SETTINGS, architecture="sm_80"))
    describe(foreign, hardware="ampere_plus")
    on_a_gpu("sm_86")
    assert load_engine(graph, "fp16", 6)[2] == own.description.identity
    own.file.unlink()
    assert load_engine(graph, "fp16", 6)[2].architecture == "sm_80"


@pytest.mark.parametrize("profile", [Profile(1, 1, 5), Profile(6, 6, 32)])
def test_an_engine_for_other_batches_is_passed_over(library, graph, on_a_gpu, profile):
    """Whatever its place in the folder: TTA variants come one and six at a time."""
    build(library, graph, "fp16", replace(SETTINGS, profile=profile))
    on_a_gpu("sm_86")
    with pytest.raises(DeviceUnavailable, match=r"takes batches of .* not of 1 to 6"):
        load_engine(graph, "fp16", 6)
    whole = build(library, graph, "fp16", SETTINGS)
    assert load_engine(graph, "fp16", 6)[2] == whole.description.identity


def test_a_bad_entry_fails_alone(library, graph, on_a_gpu, cache):
    good = build(library, graph, "fp16", SETTINGS)
    loose = build(library, graph, "fp16", replace(SETTINGS, profile=Profile(1, 6, 6)))
    loose.file.chmod(0o666)
    strange = loose.file.with_name(f"{loose.file.name[:12]}-strange.engine")
    strange.mkdir()
    on_a_gpu("sm_86")
    assert load_engine(graph, "fp16", 6)[1] == good.file.read_bytes()
    assert sorted(bool(engine.fault) for engine in list_engines()) == [False, True, True]


def test_an_engine_described_by_another_version_is_reported_and_built_again(library, graph, on_a_gpu):
    built = build(library, graph, "fp16", SETTINGS)
    described = built.file.with_suffix(".json")
    content = json.loads(described.read_text())
    del content["identity"]["profile"]
    described.write_text(json.dumps(content))
    on_a_gpu("sm_86")
    message = r"of another version of cxr-edge .*; run `cxr-edge engine build`"
    with pytest.raises(DeviceUnavailable, match=message):
        load_engine(graph, "fp16", 6)
    build(library, graph, "fp16", SETTINGS)
    assert load_engine(graph, "fp16", 6)[1] == built.file.read_bytes()


def test_an_engine_under_the_name_of_another_is_not_loaded(library, graph, twin, on_a_gpu):
    """The engine of one model beside the description of another's."""
    ours, theirs = (build(library, data, "fp16", SETTINGS) for data in (graph, twin))
    ours.file.write_bytes(theirs.file.read_bytes())
    on_a_gpu("sm_86")
    with pytest.raises(DeviceUnavailable, match="is damaged, or not the engine that was built"):
        load_engine(graph, "fp16", 6)


@pytest.mark.parametrize("damage", ["truncated", "one bit", "no description", "foreign description", "emptied"])
def test_a_damaged_engine_is_not_loaded_and_is_built_again(library, graph, on_a_gpu, damage):
    stored = build(library, graph, "fp16", SETTINGS)
    data, described = stored.file.read_bytes(), stored.file.with_suffix(".json")
    if damage == "truncated":
        stored.file.write_bytes(data[:-1])
    elif damage == "one bit":
        stored.file.write_bytes(data[:1000] + bytes([data[1000] ^ 1]) + data[1001:])
    elif damage == "emptied":
        stored.file.write_bytes(b"")
    elif damage == "no description":
        described.unlink()
    else:
        described.write_text('{"made": "elsewhere"}')
    on_a_gpu("sm_86")
    with pytest.raises(DeviceUnavailable, match="run `cxr-edge engine build`"):
        load_engine(graph, "fp16", 6)
    assert build(library, graph, "fp16", SETTINGS).fresh
    assert load_engine(graph, "fp16", 6)[1] == stored.file.read_bytes()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
@pytest.mark.parametrize("which", ["root", "folder", "engine", "description"])
def test_what_others_may_write_is_not_run(library, graph, on_a_gpu, cache, which):
    stored = build(library, graph, "fp16", SETTINGS)
    path = {
        "root": cache,
        "folder": cache / "engines",
        "engine": stored.file,
        "description": stored.file.with_suffix(".json"),
    }[which]
    path.chmod(path.stat().st_mode | 0o022)
    on_a_gpu("sm_86")
    with pytest.raises(DeviceUnavailable, match=r"tensorrt: .*only this user can write.*chmod go-w"):
        load_engine(graph, "fp16", 6)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
def test_the_cache_is_private_under_any_umask(library, graph, cache):
    before = os.umask(0o002)
    try:
        build(library, graph, "fp16", SETTINGS)
    finally:
        os.umask(before)
    assert cache.stat().st_mode & 0o077 == 0


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
def test_files_are_for_this_user_alone(library, graph, cache):
    stored = build(library, graph, "fp16", SETTINGS)
    for path in (stored.file, stored.file.with_suffix(".json"), cache / "engines"):
        assert path.stat().st_mode & 0o077 == 0
    assert not list((cache / "engines").glob(".*"))


def _build_in_a_process(queue) -> None:
    graph = read_bundle().files["maps.fp16.onnx"]
    built = build(load_library("tensorrt_rtx"), graph, "fp16", SETTINGS)
    queue.put((built.fresh, built.description.engine_sha256))


def test_of_concurrent_builders_one_builds():
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    builders = [context.Process(target=_build_in_a_process, args=(queue,)) for _ in range(3)]
    for builder in builders:
        builder.start()
    found = [queue.get(timeout=120) for _ in builders]
    for builder in builders:
        builder.join()
        assert builder.exitcode == 0
    assert sorted(fresh for fresh, _ in found) == [False, False, True]
    assert len({sha256 for _, sha256 in found}) == 1


def _build_with_little_room(queue) -> None:
    import signal

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20))  # the engine has 2.6 MB
    try:
        _build_in_a_process(queue)
    except EngineBuildFailed as error:
        queue.put(str(error))


def test_a_full_disk_leaves_nothing_behind(cache):
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    builder = context.Process(target=_build_with_little_room, args=(queue,))
    builder.start()
    message = queue.get(timeout=120)
    builder.join()
    assert "cannot be written (File too large)" in message
    assert "make room" in message
    assert {path.suffix for path in (cache / "engines").iterdir()} <= {".lock"}


def test_a_folder_that_cannot_be_made(library, graph, cache):
    cache.write_text("a file where the folder should be")
    with pytest.raises(CacheUnusable, match=r"cannot be made .*CXR_EDGE_CACHE"):
        build(library, graph, "fp16", SETTINGS)


def _make_as_nobody(folder: str, queue) -> None:
    os.environ["CXR_EDGE_CACHE"] = folder
    os.setuid(65534)
    try:
        cache_folder("engines")
    except CacheUnusable as error:
        queue.put(str(error))
    else:
        queue.put("")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root, to become another user")
def test_a_read_only_folder_and_one_of_another_user():
    """As a user who may not write there; root may write anywhere."""
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as root:
        os.chmod(root, 0o755)
        theirs = Path(root, "theirs")
        (theirs / "engines").mkdir(parents=True)
        for folder, fault in ((Path(root, "new"), "cannot be made (Permission denied)"), (theirs, "got owner 0")):
            queue = context.Queue()
            process = context.Process(target=_make_as_nobody, args=(str(folder), queue))
            process.start()
            assert fault in queue.get(timeout=60)
            process.join()


@pytest.mark.parametrize("variable", ["CXR_EDGE_CACHE", "XDG_CACHE_HOME"])
def test_a_cache_that_may_not_be_written_is_reported_in_one_line(tmp_path, monkeypatch, variable):
    (tmp_path / "closed").mkdir(mode=0o555)
    monkeypatch.delenv("CXR_EDGE_CACHE", raising=False)
    monkeypatch.setenv(variable, str(tmp_path / "closed"))
    for asked in (("list",), ("build", "--target", "sm_120")):
        command = [*AS_ANYONE, sys.executable, "-m", "cxr_edge", "engine", *asked]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (3, ""), done.stderr
        (line,) = done.stderr.splitlines()
        assert line.startswith(f"cxr-edge: cache_unusable: {tmp_path / 'closed'}")
        assert "let this user write there" in line
        assert "CXR_EDGE_CACHE" in line


def test_build_and_list_on_the_command_line(cache):
    command = [sys.executable, "-m", "cxr_edge", "engine"]
    build = [*command, "build", "--target", "sm_120", "--batch", "1,6,8"]
    first = subprocess.run(build, capture_output=True, text=True, check=False)
    assert first.returncode == 0, first.stderr
    assert first.stdout.count("built in") == 2
    again = subprocess.run([*build, "--json"], capture_output=True, text=True, check=False)
    built = json.loads(again.stdout)
    assert [engine["fresh"] for engine in built.values()] == [False, False]
    assert {engine["identity"]["architecture"] for engine in built.values()} == {"sm_120"}
    listed = subprocess.run([*command, "list", "--json"], capture_output=True, text=True, check=False)
    assert {e["file"] for e in json.loads(listed.stdout)} == {e["file"] for e in built.values()}


def test_a_missing_gpu_is_reported_before_a_tensorrt_object_is_made(no_gpu):
    """Made without a driver, TensorRT's runtime crashes the process."""
    for arguments in (["infer", "samples", "--device", "tensorrt"], ["engine", "build"]):
        done = subprocess.run(
            [sys.executable, "-m", "cxr_edge", *arguments],
            capture_output=True,
            text=True,
            check=False,
            cwd=Path(__file__).parents[4],
        )
        assert done.returncode == 3
        assert "libcuda.so.1 is not found" in done.stderr
