"""A bundle's graphs on a device: choose the device and the precision, and check the tensors against the manifest."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from cxr_edge.backends import AUTO, DEVICE_NAMES, DEVICES, Graph, open_graph
from cxr_edge.backends.base import Resources, Shape, Tensor, on_host
from cxr_edge.errors import BundleTensors, DeviceFailed, DeviceUnavailable, UnknownPrecision
from cxr_edge.model.bundle import Bundle
from cxr_edge.model.manifest import Manifest
from cxr_edge.model.members import Outputs
from cxr_edge.model.network import Network
from cxr_edge.model.preprocess import preprocess
from cxr_edge.model.tta import TtaVariant, make_variants


@dataclass(frozen=True)
class NetworkGraphs:
    """The graphs of one network, opened.

    Attributes
    ----------
    described : Network
    network : Graph
    maps : Graph or None
        The companion that computes heat maps from features; None for a network without maps.
    """

    described: Network
    network: Graph
    maps: Graph | None

    @property
    def read_by_maps(self) -> str:
        """Name of the tensor that the companion reads."""
        maps = self.described.maps
        return (maps and maps.features) or self.described.tensors.features

    def run(
        self, batch: npt.NDArray[np.uint8], *, heatmaps: bool, features: bool
    ) -> tuple[Outputs, npt.NDArray[np.float32] | None]:
        """Compute a batch.

        Parameters
        ----------
        batch : ndarray, (N, H, W) uint8
        heatmaps, features : bool
            What is wanted beside the probabilities.

        Returns
        -------
        Outputs
        ndarray, (N, y, x, channels) float32, or None
            The features, if wanted.

        Raises
        ------
        BundleTensors
            A graph returned what is not a finite number.
        DeviceFailed
        """
        names, mapped = self.described.tensors, heatmaps and self.maps is not None
        read = [self.read_by_maps] if mapped else []
        wanted = list(dict.fromkeys([names.probabilities, *read, *([names.features] if features else [])]))
        computed = self.network.run(wanted, {names.image: batch}, keep=read)
        outputs = dict(zip(wanted, computed, strict=True))
        probabilities = outputs[names.probabilities]
        if not np.isfinite(probabilities).all():
            raise BundleTensors(
                "the network returned a probability that is not a finite number; export the bundle again"
            )
        maps = None
        if mapped and self.maps is not None:
            (maps,) = self.maps.run([names.maps], {self.read_by_maps: outputs[self.read_by_maps]})
            if not np.isfinite(maps).all():
                raise BundleTensors(
                    "the companion graph returned a map that is not of finite numbers; export the bundle again"
                )
        return Outputs(self.described, probabilities, maps), on_host(outputs[names.features]) if features else None


@dataclass(frozen=True)
class Graphs:
    """A bundle's graphs, opened.

    Attributes
    ----------
    networks : tuple of NetworkGraphs
        The members of an ensemble, or the only network.
    precision : str
    reason : str
        Why this device was chosen.
    """

    networks: tuple[NetworkGraphs, ...]
    precision: str
    reason: str

    @property
    def device(self) -> str:
        """The device that all of them run on."""
        return self.networks[0].network.device

    def batches(self, pixels: npt.NDArray[np.uint8], variants: Sequence[TtaVariant]) -> list[npt.NDArray[np.uint8]]:
        """Return the input of each network: the TTA variants of an image at its size, (variants, h, w) uint8."""
        return [
            make_variants(preprocess(pixels, one.described.input.size, one.described.input.fit), variants)
            for one in self.networks
        ]

    def probabilities(self, batches: Sequence[npt.NDArray[np.uint8]]) -> list[npt.NDArray[np.float32]]:
        """Compute the raw probabilities of each network from its input, (variants, its labels)."""
        return [
            one.run(batch, heatmaps=False, features=False)[0].probabilities
            for one, batch in zip(self.networks, batches, strict=True)
        ]


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
    sized = replace(resources, batch=len(manifest.tta.variants))
    networks = tuple(_open_network(bundle, network, device, chosen, sized) for network in manifest.networks)
    for network in networks:
        _check_tensors(network)
        if device != "cpu":
            _try(network)
    _check_rules(manifest, networks[0])
    return Graphs(
        networks, chosen, reason if chosen in manifest.variants else f"{reason}; {chosen} passed no gate for this model"
    )


def _open_network(bundle: Bundle, network: Network, device: str, precision: str, resources: Resources) -> NetworkGraphs:
    model, *companion = (bundle.files[name] for name in network.files("fp32" if precision == "bf16" else precision))
    return NetworkGraphs(
        network,
        open_graph(model, device, precision, resources),
        open_graph(companion[0], device, precision, replace(resources, threads=1)) if companion else None,
    )


def _try(opened: NetworkGraphs) -> None:
    """Run the graphs once: a device that opens a graph may still be unable to run it."""
    names = opened.described.tensors
    black = np.zeros((1, *opened.described.input.size), np.uint8)
    wanted = names.probabilities if opened.maps is None else opened.read_by_maps
    try:
        (computed,) = opened.network.run([wanted], {names.image: black}, keep=[wanted])
        if opened.maps is not None:
            opened.maps.run([names.maps], {wanted: computed})
    except DeviceFailed as error:
        raise DeviceUnavailable(f"{opened.network.device}: the model loads, but does not run ({error})") from error


def _preferred(manifest: Manifest, device: str) -> str:
    preferred = DEVICES[device].preferred_precision
    return preferred if preferred in manifest.variants else manifest.default_variant


def _check_tensors(opened: NetworkGraphs) -> None:
    described, network = opened.described, opened.network
    names, count, (height, width) = described.tensors, len(described.labels), described.input.size
    _expect_one_input(network, names.image)
    _expect(network.inputs, names.image, "uint8", (None, height, width))
    _expect(network.outputs, names.probabilities, "float32", (None, count))
    _expect(network.outputs, names.logits, "float32", (None, count))
    if opened.maps is not None and described.maps is not None:
        read = opened.read_by_maps
        _expect(network.outputs, read, "float32", (None, None, None, None))
        _expect_one_input(opened.maps, read)
        _expect(opened.maps.inputs, read, "float32", network.outputs[read].shape)
        _expect(opened.maps.outputs, names.maps, "float32", (None, count, *described.maps.grid))


def _check_rules(manifest: Manifest, first: NetworkGraphs) -> None:
    """Check that each rule has a weight for each channel of the first network's features."""
    name, checks, unlike = first.described.tensors.features, manifest.header_checks, manifest.out_of_distribution
    weights = {} if unlike is None else {"out_of_distribution": unlike.weights}
    weights |= {} if checks is None else {f"header_checks.{key}": rule.weights for key, rule in checks.rules.items()}
    if weights:
        _expect(first.network.outputs, name, "float32", (None, None, None, None))
    for rule, found in weights.items():
        channels = first.network.outputs[name].shape[-1]
        if channels not in (None, len(found)):
            raise BundleTensors(
                f"{rule}: expected {channels} weights, one for each channel of {name!r}, got {len(found)}; "
                "export the bundle again"
            )


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
