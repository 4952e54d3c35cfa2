"""Links to files of the repository, and pages made of its files.

A page, or a file that it includes, has links as they work in the repository: relative to the file itself. On
the site they lead to the page made from their target if there is one, and to a copy of the target otherwise.
"""

import os
import re
from pathlib import Path

from sphinx.application import Sphinx

DOCS = Path(__file__).parents[1]
ROOT = DOCS.parent

INCLUDE = re.compile(r"^```\{include\} (\S+)\n```$", re.MULTILINE)
# Code, in which nothing is a link, or the target of a link or an image in the repository.
LINK = re.compile(r"(```.*?```|`[^`\n]*`)|(\]\()([^)\s:#]+)(#[^)\s]*)?\)", re.DOTALL)


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("source-read", read_page)
    return {"parallel_read_safe": True}


def read_page(app: Sphinx, docname: str, source: list[str]) -> None:
    """Puts the included files in and rewrites all links."""
    page = DOCS / f"{docname}.md"
    pages = pages_of_files()
    parts, start = [], 0
    for match in INCLUDE.finditer(source[0]):
        file = (page.parent / match[1]).resolve()
        app.env.note_dependency(str(file))
        parts.append(with_links(source[0][start : match.start()], page, page, pages))
        parts.append(with_links(file.read_text(), file, page, pages))
        start = match.end()
    source[0] = "".join([*parts, with_links(source[0][start:], page, page, pages)])


def pages_of_files() -> dict[Path, Path]:
    """The page that shows a file or a folder of the repository, for those that have one."""
    pages = {ROOT / "README.md": DOCS / "index.md", ROOT / "experiments" / "results": DOCS / "results.md"}
    for page in DOCS.rglob("*.md"):
        pages[page] = page
        for match in INCLUDE.finditer(page.read_text()):
            pages[(page.parent / match[1]).resolve()] = page
    return pages


def with_links(text: str, file: Path, page: Path, pages: dict[Path, Path]) -> str:
    """The text of `file` with its links as they have to be on `page`."""

    def link(match: re.Match[str]) -> str:
        code, opening, path, anchor = match.groups()
        if code:
            return code
        target = (file.parent / path).resolve()
        if target == ROOT / "README.md":
            anchor = None  # its sections are not those of the first page
        elif target not in pages and target / "README.md" in pages:
            target /= "README.md"
        return f"{opening}{os.path.relpath(pages.get(target, target), page.parent)}{anchor or ''})"

    return LINK.sub(link, text)
