"""How Sphinx builds these pages: `python -m sphinx -W -n -c docs . docs/_build`, in a clone.

The source is the whole clone, so that links to the model card and to measured figures are good here as on a code host.
"""

import os
import sys
from pathlib import Path

from cxr_edge import __version__

project = "cxr-edge"
release = version = __version__
copyright = "the authors of cxr-edge, Apache-2.0"  # noqa: A001 - Sphinx reads this name
language = "en"

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "sphinxcontrib.programoutput",
]
root_doc = "docs/index"
include_patterns = [
    "docs/*.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "cxr_edge/bundles/default/MODEL_CARD.md",
    "benchmarks/results/**.md",
    "training/results/**.md",
]
exclude_patterns = [".*", "docs/_build", "runs", "results"]
html_theme = "furo"
html_title = f"cxr-edge {version}"
html_copy_source = False
html_static_path = ["_static"]
html_extra_path = ["_top"]  # an index.html that leads to the first page
html_css_files = ["tables.css"]

myst_enable_extensions = ["attrs_inline"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints = "signature"
napoleon_google_docstring = False
napoleon_use_ivar = True
napoleon_use_param = False
napoleon_use_rtype = False
# Types of other projects, whose inventories a build without network cannot read, and of this one's inside.
nitpick_ignore_regex = [
    ("py:.*", r"(collections\.abc|os|pathlib|np|npt|numpy|pydicom|msgspec|images)\..*"),
    ("py:.*", r"Dataset|ndarray|float32|mapping|variants|[hwxy]"),
    ("py:.*", r"cxr_edge\.(backends|model\.bundle|images|model\.manifest)\..*"),
    ("py:.*", r"\{?'\w+'\}?"),  # {'one', 'other'}: a choice of words, as numpydoc writes it
]

# The command line's own help, as the program that this Python has installed prints it.
programoutput_use_ansi = False
os.environ.update(COLUMNS="80", NO_COLOR="1")
os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
