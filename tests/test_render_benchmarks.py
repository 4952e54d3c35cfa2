"""The speed in the documents is what the saved results say, and the renderer's verdicts are right."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def render(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "scripts")
    import render_benchmarks

    return render_benchmarks


def between_markers(render, path, name):
    return render.marked(name).search((ROOT / path).read_text())[2]


def test_the_readmes_speed_table_is_that_of_the_saved_results(render):
    assert between_markers(render, "README.md", "speed table") == render.speed_table(render.load("operators"))


def test_the_operators_page_has_the_details_of_the_saved_results(render):
    expected = render.speed_details(render.load("operators"), render.load("network"))
    assert between_markers(render, "docs/operators.md", "speed details") == expected


def test_the_figure_is_there_as_png_and_pdf(render):
    assert {path.name for path in (render.RESULTS / "plots").iterdir()} >= {"operators.png", "operators.pdf"}


@pytest.mark.parametrize(
    ("values", "limit", "text"),
    [
        ([1.1, 1.2], {"most": 1.25}, "1.10–1.20 (≤ 1.25: met)"),
        ([1.1, 1.3, None], {"most": 1.25}, "1.10–1.30 (≤ 1.25: met by 1 of 2)"),
        ([14.2], {"least": 12.0}, "14 (≥ 12: met)"),
        ([3.0], {"least": 4.5}, "3.00 (≥ 4.5: not met)"),
        ([], {"least": 4.5}, "unmeasured (≥ 4.5)"),
    ],
)
def test_a_cell_has_range_limit_and_verdict(render, values, limit, text):
    assert render.cell(values, **limit) == text


def test_without_a_result_from_a_gpu_its_cells_say_so(render):
    table = render.speed_table([])
    assert table.count("unmeasured") == 12
    assert not re.search(r"\bmet\b", table)


def test_python_and_links_of_the_operators_page_work():
    page = ROOT / "docs" / "operators.md"
    for code in re.findall(r"```python\n(.*?)```", page.read_text(), flags=re.DOTALL):
        exec(compile(code, page.name, "exec"), {})
    for link in re.findall(r"\]\(([^)#:]+)[^)]*\)", page.read_text()):
        assert (page.parent / link).exists(), link
    for script in re.findall(r"scripts/\w+\.py", page.read_text()):
        assert (ROOT / script).exists(), script
