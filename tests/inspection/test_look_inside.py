"""`look_inside.ipynb` runs from top to bottom on two small networks."""

import shutil

import pytest


@pytest.fixture
def runs(trained_run, atrous_run, tmp_path):
    """A folder with a deformable and an atrous run, as a sweep leaves it."""
    for run, trial in ((trained_run, "deformable"), (atrous_run, "atrous")):
        result = shutil.copytree(run, tmp_path / "runs" / trial) / "result.json"
        result.write_text(result.read_text().replace('"trial": "tiny"', f'"trial": "{trial}"'))
    return tmp_path / "runs"


def test_it_draws_every_figure_and_writes_the_page(runs, run_notebook, monkeypatch):
    monkeypatch.setenv("DEFORMLAB_IMAGE", "val_00001")
    outputs = run_notebook("look_inside.ipynb", runs)
    shown = [output.data for output in outputs if "data" in output]
    assert sum("image/png" in data for data in shown) == 5
    assert any("effective dilation (cells)" in data.get("text/html", "") for data in shown)
    assert (runs / "report" / "units.html").stat().st_size > 10_000


def test_without_runs_it_says_in_one_line_what_to_do(run_notebook, tmp_path):
    nbclient = pytest.importorskip("nbclient")
    with pytest.raises(nbclient.exceptions.CellExecutionError) as error:
        run_notebook("look_inside.ipynb", tmp_path / "nowhere")
    assert error.value.evalue.endswith(
        "nowhere: no runs; run `make demo`, or set DEFORMLAB_RUNS to a sweep's folder"
    )
    assert "Traceback" not in error.value.traceback
