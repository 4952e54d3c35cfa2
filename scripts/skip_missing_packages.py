"""A pytest plugin that skips and lists tests whose packages are not installed, instead of failing them.

    PYTHONPATH=scripts python -m pytest -p skip_missing_packages ...

It is for machines on which nothing can be installed. Missing modules of deformlab itself still fail.
"""

import re
from collections.abc import Generator
from typing import Any

import pytest

MISSING = re.compile(r"No module named '([\w.]+)'|import of ([\w.]+) halted")


def missing_package(text: str) -> str | None:
    """The package whose import failed, or None."""
    found = MISSING.search(text)
    package = (found[1] or found[2]).partition(".")[0] if found else None
    return None if package == "deformlab" else package


def skip(report: Any, package: str, path: Any) -> None:
    report.outcome = "skipped"
    report.longrepr = (str(path), 0, f"Skipped: {package} is not installed")


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: Any) -> Generator[None, Any, Any]:
    report = yield
    if report.failed and (package := missing_package(str(report.longrepr))):
        skip(report, package, collector.path)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: Any, call: Any) -> Generator[None, Any, Any]:
    report = yield
    if report.failed and call.excinfo is not None and call.excinfo.errisinstance(ModuleNotFoundError):
        package = missing_package(str(call.excinfo.value))
        if package:
            skip(report, package, item.path)
    return report
