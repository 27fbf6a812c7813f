"""The features of images by a bundle's first network, for the rules that are fitted on them."""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import pandas as pd

from cxr_edge.backends import Resources, open_graph
from cxr_edge.model.bundle import Bundle
from cxr_edge.model.out_of_distribution import features_of
from cxr_edge.support.parallel import map_in_order, usable_cores
from training.data.images import Images, load_part
from training.labels import LabelSet

Features = npt.NDArray[np.float64]


class FirstNetwork:
    """The default variant of a bundle's first network, whose features the SDK gives to rules."""

    def __init__(self, bundle: Bundle) -> None:
        first = bundle.manifest.networks[0]
        model, *_ = first.files(bundle.manifest.default_variant)
        self.size = first.input.size[0]
        self._graph = open_graph(bundle.files[model], "cpu", "fp32", Resources(threads=1))
        self._image, self._features = first.tensors.image, first.tensors.features

    def features(self, images: Iterable[npt.NDArray[np.uint8]]) -> Features:
        """Compute the features of pre-processed images, one on each core, (N, C) float64."""
        return np.stack(list(map_in_order(self._features_of, images, usable_cores())))

    def _features_of(self, image: npt.NDArray[np.uint8]) -> Features:
        (features,) = self._graph.run([self._features], {self._image: np.asarray(image)[None]})
        return features_of(np.asarray(features[0]))


def images_of(bundle: Bundle, table: pd.DataFrame, size: int) -> Images:
    """Load the images of a table at one size, from a cache or decoded."""
    return load_part(table, size, "images", LabelSet.of(bundle.manifest.labels)).images
