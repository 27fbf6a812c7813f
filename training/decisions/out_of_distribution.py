"""What tells frontal chest films from other pictures: a linear rule on the features of the network."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt
from scipy.stats import binomtest
from sklearn.linear_model import LogisticRegression

from cxr_edge.model.out_of_distribution import OutOfDistribution

Film = npt.NDArray[np.uint8]
Features = npt.NDArray[np.float64]

#: Share of validation films that may be warned of.
FALSE_ALARMS: Final = 0.01
#: Inverse strength of the L2 penalty: of 1e-4 to 1e-1, all of which tell all kinds on validation films but the
#: first, the strongest that does.
PENALTY: Final = 1e-3
#: Added to a feature's standard deviation: one that hardly varies must not decide.
LEAST_SPREAD: Final = 0.05
#: Films of the training part that are turned into each kind.
FILMS_A_KIND: Final = 350


def _rotated(quarters: int) -> Callable[[Film, np.random.Generator], Film]:
    return lambda film, _: np.rot90(film, quarters)


def _inverted(film: Film, _: np.random.Generator) -> Film:
    return 255 - film


def _cropped(share: float) -> Callable[[Film, np.random.Generator], Film]:
    def crop(film: Film, random: np.random.Generator) -> Film:
        side = int(len(film) * share)
        top, left = random.integers(0, len(film) - side + 1, 2)
        return np.asarray(cv2.resize(film[top : top + side, left : left + side], film.shape[::-1]), np.uint8)

    return crop


def _shuffled(film: Film, random: np.random.Generator) -> Film:
    """Sixteen parts of the film, in another order."""
    side = len(film) // 4
    parts = film[: 4 * side, : 4 * side].reshape(4, side, 4, side).swapaxes(1, 2).reshape(16, side, side)
    mixed = parts[random.permutation(16)].reshape(4, 4, side, side).swapaxes(1, 2).reshape(4 * side, 4 * side)
    return np.asarray(cv2.resize(mixed, film.shape[::-1]), np.uint8)


def _noise(film: Film, random: np.random.Generator) -> Film:
    grain = random.normal(random.uniform(60, 200), random.uniform(20, 80), film.shape)
    return np.clip(grain, 0, 255).astype(np.uint8)


def _clouds(film: Film, random: np.random.Generator) -> Film:
    """Noise, blurred and spread over all grey levels."""
    blurred = cv2.GaussianBlur(random.normal(0, 1, film.shape), (0, 0), random.uniform(1.5, 40))
    return np.asarray(cv2.normalize(blurred, np.empty_like(blurred), 0, 255, cv2.NORM_MINMAX)).astype(np.uint8)


#: What a film is turned into, so that it is no upright, whole frontal chest film.
KINDS: Final[Mapping[str, Callable[[Film, np.random.Generator], Film]]] = {
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


def turned(films: Iterable[Film], kind: str, seed: int) -> Iterator[Film]:
    """Turn films into a kind of `KINDS`.

    Parameters
    ----------
    films : iterable of ndarray, (H, W) uint8
        Pre-processed.
    kind : str
    seed : int
    """
    random = np.random.default_rng((seed, list(KINDS).index(kind)))
    for film in films:
        yield np.ascontiguousarray(KINDS[kind](film, random))


def fit_rule(
    films: Features, others: Mapping[str, Features], validation: Features, fitted_on: str
) -> OutOfDistribution:
    """Fit the rule, and place its zero on validation films.

    Parameters
    ----------
    films, validation : ndarray, (N, C) float64
        Features of training and of validation films.
    others : mapping
        Kind → features of what training films were turned into.
    fitted_on : str
    """
    features = np.concatenate([films, *others.values()])
    center, spread = films.mean(axis=0), features.std(axis=0) + LEAST_SPREAD
    is_other = np.arange(len(features)) >= len(films)
    fitted = LogisticRegression(C=PENALTY, max_iter=1000, class_weight="balanced")
    fitted.fit((features - center) / spread, is_other)
    weights = fitted.coef_[0] / spread
    # Six digits are what float32 features can tell, at a third of the manifest.
    rounded = tuple(float(f"{weight:.6g}") for weight in weights)
    bias = -float(np.quantile(validation @ np.asarray(rounded), 1 - FALSE_ALARMS))
    return OutOfDistribution(rounded, round(bias, 4), FALSE_ALARMS, fitted_on)


def counted(rule: OutOfDistribution, features: Features) -> dict[str, Any]:
    """Count the pictures that a rule warns of, with Wilson's 95 % interval."""
    warned = sum(rule.score(picture) > 0 for picture in features)
    interval = binomtest(warned, len(features)).proportion_ci(method="wilson")
    shares = {"value": warned / len(features), "low": interval.low, "high": interval.high}
    return {"pictures": len(features), "warned": {name: round(float(share), 4) for name, share in shares.items()}}
