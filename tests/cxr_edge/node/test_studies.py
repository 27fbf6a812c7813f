"""Studies in the node: merged once no further image comes, and again when one does after all."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

import cxr_edge
from benchmarks.dicom import dicom_files
from benchmarks.node import images
from benchmarks.node.site import wait_for
from cxr_edge.errors import NodeConfig
from cxr_edge.node.config import Config, FolderDestination, Model, Results, Watch, read_config
from cxr_edge.node.node import Node
from cxr_edge.node.queue import Queue
from cxr_edge.node.records import Identity

STUDY = "1.2.826.0.1.3680043.8.498.1"
WAIT = 1.0


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    started = Node(
        Config(
            data=tmp_path / "data",
            receive=None,
            metrics=None,
            model=Model(device="cpu", workers=1),
            results=Results(overlays=0, wait_for_study=WAIT),
            watch=Watch(tmp_path / "in", settle_seconds=0.1, stalled_seconds=0.5),
            destinations=(FolderDestination("out", tmp_path / "out"),),
        )
    )
    started.start()
    yield started
    assert started.problems() == []
    started.stop()


def image(number: int, view: str = "PA") -> bytes:
    return dicom_files.written(images.make(number, StudyInstanceUID=STUDY, ViewPosition=view))


def put(data: bytes, folder: Path) -> None:
    """Put a whole file into the watched folder at once."""
    part = folder / "part"
    part.write_bytes(data)
    part.rename(folder / "in" / f"{hash(data):x}.dcm")


def merged(folder: Path) -> list[dict]:
    return [json.loads(path.read_bytes()) for path in folder.glob("*.study.json")]


def test_a_study_is_merged_and_merged_again(node: Node, tmp_path: Path, model) -> None:
    sent = [image(number) for number in range(3)]
    for data in sent[:2]:
        put(data, tmp_path)
    wait_for(lambda: [len(one["images"]) for one in merged(tmp_path / "out")] == [2], "the study is merged", 60)
    (found,) = merged(tmp_path / "out")
    (expected,) = cxr_edge.predict_study(model, sent[:2])
    assert found["study"] == STUDY
    assert {label: pytest.approx(p, abs=1e-6) for label, p in expected.probabilities.items()} == found["probabilities"]
    assert [finding["label"] for finding in found["findings"]] == [finding.label for finding in expected.findings]
    put(sent[2], tmp_path)
    wait_for(lambda: len(merged(tmp_path / "out")[0]["images"]) == 3, "the late image is merged, too", 60)
    (expected,) = cxr_edge.predict_study(model, sent)
    (found,) = merged(tmp_path / "out")
    assert {label: pytest.approx(p, abs=1e-6) for label, p in expected.probabilities.items()} == found["probabilities"]


def test_an_image_of_another_view_is_listed_and_not_merged(node: Node, tmp_path: Path, model) -> None:
    for data in (image(0), image(1, view="LL")):
        put(data, tmp_path)
    wait_for(lambda: [len(one["images"]) for one in merged(tmp_path / "out")] == [2], "the study is merged", 60)
    (found,) = merged(tmp_path / "out")
    assert {one["view"] for one in found["images"]} == {"frontal", "lateral"}
    assert found["probabilities"] == pytest.approx(model.predict(image(0)).probabilities, abs=1e-6)


@pytest.mark.parametrize("moved", ["a", "b"])
def test_a_correction_that_takes_an_image_out_of_a_study_renews_its_result(tmp_path: Path, moved: str) -> None:
    """Whichever of the two carries the delivery of the result."""
    queue = Queue(tmp_path)
    for name in ("a", "b"):
        queue.add(Identity(name, name, "", "s"))
        queue.finish_image(queue.take_image(), [])
    (study,) = queue.due_studies(0)
    queue.finish_study(study, [("out", "s.study.json")])
    queue.mark_delivery_sent(queue.due_deliveries("out", 1)[0])
    queue.replace(Identity(moved, moved, "corrected", "t"), ["out"])
    queue.finish_image(queue.take_image(), [])
    due = {study.name: [name for _, name in study.images] for study in queue.due_studies(0)}
    assert due == {"s": ["b" if moved == "a" else "a"], "t": [moved]}
    for study in queue.due_studies(0):
        queue.finish_study(study, [("out", f"{study.name}.study.json")])
    waiting = {(delivery.object, delivery.withdrawn) for delivery in queue.due_deliveries("out", 10)}
    assert waiting == {("s.study.json", 0), ("t.study.json", 0)}
    queue.close()


def test_a_study_waits_for_its_images(tmp_path: Path) -> None:
    """Due is what has an unmerged image, and none that waits or came lately; PNG and JPEG are of no study."""
    queue = Queue(tmp_path)
    for name, study in (("a", "s"), ("b", "s"), ("c", "t"), ("d", "")):
        queue.add(Identity(name, name, "", study))
    for _ in range(3):
        queue.finish_image(queue.take_image(), [])
        if queue.counts()["image-done"] == 1:
            assert queue.due_studies(0) == []
    assert queue.due_studies(1000) == []
    first, second = queue.due_studies(0)
    assert (first.name, [name for _, name in first.images]) == ("s", ["a", "b"])
    assert (second.name, [name for _, name in second.images]) == ("t", ["c"])
    queue.finish_study(first, [("out", "s.study.json")])
    assert [study.name for study in queue.due_studies(0)] == ["t"]
    (delivery,) = queue.due_deliveries("out", 10)
    assert (delivery.object, delivery.image) == ("s.study.json", first.images[-1][0])
    queue.mark_delivery_sent(delivery)
    queue.add(Identity("e", "e", "", "s"))
    queue.mark_image_dead(queue.take_image(), "internal", "")  # the one without a study
    queue.finish_image(queue.take_image(), [])
    (again,) = [study for study in queue.due_studies(0) if study.name == "s"]
    assert [name for _, name in again.images] == ["a", "b", "e"]
    queue.close()


def test_a_study_whose_files_are_gone_is_told_once(node: Node, tmp_path: Path, caplog) -> None:
    queue = node._queue
    queue.add(Identity("f" * 64, "p", "", "s" * 64))
    with queue._transaction() as db:
        db.execute("UPDATE image SET state = 'done', ended = 0")
    wait_for(lambda: not queue.due_studies(0), "the study is given up", 20)
    assert merged(tmp_path / "out") == []


def test_results_of_studies_need_a_folder(tmp_path: Path) -> None:
    path = tmp_path / "node.toml"
    path.write_text(
        'data = "data"\n[results]\nwait_for_study = 60\n'
        '[[destinations]]\nkind = "dicom"\nname = "archive"\nhost = "localhost"\nport = 4242\nae_title = "A"\n'
    )
    with pytest.raises(NodeConfig, match="expected a destination of kind folder"):
        read_config(path)
