"""A bundle's graphs on a device: choose the device and the precision, and check the tensors against the manifest."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from cxr_edge.backends import AUTO, DEVICE_NAMES, DEVICES, Graph, open_graph
from cxr_edge.backends.base import Resources, Shape, Tensor
from cxr_edge.errors import BundleTensors, DeviceFailed, DeviceUnavailable, UnknownPrecision
from cxr_edge.model.bundle import Bundle
from cxr_edge.model.manifest import Manifest


@dataclass(frozen=True)
class Graphs:
    """A bundle's graphs, opened.

    Attributes
    ----------
    network : Graph
    maps : Graph or None
        The companion that computes heat maps from features; None for a bundle without maps.
    precision : str
    reason : str
        Why this device was chosen.
    """

    network: Graph
    maps: Graph | None
    precision: str
    reason: str


def open_graphs(bundle: Bundle, device: str, precision: str | None, resources: Resources) -> Graphs:
    """Open a bundle's graphs.

    Parameters
    ----------
    bundle : Bundle
    device : str
        One of `DEVICE_NAMES`; ``auto`` for the first of `AUTO` that works.
    precision : str or None
        None: the precision that the device prefers, where the bundle has it; otherwise the bundle's default.
    resources : Resources

    Raises
    ------
    DeviceUnavailable, UnknownPrecision, BundleTensors
    """
    if device not in DEVICE_NAMES:
        raise DeviceUnavailable(f"expected one of the devices {', '.join(DEVICE_NAMES)}, got {device!r}")
    if device != "auto":
        return _open(bundle, device, precision, resources, "asked for")
    if precision not in (None, "bf16"):
        bundle.manifest.variant(precision)
    refusals: dict[str, list[str]] = {}
    remedies: dict[str, str] = {}
    for tried in AUTO:
        try:
            return _open(bundle, tried, precision, resources, _why(refusals))
        except (DeviceUnavailable, UnknownPrecision) as refusal:
            fault, _, remedies[tried] = str(refusal).removeprefix(f"{tried}: ").partition("; ")
            refusals.setdefault(fault, []).append(tried)
    summary = "; ".join(f"{', '.join(devices)}: {fault}" for fault, devices in refusals.items())
    # The remedy that every machine can follow.
    raise DeviceUnavailable(f"no device works here ({summary}); {remedies['cpu']}")


def _why(refusals: Mapping[str, list[str]]) -> str:
    reasons = [f"not {' or '.join(devices)}: {fault}" for fault, devices in refusals.items()]
    return "; ".join(["the fastest that works here", *reasons])


def _open(bundle: Bundle, device: str, precision: str | None, resources: Resources, reason: str) -> Graphs:
    manifest = bundle.manifest
    chosen = precision or _preferred(manifest, device)
    stored = "fp32" if chosen == "bf16" else chosen
    sized = replace(resources, batch=len(manifest.tta.variants))
    network, *companion = (bundle.files[name] for name in manifest.graph_files(stored))
    graphs = Graphs(
        network=open_graph(network, device, chosen, sized),
        maps=open_graph(companion[0], device, chosen, replace(sized, threads=1)) if companion else None,
        precision=chosen,
        reason=reason if chosen in manifest.variants else f"{reason}; {chosen} passed no gate for this model",
    )
    _check_tensors(manifest, graphs)
    if device != "cpu":
        _try(manifest, graphs)
    return graphs


def _try(manifest: Manifest, graphs: Graphs) -> None:
    """Run the graphs once: a device that opens a graph may still be unable to run it."""
    names = manifest.tensors
    black = np.zeros((1, *manifest.input.size), np.uint8)
    try:
        (features,) = graphs.network.run([names.features], {names.image: black}, keep=[names.features])
        if graphs.maps is not None:
            graphs.maps.run([names.maps], {names.features: features})
    except DeviceFailed as error:
        raise DeviceUnavailable(f"{graphs.network.device}: the model loads, but does not run ({error})") from error


def _preferred(manifest: Manifest, device: str) -> str:
    preferred = DEVICES[device].preferred_precision
    return preferred if preferred in manifest.variants else manifest.default_variant


def _check_tensors(manifest: Manifest, graphs: Graphs) -> None:
    names, network = manifest.tensors, graphs.network
    count, (height, width) = len(manifest.labels), manifest.input.size
    _expect_one_input(network, names.image)
    _expect(network.inputs, names.image, "uint8", (None, height, width))
    _expect(network.outputs, names.probabilities, "float32", (None, count))
    _expect(network.outputs, names.logits, "float32", (None, count))
    _expect(network.outputs, names.features, "float32", (None, None, None, None))
    rule, channels = manifest.out_of_distribution, network.outputs[names.features].shape[-1]
    if rule is not None and channels not in (None, len(rule.weights)):
        raise BundleTensors(
            f"out_of_distribution: expected {channels} weights, one for each channel of {names.features!r}, "
            f"got {len(rule.weights)}; export the bundle again"
        )
    if graphs.maps is not None and manifest.maps is not None:
        _expect_one_input(graphs.maps, names.features)
        _expect(graphs.maps.inputs, names.features, "float32", network.outputs[names.features].shape)
        _expect(graphs.maps.outputs, names.maps, "float32", (None, count, *manifest.maps.grid))


def _expect_one_input(graph: Graph, name: str) -> None:
    if len(graph.inputs) > 1:
        raise BundleTensors(f"expected the one input {name!r}, got {', '.join(graph.inputs)}; export the bundle again")


def _expect(tensors: Mapping[str, Tensor], name: str, dtype: str, shape: Shape) -> None:
    remedy = "export the bundle again"
    if name not in tensors:
        raise BundleTensors(f"the manifest names a tensor {name!r}, the graph has {', '.join(tensors)}; {remedy}")
    found = tensors[name]
    fits = len(found.shape) == len(shape) and all(
        want in (None, got) for want, got in zip(shape, found.shape, strict=True)
    )
    if found.dtype != dtype or not fits:
        raise BundleTensors(
            f"tensor {name!r}: expected {dtype} {list(shape)} (None: any length), "
            f"got {found.dtype} {list(found.shape)}; {remedy}"
        )
