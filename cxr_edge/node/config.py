"""What a node is told by its ``node.toml``: typed, every key known, every value within bounds."""

import codecs
from itertools import combinations
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from cxr_edge.errors import NodeConfig
from cxr_edge.model.heatmaps import COLORMAPS
from cxr_edge.node.config_words import AE_TITLE, NAME, URL, in_words
from cxr_edge.support.loopback import is_loopback

AETitle = Annotated[str, Meta(pattern=AE_TITLE)]
Port = Annotated[int, Meta(ge=1, le=65535)]
Seconds = Annotated[float, Meta(gt=0, le=86_400)]
Host = Annotated[str, Meta(min_length=1)]
#: Of a destination: it stands in the log, in metrics and in the queue.
Name = Annotated[str, Meta(pattern=NAME)]
Count = Annotated[int, Meta(ge=1)]


class Tls(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Mutual TLS: our certificate and key, and who signs those of others."""

    certificate: Path
    key: Path
    authority: Path


class Receive(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The storage service that scanners send to."""

    ae_title: AETitle = "CXREDGE"
    host: Host = "127.0.0.1"
    port: Port = 11112
    #: AE titles that may call; all, if none is named.
    callers: tuple[AETitle, ...] = ()
    max_associations: Annotated[int, Meta(ge=1, le=256)] = 16
    #: An association whose message grows beyond this is ended; each association can take so much memory.
    max_image_mib: Annotated[int, Meta(ge=1, le=512)] = 128
    #: Seconds that an association may be silent, and that its negotiation may take.
    idle_seconds: Seconds = 60
    negotiation_seconds: Seconds = 20
    tls: Tls | None = None


class DicomDestination(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="dicom", tag_field="kind"):
    """An archive that takes results by C-STORE."""

    name: Name
    host: Host
    port: Port
    ae_title: AETitle
    calling_ae_title: AETitle = "CXREDGE"
    timeout_seconds: Seconds = 30
    tls: Tls | None = None
    #: Whom its certificate is for, where that is not the host.
    tls_host_name: str | None = None


class WebDestination(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="dicomweb", tag_field="kind"):
    """An archive that takes results by STOW-RS."""

    name: Name
    url: Annotated[str, Meta(pattern=URL)]
    timeout_seconds: Seconds = 30
    #: A file that holds a bearer token; read anew for each connection.
    token_file: Path | None = None
    tls: Tls | None = None


class FolderDestination(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="folder", tag_field="kind"):
    """A folder that results are put into, with a JSON line for each image."""

    name: Name
    folder: Path


Destination = DicomDestination | WebDestination | FolderDestination


class Model(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which model runs, and how."""

    bundle: Path | None = None
    device: str = "auto"
    precision: str | None = None
    operating_point: str | None = None
    tta: bool | None = None
    adaptive: bool = False
    strict: bool = False
    #: Images in work at the same time; one for each core, if left out.
    workers: Count | None = None


class Results(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is written for each image."""

    overlays: Annotated[int, Meta(ge=0)] = 3
    colormap: str = "turbo"


class Queue(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How long it is tried, and how long things are kept."""

    #: Refusals after which an image or an object is a dead letter. A destination that cannot be reached is none.
    attempts: Count = 8
    #: Back-off: the first wait, doubled up to the longest.
    first_wait_seconds: Seconds = 2
    longest_wait_seconds: Seconds = 300
    #: How long images and results stay on disk after the last is delivered.
    retention_hours: Annotated[float, Meta(ge=0)] = 24
    #: How long those stay of which something is a dead letter.
    dead_letter_hours: Annotated[float, Meta(ge=0)] = 720
    #: Images are answered with "out of resources" while less than this is free.
    min_free_mib: Annotated[int, Meta(ge=0)] = 1024


class Watch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A folder that images are put into, for sites without DICOM."""

    folder: Path
    #: How long a file must not have changed before it is read.
    settle_seconds: Seconds = 2


class Metrics(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where ``/metrics`` (Prometheus) and ``/healthz`` are served; always on loopback."""

    port: Port = 9112


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole of ``node.toml``."""

    #: Queue, images and results; on a local disk.
    data: Path
    receive: Receive | None = Receive()
    model: Model = Model()
    results: Results = Results()
    queue: Queue = Queue()
    watch: Watch | None = None
    metrics: Metrics | None = Metrics()
    destinations: tuple[Destination, ...] = ()


def read_config(path: Path) -> Config:
    """Read and check a ``node.toml``; relative paths in it are relative to where it lies.

    Raises
    ------
    NodeConfig
        Says which key, what was expected and what came.
    """

    def convert(kind: type, value: object) -> object:
        if kind is not Path or not isinstance(value, str) or not value:
            raise ValueError("expected a path in quotes")
        return path.parent / value

    text = _text_of(path)
    try:
        config = msgspec.toml.decode(text, type=Config, dec_hook=convert)
    except msgspec.ValidationError as error:
        raise NodeConfig(f"{path}: {in_words(error, text)}; `cxr-edge node example` prints them all") from error
    except msgspec.MsgspecError as error:
        raise NodeConfig(f"{path}: no valid TOML: {error}; `cxr-edge node example` prints a whole file") from error
    _check(config, path)
    return config


def _text_of(path: Path) -> str:
    """Read a text file, also as Windows' shells write one."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise NodeConfig(f"{path} cannot be read ({error.strerror}); `cxr-edge node example` prints one") from error
    encoding = "utf-16" if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise NodeConfig(f"{path}: expected text in UTF-8, got other bytes at {error.start}") from error


def _check(config: Config, path: Path) -> None:
    if not config.destinations:
        raise NodeConfig(f"{path}: expected [[destinations]] that take the results, got none")
    names = [destination.name for destination in config.destinations]
    if len(set(names)) < len(names):
        raise NodeConfig(f"{path}: expected a name of its own for each of the destinations, got {', '.join(names)}")
    if config.receive is None and config.watch is None:
        raise NodeConfig(f"{path}: expected [receive] or [watch], got neither: no image would come in")
    if config.results.colormap not in COLORMAPS:
        raise NodeConfig(f"{path}: expected a colormap of {', '.join(COLORMAPS)}, got {config.results.colormap!r}")
    _check_exposure(config, path)
    _check_folders(config, path)


def _check_exposure(config: Config, path: Path) -> None:
    """Refuse what lets others send, or read, without anybody having said so."""
    receive = config.receive
    if receive is not None and not is_loopback(receive.host) and not receive.callers and receive.tls is None:
        raise NodeConfig(
            f"{path}: receive.host {receive.host} can be reached from outside this machine: name the callers, or set "
            "up [receive.tls]"
        )
    for destination in config.destinations:
        if isinstance(destination, WebDestination) and destination.token_file is not None:
            url = urlsplit(destination.url)
            if url.scheme == "http" and not is_loopback(url.hostname or ""):
                raise NodeConfig(f"{path}: the token of {destination.name} can be read by others on the way: use https")


def _check_folders(config: Config, path: Path) -> None:
    """Refuse folders within each other: images would be taken for results, or removed with them."""
    folders = {"data": config.data}
    if config.watch is not None:
        folders["watch.folder"] = config.watch.folder
    folders |= {
        f"folder of {destination.name}": destination.folder
        for destination in config.destinations
        if isinstance(destination, FolderDestination)
    }
    resolved = [(name, folder.resolve()) for name, folder in folders.items()]
    for (one, a), (other, b) in combinations(resolved, 2):
        if a.is_relative_to(b) or b.is_relative_to(a):
            raise NodeConfig(f"{path}: expected folders apart from each other, got {one} {a} and {other} {b}")
