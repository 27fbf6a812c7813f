"""What a variant of a bundle was measured at before it was let in, in words."""

from collections.abc import Mapping
from typing import Any


def tell_gate(gate: Mapping[str, Any]) -> str:
    """Tell the figures of a gate, as far as the manifest gives them."""
    told = []
    for part in ("validation", "test"):
        if part in gate:
            mode, limits = gate[part]["view_modes"]["tta"], gate[part]["limits"]
            worst = max(mode["probability"]["max"], mode["raw_probability"]["max"])
            verdict = "over its limits" if gate[part]["over_limits"] else "passed"
            told.append(
                f"{verdict} on {gate[part]['films']} {part} films, six views: max Δp {worst:.4f} "
                f"(limit {limits['probability']:g}), flips {mode['flips']['all']:.2%} ({limits['flips']:.1%}), "
                f"Δ mean AUC {mode['mean_auc']['value']:+.5f} ({limits['mean_auc']:g})"
            )
    if "largest_difference_to_keras" in gate:
        told.append(f"max Δp to Keras {gate['largest_difference_to_keras']['probabilities']:.1e}")
    return "; ".join(told) or "its gate tells no figures"
