"""Images that are sent again: the same, a corrected header, other pixels; and identifiers that are no UIDs."""

import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom.dataelem import DataElement
from pydicom.uid import ImplicitVRLittleEndian

from benchmarks.dicom import dicom_files
from benchmarks.node import images
from cxr_edge.images.limits import DEFAULT_LIMITS
from cxr_edge.node.intake import Intake, IntakeOutcome
from cxr_edge.node.queue import Queue

CORRECTIONS = {
    "PatientName": "Right^Name", "PatientID": "B2", "PatientBirthDate": "19700101", "AccessionNumber": "ACC123",
    "StudyInstanceUID": "1.2.826.0.1.9", "SeriesInstanceUID": "1.2.826.0.1.8", "StudyDate": "20260102",
    "TimezoneOffsetFromUTC": "+0100", "PatientOrientation": ["R", "F"],
}  # fmt: skip


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[Queue]:
    queue = Queue(tmp_path)
    yield queue
    queue.close()


@pytest.fixture
def intake(tmp_path: Path, queue: Queue) -> Intake:
    (tmp_path / "images").mkdir()
    return Intake(tmp_path / "images", queue, DEFAULT_LIMITS, folders=["out"])


def file_of(**attributes: object) -> bytes:
    return dicom_files.written(images.make(1, **attributes))


@pytest.mark.parametrize("progress", ["waiting", "in work", "done"])
@pytest.mark.parametrize("keyword", CORRECTIONS)
def test_a_corrected_header_is_worked_on_anew(
    tmp_path: Path, intake: Intake, queue: Queue, keyword: str, progress: str
) -> None:
    assert intake.take(file_of()) is IntakeOutcome.QUEUED
    first = queue.take_image() if progress != "waiting" else None
    if progress == "done":
        queue.finish_image(first, [("archive", "old")])
    corrected = file_of(**{keyword: CORRECTIONS[keyword]})
    assert intake.take(corrected) is IntakeOutcome.CORRECTED
    assert intake.take(corrected) is IntakeOutcome.DUPLICATE
    if progress == "in work":
        assert not queue.finish_image(first, [("archive", "old")])
    again = queue.take_image()
    assert (tmp_path / "images" / again.name).read_bytes() == corrected
    assert queue.finish_image(again, [("archive", "new")])
    assert [delivery.object for delivery in queue.due_deliveries("archive", 9)] == ["new"]
    assert queue.take_image() is None


def test_a_correction_that_is_taken_back(intake: Intake, queue: Queue) -> None:
    outcomes = [intake.take(file_of(PatientID=one)) for one in ("A", "B", "A", "A")]
    corrected = IntakeOutcome.CORRECTED
    assert outcomes == [IntakeOutcome.QUEUED, corrected, corrected, IntakeOutcome.DUPLICATE]
    assert queue.counts()["image-waiting"] == 1


def test_what_is_the_same_counts_once(intake: Intake, queue: Queue) -> None:
    assert intake.take(file_of()) is IntakeOutcome.QUEUED
    again = [
        file_of(),
        dicom_files.written(images.make(1), ImplicitVRLittleEndian),
        file_of(StudyID="", PatientName=f"{images.make(1).PatientName}^^"),
        file_of(InstitutionName="elsewhere"),  # results neither copy it nor depend on it
    ]
    assert [intake.take(data) for data in again] == [IntakeOutcome.DUPLICATE] * 4
    assert len(queue.entries()) == 1


@pytest.mark.parametrize("corrected", [{}, {"PatientID": "B2"}], ids=["same header", "corrected header"])
def test_other_pixels_are_a_conflict(intake: Intake, queue: Queue, corrected: dict[str, str]) -> None:
    assert intake.take(file_of()) is IntakeOutcome.QUEUED
    other = images.make(2, SOPInstanceUID=images.make(1).SOPInstanceUID, **corrected)
    assert intake.take(dicom_files.written(other)) is IntakeOutcome.CONFLICT
    assert len(queue.entries()) == 1


MALFORMED = ["1.2.840.99.20240105.093000.1", "1.2.007", "1." + "2" * 80, "A-17/2024", "../../etc/cron.d", "1..2", "ä"]


@pytest.mark.parametrize("malformed", MALFORMED)
@pytest.mark.parametrize("keyword", ["SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"])
def test_malformed_identifiers_identify(
    tmp_path: Path, intake: Intake, queue: Queue, keyword: str, malformed: str
) -> None:
    image = images.make(1)
    image[keyword] = DataElement(keyword, "UI", malformed, already_converted=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = dicom_files.written(image)
    assert intake.take(data) is IntakeOutcome.QUEUED
    assert intake.take(data) is IntakeOutcome.DUPLICATE
    (stored,) = (tmp_path / "images").iterdir()
    assert stored.name == queue.take_image().name
    assert set(stored.name) <= set("0123456789abcdef")


@pytest.mark.parametrize("keyword", ["SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"])
@pytest.mark.parametrize("how", ["empty", "absent"])
def test_without_an_identifier_an_image_is_refused(intake: Intake, keyword: str, how: str) -> None:
    image = images.make(1)
    data = dicom_files.written(image)
    if how == "empty":
        data = data.replace(image[keyword].value.encode(), b"\0" * len(image[keyword].value))
    else:
        del image[keyword]
        data = dicom_files.written(image)
    assert intake.take(data) is IntakeOutcome.UNUSABLE
