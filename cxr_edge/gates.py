"""What a variant of a bundle was measured at before it was let in, in words."""

from collections.abc import Mapping
from typing import Any, Final

from cxr_edge.manifest import ViewMode

_VIEWS: Final = {"single": "one view", "tta": "six views"}


def tell_gate(gate: Mapping[str, Any], view_mode: ViewMode = "tta") -> str:
    """Tell the figures of a gate in a view mode, as far as the manifest gives them."""
    told = []
    for part in ("validation", "test"):
        if part in gate:
            mode, limits = gate[part]["view_modes"][view_mode], gate[part]["limits"]
            worst = max(mode["probability"]["max"], mode["raw_probability"]["max"])
            verdict = "over its limits" if gate[part]["over_limits"] else "passed"
            told.append(
                f"{verdict} on {gate[part]['films']} {part} films, {_VIEWS[view_mode]}: max Δp {worst:.4f} "
                f"(limit {limits['probability']:g}), flips {mode['flips']['all']:.2%} (limit {limits['flips']:.1%}), "
                f"Δ mean AUC {mode['mean_auc']['value']:+.5f} (limit {limits['mean_auc']:g})"
            )
    if "largest_difference_to_keras" in gate:
        told.append(f"max Δp to Keras {gate['largest_difference_to_keras']['probabilities']:.1e}")
    return "; ".join(told) or "its gate tells no figures"
