"""An output made elsewhere: a class with the three members of `Output` is all that a run needs."""

from pathlib import Path

import msgspec
import pytest

from cxr_edge.errors import HeatmapNotComputed, HeatmapUnavailable
from cxr_edge.model.record import ResultRecord
from cxr_edge.outputs.analysis import Analyser
from cxr_edge.outputs.base import Analysis
from cxr_edge.runs.batch import infer
from cxr_edge.runs.directory import RunDirectory
from cxr_edge.runs.inputs import find_inputs
from tests.conftest import SAMPLES, without_maps


class HottestPlaces:
    """The hottest place of each label's map, as JSON."""

    needs_heatmaps = True

    def __init__(self, root: Path) -> None:
        self.root, self.written = root, 0

    def file(self, sha256: str | None) -> Path:
        return self.root / f"{sha256}.json"

    def write(self, analysis: Analysis, record: ResultRecord) -> ResultRecord:
        names = [label.name for label in analysis.result.labels]
        places = {name: int(analysis.result.heatmap(name).argmax()) for name in names}
        self.file(record.sha256).write_bytes(msgspec.json.encode(places))
        self.written += 1
        return record

    def is_complete(self, record: ResultRecord) -> bool:
        return self.file(record.sha256).exists()


def test_an_output_gets_the_heat_maps_it_needs_and_is_resumed(model, tmp_path):
    output = HottestPlaces(tmp_path)
    analyser = Analyser.of(model, model.settings(tta=False), [output])
    inputs = find_inputs([str(path) for path in SAMPLES[:3]])

    def run() -> list[str]:
        with RunDirectory(
            tmp_path / "out", analyser.provenance.identity(), {}, model.manifest.label_names
        ) as directory:
            return [record.sha256 for record in infer(analyser, inputs, directory, workers=2)]

    hashes = run()
    assert all(len(msgspec.json.decode(output.file(sha256).read_bytes())) == len(model.labels) for sha256 in hashes)
    output.file(hashes[1]).unlink()
    assert run() == hashes
    assert output.written == 3 + 1  # the one whose file was gone


def test_a_bundle_without_maps_refuses_an_output_that_needs_them(tmp_path):
    model = without_maps()
    with pytest.raises(HeatmapUnavailable, match="no heat maps"):
        Analyser.of(model, model.settings(), [HottestPlaces(tmp_path)])


def test_no_heat_maps_are_computed_where_no_output_needs_them(model):
    analyser = Analyser.of(model, model.settings(), ())
    result = analyser.analyse(SAMPLES[0].read_bytes(), "image", path=None).result
    with pytest.raises(HeatmapNotComputed):
        result.heatmap(model.labels[0].name)
