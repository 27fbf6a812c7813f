"""Bundles that may become members: whether they fit together, and what they answer to validation images."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
import onnx
import pandas as pd

from cxr_edge.model.bundle import Bundle
from cxr_edge.model.labels import Label
from cxr_edge.model.model import Model
from export.companion.nodes import batch_of
from export.errors import ExportError
from training.data.external import read_external
from training.data.nih import read_dataset
from training.data.splits import of_collections
from training.evaluation.evaluate import part_of_split
from training.evaluation.predictions import predict_images
from training.labels import LabelSet


@dataclass(frozen=True, eq=False)
class Candidate:
    """A bundle that may become a member.

    Attributes
    ----------
    bundle : Bundle
    name : str
        Of the member.
    per_variant : ndarray, (N, variants, its labels) float32
        Raw probabilities of the validation images.
    """

    bundle: Bundle
    name: str
    per_variant: npt.NDArray[np.float32]

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of its labels, in the order of its outputs."""
        return self.bundle.manifest.label_names


def evaluated(bundles: Mapping[str, Bundle], images: pd.DataFrame) -> list[Candidate]:
    """Compute what bundles answer to images, all by the TTA variants of the first.

    Members are averaged variant by variant.
    """
    tta = next(iter(bundles.values())).manifest.tta
    candidates = []
    for name, bundle in bundles.items():
        alike = replace(bundle, manifest=msgspec.structs.replace(bundle.manifest, tta=tta))
        found = predict_images(Model(alike, "cpu"), images)
        for failure in found.unreadable:
            raise ExportError(f"{failure['image']} cannot be read: {failure['message']}; leave it out of the images")
        candidates.append(Candidate(bundle, name, found.per_variant))
    return candidates


def validation_images(
    bundles: Mapping[str, Bundle],
    data: Path | None,
    labelled: tuple[Path | None, Path | None],
    collections: Sequence[str] = (),
) -> tuple[pd.DataFrame, str]:
    """Read the images that the weights are fitted on.

    Parameters
    ----------
    bundles : mapping
    data : Path or None
        The data set that the bundles were trained by: its validation images by their split.
    labelled : (Path or None, Path or None)
        Without `data`: a folder of images that no bundle has seen, and the table of their labels.
    collections : sequence of str
        These alone; all, if left out.

    Returns
    -------
    DataFrame
    str
        What they are, for the manifest.

    Raises
    ------
    DataError
        A bundle was trained by another split, or does not record one.
    """
    labels, (folder, table) = joined_labels(bundles), labelled
    if data is None:
        if folder is None or table is None:
            raise ExportError("expected a data set, or a folder of images and the table of their labels")
        images = read_external("csv", table, "ignore", labels)
        images["path"] = [folder / name for name in images["image"]]
        images = images[images[list(labels.names)].notna().all(axis=1)].reset_index(drop=True)
        return images, f"{len(images)} images: {table.name}"
    found, held_out = [], ""
    dataset = read_dataset(data, labels)
    for bundle in bundles.values():
        of_bundle, held_out = part_of_split(bundle, dataset, "validation")
        found.append(of_bundle)
    if any(set(other["image"]) != set(found[0]["image"]) for other in found):
        raise ExportError("the bundles were trained by different splits: one has seen validation images of another")
    images = of_collections(found[0], collections)
    chosen = f" of collection {', '.join(collections)}" if collections else ""
    return images, (f"{len(images)} validation images{chosen} of {images['patient'].nunique()} patients ({held_out})")


def joined_labels(bundles: Mapping[str, Bundle]) -> LabelSet:
    """Join the labels of all members; the same name must be the same label.

    Raises
    ------
    ExportError
    """
    if len(bundles) < 2:
        raise ExportError(f"expected two bundles or more, got {len(bundles)}")
    if len(methods := map_methods(bundles.values())) > 1:
        raise ExportError(f"expected one method of heat maps, got {', '.join(sorted(methods))}; export them alike")
    if len(views := {str(bundle.manifest.view) for bundle in bundles.values()}) > 1:
        raise ExportError(f"expected bundles of one view, got {', '.join(sorted(views))}; predict_study takes several")
    variants = len(next(iter(bundles.values())).manifest.tta.variants)
    joined: dict[str, Label] = {}
    for name, bundle in bundles.items():
        if variants > 1 and not _takes_batches(bundle):
            raise ExportError(
                f"{name}: its network takes one image at a time, and the first bundle has {variants} TTA variants; "
                "export it with an open batch"
            )
        manifest = bundle.manifest
        if manifest.members is not None:
            raise ExportError(f"{bundle.identity} is an ensemble itself; name its members' bundles instead")
        for label in manifest.labels:
            if joined.setdefault(label.name, label) != label:
                raise ExportError(f"{name}: its label {label.name!r} differs from that of an earlier bundle; rename it")
    _require_maps(bundles, joined)
    return LabelSet.of(list(joined.values()))


def _takes_batches(bundle: Bundle) -> bool:
    """Return whether a network takes batches of any length."""
    graph, *_ = bundle.manifest.graph_files("fp32")
    return isinstance(batch_of(onnx.load_from_string(bundle.files[graph])), str)


def _require_maps(bundles: Mapping[str, Bundle], labels: Iterable[str]) -> None:
    """Raise `ExportError` where some labels would have maps, and others none."""
    with_maps = [bundle.manifest for bundle in bundles.values() if bundle.manifest.maps is not None]
    mapped = {label for manifest in with_maps for label in manifest.label_names}
    if mapped and (without := [label for label in labels if label not in mapped]):
        raise ExportError(
            f"no bundle with heat maps has {', '.join(without)}: their maps would be empty; export all without maps "
            "(`--maps none`), or that one with them"
        )


def map_methods(bundles: Iterable[Bundle]) -> set[str]:
    """Return the methods by which the heat maps of bundles are computed."""
    return {bundle.manifest.maps.method for bundle in bundles if bundle.manifest.maps is not None}
