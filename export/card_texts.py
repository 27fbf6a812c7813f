"""The texts of a model card, with places for what a bundle states."""

from typing import Final

HEAD: Final = """\
# Model card: {name} {version}

**{notice}**

A classifier of frontal chest radiographs: {network}, one probability for each of {count} labels: {labels}.

## Intended use

Research and engineering: building and testing software around a chest X-ray model, teaching, and as a baseline that
others are measured against. It has not been validated for any clinical use. Not for diagnosis, triage or screening.

## Data

{data}. Images: {images}. Patients: {patients}. Split: {split}; no patient is in two parts.
{source}
## Limits

{limits}
- Calibration: {calibration}. It holds for images like those; with another prevalence probabilities are off.
- Thresholds ({operating_points}) were fitted on the same images{elsewhere}.
- Lateral images, children, and images other than chest radiographs get an answer all the same; at most a warning.
{maps}
{whole}
## Parity of the exported graphs with Keras

Largest difference over {gate_images} images in {gate_variants} TTA variants each: {gate}.
"""

NIH_SOURCE: Final = """\
Images: NIH Clinical Center; Wang et al. 2017 (ChestX-ray8, CVPR). The labels were mined from
reports by text processing; their authors estimate them to be over 90 % accurate, others less.
"""

NIH_LIMITS: Final = """\
- Images of one hospital system, most of them of sick adults: expect worse elsewhere. A part of the
  collection may hold findings more often than the whole: quote no prevalence or predictive value from it."""

OTHER_LIMITS: Final = """\
- Nothing is recorded here of the hospitals, scanners and patients that the images are from, nor of how their labels
  came about: expect worse elsewhere."""

NIH_WHOLE: Final = """
## Training on all of NIH

This model was fitted on {trained_on} images. With all 112,120 and a GPU:

    python -m training prepare NIH_FOLDER --out cache --size 224
    python -m training fit cache --out runs/full --recipe training/recipes/reference.toml
    python -m training calibrate runs/full cache
    python -m export runs/full/model.keras --out my-bundle
    python -m training evaluate cache --bundle my-bundle --part test --out results
"""

MAPS: Final = """\
- Heat maps ({method}) have one position for 32 pixels of the network's input before they are enlarged: they
  point at a region, they do not outline it."""

IMPORTED: Final = """\
# Model card: {name} {version}

**{notice}**

A classifier that was made elsewhere, one probability for each of {count} labels: {labels}.
Made of {origin}.

## What is not known here

- On which images it was trained, from which patients and scanners, and how the labels came about: its authors know. Its
  licence is theirs too.
- How well it ranks and how well its probabilities hold: nothing was measured here. `python -m training evaluate` does
  it on labelled images that the model has not seen.
- Which images it is not made for: no rule warns of images unlike its training images.
- Calibration: {calibration}. Thresholds: {thresholds}. `python -m training recalibrate` fits both on your own images.
{maps}

## Parity with the model as it came

Largest difference over {gate_images} images: {gate}.
"""

OUT_OF_DISTRIBUTION: Final = """\
## Images unlike the training images

A linear rule on the features before the head warns of images other than frontal chest radiographs, upright and whole.
It was fitted on {fitted_on}, and warns of {false_alarms:.0%} of the validation images. Images of other kinds than
those it was fitted on are listed as elsewhere. How many are warned of, with the 95 % interval (Wilson's, by patient):

| images | kind | count | warned of |
|---|---|---|---|
{rows}

No warning does not mean that an image is a chest radiograph.
"""

HEADER_CHECKS: Final = """\
## DICOM headers that contradict the image

Linear rules on the features warn where the header states another view (PA, AP) or sex than the image shows. Caught:
with the other value in the header. Headers of the collection are not all right. The limits are placed on the validation
images, whose false alarms are therefore those that were asked for. With the 95 % interval (Wilson's, by patient):

| header | images | collection | count | caught | false alarms |
|---|---|---|---|---|---|
{rows}

{ages}"""

RECALIBRATED: Final = """\
## Decisions fitted anew

Calibration and operating points of {bundle} were replaced by those fitted on {fitted_on}.{exceptions} Log loss on these
images: {before:.4f} before, {after:.4f} after, on patients held out in turn. Gates of other precisions were measured
with the decisions before.
"""

VARIANTS: Final = """\
## Other precisions

What they change against float32 in the answers of all labels, by one TTA variant / by all. Each had to stay within its
limits on validation before it was measured on the test images, once. Flips: image-findings whose call changes, all
operating points together, which the limit holds for, and at the worst of them. AUC: the change of the mean with its
95 % interval, paired by patient. Maps: the median correlation with float32's, and how many keep their strongest cell.
{emulation}

| precision | images | max Δp (limit) | p99 | flips (limit) | Δ AUC (limit) | Δ calibration error | maps |
|---|---|---|---|---|---|---|---|
{rows}
"""

EMULATION: Final = (
    "The figures of float16 are those of its graph with every operator's result rounded to float16, computed on a CPU."
)
