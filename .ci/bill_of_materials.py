"""Write what an environment holds as CycloneDX, with licences; fail where one is not in ``licences.toml``.

``python .ci/bill_of_materials.py PYTHON FILE``: PYTHON is the interpreter of an environment with cxr-edge in it, from
its wheel and without pip; FILE the bill of materials (JSON).
"""

import hashlib
import json
import re
import subprocess
import sys
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any

import msgspec
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from license_expression import ExpressionError, LicenseExpression, get_spdx_licensing
from packaging.utils import canonicalize_name

Component = dict[str, Any]

POLICY = msgspec.toml.decode((Path(__file__).parent / "licences.toml").read_bytes())
SPDX = get_spdx_licensing()
#: Where licences stand: files of such names, and whatever lies in a folder of licences. Programs are none.
LICENCE_FILE = re.compile(
    r"(licen[cs]e|copy(ing|right)|notice|third.?party|3rd.?party|gpl)[^/]*$|(^|/)licen[cs]es/", re.I
)
PROGRAM = (".py", ".pyc")
#: Any naming of a GNU licence. Wordings differ too much to tell who merely mentions one: that is for who reads it.
GNU = re.compile(rb"affero|gnu[\W_]+public|general[\W_]+public[\W_]+licen[cs]e|(?<![a-z])[al]?gpl", re.I)
NIH = "https://nihcc.app.box.com/v/ChestXray-NIHCC"


def materials(python: str) -> dict[str, Any]:
    """Let cyclonedx-py list an environment."""
    command = [sys.executable, "-m", "cyclonedx_py", "environment", "--output-reproducible", python]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)  # noqa: S603


def site_packages(python: str) -> Path:
    """Return where an environment's packages lie."""
    query = [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    return Path(subprocess.run(query, capture_output=True, text=True, check=True).stdout.strip())  # noqa: S603


def declared(component: Component) -> list[str]:
    """Return the licences that a package's metadata name, as they name them."""
    return sorted(
        entry["expression"] if "expression" in entry else entry["license"].get("id") or entry["license"]["name"]
        for entry in component.get("licenses", [])
    )


def is_allowed(licence: LicenseExpression) -> bool:
    """Return whether the allowed licences suffice: all of an AND, one of an OR."""
    if licence.args:
        return (any if isinstance(licence, SPDX.OR) else all)(map(is_allowed, licence.args))
    return str(licence) in POLICY["allowed"]


def conclude(component: Component) -> str:
    """Write the licence into a component where its metadata leave it open; give what is wrong, or nothing."""
    names = declared(component)
    known = POLICY["packages"].get(canonicalize_name(component["name"]))
    if known and known["declared"] != names:
        return f"declares {names}, and licences.toml is for {known['declared']}: look again"
    if not known and not names:
        return "declares no licence"
    licence = known["licence"] if known else " AND ".join(f"({POLICY['names'].get(name, name)})" for name in names)
    try:
        parsed = SPDX.parse(licence, validate=True)
    except ExpressionError:
        return f"declares {names}, which is no SPDX expression"
    if not is_allowed(parsed):
        return f"is under {parsed}, which is not allowed"
    if known or set(names) & POLICY["names"].keys():
        component["licenses"] = [{"acknowledgement": "concluded", "expression": str(parsed.simplify())}]
    if known:
        evidence = {"name": "cxr-edge:licence:evidence", "value": known["evidence"]}
        component.setdefault("properties", []).append(evidence)
    return ""


def carry(component: Component) -> None:
    """Add the libraries of other licences that a package carries."""
    name = canonicalize_name(component["name"])
    if libraries := [library for library in POLICY["carried"] if library["package"] == name]:
        component["components"] = [
            {
                "type": "library",
                "bom-ref": f"{component['bom-ref']}#{library['name']}",
                "name": library["name"],
                "description": f"{library['reason']} ({library['evidence']})",
                "licenses": [{"acknowledgement": "concluded", "expression": library["licence"]}],
            }
            for library in libraries
        ]


def gnu_texts(package: Distribution) -> dict[str, str]:
    """Find the licence texts of a package that name a GNU licence: their paths, by SHA-256."""
    found = {}
    for file in package.files or []:
        if LICENCE_FILE.search(file.as_posix()) and file.suffix not in PROGRAM:
            text = Path(file.locate()).read_bytes()
            if GNU.search(text.replace(b"\0", b"")):  # UTF-16 is ASCII with zeros between
                found[hashlib.sha256(text).hexdigest()] = file.as_posix()
    return found


def compare_texts(package: Distribution) -> str:
    """Compare the texts that name a GNU licence with those that were looked at; give what is wrong, or nothing."""
    name = canonicalize_name(package.metadata["Name"])
    known = {text["sha256"] for text in POLICY["texts"] if name in text["packages"]}
    found = gnu_texts(package)
    new = [f"{path} names a GNU licence (SHA-256 {digest})" for digest, path in found.items() if digest not in known]
    gone = [f"the text of SHA-256 {digest} is gone" for digest in sorted(known - found.keys())]
    return f"has other texts than were looked at: {'; '.join(new + gone)}" if new or gone else ""


def file_of(path: Path, root: Path) -> Component:
    """Describe a file by its hash."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    name = path.relative_to(root).as_posix()
    return {"type": "file", "bom-ref": name, "name": name, "hashes": [{"alg": "SHA-256", "content": digest}]}


def model_and_images(site: Path) -> list[Component]:
    """Describe what cxr-edge's wheel holds that is no program."""
    bundle = site / "cxr_edge" / "bundles" / "default"
    manifest = json.loads((bundle / "manifest.json").read_text())
    images = [
        *sorted((site / "cxr_edge" / "demo" / "samples").glob("*.png")),
        site / "cxr_edge" / "diagnostics" / "sample.png",
    ]
    return [
        {
            "type": "machine-learning-model",
            "bom-ref": f"{manifest['name']}=={manifest['version']}",
            "name": manifest["name"],
            "version": manifest["version"],
            "description": "Trained on NIH ChestX-ray14, from the ImageNet weights of EfficientNet-Lite0; see NOTICE",
            "licenses": [{"license": {"id": "Apache-2.0"}}],
            "components": [file_of(path, site) for path in sorted(bundle.iterdir())],
        },
        {
            "type": "data",
            "bom-ref": "nih-chestx-ray14-images",
            "name": "Images of NIH ChestX-ray14",
            "licenses": [{"license": {"name": "NIH Clinical Center: free to use with attribution", "url": NIH}}],
            "components": [file_of(path, site) for path in images],
        },
    ]


def main(python: str, out: str) -> None:
    """Examine, and write."""
    bill, site = materials(python), site_packages(python)
    packages = {canonicalize_name(package.metadata["Name"]): package for package in distributions(path=[str(site)])}
    wrong = []
    for component in bill["components"]:
        package = packages[canonicalize_name(component["name"])]
        carry(component)
        for problem in (conclude(component), compare_texts(package)):
            if problem:
                wrong.append(f"{component['name']} {component['version']} {problem}")
    if wrong:
        sys.exit("\n".join([*wrong, "Allow it in .ci/licences.toml, with evidence, or do without the package."]))
    (ours,) = (component for component in bill["components"] if component["name"] == "cxr-edge")
    bill["components"].remove(ours)
    ours["components"] = model_and_images(site)
    bill["metadata"]["component"] = ours
    text = json.dumps(bill, indent=2, ensure_ascii=False) + "\n"
    if error := JsonStrictValidator(SchemaVersion.from_version(bill["specVersion"])).validate_str(text):
        sys.exit(f"no valid CycloneDX: {error}")
    Path(out).write_text(text, encoding="utf-8")
    print(f"{len(bill['components'])} packages, their licences allowed")


main(*sys.argv[1:])
