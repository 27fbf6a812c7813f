"""Fail unless a wheel holds the SDK with its bundle, and nothing of the other packages."""

import sys
from pathlib import Path
from zipfile import ZipFile

names = ZipFile(sys.argv[1]).namelist()
strays = [name for name in names if not name.startswith(("cxr_edge/", "cxr_edge-"))]
bundle = "cxr_edge/bundles/default/"
samples = {f"cxr_edge/demo/samples/{image.name}" for image in Path("samples").glob("*.png")}
needed = {
    "cxr_edge/py.typed",
    "cxr_edge/outputs/html/templates/page.html",
    "cxr_edge/demo/demo.css",
    "cxr_edge/frozen/hooks/rthooks.dat",
    *samples,
    *(bundle + name for name in ("model.onnx", "maps.onnx", "evaluation.json", "manifest.json", "MODEL_CARD.md")),
}
missing = needed - set(names)
licences = [name for name in names if name.endswith(("licenses/LICENSE", "licenses/NOTICE"))]
if strays or missing or len(licences) != 2:
    sys.exit(f"stray: {strays}; missing: {sorted(missing)}; licence files: {licences}")
print(f"{len(names)} files, as expected")
