"""The rule that warns of images unlike the training images: fitted, counted, and written into a bundle."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt
import pandas as pd

from cxr_edge.backends import Resources, open_graph
from cxr_edge.errors import InputError
from cxr_edge.images import read_image
from cxr_edge.images.files import discover
from cxr_edge.model.bundle import MANIFEST, MODEL_CARD, Bundle, read_bundle
from cxr_edge.model.out_of_distribution import OutOfDistribution, features_of
from cxr_edge.model.preprocess import preprocess
from cxr_edge.support.parallel import usable_cores
from export.bundle_files import write_bundle
from export.card import measured, model_card
from export.errors import ExportError
from training.data.images import load_part
from training.decisions.out_of_distribution import IMAGES_A_KIND, KINDS, Features, count_warnings, fit_rule, transform
from training.evaluation.evaluate import part_of_split
from training.evaluation.looks import record_look
from training.labels import LabelSet
from training.versions import commit

Images = Sequence[npt.NDArray[np.uint8]]

#: The kind of unchanged images.
AS_THEY_ARE: Final = "as they are"


class _Network:
    """The bundle's default variant, which computes features."""

    def __init__(self, bundle: Bundle) -> None:
        names, variant = bundle.manifest.tensors, bundle.manifest.variant(bundle.manifest.default_variant)
        self._graph = open_graph(bundle.files[variant.model], "cpu", "fp32", Resources(threads=usable_cores()))
        self._image, self._features = names.image, names.features

    def features(self, images: Iterable[npt.NDArray[np.uint8]]) -> Features:
        return np.stack([self._features_of(image) for image in images])

    def _features_of(self, image: npt.NDArray[np.uint8]) -> Features:
        (features,) = self._graph.run([self._features], {self._image: np.asarray(image)[None]})
        return features_of(np.asarray(features[0]))


def add_rule(root: Path, images: pd.DataFrame, others: Mapping[str, Path], *, look_at_test: bool) -> OutOfDistribution:
    """Fit the rule on a bundle's training images, and write it with its error rates.

    Parameters
    ----------
    root : Path
        The bundle.
    images : DataFrame
        All images of the data set the bundle was trained by; see `part_of_split`.
    others : mapping
        Kind → folder of images that are not chest radiographs, on which the rule is counted, not fitted.
    look_at_test : bool
        Count on the test images too; the test look is recorded.

    Raises
    ------
    DataError, ExportError
    """
    bundle = read_bundle(root)
    network, size = _Network(bundle), bundle.manifest.input.size[0]
    elsewhere = {kind: _read_folder(folder, size) for kind, folder in others.items()}
    images_of = {part: _images(bundle, images, part, size) for part in ("train", "validation")}
    chosen = np.random.default_rng(0).permutation(len(images_of["train"]))[:IMAGES_A_KIND]
    changed = [images_of["train"][index] for index in chosen]
    fitted, fitted_on = network.features(images_of["train"]), f"{len(images_of['train'])} training images"
    others_of = {kind: network.features(transform(changed, kind, seed=0)) for kind in KINDS}
    validation = _features_of_kinds(network, images_of["validation"], seed=1)
    rule = fit_rule(
        fitted,
        others_of,
        validation[AS_THEY_ARE],
        f"{fitted_on} against {len(changed)} of them in each of these kinds: {', '.join(KINDS)}",
    )
    figures = {"validation": _counts(rule, validation)}
    figures["validation, the kind left out of the fit"] = {
        kind: _count_left_out(fitted, others_of, validation, kind) for kind in KINDS
    }
    if look_at_test:
        figures["test"] = _counts(rule, _features_of_kinds(network, _images(bundle, images, "test", size), seed=2))
        record_look(_look_of(bundle, figures["test"]))
    if elsewhere:
        unlike = {kind: network.features(found) for kind, found in elsewhere.items()}
        figures["elsewhere"] = _counts(rule, unlike)
    rule = msgspec.structs.replace(rule, figures=figures)
    manifest = json.loads((root / MANIFEST).read_bytes()) | {"out_of_distribution": msgspec.to_builtins(rule)}
    card = model_card(manifest, measured(bundle))
    write_bundle(manifest, {**bundle.files, MODEL_CARD: card.encode()}, root)
    return rule


def _images(bundle: Bundle, images: pd.DataFrame, part: str, size: int) -> Images:
    found = load_part(part_of_split(bundle, images, part)[0], size, part, LabelSet.of(bundle.manifest.labels)).images
    return [found[index] for index in range(len(found))]


def _features_of_kinds(network: _Network, images: Images, seed: int) -> dict[str, Features]:
    """Return the features of images as they are, and transformed into every kind."""
    transformed = {kind: network.features(transform(images, kind, seed)) for kind in KINDS}
    return {AS_THEY_ARE: network.features(images)} | transformed


def _count_left_out(
    fitted: Features, others_of: Mapping[str, Features], validation: Mapping[str, Features], kind: str
) -> dict[str, Any]:
    """Count a kind by a rule that was fitted without it: what to expect of an unforeseen kind."""
    without = {other: features for other, features in others_of.items() if other != kind}
    rule = fit_rule(fitted, without, validation[AS_THEY_ARE], f"all but {kind}")
    return count_warnings(rule, validation[kind])


def _counts(rule: OutOfDistribution, features_of: Mapping[str, Features]) -> dict[str, Any]:
    return {kind: count_warnings(rule, features) for kind, features in features_of.items()}


def _read_folder(folder: Path, size: int) -> Images:
    images = []
    for path in discover([str(folder)]):
        try:
            images.append(preprocess(read_image(path).pixels, (size, size)))
        except InputError as error:
            raise ExportError(f"{path}: {error}; take it out of the folder") from error
    if not images:
        raise ExportError(f"{folder} holds no image; name another folder")
    return images


def _look_of(bundle: Bundle, figures: dict[str, Any]) -> dict[str, Any]:
    return {
        "bundle": bundle.identity,
        "bundle_sha256": bundle.sha256,
        "commit": commit(),
        "images": figures[AS_THEY_ARE]["pictures"],
        "out_of_distribution": {kind: counts["warned"] for kind, counts in figures.items()},
    }
