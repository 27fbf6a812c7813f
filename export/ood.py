"""The rule that warns of images unlike the training images: fitted, counted, and written into a bundle."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt
import pandas as pd

from cxr_edge.errors import InputError
from cxr_edge.images import read_image
from cxr_edge.images.files import discover
from cxr_edge.model.bundle import Bundle, read_bundle
from cxr_edge.model.out_of_distribution import OutOfDistribution
from cxr_edge.model.preprocess import preprocess
from export.card import write_changed
from export.errors import ExportError
from export.features import FirstNetwork, images_of
from training.decisions.out_of_distribution import (
    IMAGES_A_KIND,
    KINDS,
    Features,
    choose_rule,
    count_warnings,
    transform,
)
from training.evaluation.evaluate import part_of_split
from training.evaluation.looks import record_look
from training.versions import commit

Images = Sequence[npt.NDArray[np.uint8]]

#: Training images that the rule is fitted on, at most, so that it takes minutes; what more would give was not measured.
MOST_IMAGES: Final = 3000

#: The kind of unchanged images.
AS_THEY_ARE: Final = "as they are"


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
    network = FirstNetwork(bundle)
    elsewhere = {kind: _read_folder(folder, network.size) for kind, folder in others.items()}
    train, _ = _images(bundle, images, "train", network.size)
    changed = [train[index] for index in _some(len(train))]
    fitted, fitted_on = network.features(train), f"{len(train)} training images"
    others_of = {kind: network.features(transform(changed, kind, seed=0)) for kind in KINDS}
    shown, patients = _images(bundle, images, "validation", network.size)
    validation = _features_of_kinds(network, shown, seed=1)
    kinds_of_validation = {kind: validation[kind] for kind in KINDS}
    penalty, rule = choose_rule(fitted, others_of, validation[AS_THEY_ARE], kinds_of_validation)
    figures = {"validation": _counts(rule, validation, patients)}
    figures["validation, the kind left out of the fit"] = {
        kind: _count_left_out(fitted, others_of, validation, kind) for kind in KINDS
    }
    if look_at_test:
        shown, patients = _images(bundle, images, "test", network.size)
        figures["test"] = _counts(rule, _features_of_kinds(network, shown, seed=2), patients)
        record_look(_look_of(bundle, figures["test"]))
    if elsewhere:
        unlike = {kind: network.features(found) for kind, found in elsewhere.items()}
        figures["elsewhere"] = _counts(rule, unlike)
    against = (
        f"{fitted_on} against {len(changed)} of them in each of these kinds: {', '.join(KINDS)}; inverse strength of "
        f"the penalty, chosen on validation images: {penalty:g}"
    )
    rule = msgspec.structs.replace(rule, fitted_on=against, figures=figures)
    write_changed(root, bundle, {"out_of_distribution": msgspec.to_builtins(rule)})
    return rule


def _images(bundle: Bundle, images: pd.DataFrame, part: str, size: int) -> tuple[Images, npt.NDArray[Any]]:
    """Return the images of a part, and the patient of each."""
    table = part_of_split(bundle, images, part)[0]
    if part == "train" and len(table) > MOST_IMAGES:
        table = table.sample(MOST_IMAGES, random_state=0).reset_index(drop=True)
    found = images_of(bundle, table, size)
    return [found[index] for index in range(len(found))], table["patient"].to_numpy()


def _some(count: int) -> npt.NDArray[np.int64]:
    """Draw the images at random that are transformed, or all of so many."""
    return np.random.default_rng(0).permutation(count)[:IMAGES_A_KIND]


def _features_of_kinds(network: FirstNetwork, images: Images, seed: int) -> dict[str, Features]:
    """Return the features of images as they are, and of some of them transformed into every kind."""
    changed = [images[index] for index in _some(len(images))]
    transformed = {kind: network.features(transform(changed, kind, seed)) for kind in KINDS}
    return {AS_THEY_ARE: network.features(images)} | transformed


def _count_left_out(
    fitted: Features,
    others_of: Mapping[str, Features],
    validation: Mapping[str, Features],
    kind: str,
) -> dict[str, Any]:
    """Count a kind by a rule that was chosen and fitted without it: what to expect of an unforeseen kind."""
    without, of_validation = ({other: of[other] for other in KINDS if other != kind} for of in (others_of, validation))
    _, rule = choose_rule(fitted, without, validation[AS_THEY_ARE], of_validation)
    return count_warnings(rule, validation[kind])


def _counts(
    rule: OutOfDistribution, features_of: Mapping[str, Features], patients: npt.NDArray[Any] | None = None
) -> dict[str, Any]:
    """Count each kind; `patients` are those of the images as they are."""
    of_kind = dict.fromkeys(features_of, None if patients is None else patients[_some(len(patients))])
    of_kind |= {AS_THEY_ARE: patients}
    return {kind: count_warnings(rule, features, of_kind[kind]) for kind, features in features_of.items()}


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
