"""``cxr-edge demo``: serve the demo page for a browser."""

from typing import Annotated

import typer

from cxr_edge.cli.shared import NO_MODEL_OR_DEVICE, USAGE, BundleOption, DeviceOption, fail
from cxr_edge.errors import CxrEdgeError, DemoUnavailable, UnknownPrecision
from cxr_edge.images.limits import MEBIBYTE
from cxr_edge.model.results import NOTICE
from cxr_edge.support.loopback import is_loopback


def demo(
    host: Annotated[
        str,
        typer.Option(metavar="ADDRESS", help="Address to listen on; all but loopback are open to the network."),
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(metavar="PORT", min=1, max=65535, help="Port to listen on.")] = 7860,
    bundle: BundleOption = None,
    device: DeviceOption = "auto",
    precision: Annotated[
        str | None, typer.Option(metavar="NAME", show_default="as for infer", help="A variant of the bundle.")
    ] = None,
    max_upload: Annotated[int, typer.Option(metavar="MIB", min=1, max=512, help="Refuse images that are larger.")] = 32,
    concurrency: Annotated[
        int, typer.Option(metavar="N", min=1, max=64, help="Images processed at the same time; others wait.")
    ] = 1,
    open_browser: Annotated[bool, typer.Option("--open/--no-open", help="Open the page in the browser.")] = False,
) -> None:
    """Show the model in the browser: upload an image or choose a sample, see findings and heat maps.

    Runs until Ctrl-C. Images stay in memory while their page is open, for at most ten minutes. Needs the extra demo.

    Exit status: 0 stopped; 2 usage, a missing package, or the port is unavailable; 3 the model or the device is
    unavailable.

    For example:

      cxr-edge demo

      cxr-edge demo --port 8080 --device cpu --open
    """
    from cxr_edge.demo import demo as load_demo

    try:
        served = load_demo(
            bundle, device=device, precision=precision, max_upload=max_upload * MEBIBYTE, concurrency=concurrency
        )
        if not is_loopback(host):
            typer.echo(
                f"cxr-edge: warning: {host} is not a loopback address: anyone who can reach this machine can open the "
                "page and upload images; there is no authentication and no encryption.",
                err=True,
            )
        address = served.launch(host, port, open_browser=open_browser, block=False)
        typer.echo(f"{address}  (Ctrl-C stops it)  {NOTICE}", err=True)
        served.wait()
    except (DemoUnavailable, UnknownPrecision) as error:
        fail(error, USAGE)
    except CxrEdgeError as error:
        fail(error, NO_MODEL_OR_DEVICE)
    except KeyboardInterrupt:
        typer.echo("Stopped.", err=True)
