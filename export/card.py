"""The model card: what the bundle is, what it was measured at, what it must not be used for."""

from typing import Any

from cxr_edge.results import NOTICE

_HEAD = """\
# Model card: {name} {version}

**{notice}**

A classifier of frontal chest radiographs: EfficientNetB0 with a head of three dense layers, one
probability for each of the {count} labels of NIH ChestX-ray14. It is for research and engineering:
to build and test software around it. It has not been validated for any clinical use.

## Data

{data}. Films: {films}. Patients: {patients}. Split: {split}; no patient is in two parts.
Images: NIH Clinical Center; Wang et al. 2017 (ChestX-ray8, CVPR). The labels were mined from
reports by text processing; their authors estimate them to be over 90 % accurate, others less.

## Limits

- Films of one hospital system, most of them of sick adults: expect worse elsewhere. A part of the
  collection may hold more disease than the whole: quote no prevalence or predictive value from it.
- Probabilities are not calibrated to any prevalence. Thresholds maximise F1 on validation films
  drawn at random by patient; films of another collection or hospital will fare worse.
- Lateral films, children, and pictures that are no chest film get an answer all the same.
- Heat maps are 7x7 before they are enlarged: they point at a region, they do not outline it.

## Parity of the exported graphs with Keras

Largest difference over {gate_films} films in {gate_views} views each: {gate}.
"""

_EVALUATION = """
## Evaluation

{part} part: {films} films of {patients} patients. ROC-AUC with 95 % bootstrap intervals by patient
({resamples} resamples).

| finding | one view | six views |
|---|---|---|
"""


def model_card(manifest: dict[str, Any], evaluation: dict[str, Any] | None, notes: str) -> str:
    """Write the card of a bundle as Markdown.

    Parameters
    ----------
    manifest : dict
        Without its ``files``.
    evaluation : dict or None
        What ``python -m training evaluate`` wrote.
    notes : str
        What else must be told of this model, as Markdown.
    """
    training = manifest["training"]
    gate = manifest["variants"]["fp32"]["gate"]
    card = _HEAD.format(
        name=manifest["name"],
        version=manifest["version"],
        notice=NOTICE,
        count=len(manifest["labels"]),
        data=training.get("data", "Not recorded"),
        films=_listed(training.get("films", {})),
        patients=_listed(training.get("patients", {})),
        split=training.get("split", "not recorded"),
        gate_films=gate["films"],
        gate_views=gate["views"],
        gate=_listed({name: f"{value:.1e}" for name, value in gate["largest_difference_to_keras"].items()}),
    )
    told = f"\n## Notes on this model\n\n{notes}" if notes else ""
    return card + told + ("" if evaluation is None else _evaluation(evaluation))


def _evaluation(evaluation: dict[str, Any]) -> str:
    single, tta = (evaluation["view_modes"][mode] for mode in ("single", "tta"))
    table = _EVALUATION.format(
        part=evaluation["part"].capitalize(),
        **{key: single[key] for key in ("films", "patients", "resamples")},
    )
    rows = [("**mean of the 14**", single["mean_auc"], tta["mean_auc"])]
    rows += [(label, single["findings"][label], tta["findings"][label]) for label in single["findings"]]
    return table + "".join(f"| {name} | {_auc(one)} | {_auc(six)} |\n" for name, one, six in rows)


def _auc(figure: dict[str, Any]) -> str:
    low, high = figure["interval"]
    return f"{figure['auc']:.3f} ({low:.3f} to {high:.3f})"


def _listed(parts: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in parts.items()) or "not recorded"
