"""Notebooks run from top to bottom on small runs, and are committed without outputs."""

from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat")

NOTEBOOKS = Path(__file__).parents[2] / "experiments" / "notebooks"


def test_effective_dilation_draws_its_figures(sweep, run_notebook):
    sizes = {"small": 2.2, "medium": 3.0, "large": 4.2, "background": 2.6}
    sweep.measure(sweep.atrous(2, 0.45), rate=2)
    for seed in range(2):
        sweep.measure(sweep.deformable(0.46, seed), sizes, hits=(6, 60))
    outputs = run_notebook("effective_dilation.ipynb", sweep.folder)
    plots = sweep.folder / "report" / "plots"
    assert (plots / "effective_dilation_and_gain.pdf").stat().st_size > 1000
    shown = [output.data for output in outputs if output.output_type == "display_data"]
    assert sum("image/png" in data for data in shown) == 3
    findings = [data["text/markdown"] for data in shown if "text/markdown" in data]
    assert any(
        line.startswith("- Effective dilation grows with object size: holds (95 %") for line in findings
    )
    every, by_size, effects = [data["text/html"] for data in shown if "text/html" in data]
    assert "interior_effective_dilation" in every
    assert "2.20 [" in by_size or "2.21 [" in by_size
    assert "large minus small" in effects


def test_effective_dilation_says_when_there_is_nothing_to_draw(sweep, run_notebook):
    sweep.atrous(2)
    outputs = run_notebook("effective_dilation.ipynb", sweep.folder)
    said = "".join(output.get("text", "") for output in outputs)
    assert "there is nothing to draw" in said
    assert "deformlab validate --run_dir RUN measures it" in said


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.name)
def test_notebooks_are_committed_without_outputs(path):
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    assert all(not cell.outputs and cell.execution_count is None for cell in cells)
