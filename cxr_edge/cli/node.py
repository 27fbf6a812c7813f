"""``cxr-edge node``: run the store-and-forward node, and manage its queue."""

import json
import sqlite3
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from cxr_edge.cli.shared import NO_MODEL_OR_DEVICE, USAGE, JsonOption, fail, given
from cxr_edge.errors import BundleError, CxrEdgeError, DeviceError, NodeConfig, how_to_get

if TYPE_CHECKING:
    from cxr_edge.node.config import Config
    from cxr_edge.node.queue import Queue

_PACKAGES: Final = ("pydicom", "highdicom", "pynetdicom", "prometheus_client", "watchfiles", "requests")

node_app = typer.Typer(rich_markup_mode=None)
queue_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="List the queue, and replay dead letters.")
node_app.add_typer(queue_app, name="queue")

ConfigOption = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="node.toml; `cxr-edge node example` prints one.")
]


@node_app.callback(invoke_without_command=True)
def node(
    context: typer.Context,
    config: ConfigOption = None,
    log_level: Annotated[
        str, typer.Option(metavar="LEVEL", help="DEBUG, INFO, WARNING or ERROR; on standard error.")
    ] = "INFO",
) -> None:
    """Receive images by DICOM or from a folder, infer, and deliver results to archives.

    Runs until SIGTERM or Ctrl-C, then finishes the images in progress. Waiting images and deliveries are on disk, and
    continue at the next start.

    Exit status: 0 stopped; 2 the configuration is wrong, or the port or the queue cannot be used; 3 the model or the
    device is unavailable, or the device failed.

    For example:

      cxr-edge node example > node.toml

      cxr-edge node --config node.toml

      cxr-edge node queue list --config node.toml --state dead
    """
    if (subcommand := context.invoked_subcommand) is not None:
        if given(context, "log_level"):
            raise typer.BadParameter(f"`{subcommand}` writes no log: leave it out", param_hint="--log-level")
        if config is not None and subcommand != "queue":
            raise typer.BadParameter(f"`{subcommand}` reads no configuration: leave it out", param_hint="--config")
        context.obj = config  # for `queue`, which takes it before or after its own name
        return
    if log_level not in ("DEBUG", "INFO", "WARNING", "ERROR"):
        raise typer.BadParameter(f"expected DEBUG, INFO, WARNING or ERROR, got {log_level!r}", param_hint="--log-level")
    settings = _config(config)
    from cxr_edge.node import logs
    from cxr_edge.node.node import run

    logs.set_up(log_level)
    try:
        run(settings)
    except (BundleError, DeviceError) as error:
        fail(error, NO_MODEL_OR_DEVICE)
    except CxrEdgeError as error:
        fail(error, USAGE)
    except sqlite3.Error as error:
        fail(
            NodeConfig(f"the queue in {settings.data} cannot be used ({error}); is its disk whole, and not full?"),
            USAGE,
        )


@node_app.command()
def example() -> None:
    """Print an example configuration to start from."""
    _need_packages()
    from cxr_edge.node.example import EXAMPLE

    sys.stdout.write(EXAMPLE)


@node_app.command()
def conformance() -> None:
    """Print the DICOM conformance statement."""
    _need_packages()
    from cxr_edge.node.conformance import statement

    sys.stdout.write(statement())


@queue_app.command("list")
def list_(
    context: typer.Context,
    config: ConfigOption = None,
    state: Annotated[
        str | None, typer.Option(metavar="STATE", help="waiting, done, sent, dead or replaced; all if left out.")
    ] = None,
    most: Annotated[int, typer.Option(metavar="N", min=1, help="Largest number of entries, oldest first.")] = 100,
    json_lines: JsonOption = False,
) -> None:
    """List images and deliveries.

    Prints hashes, states, attempts and errors; no patient data. Exit status: 0; 2 usage, or no queue.
    """
    if state not in (None, "waiting", "done", "sent", "dead", "replaced"):
        raise typer.BadParameter(f"expected waiting, done, sent, dead or replaced, got {state!r}", param_hint="--state")
    with _queue(_queue_config(context, config)) as queue:
        entries, counts = queue.entries(state, most), queue.counts()  # type: ignore[arg-type]
    for entry in entries:
        if json_lines:
            typer.echo(json.dumps({name: getattr(entry, name) for name in entry.__dataclass_fields__}))
            continue
        age = max(0.0, time.time() - entry.received)
        to = f" {(entry.object or '').rpartition('-')[2]} -> {entry.destination}" if entry.destination else ""
        why = f"  {entry.code}: {entry.message}" if entry.code else ""
        typer.echo(
            f"{entry.id:<14} {entry.state:<8} {entry.image[:12]}{to}  "
            f"{entry.attempts} {'refusals' if entry.destination else 'tries'}, {age:.0f} s{why}"
        )
    if not json_lines:
        typer.echo(", ".join(f"{name}: {number}" for name, number in counts.items()), err=True)


@queue_app.command()
def replay(
    context: typer.Context,
    identifiers: Annotated[
        list[str] | None, typer.Argument(metavar="ID", help="Dead letters as `list` shows them: image-3, delivery-17.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Replay all dead letters.")] = False,
    config: ConfigOption = None,
) -> None:
    """Put dead letters back into the queue.

    A running node tries them again.

    Exit status: 0; 1 some of the given IDs are not dead letters; 2 usage, or no queue.
    """
    if bool(identifiers) == every:
        raise typer.BadParameter("expected identifiers, or --all", param_hint="ID")
    settings = _queue_config(context, config)
    with _queue(settings) as queue:
        number = queue.replay(
            None if every else identifiers, [destination.name for destination in settings.destinations]
        )
    typer.echo("1 dead letter waits again." if number == 1 else f"{number} dead letters wait again.")
    if identifiers and number < len(set(identifiers)):
        typer.echo(
            "The others are not dead letters, or their destination is not in the configuration: see `list`.", err=True
        )
        raise typer.Exit(1)


def _need_packages() -> None:
    missing = [name for name in _PACKAGES if find_spec(name) is None]
    if missing:
        typer.echo(f"cxr-edge: not installed: {', '.join(missing)}; {how_to_get('node')}", err=True)
        raise typer.Exit(USAGE)


def _queue_config(context: typer.Context, config: Path | None) -> "Config":
    if config is not None and context.obj is not None:
        raise typer.BadParameter("expected it once, got it both before and after `queue`", param_hint="--config")
    return _config(config or context.obj)


def _config(path: Path | None) -> "Config":
    _need_packages()
    if path is None:
        raise typer.BadParameter("expected --config FILE; `cxr-edge node example` prints one", param_hint="--config")
    from cxr_edge.node.config import read_config

    try:
        return read_config(path)
    except NodeConfig as error:
        fail(error, USAGE)


@contextmanager
def _queue(config: "Config") -> Iterator["Queue"]:
    from cxr_edge.node.database import FILE
    from cxr_edge.node.queue import Queue

    if not (config.data / FILE).is_file():
        fail(NodeConfig(f"{config.data} holds no queue; has the node run with this configuration?"), USAGE)
    try:
        with closing(Queue(config.data)) as queue:
            yield queue
    except NodeConfig as error:
        fail(error, USAGE)
    except sqlite3.Error as error:
        fail(NodeConfig(f"the queue in {config.data} cannot be used ({error}); are you the node's user?"), USAGE)
