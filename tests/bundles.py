"""Bundles of other labels and another input size, cut from the shipped one: real graphs, real weights."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import onnx
from onnx import numpy_helper

from cxr_edge.model.bundle import SHIPPED
from export.companion.build import companion

#: Pixels of the input for one cell of a map.
_STRIDE = 32


def make_bundle(out: Path, labels: dict[str, dict[str, Any]], size: int = 224) -> Path:
    """Write a bundle.

    Parameters
    ----------
    out : Path
    labels : dict
        Name of a shipped label → changes of its record; a name that ends with ``+`` copies the label of that name.
    size : int
        Side of the input, a multiple of 32.
    """
    manifest = json.loads((SHIPPED / "manifest.json").read_text())
    order = [label["name"] for label in manifest["labels"]]
    sources = [name.rstrip("+") for name in labels]
    columns = [order.index(name) for name in sources]
    records = [{**manifest["labels"][column], **labels[name]} for column, name in zip(columns, labels, strict=True)]
    renamed = list(zip(sources, (record["name"] for record in records), strict=True))
    _change_keys(manifest, renamed)
    grid = size // _STRIDE
    manifest |= {"name": "cut", "labels": records}
    manifest["input"]["size"] = [size, size]
    manifest["maps"] |= {"grid": [grid, grid], "graphs": {"fp32": "maps.onnx"}}
    manifest["variants"] = {"fp32": manifest["variants"]["fp32"]}
    network = _cut(onnx.load(SHIPPED / "model.onnx"), columns, len(order), size)
    files = {"model.onnx": network, "maps.onnx": companion(network, manifest["maps"]["method"])}
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    for name, graph in files.items():
        (out / name).write_bytes(graph.SerializeToString())
    manifest["files"] = {
        name: {"sha256": hashlib.sha256(data := (out / name).read_bytes()).hexdigest(), "bytes": len(data)}
        for name in files
    }
    (out / "manifest.json").write_text(json.dumps(manifest))
    return out


def make_ensemble(out: Path, members: dict[str, tuple[Path, float]]) -> Path:
    """Write an ensemble of bundles that `make_bundle` wrote, or of the shipped one.

    Its labels, thresholds and calibration are those of the first member, which has all labels.

    Parameters
    ----------
    out : Path
    members : dict
        Name of the member → its bundle, and its weight.
    """
    manifests = {name: json.loads((bundle / "manifest.json").read_text()) for name, (bundle, _) in members.items()}
    first = next(iter(manifests.values()))
    largest = max(manifests.values(), key=lambda manifest: manifest["input"]["size"])
    out.mkdir(parents=True)
    described = []
    for name, (bundle, weight) in members.items():
        manifest, files = manifests[name], {"model.onnx": f"{name}.onnx", "maps.onnx": f"{name}.maps.onnx"}
        for source, file in files.items():
            shutil.copy(bundle / source, out / file)
        described.append({
            "name": name, "weight": weight, "labels": [label["name"] for label in manifest["labels"]],
            "input": manifest["input"], "tensors": manifest["tensors"], "variants": {"fp32": files["model.onnx"]},
            "maps": {"graphs": {"fp32": files["maps.onnx"]}, "grid": manifest["maps"]["grid"]},
            "calibration": manifest["calibration"]["single"],
        })  # fmt: skip
    manifest = {
        **first,
        "name": "joined",
        "input": largest["input"],
        "variants": {"fp32": {**first["variants"]["fp32"], "model": None}},
        "maps": {**first["maps"], "graphs": {}, "grid": largest["maps"]["grid"]},
        "members": described,
        "files": {
            path.name: {"sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "bytes": path.stat().st_size}
            for path in out.iterdir()
        },
    }
    (out / "manifest.json").write_text(json.dumps(manifest))
    return out


def _change_keys(manifest: dict[str, Any], renamed: list[tuple[str, str]]) -> None:
    """Rename the keys of every mapping by label."""

    def changed(by_label: dict[str, Any]) -> dict[str, Any]:
        return {new: by_label[old] for old, new in renamed if old in by_label}

    for point in manifest["operating_points"].values():
        for mode in ("single", "tta"):
            point[mode]["thresholds"] = changed(point[mode]["thresholds"])
        point["adaptive"]["margins"] = changed(point["adaptive"]["margins"])
    for mode in ("single", "tta"):
        manifest["calibration"][mode] = changed(manifest["calibration"][mode])


def _cut(model: onnx.ModelProto, columns: list[int], count: int, size: int) -> onnx.ModelProto:
    """Keep some columns of the last layer, and take images of another size."""
    for tensor in model.graph.initializer:
        if count in tensor.dims:
            values = numpy_helper.to_array(tensor).take(columns, axis=list(tensor.dims).index(count))
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    for value in (*model.graph.input, *model.graph.output):
        for place, dimension in enumerate(value.type.tensor_type.shape.dim):
            if place and dimension.dim_value == count:
                dimension.dim_value = len(columns)
            elif dimension.dim_value in (224, 7):
                dimension.dim_value = size if dimension.dim_value == 224 else size // _STRIDE
    return model
