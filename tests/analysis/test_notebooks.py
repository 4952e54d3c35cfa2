"""Notebooks run from top to bottom on small runs, and are committed without outputs."""

from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")

NOTEBOOKS = Path(__file__).parents[2] / "experiments" / "notebooks"


def executed(name, runs, monkeypatch):
    monkeypatch.setenv("DEFORMLAB_RUNS", str(runs))
    notebook = nbformat.read(NOTEBOOKS / name, as_version=4)
    nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3").execute(cwd=str(NOTEBOOKS))
    return notebook


def outputs(notebook):
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


def test_effective_dilation_draws_its_figures(sweep, monkeypatch):
    sweep.atrous(2, 0.45)
    for seed in range(2):
        sweep.deformable(0.46, seed)
    notebook = executed("effective_dilation.ipynb", sweep.folder, monkeypatch)
    assert (sweep.folder / "report" / "plots" / "effective_dilation_column.pdf").stat().st_size > 1000
    shown = [output.data for output in outputs(notebook) if output.output_type == "display_data"]
    assert sum("image/png" in data for data in shown) == 2
    findings = [data["text/markdown"] for data in shown if "text/markdown" in data]
    assert findings[0].startswith("- Effective dilation grows with object size: holds (in 2 of 2 seeds).")


def test_effective_dilation_says_when_there_is_nothing_to_draw(sweep, monkeypatch):
    sweep.atrous(2)
    notebook = executed("effective_dilation.ipynb", sweep.folder, monkeypatch)
    assert any("there is nothing to draw" in output.get("text", "") for output in outputs(notebook))


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.name)
def test_notebooks_are_committed_without_outputs(path):
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    assert all(not cell.outputs and cell.execution_count is None for cell in cells)
