"""Several bundles as one: weights fitted on validation, calibration and operating points decided on anew.

An ensemble that does not rank the validation images better than its best member, with weights fitted on other patients,
is refused: it would cost time for nothing.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt
import pandas as pd

from cxr_edge.model.bundle import MODEL_CARD, Bundle
from cxr_edge.model.manifest import FORMAT_MAJOR
from cxr_edge.model.members import Outputs, merge_probabilities
from cxr_edge.model.network import Network
from export.bundle_files import write_bundle
from export.card import model_card
from export.ensembles.candidates import Candidate, evaluated, joined_labels, map_methods
from export.ensembles.weights import fit_weights, gain_over_best
from export.errors import ExportError
from training.decisions.calibration import platt_ridge
from training.decisions.decide import add_early_exits, decide, require_enough
from training.decisions.thresholds import least_reported
from training.labels import LabelSet
from training.network.tta import VARIANTS
from training.versions import commit

#: Members whose share is smaller than this are refused: they cost their time and change nothing.
LEAST_WEIGHT: Final = 0.02


class NoGain(ExportError):
    """The ensemble ranks no better than its best member."""


def make_ensemble(
    bundles: Mapping[str, Bundle], images: pd.DataFrame, fitted_on: str, identity: tuple[str, str], out: Path
) -> dict[str, Any]:
    """Fit the weights of an ensemble, decide on its thresholds, and write it.

    Parameters
    ----------
    bundles : mapping
        Name of the member → its bundle, two or more. All are given the TTA variants of the first.
    images : DataFrame
        Validation images that none of them was fitted on, with the labels of all of them.
    fitted_on : str
        What the images are, for the manifest.
    identity : (str, str)
        Name and version of the ensemble.
    out : Path

    Returns
    -------
    dict
        ``weights`` by member; ``best``, the best member's name; ``gain`` over it, paired, cross-fitted.

    Raises
    ------
    NoGain
        Nothing is written.
    ExportError
        The bundles do not fit together.
    """
    labels = joined_labels(bundles)
    require_enough(images, labels)
    candidates = evaluated(bundles, images)
    weights = fit_weights(candidates, images, labels)
    figures = gain_over_best(candidates, images, labels)
    if low := [c.name for c, weight in zip(candidates, weights, strict=True) if weight < LEAST_WEIGHT]:
        raise NoGain(f"{', '.join(low)} would have a weight below {LEAST_WEIGHT:g}; leave it out")
    difference = figures["gain"]["difference"]
    if not difference["value"] > 0:
        raise NoGain(
            f"expected a gain over {figures['best']} on the {len(images)} validation images, got "
            f"{difference['value']:+.4f} in the mean ROC-AUC within collections; ship that one, or choose other members"
        )
    networks = [
        _member(candidate, images, float(weight)) for candidate, weight in zip(candidates, weights, strict=True)
    ]
    per_variant = _merged(candidates, networks, labels.names)
    decided = decide(images, labels, per_variant, fitted_on)
    if bundles[candidates[0].name].manifest.tta.variants == VARIANTS:
        add_early_exits(decided, labels, per_variant, images)
    figures = {"weights": dict(zip(bundles, weights.tolist(), strict=True)), **figures}
    manifest = _manifest(list(bundles.values()), networks, labels, decided, identity, figures)
    files = {
        name: bundle.files[file] for network, bundle in zip(networks, bundles.values(), strict=True)
        for name, file in _file_names(network.name, bundle).items()
    }  # fmt: skip
    write_bundle(manifest, {**files, MODEL_CARD: model_card(manifest).encode()}, out)
    return figures


def _merged(
    candidates: Sequence[Candidate], networks: Sequence[Network], labels: Sequence[str]
) -> npt.NDArray[np.float32]:
    """Merge what the SDK will merge, image by image, (N, variants, labels) float32."""
    count = len(candidates[0].per_variant)
    return np.stack(
        [
            merge_probabilities(
                [Outputs(network, candidate.per_variant[i], None)
                 for network, candidate in zip(networks, candidates, strict=True)],
                labels,
            )
            for i in range(count)
        ]
    )  # fmt: skip


def _member(candidate: Candidate, images: pd.DataFrame, weight: float) -> Network:
    """Describe a member, its curves fitted to the probabilities of single TTA variants, which they are applied to."""
    labels, (network,) = candidate.labels, candidate.bundle.manifest.networks
    truth = images[list(labels)].to_numpy(np.float64)
    curves = platt_ridge(truth, candidate.per_variant[:, 0].astype(np.float64), labels)
    names = {file: name for name, file in _file_names(candidate.name, candidate.bundle).items()}
    maps = network.maps
    if maps is not None:
        maps = msgspec.structs.replace(maps, graphs={"fp32": names[maps.graphs["fp32"]]})
    return msgspec.structs.replace(
        network,
        name=candidate.name,
        variants={"fp32": names[network.variants["fp32"]]},
        maps=maps,
        weight=weight,
        calibration=curves,
    )


def _file_names(member: str, bundle: Bundle) -> dict[str, str]:
    """Name the float32 graphs of a member: file in the ensemble → file in its own bundle."""
    model, *companion = bundle.manifest.graph_files("fp32")
    return {f"{member}.onnx": model, **({f"{member}.maps.onnx": companion[0]} if companion else {})}


def _manifest(
    bundles: Sequence[Bundle],
    networks: Sequence[Network],
    labels: LabelSet,
    decided: dict[str, Any],
    identity: tuple[str, str],
    figures: dict[str, Any],
) -> dict[str, Any]:
    name, version = identity
    first = bundles[0].manifest.source
    grids = [network.maps.grid for network in networks if network.maps is not None]
    methods = map_methods(bundles)
    return {
        "format_version": f"{FORMAT_MAJOR}.0",
        "name": name,
        "version": version,
        "labels": msgspec.to_builtins(labels.records),
        "input": msgspec.to_builtins(max((n.input for n in networks), key=lambda i: i.size[0] * i.size[1])),
        "tta": {"variants": first["tta"]["variants"], "default_mode": decided["default_tta_mode"]},
        "operating_points": decided["operating_points"],
        "default_operating_point": next(iter(decided["operating_points"])),
        "calibration": decided["calibration"],
        "min_probability": least_reported(decided["operating_points"], labels),
        "variants": {"fp32": {"model": None, "precision": "float32", "gate": _gate(bundles)}},
        "default_variant": "fp32",
        "maps": {"method": methods.pop(), "graphs": {}, "grid": max(grids)} if grids else None,
        "tensors": first["tensors"],
        "tolerances": first["tolerances"],
        "training": {**_split(bundles), "labels": msgspec.to_builtins(labels.records), "ensemble": figures,
                     "members": {n.name: b.manifest.training for n, b in zip(networks, bundles, strict=True)},
                     "commit": commit()},
        "export": first.get("export", {}),
        "members": msgspec.to_builtins(networks),
        "view": first.get("view"),
        "header_checks": first.get("header_checks"),
        **({"out_of_distribution": first["out_of_distribution"]} if first.get("out_of_distribution") else {}),
    }  # fmt: skip


def _gate(bundles: Sequence[Bundle]) -> dict[str, Any]:
    """Return the worst of what the members' graphs differ from the models that they were made of."""
    gates = [bundle.manifest.variants["fp32"].gate for bundle in bundles]
    differences = [gate.get("largest_difference_to_keras") or gate["largest_difference_to_source"] for gate in gates]
    names = dict.fromkeys(name for difference in differences for name in difference)
    return {
        "images": min(gate["images"] for gate in gates),
        "variants": min(gate["variants"] for gate in gates),
        "largest_difference_to_source": {name: max(one.get(name, 0.0) for one in differences) for name in names},
    }


def _split(bundles: Sequence[Bundle]) -> dict[str, Any]:
    """Return what the first member's training records of its images, where all were fitted on the same split."""
    first, *others = [bundle.manifest.training for bundle in bundles]
    if any(other.get("part_sha256") != first.get("part_sha256") for other in others):
        return {}
    kept = ("data", "split", "images", "patients", "table_sha256", "part_sha256")
    recorded = {key: first[key] for key in kept if key in first}
    return {**recorded, **({"recipe": {"split": first["recipe"]["split"]}} if "recipe" in first else {})}
