"""The published JSON Schemas: what the software writes fits them, and what is wrong does not."""

import json

import jsonschema
import pytest
from typer.testing import CliRunner

from cxr_edge.cli import app
from cxr_edge.model.bundle import SHIPPED
from tests.conftest import ROOT, SAMPLES

SCHEMAS = {path.name: json.loads(path.read_text()) for path in (ROOT / "docs" / "_static" / "schemas").glob("*.json")}


@pytest.mark.parametrize("name", ["manifest.json", "record.json"])
def test_a_schema_is_a_schema(name):
    jsonschema.Draft202012Validator.check_schema(SCHEMAS[name])


def test_the_shipped_manifest_fits_and_a_changed_one_does_not():
    manifest = json.loads((SHIPPED / "manifest.json").read_text())
    jsonschema.validate(manifest, SCHEMAS["manifest.json"])
    for change in ({"input": {**manifest["input"], "fit": "pad"}}, {"labels": []}, {"variants": "fp32"}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(manifest | change, SCHEMAS["manifest.json"])


def test_lines_of_a_run_fit(tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no image")
    done = CliRunner().invoke(app, ["infer", str(SAMPLES[0]), str(tmp_path / "broken.png"), "--json"])
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["status"] for line in lines] == ["ok", "error"]
    for line in lines:
        jsonschema.validate(line, SCHEMAS["record.json"])
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**lines[0], "probabilities": [0.5]}, SCHEMAS["record.json"])
