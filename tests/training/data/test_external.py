"""Other hospitals' images, in small directories made to their layouts."""

import shutil

import numpy as np
import pytest

from cxr_edge.model.labels import Label
from tests.conftest import SAMPLES
from tests.training.conftest import NIH14
from training.data.external import read_external
from training.errors import DataError
from training.labels import LabelSet

CHEXPERT_HEAD = (
    "Path,Sex,Age,Frontal/Lateral,AP/PA,No Finding,Enlarged Cardiomediastinum,Cardiomegaly,Lung Opacity,Lung Lesion,"
    "Edema,Consolidation,Pneumonia,Atelectasis,Pneumothorax,Pleural Effusion,Pleural Other,Fracture,Support Devices"
)


@pytest.fixture
def chexpert(tmp_path):
    rows = [
        "CheXpert-v1.0/valid/patient64541/study1/view1_frontal.jpg,Male,73,Frontal,AP,,1.0,1.0,1.0,,-1.0,,,0.0,,1.0,,,1.0",
        "CheXpert-v1.0/valid/patient64541/study1/view2_lateral.jpg,Male,73,Lateral,,,1.0,1.0,1.0,,,,,,,1.0,,,1.0",
        "CheXpert-v1.0/valid/patient64542/study1/view1_frontal.jpg,Female,70,Frontal,PA,1.0,,,,,,,,,,,,,",
    ]
    (tmp_path / "valid.csv").write_text("\n".join([CHEXPERT_HEAD, *rows]) + "\n")
    for row in rows:
        path = tmp_path / row.split(",")[0].removeprefix("CheXpert-v1.0/")
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(SAMPLES[0], path)
    return tmp_path


@pytest.mark.parametrize(("policy", "edema"), [("ignore", np.nan), ("zeros", 0.0), ("ones", 1.0)])
def test_chexpert(chexpert, policy, edema):
    images = read_external("chexpert", chexpert, policy, NIH14)
    assert images["patient"].tolist() == ["patient64541", "patient64542"], "lateral images are left out"
    assert all(path.is_file() for path in images["path"])
    assert images["sex"].tolist() == ["M", "F"]
    first = images.iloc[0]
    assert (first["Cardiomegaly"], first["Effusion"], first["Atelectasis"], first["Pneumonia"]) == (1, 1, 0, 0)
    np.testing.assert_equal(first["Edema"], edema)
    assert images["No Finding"].tolist() == [0, 1]
    assert images["Mass"].isna().all(), "Lung Lesion is a mass or a nodule: neither is known"


@pytest.fixture
def mimic(tmp_path):
    (tmp_path / "mimic-cxr-2.0.0-chexpert.csv").write_text(
        "subject_id,study_id,Atelectasis,Cardiomegaly,Consolidation,Edema,Enlarged Cardiomediastinum,Fracture,"
        "Lung Lesion,Lung Opacity,No Finding,Pleural Effusion,Pleural Other,Pneumonia,Pneumothorax,Support Devices\n"
        "10000032,50414267,,,,,,,,,1.0,,,,,\n10000764,57375967,,,1.0,,,,,,,,,-1.0,,\n"
    )
    (tmp_path / "mimic-cxr-2.0.0-metadata.csv").write_text(
        "dicom_id,subject_id,study_id,PerformedProcedureStepDescription,ViewPosition\n"
        "aa-01,10000032,50414267,CHEST,PA\naa-02,10000032,50414267,CHEST,LATERAL\nbb-01,10000764,57375967,CHEST,AP\n"
    )
    return tmp_path


def test_mimic(mimic):
    images = read_external("mimic", mimic, "ignore", NIH14)
    assert images["image"].tolist() == ["p10/p10000032/s50414267/aa-01.jpg", "p10/p10000764/s57375967/bb-01.jpg"]
    assert images["path"][0] == mimic / "files/p10/p10000032/s50414267/aa-01.jpg"
    assert images["No Finding"].tolist() == [1, 0]
    assert images["Consolidation"].tolist() == [0, 1]
    assert np.isnan(images["Pneumonia"][1])
    assert images["view"].tolist() == ["PA", "AP"]


def test_mimics_test_part_alone_where_its_split_is_there(mimic):
    (mimic / "mimic-cxr-2.0.0-split.csv").write_text(
        "dicom_id,study_id,subject_id,split\naa-01,50414267,10000032,train\nbb-01,57375967,10000764,test\n"
    )
    assert read_external("mimic", mimic, "ignore", NIH14)["patient"].tolist() == [10000764]


def test_a_users_own_table(tmp_path):
    (tmp_path / "labels.csv").write_text("image,patient,Effusion,Mass\na.png,p1,1,0\nb/c.png,p2,-1,\n")
    images = read_external("csv", tmp_path / "labels.csv", "ignore", NIH14)
    assert images["path"].tolist() == [tmp_path / "a.png", tmp_path / "b" / "c.png"]
    assert images["Effusion"][0] == 1
    assert images[["Effusion", "Mass"]].iloc[1].isna().all()
    assert images[[label for label in NIH14.names if label not in ("Effusion", "Mass")]].isna().all(axis=None)
    assert read_external("csv", tmp_path, "ones", NIH14)["Effusion"].tolist() == [1, 1]


@pytest.mark.parametrize(
    ("kind", "files", "message"),
    [
        ("chexpert", {}, "expected valid.csv"),
        ("chexpert", {"valid.csv": "Path,Sex\n"}, "lacking the columns"),
        ("mimic", {}, "expected one file mimic-cxr-2"),
        ("csv", {"labels.csv": "image,Gout\na,1\n"}, "at least one of"),
        ("csv", {"labels.csv": "picture,Mass\na,1\n"}, "lacking the columns"),
        ("csv", {"labels.csv": "image,Mass\na,7\n"}, "expected labels of 1, 0"),
        ("csv", {"labels.csv": "image,Mass\n"}, "no frontal image"),
    ],
)
def test_a_folder_in_another_layout_is_refused(tmp_path, kind, files, message):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=message):
        read_external(kind, tmp_path, "ignore", NIH14)


def test_chexpert_without_frontal_or_lateral_is_refused(chexpert):
    """Without that column lateral images could not be left out."""
    file = chexpert / "valid.csv"
    file.write_text(file.read_text().replace("Frontal/Lateral", "Position"))
    with pytest.raises(DataError, match="Frontal/Lateral"):
        read_external("chexpert", chexpert, "ignore", NIH14)


@pytest.mark.parametrize("kind", ["chexpert", "mimic"])
def test_images_whose_labels_a_model_does_not_know_are_refused(kind, request):
    root = request.getfixturevalue(kind)
    mass = LabelSet.of([label for label in NIH14.records if label.name == "Mass"])
    with pytest.raises(DataError, match="none of Mass is a label of CheXpert or MIMIC"):
        read_external(kind, root, "ignore", mass)


def test_labels_in_words_are_refused(tmp_path):
    (tmp_path / "labels.csv").write_text("image,Mass\na.png,yes\n")
    with pytest.raises(DataError, match="expected labels of 1, 0, -1"):
        read_external("csv", tmp_path, "ignore", NIH14)


def test_an_image_without_its_patient_is_refused(tmp_path):
    (tmp_path / "labels.csv").write_text("image,patient,Mass\na.png,p1,1\nb.png,,0\n")
    with pytest.raises(DataError, match=r"b\.png has no patient"):
        read_external("csv", tmp_path, "ignore", NIH14)


def test_a_finding_of_the_same_name_needs_no_alias(chexpert):
    images = read_external("chexpert", chexpert, "ignore", LabelSet.of([Label("Fracture"), Label("Edema")]))
    assert images["Fracture"].tolist() == [0.0, 0.0]
    alone = read_external("chexpert", chexpert, "ignore", LabelSet.of([Label("Lung Opacity")]))
    assert alone["Lung Opacity"].tolist() == [1.0, 0.0]
