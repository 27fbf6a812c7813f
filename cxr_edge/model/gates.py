"""The gate that a variant of a bundle passed, described in words."""

from collections.abc import Mapping
from typing import Any, Final

from cxr_edge.model.settings import FittedMode

#: Name of the part of a gate that was judged on a user's own images, without labels.
OWN_IMAGES: Final = "user's"
#: Figure of parity → what the bundle was compared with.
_COMPARED: Final = {"largest_difference_to_source": "the model as it came", "largest_difference_to_keras": "Keras"}


def describe_gate(gate: Mapping[str, Any] | None, mode: FittedMode, variants: int) -> str:
    """Describe the figures of a gate in a TTA mode, as far as the manifest contains them.

    Parameters
    ----------
    gate : mapping or None
        See `cxr_edge.model.manifest.Manifest.gate`.
    mode : str
    variants : int
        Number of TTA variants of the bundle.
    """
    if gate is None:
        return "computed by the device itself, without a gate"
    shown = "one TTA variant" if mode == "single" or variants == 1 else f"{variants} TTA variants"
    parts = []
    for part in ("validation", "test", OWN_IMAGES):
        if part in gate:
            figures, limits = gate[part]["tta_modes"][mode], gate[part]["limits"]
            worst = max(figures["probability"]["max"], figures["raw_probability"]["max"])
            verdict = "over its limits" if gate[part]["over_limits"] else "passed"
            ranking = figures["mean_auc"]  # needs labels
            parts.append(
                f"{verdict} on {gate[part]['images']} {part} images, {shown}: "
                f"max Δp {worst:.4f} (limit {limits['probability']:g}), "
                f"flips {figures['flips']['all']:.2%} (limit {limits['flips']:.1%})"
                + (f", Δ mean AUC {ranking['value']:+.5f} (limit {limits['mean_auc']:g})" if ranking else "")
            )
    parts += [f"max Δp to {name} {gate[key]['probabilities']:.1e}" for key, name in _COMPARED.items() if key in gate]
    return "; ".join(parts) or "its gate has no figures"
