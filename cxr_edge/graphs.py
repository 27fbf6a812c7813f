"""A bundle's two graphs on a device: which device, which precision, and that the tensors are those of the manifest."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from cxr_edge.backends import DEVICES, PREFERRED, Graph, open_graph
from cxr_edge.backends.base import Resources, Shape, Tensor
from cxr_edge.bundle import Bundle
from cxr_edge.errors import BundleTensors, DeviceFailed, DeviceUnavailable, UnknownPrecision
from cxr_edge.manifest import Manifest

#: What ``auto`` tries, fastest first. Left out: ``tensorrt-ep``, which compiles for minutes when a
#: model is first loaded.
AUTO: Final = ("tensorrt", "cuda", "cpu", "openvino")


@dataclass(frozen=True)
class Graphs:
    """Both graphs, opened.

    Attributes
    ----------
    network, gradcam : Graph
    precision : str
    reason : str
        Why it is this device.
    """

    network: Graph
    gradcam: Graph
    precision: str
    reason: str


def open_graphs(bundle: Bundle, device: str, precision: str | None, resources: Resources) -> Graphs:
    """Open a bundle's graphs.

    Parameters
    ----------
    bundle : Bundle
    device : str
        One of `DEVICES`; ``auto`` for the first of `AUTO` that truly works.
    precision : str or None
        None: what the device prefers, where the bundle has it, or else its default variant.
    resources : Resources

    Raises
    ------
    DeviceUnavailable, UnknownPrecision, BundleTensors
    """
    if device not in DEVICES:
        raise DeviceUnavailable(f"expected a device out of {', '.join(DEVICES)}, got {device!r}")
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
    told = "; ".join(f"{', '.join(devices)}: {fault}" for fault, devices in refusals.items())
    # Of all remedies the one that any machine can follow.
    raise DeviceUnavailable(f"no device works here ({told}); {remedies['cpu']}")


def _why(refusals: Mapping[str, list[str]]) -> str:
    told = [f"not {' or '.join(devices)}: {fault}" for fault, devices in refusals.items()]
    return "; ".join(["the fastest that works here", *told])


def _open(bundle: Bundle, device: str, precision: str | None, resources: Resources, reason: str) -> Graphs:
    manifest = bundle.manifest
    chosen = precision or _preferred(manifest, device)
    variant = manifest.variant("fp32" if chosen == "bf16" else chosen)
    sized = replace(resources, batch=len(manifest.views))
    graphs = Graphs(
        network=open_graph(bundle.files[variant.model], device, chosen, sized),
        gradcam=open_graph(bundle.files[variant.gradcam], device, chosen, replace(sized, threads=1)),
        precision=chosen,
        reason=reason if chosen in manifest.variants else f"{reason}; {chosen} passed no gate for this model",
    )
    _check_tensors(manifest, graphs.network, graphs.gradcam)
    if device != "cpu":
        _try(manifest, graphs)
    return graphs


def _try(manifest: Manifest, graphs: Graphs) -> None:
    """Compute once: a device that opens a graph may still be unable to run it."""
    names = manifest.tensors
    black = np.zeros((1, *manifest.input.size), np.uint8)
    try:
        (last_conv,) = graphs.network.run([names.last_conv], {names.image: black}, keep=[names.last_conv])
        graphs.gradcam.run([names.maps], {names.last_conv: last_conv})
    except DeviceFailed as error:
        raise DeviceUnavailable(f"{graphs.network.device}: it opens the model and cannot run it ({error})") from error


def _preferred(manifest: Manifest, device: str) -> str:
    preferred = PREFERRED.get(device, manifest.default_variant)
    return preferred if preferred in manifest.variants else manifest.default_variant


def _check_tensors(manifest: Manifest, network: Graph, gradcam: Graph) -> None:
    names = manifest.tensors
    count, (height, width) = len(manifest.labels), manifest.input.size
    for graph, name in ((network, names.image), (gradcam, names.last_conv)):
        if len(graph.inputs) > 1:
            raise BundleTensors(
                f"expected the one input {name!r}, got {', '.join(graph.inputs)}; export the bundle again"
            )
    _expect(network.inputs, names.image, "uint8", (None, height, width))
    _expect(network.outputs, names.probabilities, "float32", (None, count))
    _expect(network.outputs, names.logits, "float32", (None, count))
    _expect(network.outputs, names.last_conv, "float32", (None, None, None, None))
    rule, channels = manifest.out_of_distribution, network.outputs[names.last_conv].shape[-1]
    if rule is not None and channels not in (None, len(rule.weights)):
        raise BundleTensors(
            f"out_of_distribution: expected {channels} weights, one for each channel of {names.last_conv!r}, "
            f"got {len(rule.weights)}; export the bundle again"
        )
    _expect(gradcam.inputs, names.last_conv, "float32", network.outputs[names.last_conv].shape)
    _expect(gradcam.outputs, names.maps, "float32", (None, count, None, None))


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
