"""Makes autodoc show every name in `__all__` of a package, also constants and names imported lazily.

A public name without an entry on the site is a warning, and a warning is an error for `make docs`.
"""

import importlib
import pkgutil
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.pycode import ModuleAnalyzer
from sphinx.util import logging

PACKAGES = [
    f"deformlab.{page.stem}"
    for page in sorted((Path(__file__).parents[1] / "api").glob("*.md"))
    if page.stem != "index"
]
logger = logging.getLogger(__name__)


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("builder-inited", complete_packages)
    app.connect("autodoc-process-docstring", escape_types, priority=600)
    app.connect("autodoc-process-signature", shorten_factories)
    app.connect("doctree-read", set_dashes)
    app.connect("env-check-consistency", warn_of_missing_names)
    return {"parallel_read_safe": True}


def complete_packages(app: Sphinx) -> None:
    """Makes every public name of a package a member that autodoc finds and shows."""
    for package in map(importlib.import_module, PACKAGES):
        comments = ModuleAnalyzer.for_module(package.__name__).find_attr_docs()
        for name in package.__all__:
            value = getattr(package, name)
            setattr(package, name, value)  # some are imported when they are first used
            if not isinstance(value, type | FunctionType | ModuleType):
                comments["", name] = docstring_of_constant(package, name)


def docstring_of_constant(package: ModuleType, name: str) -> list[str]:
    """The lines of the docstring below a constant, in the module that defines it."""
    for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        if not module.ispkg:
            found = ModuleAnalyzer.for_module(module.name).find_attr_docs().get(("", name))
            if found:
                return list(found)
    logger.warning("%s.%s has no docstring below its definition", package.__name__, name)
    return []


def escape_types(app: Sphinx, what: str, name: str, value: Any, options: Any, lines: list[str]) -> None:
    """Keeps `str_` of NumPy in the type of a field from being read as a reference."""
    lines[:] = [line.replace("_]", r"\_]") if line.startswith(":vartype") else line for line in lines]


def shorten_factories(
    app: Sphinx, what: str, name: str, value: Any, options: Any, signature: str | None, returned: str | None
) -> tuple[str | None, str | None]:
    """Writes `...` for the default of a dataclass's field that is made by a function."""
    return signature and signature.replace("<factory>", "..."), returned


def set_dashes(app: Sphinx, document: nodes.document) -> None:
    """Makes a dash of the ` -- ` that Sphinx puts between an argument and its description."""
    for text in list(document.findall(nodes.Text)):
        if text == " -- ":
            text.parent.replace(text, nodes.Text(" – "))


def warn_of_missing_names(app: Sphinx, environment: BuildEnvironment) -> None:
    """Compares `__all__` of each package with what the site describes."""
    described = environment.domains.python_domain.objects
    for package in map(importlib.import_module, PACKAGES):
        for name in package.__all__:
            value = getattr(package, name)
            original = f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', '')}"
            module = (
                isinstance(value, ModuleType) and value.__name__ in environment.domains.python_domain.modules
            )
            if f"{package.__name__}.{name}" not in described and original not in described and not module:
                logger.warning("%s.%s is public but not on the site", package.__name__, name)
