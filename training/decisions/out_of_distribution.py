"""The out-of-distribution rule: a linear rule on features that warns of all but frontal chest radiographs."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt
from scipy.stats import norm
from sklearn.linear_model import LogisticRegression

from cxr_edge.model.out_of_distribution import OutOfDistribution

Image = npt.NDArray[np.uint8]
Features = npt.NDArray[np.float64]

#: Share of validation images that may be warned of.
FALSE_ALARMS: Final = 0.01
#: Inverse strengths of the L2 penalty to choose from, the strongest first: the stronger, the less a
#: rule depends on the kinds that it was fitted against.
PENALTIES: Final = (1e-4, 1e-3, 1e-2, 1e-1)
#: Share of every kind's validation images that the strongest penalty must still recognise.
RECOGNISED: Final = 0.99
#: Added to a feature's standard deviation: one that hardly varies must not decide.
LEAST_SPREAD: Final = 0.05
#: Half the width of a 95 % interval, in standard deviations.
_NORMAL: Final = float(norm.ppf(0.975))
#: Images of a part that are transformed into each kind.
IMAGES_A_KIND: Final = 350


def _rotated(quarters: int) -> Callable[[Image, np.random.Generator], Image]:
    return lambda image, _: np.rot90(image, quarters)


def _inverted(image: Image, _: np.random.Generator) -> Image:
    return 255 - image


def _cropped(share: float) -> Callable[[Image, np.random.Generator], Image]:
    def crop(image: Image, random: np.random.Generator) -> Image:
        side = int(len(image) * share)
        top, left = random.integers(0, len(image) - side + 1, 2)
        return np.asarray(cv2.resize(image[top : top + side, left : left + side], image.shape[::-1]), np.uint8)

    return crop


def _shuffled(image: Image, random: np.random.Generator) -> Image:
    """Cut the image into sixteen parts and shuffle them."""
    side = len(image) // 4
    parts = image[: 4 * side, : 4 * side].reshape(4, side, 4, side).swapaxes(1, 2).reshape(16, side, side)
    mixed = parts[random.permutation(16)].reshape(4, 4, side, side).swapaxes(1, 2).reshape(4 * side, 4 * side)
    return np.asarray(cv2.resize(mixed, image.shape[::-1]), np.uint8)


def _noise(image: Image, random: np.random.Generator) -> Image:
    grain = random.normal(random.uniform(60, 200), random.uniform(20, 80), image.shape)
    return np.clip(grain, 0, 255).astype(np.uint8)


def _clouds(image: Image, random: np.random.Generator) -> Image:
    """Blur noise, and spread it over all grey levels."""
    blurred = cv2.GaussianBlur(random.normal(0, 1, image.shape), (0, 0), random.uniform(1.5, 40))
    return np.asarray(cv2.normalize(blurred, np.empty_like(blurred), 0, 255, cv2.NORM_MINMAX)).astype(np.uint8)


#: Transformations after which an image is not an upright, whole frontal chest radiograph.
KINDS: Final[Mapping[str, Callable[[Image, np.random.Generator], Image]]] = {
    "rotated by 90°": _rotated(1),
    "rotated by 270°": _rotated(-1),
    "rotated by 180°": _rotated(2),
    "inverted": _inverted,
    "cropped to half a side": _cropped(1 / 2),
    "cropped to a third of a side": _cropped(1 / 3),
    "shuffled": _shuffled,
    "noise": _noise,
    "clouds": _clouds,
}


def transform(images: Iterable[Image], kind: str, seed: int) -> Iterator[Image]:
    """Transform images into a kind of `KINDS`.

    Parameters
    ----------
    images : iterable of ndarray, (H, W) uint8
        Pre-processed.
    kind : str
    seed : int
    """
    random = np.random.default_rng((seed, list(KINDS).index(kind)))
    for image in images:
        yield np.ascontiguousarray(KINDS[kind](image, random))


def choose_rule(
    images: Features, others: Mapping[str, Features], validation: Features, others_of_validation: Mapping[str, Features]
) -> tuple[float, OutOfDistribution]:
    """Fit the rule by the strongest of `PENALTIES` by which every kind is recognised, else that of the best least kind.

    Parameters
    ----------
    images, validation : ndarray, (N, C) float64
        Features of training and of validation images.
    others, others_of_validation : mapping
        Kind → features of images of the same part that were transformed into it.

    Returns
    -------
    float
        The inverse strength of the penalty.
    OutOfDistribution
        It does not say what it was fitted on.
    """
    fitted: dict[float, tuple[float, OutOfDistribution]] = {}
    for penalty in PENALTIES:
        rule = fit_rule(images, others, validation, "", penalty)
        counts = [count_warnings(rule, features) for features in others_of_validation.values()]
        least = min(count["warned"]["value"] for count in counts)
        if least >= RECOGNISED:
            return penalty, rule
        fitted[penalty] = least, rule
    best = max(fitted, key=lambda penalty: fitted[penalty][0])
    return best, fitted[best][1]


def fit_rule(
    images: Features, others: Mapping[str, Features], validation: Features, fitted_on: str, penalty: float
) -> OutOfDistribution:
    """Fit the rule, and place its zero on validation images.

    Parameters
    ----------
    images, validation : ndarray, (N, C) float64
        Features of training and of validation images.
    others : mapping
        Kind → features of the training images that were transformed into it.
    fitted_on : str
    penalty : float
        Inverse strength of the L2 penalty.
    """
    features = np.concatenate([images, *others.values()])
    center, spread = images.mean(axis=0), features.std(axis=0) + LEAST_SPREAD
    is_other = np.arange(len(features)) >= len(images)
    fitted = LogisticRegression(C=penalty, max_iter=1000, class_weight="balanced")
    fitted.fit((features - center) / spread, is_other)
    weights = fitted.coef_[0] / spread
    # Float32 features carry no more than six digits; full precision would triple the manifest.
    rounded = tuple(float(f"{weight:.6g}") for weight in weights)
    bias = -float(np.quantile(validation @ np.asarray(rounded), 1 - FALSE_ALARMS))
    return OutOfDistribution(rounded, round(bias, 4), FALSE_ALARMS, fitted_on)


def count_warnings(
    rule: OutOfDistribution, features: Features, patients: npt.NDArray[Any] | None = None
) -> dict[str, Any]:
    """Count the images that a rule warns of; see `share_of`."""
    warned = [rule.score(of_image) > 0 for of_image in features]
    return {"pictures": len(features), "warned": share_of(warned, patients)}


def share_of(warned: Sequence[bool], patients: npt.NDArray[Any] | None = None) -> dict[str, float]:
    """Return the share that is warned of, ``value``, with a 95 % interval, ``low`` to ``high``.

    The interval is Wilson's. Images of one patient are not independent: they count as so many images as would have the
    variance between patients (Korn and Graubard 1998), and as the number of patients where all or none are warned of.
    """
    count, share = len(warned), float(np.mean(warned))
    effective = count if patients is None else min(count, _effective(np.asarray(warned), patients))
    spread = _NORMAL / effective * np.sqrt(share * (1 - share) * effective + _NORMAL**2 / 4)
    middle, scale = share + _NORMAL**2 / (2 * effective), 1 + _NORMAL**2 / effective
    shares = {"value": share, "low": (middle - spread) / scale, "high": (middle + spread) / scale}
    return {name: round(float(np.clip(value, 0, 1)), 4) for name, value in shares.items()}


def _effective(warned: npt.NDArray[np.bool_], patients: npt.NDArray[Any]) -> float:
    """Return the number of independent images with the variance of a share over patients."""
    _, of_patient = np.unique(patients, return_inverse=True)
    share, clusters = warned.mean(), int(of_patient.max()) + 1
    apart = np.bincount(of_patient, weights=warned) - share * np.bincount(of_patient)
    if share in (0, 1) or clusters == 1:
        return float(clusters)
    variance = clusters / (clusters - 1) * float((apart**2).sum()) / len(warned) ** 2
    return float(share * (1 - share) / variance) if variance > 0 else float(len(warned))
