"""Real programs in a row: dcmtk sends, the node infers, Orthanc receives."""

import os
import re
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest
from pydicom.dataelem import DataElement

from benchmarks.dicom import dicom_files
from benchmarks.dicom.patient import search
from benchmarks.node import images
from benchmarks.node.site import DICOM_DESTINATION, NODE_PORT, ORTHANC_PORT, WEB_DESTINATION, Site, wait_for
from tests.conftest import ROOT
from tests.cxr_edge.node.certificates import make as make_certificates
from tests.documentation.blocks import blocks_of

#: Lossless JPEG, JPEG-LS and run lengths, beside JPEG 2000.
COMPRESSED = ["1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.5"]
SR_CLASSES = ["1.2.840.10008.5.1.4.1.1.88.34", "1.2.840.10008.5.1.4.1.1.88.33", "1.2.840.10008.5.1.4.1.1.88.22"]


@pytest.fixture
def objects_of(model) -> Callable[[Path], int]:
    """How many objects the node makes of an image: a report, captures of three findings at most, and a state."""

    def count(path: Path) -> int:
        positive = sum(finding.positive for finding in model.predict(path).findings)
        return 1 + (min(positive, 3) + 1 if positive else 0)

    return count


@pytest.mark.parametrize("destination", [DICOM_DESTINATION, WEB_DESTINATION], ids=["c-store", "dicomweb"])
def test_results_arrive_beside_the_image(site: Site, objects_of: Callable[[Path], int], destination: str) -> None:
    site.start_orthanc()
    site.configure(destination)
    site.start_node()
    assert site.run("echoscu", "-aec", "CXREDGE", "127.0.0.1", NODE_PORT) == ""
    (path,) = images.write(site.folder / "images", [1])
    expected = objects_of(path) + objects_of(dicom_files.CHEST)
    assert expected > 2, "they have positive findings"
    assert site.store(path, dicom_files.CHEST) == [0x0000, 0x0000]
    site.settle()
    assert site.count() == expected
    for image in (path, dicom_files.CHEST):
        header = pydicom.dcmread(image, stop_before_pixels=True)
        (study,) = [s for s in site.rest("/studies?expand") if s["MainDicomTags"]["StudyInstanceUID"]
                    == header.StudyInstanceUID]  # fmt: skip
        assert study["PatientMainDicomTags"]["PatientID"] == header.PatientID
        series = [site.rest(f"/series/{one}")["MainDicomTags"] for one in study["Series"]]
        assert sorted(one["Modality"] for one in series) == ["OT", "PR", "SR"]
    assert search(site.outputs()) == []
    metrics = (site.folder / "metrics.txt").read_text()
    assert 'cxr_edge_images_received_total{outcome="queued",way="dicom"} 2.0' in metrics
    assert re.search(r'cxr_edge_delivery_seconds_count\{destination="\w+"\} 2\.0', metrics)
    assert f'cxr_edge_queue{{kind="delivery",state="sent"}} {expected}.0' in metrics
    assert "cxr_edge_oldest_waiting_seconds 0.0" in metrics
    assert site.health()["status"] == "ok"
    assert site.stop_node() == 0


def test_the_same_image_twice_and_another_under_its_uid(site: Site, objects_of: Callable[[Path], int]) -> None:
    site.start_orthanc()
    site.configure()
    site.start_node()
    (path,) = images.write(site.folder / "images", [0])
    same = images.make(0)
    again = site.folder / "again.dcm"
    again.write_bytes(dicom_files.written(same, "1.2.840.10008.1.2"))  # in another encoding
    other = images.make(2, SOPInstanceUID=same.SOPInstanceUID)
    conflicting = site.folder / "conflicting.dcm"
    conflicting.write_bytes(dicom_files.written(other))
    assert site.store(path, path, again, conflicting, path) == [0, 0, 0, 0x0111, 0]
    site.settle()
    assert site.store(conflicting, path) == [0x0111, 0]
    site.settle()
    assert site.count() == objects_of(path)  # nothing doubled, nothing replaced


def test_corrected_data_reach_the_archive(site: Site, objects_of: Callable[[Path], int]) -> None:
    """A scanner sends an image again after its patient was corrected, under a UID with a leading zero."""
    uid = "1.2.840.99.20240105.093000.1"
    site.start_orthanc(OverwriteInstances=False)
    site.configure(f'{DICOM_DESTINATION}[[destinations]]\nkind = "folder"\nname = "out"\nfolder = "out"\n')
    site.start_node()
    paths = []
    for name in ("Wrong^Name", "Right^Name"):
        image = images.make(1, PatientName=name)
        image["SOPInstanceUID"] = DataElement("SOPInstanceUID", "UI", uid, already_converted=True)
        paths.append(site.folder / f"{name}.dcm")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            paths[-1].write_bytes(dicom_files.written(image))
    for path in paths:
        assert site.store(path) == [0]
        site.settle()
    reports = [pydicom.dcmread(path) for path in (site.folder / "out").glob("*-report.dcm")]
    assert [str(report.PatientName) for report in reports] == ["Right^Name"]
    assert reports[0].get_item("StudyInstanceUID") is not None
    assert uid.encode() in next((site.folder / "out").glob("*-report.dcm")).read_bytes()
    assert len(list((site.folder / "out").glob("*.json"))) == 1
    objects = objects_of(paths[0])
    assert site.count() == 2 * objects  # the archive keeps the earlier ones beside them
    names = [site.rest(f"/instances/{one}/simplified-tags")["PatientName"] for one in site.rest("/instances")]
    assert sorted(names) == ["Right^Name"] * objects + ["Wrong^Name"] * objects
    assert site.store(*paths[1:]) == [0]
    site.settle()
    assert site.count() == 2 * objects


def test_what_cannot_be_used(site: Site) -> None:
    site.start_orthanc()
    site.configure()
    site.start_node()
    without_study = site.folder / "a.dcm"
    ds = images.make(0)
    del ds.StudyInstanceUID
    without_study.write_bytes(dicom_files.written(ds))
    no_pixels = site.folder / "b.dcm"
    ds = images.make(2)
    del ds.PixelData
    no_pixels.write_bytes(dicom_files.written(ds))
    (good,) = images.write(site.folder / "images", [3])
    assert site.store(without_study, no_pixels, good) == [0xC000, 0xC000, 0]
    damaged = site.folder / "c.dcm"
    lossless = "1.2.840.10008.1.2.4.70"
    damaged.write_bytes(dicom_files.written(dicom_files.with_stream(images.make(4), lossless, b"\xff\xd8\xff\xd9")))
    assert site.store(damaged, options=["-xs"]) == [0]
    site.settle()
    dead = site.queue("list", "--state", "dead")
    assert len(dead.splitlines()) == 2  # with a line of counts
    assert "image-2" in dead
    assert site.queue("replay", "--all").startswith("1 dead letter waits again")
    site.settle()
    assert "image-2" in site.queue("list", "--state", "dead")
    mended = site.folder / "d.dcm"
    mended.write_bytes(dicom_files.written(images.make(4)))
    assert site.store(mended) == [0]  # takes the place of the dead one
    site.settle()
    assert "image-2" not in site.queue("list", "--state", "dead")
    assert "Called AE Title Not Recognized" in site.run("echoscu", "-aec", "WRONG", "127.0.0.1", NODE_PORT)


def test_only_named_callers(site: Site) -> None:
    site.configure()
    text = (site.folder / "node.toml").read_text()
    (site.folder / "node.toml").write_text(text.replace("[receive]", '[receive]\ncallers = ["XRAY1"]'))
    site.start_node()
    (path,) = images.write(site.folder / "images", [0])
    assert site.store(path, options=["-aet", "XRAY1"]) == [0]
    assert site.store(path, options=["-aet", "XRAY2"]) == [None]


def test_the_archive_down_and_up(site: Site, objects_of: Callable[[Path], int]) -> None:
    site.configure(DICOM_DESTINATION + WEB_DESTINATION)
    site.start_node()
    paths = images.write(site.folder / "images", range(2))
    assert site.store(*paths) == [0, 0]
    wait_for(lambda: "accepts nothing" in site.log.read_text(), "the archive is missed")
    site.start_orthanc()
    site.settle()
    assert site.count() == sum(map(objects_of, paths))
    site.stop_orthanc()
    later = images.write(site.folder / "images", [2])
    assert site.store(*later) == [0]
    site.stop_node()
    site.start_node()
    site.start_orthanc()
    site.settle()
    assert site.count() == len(site.stored_uids()) == sum(map(objects_of, [*paths, *later]))


@pytest.mark.parametrize("taken", [*SR_CLASSES[1:], ""])
def test_an_archive_that_accepts_no_3d_reports(site: Site, taken: str) -> None:
    """dcmtk's storescp accepts what its profile lists: here one class of report, and uncompressed captures."""
    profile = site.folder / "storescp.cfg"
    classes = [uid for uid in (taken, "1.2.840.10008.5.1.4.1.1.7") if uid]
    contexts = "\n".join(f"PresentationContext{i} = {uid}\\Plain" for i, uid in enumerate(classes, 1))
    profile.write_text(
        "[[TransferSyntaxes]]\n[Plain]\nTransferSyntax1 = 1.2.840.10008.1.2.1\n"
        f"[[PresentationContexts]]\n[Few]\n{contexts}\n[[Profiles]]\n[Few]\nPresentationContexts = Few\n"
    )
    received = site.folder / "received"
    received.mkdir()
    site.configure()
    site.start_node()
    command = ["storescp", "-xf", profile, "Few", "-od", received, ORTHANC_PORT]
    with subprocess.Popen(site.inside(command), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as archive:
        assert site.store(*images.write(site.folder / "images", [1])) == [0]
        site.settle()
        archive.kill()
    objects = [pydicom.dcmread(path) for path in received.iterdir()]
    assert sorted(made.SOPClassUID for made in objects) == sorted([*classes, classes[-1], classes[-1]])
    captures = [made for made in objects if made.SOPClassUID.name.startswith("Secondary")]
    for made in captures:  # the image, with bands of text above and below it
        height, width, channels = made.pixel_array.shape
        assert (width, channels) == (1024, 3)
        assert height > 1024
    assert all(made.PhotometricInterpretation == "RGB" for made in captures)
    dead = site.queue("list", "--state", "dead")
    assert "Grayscale Softcopy Presentation State" in dead
    assert ("no structured reports of any kind" in dead) == (not taken)


def test_eight_senders_at_once(site: Site) -> None:
    site.start_orthanc()
    site.configure()
    site.start_node()
    paths = images.write(site.folder / "images", range(16))
    statuses: list[int | None] = []
    senders = [threading.Thread(target=lambda part=paths[i::8]: statuses.extend(site.store(*part))) for i in range(8)]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
    assert statuses == [0] * 16
    site.settle()
    reports = [one for one in site.rest("/series?expand") if one["MainDicomTags"]["Modality"] == "SR"]
    assert len(reports) == 16


def test_a_full_disk(site: Site) -> None:
    """On a file system of 24 MiB, images are refused with the right status when it is full, and taken when not."""
    data = site.folder / "data"
    data.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", data], capture_output=True).returncode:
        pytest.skip("needs the right to mount a small file system")
    try:
        site.start_orthanc()
        site.configure(min_free_mib=0)
        site.start_node()
        paths = images.write(site.folder / "images", range(4))
        assert site.store(paths[0]) == [0]
        site.settle()
        ballast = data / "ballast"
        with ballast.open("wb") as file:
            free = os.statvfs(data).f_bavail * os.statvfs(data).f_frsize
            file.write(b"x" * (free - 2**18))
        assert site.store(*paths[1:3]) == [0xA700, 0xA700]
        subprocess.run(["dd", "if=/dev/zero", f"of={data / 'last'}", "bs=512"], capture_output=True)  # until it is full
        assert site.store(paths[3]) == [0xA700]
        assert site.health() is not None
        ballast.unlink()
        (data / "last").unlink()
        assert site.store(*paths[1:]) == [0, 0, 0]
        site.settle()
        assert len([one for one in site.rest("/series?expand") if one["MainDicomTags"]["Modality"] == "SR"]) == 4
        assert site.stop_node() == 0
    finally:
        if site.node is not None and site.node.poll() is None:
            site.kill_node()
        subprocess.run(["umount", data], check=True)


def test_mutual_tls(site: Site) -> None:
    certificates = make_certificates(site.folder / "tls")
    site.configure()
    tls = '[receive.tls]\ncertificate = "tls/node.crt"\nkey = "tls/node.key"\nauthority = "tls/ca.crt"\n[model]'
    text = (site.folder / "node.toml").read_text()
    (site.folder / "node.toml").write_text(text.replace("[model]", tls))
    site.start_node()
    (path,) = images.write(site.folder / "images", [0])

    def store_as(name: str) -> list[int | None]:
        keys = [certificates / f"{name}.key", certificates / f"{name}.crt"]
        return site.store(path, options=["+tls", *keys, "+cf", certificates / "ca.crt"])

    assert store_as("scanner") == [0]
    assert store_as("stranger") == [None]
    assert site.store(path) == [None]


def test_a_message_without_end_is_ended(site: Site) -> None:
    """The node does not gather more in memory than an image may have; it closes the association at its bound."""
    sender = Path(__file__).parent / "endless.py"
    site.configure()
    site.start_node()
    printed = site.run(sys.executable, sender, NODE_PORT, timeout=120)
    assert "aborted after" in printed
    assert 128 < int(printed.split()[-2]) < 256  # MiB
    assert site.store(*images.write(site.folder / "images", [0])) == [0]


def test_images_in_any_syntax_are_sent_as_documented(site: Site) -> None:
    """By the command of docs/node.md, all in one association."""
    (block,) = [block.code for block in blocks_of(ROOT / "docs" / "node.md") if "dcmsend" in block.code]
    command = next(line for line in block.splitlines() if line.startswith("dcmsend")).split()
    site.configure('[[destinations]]\nkind = "folder"\nname = "out"\nfolder = "out"\n')
    site.start_node()
    files = images.write(site.folder / "images", [0])
    pixels = images.make(0).pixel_array
    for number, syntax in enumerate([dicom_files.JPEG_2000, *COMPRESSED], 1):
        stream = dicom_files.CODECS[syntax](pixels, 8)
        files.append(site.folder / "images" / f"{syntax}.dcm")
        files[-1].write_bytes(dicom_files.written(dicom_files.with_stream(images.make(number), syntax, stream)))
    assert command[-3:] == ["127.0.0.1", "11112", "study/*"]
    sent = site.run(command[0], "-v", *command[1:-2], NODE_PORT, *files, timeout=300)
    assert f"with status SUCCESS  : {len(files)}" in sent


def test_a_result_is_not_an_image(site: Site) -> None:
    """A result that comes back as an input is refused, not inferred in a circle."""
    site.configure('[[destinations]]\nkind = "folder"\nname = "out"\nfolder = "out"\n')
    site.start_node()
    assert site.store(*images.write(site.folder / "images", [1])) == [0]
    site.settle()
    results = sorted((site.folder / "out").glob("*.dcm"))
    assert len(results) == 5
    capture = next(path for path in results if "overlay" in path.name)
    assert site.store(capture, options=["-xy"]) == [0]
    site.settle()
    assert "a result of cxr-edge" in site.queue("list", "--state", "dead")
