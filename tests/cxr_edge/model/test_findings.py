"""Findings: threshold, filter, order."""

import numpy as np

from cxr_edge.model.findings import make_findings
from cxr_edge.model.labels import Label

NAMES = ("Mass", "Nodule", "Hernia", "Edema")
LABELS = (*map(Label, NAMES), Label("No Finding", role="normal"))


def findings(values, variants=1, min_probability=0.05):
    per_variant = np.tile(np.float32(values), (variants, 1))
    per_variant[0] += 0.1
    return make_findings(LABELS, values, per_variant, dict.fromkeys(NAMES, 0.4), min_probability)


def test_positive_is_at_or_above_the_threshold():
    assert [(f.label, f.positive) for f in findings([0.4, 0.39, 0.9, 0.1, 0.99])] == [
        ("Hernia", True),
        ("Mass", True),
        ("Nodule", False),
        ("Edema", False),
    ]


def test_the_improbable_is_dropped_and_ties_keep_the_labels_order():
    assert [f.label for f in findings([0.3, 0.3, 0.04, 0.3, 0.9])] == ["Mass", "Nodule", "Edema"]


def test_std_is_over_the_variants_and_absent_with_one():
    assert {f.std for f in findings([0.3] * 5)} == {None}
    np.testing.assert_allclose([f.std for f in findings([0.3] * 5, variants=2)], 0.05, atol=1e-6)
