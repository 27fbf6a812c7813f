"""``cxr-edge doctor``: report what this machine has, what works, and what is missing."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from cxr_edge.backends import DEVICE_NAMES
from cxr_edge.cli.shared import NO_MODEL_OR_DEVICE, BundleOption, JsonOption, devices, fail
from cxr_edge.errors import CxrEdgeError, how_to_get
from cxr_edge.model.bundle import read_bundle
from cxr_edge.model.gates import describe_gate
from cxr_edge.model.results import NOTICE
from cxr_edge.support.text import printable


def doctor(
    device: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            autocompletion=devices,
            show_default="all but tensorrt-ep",
            help=f"Try only this device: {', '.join(DEVICE_NAMES)}.",
        ),
    ] = None,
    bundle: BundleOption = None,
    json_output: JsonOption = False,
) -> None:
    """Report what this machine has, and which devices work.

    Each device is tried by running the model on it; for one that fails, the report states what is missing. Exit status:
    0; 3 if none of the tried devices works.
    """
    from cxr_edge.diagnostics.doctor import TRIED, examine

    try:
        found = examine(read_bundle(bundle), [device] if device else TRIED)
    except CxrEdgeError as error:
        fail(error, NO_MODEL_OR_DEVICE)
    if json_output:
        typer.echo(json.dumps(found, indent=1))
    else:
        _print(found)
    works = any(tried["works"] for tried in found["devices"].values())
    raise typer.Exit(0 if works else NO_MODEL_OR_DEVICE)


def _print(found: dict[str, Any]) -> None:
    from cxr_edge.cli.terminal import print_sections

    print_sections(
        {
            "Machine": _machine(found),
            "GPU": _gpu(found),
            "DICOM": _dicom(found["dicom"]),
            "Devices": {name: _device(name, tried) for name, tried in found["devices"].items()},
            "Model": _model(found["bundle"]),
            "Engines": _engines(found["engines"]),
            "Problems": {str(i): problem for i, problem in enumerate(found["problems"], 1)} or {"": "none found"},
        },
        NOTICE,
    )


def _machine(found: dict[str, Any]) -> dict[str, str]:
    machine = found["machine"]
    return {
        "cxr-edge": machine["cxr_edge"],
        "Python": f"{machine['python']} on {machine['platform']}",
        "cores": f"{machine['usable_cores']} usable of {machine['cores']}, {' '.join(machine['cpu_features'])}",
        "packages": ", ".join(f"{name} {version}" for name, version in found["packages"].items()),
    }


def _gpu(found: dict[str, Any]) -> dict[str, str]:
    gpu, cuda = found["gpu"], found["cuda"]
    rows = {
        "GPU": f"{gpu['name']}, {gpu['architecture']}, {gpu['memory'] / 2**30:.0f} GiB; driver for CUDA {gpu['cuda']}"
        if gpu["found"]
        else gpu["why"]
    }
    if "listed" in cuda:
        rows["ONNX Runtime lists"] = f"{', '.join(cuda['listed'])} (listed does not mean working: see Devices)"
        missing = cuda["missing_libraries"]
        rows["libraries"] = (
            "not searched for: this ONNX Runtime is for the CPU"
            if missing is None
            else ", ".join(missing) or "CUDA, cuDNN and TensorRT were found"
        )
    return rows


def _dicom(dicom: dict[str, Any]) -> dict[str, str]:
    if missing := dicom["missing_packages"]:
        return {"read": f"no: {' and '.join(missing)} missing; {how_to_get('dicom')}"}
    if dicom["decoder_fault"]:
        return {"read": f"uncompressed only: {dicom['decoder_fault']}"}
    alone = "" if len(dicom["decoder_limits"]) > 1 else " only: this system does not limit a process's memory"
    limits = f"a limit of {' and of '.join(dicom['decoder_limits'])}{alone}"
    started = f"in separate processes of {printable(dicom['decoder'])}"
    return {"read": "yes", "decoders": f"{started}, with {limits}"}


def _device(name: str, tried: dict[str, Any]) -> str:
    if not tried["works"]:
        return f"no: {tried['why'].removeprefix(f'{name}: ')}"
    return f"works, {tried['precision']}" + (f"; {tried['why']}" if tried["why"] else "")


def _model(bundle: dict[str, Any]) -> dict[str, str]:
    gates = {name: describe_gate(gate, "tta", bundle["variants"]) for name, gate in bundle["gates"].items()}
    return {"bundle": f"{bundle['identity']}, sha256 {bundle['sha256']}", **gates}


def _engines(engines: dict[str, Any]) -> dict[str, str]:
    found = {
        Path(engine["file"]).name: "must not be run: see Problems"
        if engine["fault"]
        else f"{engine['graph']}, {engine['identity']['architecture']}, batches {engine['identity']['profile']}"
        for engine in engines["found"]
    }
    return {"folder": printable(engines["folder"]), **(found or {"": engines["fault"] or "no engine"})}
