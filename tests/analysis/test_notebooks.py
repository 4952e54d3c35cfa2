"""Notebooks run from top to bottom on small runs, and are committed without outputs."""

from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat")

NOTEBOOKS = Path(__file__).parents[2] / "experiments" / "notebooks"


def test_effective_dilation_draws_its_figures(sweep, run_notebook):
    images = tuple(f"{number:03}" for number in range(120))
    sweep.add_objects(sweep.atrous(2, 0.45), images=images)
    for seed in range(2):
        sweep.add_objects(
            sweep.deformable(0.46, seed),
            dilation=(2.2, 4.2),
            hits=(6, 60),
            images=images,
            grow=0.1 / 59.5,
            medium=3.0,
        )
    outputs = run_notebook("effective_dilation.ipynb", sweep.folder)
    plots = sweep.folder / "report" / "plots"
    assert (plots / "effective_dilation_and_gain.pdf").stat().st_size > 1000
    shown = [output.data for output in outputs if output.output_type == "display_data"]
    assert sum("image/png" in data for data in shown) == 3
    findings = [data["text/markdown"] for data in shown if "text/markdown" in data]
    assert findings[0].startswith("- Effective dilation grows with object size: holds (in 2 of 2 seeds).")
    (table,) = [data["text/html"] for data in shown if "text/html" in data]
    assert "2.30 [" in table  # the mean of 2.2, 2.3 and 2.4 on small objects, and its interval over images


def test_effective_dilation_says_when_there_is_nothing_to_draw(sweep, run_notebook):
    sweep.atrous(2)
    said = "".join(
        output.get("text", "") for output in run_notebook("effective_dilation.ipynb", sweep.folder)
    )
    assert "there is nothing to draw" in said
    assert "deformlab validate --run_dir RUN writes it" in said


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.name)
def test_notebooks_are_committed_without_outputs(path):
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    assert all(not cell.outputs and cell.execution_count is None for cell in cells)
