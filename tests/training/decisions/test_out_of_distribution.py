"""The out-of-distribution rule: what it is fitted against, where its zero lies, how its warnings are counted."""

import numpy as np
import pytest

from cxr_edge.model.preprocess import preprocess
from training.decisions.out_of_distribution import (
    FALSE_ALARMS,
    KINDS,
    PENALTIES,
    choose_rule,
    count_warnings,
    fit_rule,
    share_of,
    transform,
)


@pytest.fixture(scope="module")
def shown(image) -> np.ndarray:
    return preprocess(image, (224, 224))


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_changes_an_image_keeps_its_size_and_is_reproducible(shown, kind):
    one, again = (next(transform([shown], kind, seed=3)) for _ in range(2))
    assert one.shape == shown.shape
    assert one.dtype == np.uint8
    np.testing.assert_array_equal(one, again)
    assert (one != shown).mean() > 0.5


def test_images_are_rotated_and_inverted_exactly(shown):
    quarter, half, negative = (
        next(transform([shown], kind, seed=0)) for kind in ("rotated by 90°", "rotated by 180°", "inverted")
    )
    np.testing.assert_array_equal(quarter, shown.T[::-1])
    np.testing.assert_array_equal(half, shown[::-1, ::-1])
    np.testing.assert_array_equal(negative, 255 - shown)


def test_its_zero_yields_the_chosen_false_alarms_on_validation():
    random = np.random.default_rng(0)
    images, validation = random.normal(0, 1, (2000, 8)), random.normal(0, 1, (1000, 8))
    others = {"far": random.normal(4, 1, (300, 8)), "aside": random.normal(-4, 1, (300, 8)) * [1, *[0] * 7]}
    rule = fit_rule(images, {"far": others["far"]}, validation, "numbers", penalty=1e-3)
    assert count_warnings(rule, validation)["warned"]["value"] == pytest.approx(FALSE_ALARMS)
    assert count_warnings(rule, others["far"])["warned"]["value"] == 1
    assert (
        count_warnings(rule, others["aside"])["warned"]["value"] < 0.5
    )  # a kind it was not fitted on, on the other side


def test_the_interval_is_wilsons():
    rule = fit_rule(np.zeros((5, 1)), {"ones": np.ones((5, 1))}, np.zeros((5, 1)), "numbers", penalty=1e-3)
    figures = count_warnings(rule, np.array([[1.0]] * 10 + [[-1.0]] * 90))
    assert figures == {"pictures": 100, "warned": {"value": 0.1, "low": 0.0552, "high": 0.1744}}


def test_images_of_one_patient_do_not_narrow_the_interval():
    """Ten images a patient that all answer alike are one; where each answers by itself they are ten."""
    random = np.random.default_rng(0)
    of_patients = random.random(100) < 0.2
    once, repeated = share_of(of_patients), share_of(np.repeat(of_patients, 10), np.repeat(np.arange(100), 10))
    assert repeated == {name: pytest.approx(value, abs=2e-3) for name, value in once.items()}
    apart = random.random(1000) < 0.2
    among = share_of(apart, np.repeat(np.arange(100), 10))
    assert among["high"] - among["low"] == pytest.approx(share_of(apart)["high"] - share_of(apart)["low"], rel=0.2)
    none = share_of([False] * 1000, np.repeat(np.arange(100), 10))
    assert none == share_of([False] * 100)


@pytest.mark.parametrize(("offset", "share", "weaker"), [(6, 1.0, False), (2, 0.02, True)])
def test_the_penalty_is_the_strongest_that_recognises_every_kind(offset, share, weaker):
    """A kind of few images is outweighed by the others under a strong penalty."""
    random = np.random.default_rng(0)

    def drawn(count: int, *where: float) -> np.ndarray:
        return random.normal(0, 1, (count, 2)) * 0.3 + np.asarray(where)

    def kinds(count: int) -> dict[str, np.ndarray]:
        return {"right": drawn(count, 6, 0), "above": drawn(max(int(count * share), 10), 0, offset)}

    penalty, _ = choose_rule(drawn(2000, 0, 0), kinds(500), drawn(1000, 0, 0), kinds(500))
    assert (penalty > PENALTIES[0]) == weaker
