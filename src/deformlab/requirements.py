"""Whether the training toolkit is installed: `pip install deformlab` brings the operators and layers alone.

What the toolkit needs is declared once, as the extra `train` in pyproject.toml, and read from the metadata of
the installed package. This module imports only Python's own library.
"""

import importlib.util
import re
from importlib import metadata

from deformlab.errors import MissingToolkitError

__all__ = ["installation_advice", "missing_packages", "require_toolkit"]

# Packages whose module has another name.
MODULES = {"opencv-python-headless": "cv2", "pillow": "PIL", "pyyaml": "yaml"}


def module_of(package: str) -> str:
    """The name by which a package of the toolkit is imported."""
    return MODULES.get(package.lower(), package.replace("-", "_"))


def toolkit_packages() -> list[str]:
    """The packages that the extra `train` names; empty if deformlab itself is not installed."""
    try:
        lines = metadata.requires("deformlab") or []
    except metadata.PackageNotFoundError:
        return []
    of_train = (line for line in lines if re.search(r"""extra == ["']train["']""", line))
    return [name[0] for line in of_train if (name := re.match(r"[\w.-]+", line))]


def missing_packages() -> list[str]:
    """The packages of the toolkit that cannot be imported."""
    return [name for name in toolkit_packages() if importlib.util.find_spec(module_of(name)) is None]


def installation_advice(missing: list[str]) -> str:
    """What is missing and how to install it, for the end of a sentence."""
    named = (
        ", ".join(missing) if len(missing) <= 4 else f"{', '.join(missing[:3])} and {len(missing) - 3} more"
    )
    return f"not installed (missing: {named}); pip install 'deformlab[train]'"


def require_toolkit(user: str) -> None:
    """Checks that the training toolkit is installed.

    Args:
        user: What needs it, for the message.

    Raises:
        MissingToolkitError: A package is missing.
    """
    missing = missing_packages()
    if missing:
        raise MissingToolkitError(
            f"{user} needs the training toolkit, which is {installation_advice(missing)}"
        )
