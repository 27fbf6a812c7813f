"""The published JSON Schemas, made from the typed records: ``python .ci/schemas.py`` writes, --check compares them."""

import argparse
import inspect
import json
import sys
from pathlib import Path
from typing import Any

import msgspec

from cxr_edge.model.manifest import Manifest
from cxr_edge.model.record import Record

FOLDER = Path(__file__).parent.parent / "docs" / "_static" / "schemas"
DRAFT = "https://json-schema.org/draft/2020-12/schema"


def manifest_schema() -> dict[str, Any]:
    """Return the schema of a bundle's ``manifest.json``."""
    schema = _titled(Manifest, "manifest.json of a cxr-edge bundle, format 2.0")
    described = schema["$defs"]["Manifest"]
    del described["properties"]["source"]  # what was decoded: it stands in no file
    return schema


def record_schema() -> dict[str, Any]:
    """Return the schema of one line of ``predictions.jsonl``."""
    return _titled(Record, "one line of predictions.jsonl, schema 2")


SCHEMAS = {"manifest.json": manifest_schema, "record.json": record_schema}


def _titled(kind: Any, title: str) -> dict[str, Any]:
    schema = {"$schema": DRAFT, "title": title, **msgspec.json.schema(kind)}
    for described in schema["$defs"].values():
        if "description" in described:
            described["description"] = inspect.cleandoc(described["description"])
    return schema


def main() -> None:
    """Write the schemas; with --check, exit with 1 where a file is not what the code says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    stale = []
    for name, make in SCHEMAS.items():
        text, file = json.dumps(make(), indent=1, sort_keys=True) + "\n", FOLDER / name
        if check and (not file.is_file() or file.read_text(encoding="utf-8") != text):
            stale.append(name)
        elif not check:
            FOLDER.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
    if stale:
        sys.exit(f"docs/_static/schemas: {', '.join(stale)} are not what the code says; run python .ci/schemas.py")


if __name__ == "__main__":
    main()
