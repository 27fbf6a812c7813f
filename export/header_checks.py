"""Header checks of a bundle, fitted and counted on the images it was trained by: ``python -m export header-checks``."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pandas as pd

from cxr_edge.model.bundle import Bundle, read_bundle
from cxr_edge.model.header_checks import HeaderChecks, HeaderRule
from export.card import write_changed
from export.features import Features, FirstNetwork, images_of
from training.data.images import Images
from training.decisions.header_checks import count_contradictions, fit_checks
from training.evaluation.evaluate import part_of_split
from training.evaluation.looks import record_look
from training.versions import commit


def add_checks(root: Path, images: pd.DataFrame, *, look_at_test: bool) -> HeaderChecks:
    """Fit the header checks on a bundle's training images, and write them with their error rates.

    Parameters
    ----------
    root : Path
        The bundle.
    images : DataFrame
        All images of the data set the bundle was trained by; see `part_of_split`.
    look_at_test : bool
        Count on the test images too; the test look is recorded.

    Raises
    ------
    DataError, ExportError
    """
    bundle = read_bundle(root)
    network = FirstNetwork(bundle)
    parts = ("train", "validation", *(["test"] if look_at_test else []))
    tables = {part: part_of_split(bundle, images, part)[0] for part in parts}
    features: dict[str, Features] = {
        part: network.features(_each(images_of(bundle, table, network.size))) for part, table in tables.items()
    }
    checks = fit_checks(tables["train"], features["train"], tables["validation"], features["validation"])
    counted = {
        name: msgspec.structs.replace(
            rule,
            figures={
                part: _by_collection(rule, table, name, features[part])
                for part, table in tables.items()
                if part != "train"
            },
        )
        for name, rule in checks.rules.items()
    }
    checks = msgspec.structs.replace(checks, **counted)
    if look_at_test:
        record_look(_look_of(bundle, checks))
    write_changed(root, bundle, {"header_checks": msgspec.to_builtins(checks)})
    return checks


def _each(images: Images) -> Iterator[npt.NDArray[np.uint8]]:
    return (images[index] for index in range(len(images)))


def _by_collection(rule: HeaderRule, table: pd.DataFrame, name: str, features: Features) -> dict[str, Any]:
    """Count on all images of a part, and on those of each collection."""
    counted = {"all": count_contradictions(rule, table, name, features)}
    for collection in sorted(table["collection"].unique()):
        rows = (table["collection"] == collection).to_numpy()
        counted[collection] = count_contradictions(rule, table[rows], name, features[rows])
    return counted


def _look_of(bundle: Bundle, checks: HeaderChecks) -> dict[str, Any]:
    return {
        "bundle": bundle.identity,
        "bundle_sha256": bundle.sha256,
        "commit": commit(),
        "images": max(rule.figures["test"]["all"]["images"] for rule in checks.rules.values()),
        "header_checks": {name: rule.figures["test"]["all"] for name, rule in checks.rules.items()},
    }
