"""The configuration of a node, ``node.toml``: typed, unknown keys refused, every value within bounds."""

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
#: Name of a destination, as the log, the metrics and the queue show it.
Name = Annotated[str, Meta(pattern=NAME)]
Count = Annotated[int, Meta(ge=1)]


class Tls(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Mutual TLS: our certificate and key, and the authority that signs the other side's."""

    certificate: Path
    key: Path
    authority: Path


class Receive(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The storage service that scanners send to."""

    ae_title: AETitle = "CXREDGE"
    host: Host = "127.0.0.1"
    port: Port = 11112
    #: AE titles that may call; any may if this is empty.
    callers: tuple[AETitle, ...] = ()
    max_associations: Annotated[int, Meta(ge=1, le=256)] = 16
    #: Largest image. Each association can take that much memory.
    max_image_mib: Annotated[int, Meta(ge=1, le=512)] = 128
    #: Longest silence of an association, and longest negotiation.
    idle_seconds: Seconds = 60
    negotiation_seconds: Seconds = 20
    tls: Tls | None = None


class DicomDestination(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="dicom", tag_field="kind"):
    """A destination that receives results by C-STORE."""

    name: Name
    host: Host
    port: Port
    ae_title: AETitle
    calling_ae_title: AETitle = "CXREDGE"
    timeout_seconds: Seconds = 30
    tls: Tls | None = None
    #: Host name in its certificate, where that differs from `host`.
    tls_host_name: str | None = None


class WebDestination(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="dicomweb", tag_field="kind"):
    """A destination that receives results by STOW-RS."""

    name: Name
    url: Annotated[str, Meta(pattern=URL)]
    timeout_seconds: Seconds = 30
    #: A file that contains a bearer token; read again for each connection.
    token_file: Path | None = None
    tls: Tls | None = None


class FolderDestination(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="folder", tag_field="kind"):
    """A folder that receives results, with a JSON line for each image."""

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
    #: Images that are worked on at the same time; by default one for each core.
    workers: Count | None = None


class Results(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is written for each image."""

    overlays: Annotated[int, Meta(ge=0)] = 3
    colormap: str = "turbo"
    #: Seconds without a new image of a study after which its images are merged into one result; never by default.
    wait_for_study: Seconds | None = None


class Queue(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Retries, and how long images and results are kept."""

    #: Failed attempts after which an image or an object is a dead letter. An unreachable destination does not count.
    attempts: Count = 8
    #: Back-off: the first wait, then doubled up to the longest.
    first_wait_seconds: Seconds = 2
    longest_wait_seconds: Seconds = 300
    #: How long an image and its results stay on disk after the last delivery.
    retention_hours: Annotated[float, Meta(ge=0)] = 24
    #: How long they stay if the image or one of its results is a dead letter.
    dead_letter_hours: Annotated[float, Meta(ge=0)] = 720
    #: While less disk space than this is free, images are answered with "out of resources".
    min_free_mib: Annotated[int, Meta(ge=0)] = 1024


class Watch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A folder that images are taken from, for sites without DICOM."""

    folder: Path
    #: How long a file must not have changed before it is read.
    settle_seconds: Seconds = 2
    #: How long a copy may stall: a file that is not whole, or may not be, is moved away or taken only after that time.
    stalled_seconds: Seconds = 60


class Metrics(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where ``/metrics`` (Prometheus) and ``/healthz`` are served; always on loopback."""

    port: Port = 9112


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole ``node.toml``."""

    #: Folder of the queue, images and results; on a local disk.
    data: Path
    receive: Receive | None = Receive()
    model: Model = Model()
    results: Results = Results()
    queue: Queue = Queue()
    watch: Watch | None = None
    metrics: Metrics | None = Metrics()
    destinations: tuple[Destination, ...] = ()


def read_config(path: Path) -> Config:
    """Read and check a ``node.toml``; relative paths in it are relative to its folder.

    Raises
    ------
    NodeConfig
        The message names the key, what was expected and what came.
    """

    def convert(kind: type, value: object) -> object:
        if kind is not Path or not isinstance(value, str) or not value:
            raise ValueError("expected a path in quotes")
        return path.parent / value

    text = _text_of(path)
    try:
        config = msgspec.toml.decode(text, type=Config, dec_hook=convert)
    except msgspec.ValidationError as error:
        raise NodeConfig(f"{path}: {in_words(error, text)}; `cxr-edge node example` prints all keys") from error
    except msgspec.MsgspecError as error:
        raise NodeConfig(f"{path}: not valid TOML: {error}; `cxr-edge node example` prints a whole file") from error
    _check(config, path)
    return config


def _text_of(path: Path) -> str:
    """Read a text file in UTF-8, or in UTF-16 or with a byte order mark, as Windows' shells write it."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise NodeConfig(
            f"{path} cannot be read ({error.strerror}); `cxr-edge node example` prints a configuration"
        ) from error
    encoding = "utf-16" if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise NodeConfig(
            f"{path}: expected text in UTF-8, got other bytes at position {error.start}; save it as UTF-8"
        ) from error


def _check(config: Config, path: Path) -> None:
    if not config.destinations:
        raise NodeConfig(f"{path}: expected at least one of [[destinations]], which receive the results, got none")
    names = [destination.name for destination in config.destinations]
    if len(set(names)) < len(names):
        raise NodeConfig(f"{path}: expected a different name for each of the destinations, got {', '.join(names)}")
    if config.receive is None and config.watch is None:
        raise NodeConfig(f"{path}: expected [receive] or [watch], got neither: no image would come in")
    if config.results.colormap not in COLORMAPS:
        raise NodeConfig(f"{path}: expected a colormap of {', '.join(COLORMAPS)}, got {config.results.colormap!r}")
    if config.results.wait_for_study and not any(isinstance(it, FolderDestination) for it in config.destinations):
        raise NodeConfig(
            f"{path}: expected a destination of kind folder, which receives the results of studies, got none; "
            "add one, or leave out results.wait_for_study"
        )
    _check_exposure(config, path)
    _check_folders(config, path)


def _check_exposure(config: Config, path: Path) -> None:
    """Refuse settings that open the node, or a token, to the network unprotected."""
    receive = config.receive
    if receive is not None and not is_loopback(receive.host) and not receive.callers and receive.tls is None:
        raise NodeConfig(
            f"{path}: receive.host {receive.host} can be reached from outside this machine: list the callers, or set "
            "up [receive.tls]"
        )
    for destination in config.destinations:
        if isinstance(destination, WebDestination) and destination.token_file is not None:
            url = urlsplit(destination.url)
            if url.scheme == "http" and not is_loopback(url.hostname or ""):
                raise NodeConfig(f"{path}: the token of {destination.name} would be sent unencrypted: use https")


def _check_folders(config: Config, path: Path) -> None:
    """Refuse folders inside each other: results would be taken as images, or images removed with them."""
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
            raise NodeConfig(f"{path}: expected folders that are not inside each other, got {one} {a} and {other} {b}")
