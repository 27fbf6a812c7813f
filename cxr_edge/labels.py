"""The 15 labels of NIH ChestX-ray14, in the one order every package uses.

The spelling and order follow Wang et al. 2017 and NIH's ``Data_Entry_2017`` table;
``No Finding`` comes last because it is no disease.
"""

from typing import Final

NO_FINDING: Final = "No Finding"

DISEASES: Final[tuple[str, ...]] = (
    "Atelectasis",
    "Cardiomegaly",
    "Effusion",
    "Infiltration",
    "Mass",
    "Nodule",
    "Pneumonia",
    "Pneumothorax",
    "Consolidation",
    "Edema",
    "Emphysema",
    "Fibrosis",
    "Pleural_Thickening",
    "Hernia",
)

LABELS: Final[tuple[str, ...]] = (*DISEASES, NO_FINDING)
