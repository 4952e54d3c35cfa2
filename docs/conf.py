"""Configuration of the documentation site; `make docs` builds it.

Pages are Markdown (MyST), the API reference comes from docstrings. The site opens from file:// and loads nothing
from the network, so there is no intersphinx and no MathJax.

Links are written as they work in the repository, relative to the file in which they are. Here they lead to the
page made from that file, if there is one, and to a copy of the file otherwise.
"""

import os
import re
from pathlib import Path

from sphinx.application import Sphinx

import deformlab

DOCS = Path(__file__).parent
ROOT = DOCS.parent

project = "deformlab"
author = "The deformlab authors"
project_copyright = author
release = deformlab.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
]
exclude_patterns = ["_static"]
highlight_language = "none"
default_role = "code"  # docstrings mark code with single backticks
nitpicky = True
# Other packages' names cannot be looked up without a network.
nitpick_ignore_regex = [("py:.*", r"(?!deformlab).*")]

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 4

autodoc_default_options = {
    "members": True,
    "imported-members": True,
    "show-inheritance": False,
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
html_static_path = ["_static"]
html_copy_source = False
html_show_sphinx = False
copybutton_exclude = ".linenos, .gp, .go"

INCLUDE = re.compile(r"^```\{include\} (\S+)\n```$", re.MULTILINE)
# The target of a link or an image, without code in backticks and blocks.
LINK = re.compile(r"(```.*?```|`[^`\n]*`)|(\]\()([^)\s:#]+)(#[^)\s]*)?\)", re.DOTALL)


def setup(app: Sphinx) -> None:
    """Connects the rewriting of links."""
    app.connect("source-read", read_page)


def read_page(app: Sphinx, docname: str, source: list[str]) -> None:
    """Replaces includes by the files, and links to files by links to their pages."""
    page = DOCS / f"{docname}.md"
    pages = pages_of_files()

    def include(match: re.Match[str]) -> str:
        file = (page.parent / match[1]).resolve()
        app.env.note_dependency(str(file))
        return with_links(file.read_text(), file, page, pages)

    # Split at includes: the text of the page has its own links.
    parts, start = [], 0
    for match in INCLUDE.finditer(source[0]):
        parts += [with_links(source[0][start : match.start()], page, page, pages), include(match)]
        start = match.end()
    source[0] = "".join([*parts, with_links(source[0][start:], page, page, pages)])


def pages_of_files() -> dict[Path, Path]:
    """The page on which a file of the repository is, for each file that has one."""
    pages = {ROOT / "README.md": DOCS / "index.md", ROOT / "experiments" / "results": DOCS / "results.md"}
    for page in DOCS.rglob("*.md"):
        pages[page] = page
        for match in INCLUDE.finditer(page.read_text()):
            pages[(page.parent / match[1]).resolve()] = page
    return pages


def with_links(text: str, file: Path, page: Path, pages: dict[Path, Path]) -> str:
    """The text of `file` with its links as they have to be on `page`."""

    def link(match: re.Match[str]) -> str:
        if match[1]:
            return match[1]
        target = (file.parent / match[3]).resolve()
        anchor = match[4] or ""
        if target == ROOT / "README.md":
            anchor = ""
        elif target not in pages and target / "README.md" in pages:
            target /= "README.md"
        return f"{match[2]}{os.path.relpath(pages.get(target, target), page.parent)}{anchor})"

    return LINK.sub(link, text)
