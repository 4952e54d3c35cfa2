"""Configuration of the documentation site; `make docs` builds it.

Pages are Markdown (MyST), the API reference comes from docstrings. The site opens from file:// and loads
nothing from the network: no intersphinx, no MathJax.
"""

import sys
from pathlib import Path

import deformlab

sys.path.insert(0, str(Path(__file__).parent / "_extensions"))

project = "deformlab"
author = "The deformlab authors"
project_copyright = author
release = deformlab.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "public_names",
    "repository_links",
]
exclude_patterns = ["_extensions"]
highlight_language = "none"
smartquotes = False  # they would turn -- of an option into a dash
default_role = "code"  # docstrings mark code with single backticks
nitpicky = True
nitpick_ignore_regex = [("py:.*", r"(?!deformlab).*")]  # other packages cannot be looked up without a network
# Types in public signatures that are not public themselves.
nitpick_ignore = [
    ("py:class", f"deformlab.{name}")
    for name in (
        "analysis.by_object.TrialSizeRow",
        "callbacks.object_files.MeasuresObjects",
        "data.files.Fault",
        "data.files.SampleFiles",
        "layers.recording.T",
        "metrics.effective_dilation.Number",
        "models.backbone.B",
        "run_folder.identity.Identity",
    )
]
suppress_warnings = ["ref.python"]  # `object` is a built-in and a column of the records

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 4

autodoc_default_options = {
    "members": True,
    "imported-members": True,
}
autodoc_member_order = "bysource"
autodoc_inherit_docstrings = False  # Lightning's and torch's are written for their own sites
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_class_signature = "mixed"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 100
python_display_short_literal_types = True
toc_object_entries_show_parents = "hide"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True  # fields of dataclasses without an entry of their own
napoleon_use_rtype = False

html_theme = "furo"
html_title = f"deformlab {release}"
html_copy_source = False
html_show_sphinx = False
copybutton_exclude = ".linenos, .gp, .go"
