"""Committed results are what `deformlab report` makes of the committed run folders."""

import csv
import json
import subprocess
from pathlib import Path

import pytest

from deformlab.analysis import write_report

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "experiments" / "results"
# Asks what budget, start and depth change, and is warned of it.
UNEQUAL = "object_size_causes"
# Trained before objects were recorded.
WITHOUT_OBJECTS = ("camvid", "offset_learning_rate")
SWEEPS = sorted(path.parent for path in RESULTS.glob("*/trials.json"))
# A clone brings all results along.
MOST_FILES, MOST_BYTES = 300, 10_000_000


@pytest.fixture(scope="module", params=SWEEPS, ids=lambda path: path.name)
def regenerated(request, tmp_path_factory):
    """A committed sweep and the report that its run folders give now, written elsewhere."""
    folder = tmp_path_factory.mktemp(request.param.name)
    return request.param, write_report(request.param, folder), folder


def committed(folder: Path) -> list[Path]:
    """The files in a folder, without those that git ignores or does not know yet."""
    try:
        listed = subprocess.run(
            ["git", "ls-files", "-z"], cwd=folder, capture_output=True, text=True, check=True
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git repository")
    return [folder / name for name in listed.split("\0") if name]


def test_every_study_is_reported():
    studies = {path.name for path in RESULTS.iterdir() if (path / "report").is_dir()}
    assert studies == {path.name for path in SWEEPS}
    assert "camvid" in studies


def test_committed_runs_can_be_reported_without_an_unknown_warning(regenerated):
    sweep, report, _ = regenerated
    warnings = [line for line in report.warnings if sweep.name != UNEQUAL or not line.startswith("trials ")]
    known = (
        "no run has object measurements" if sweep.name in WITHOUT_OBJECTS else "measured by an older version"
    )
    assert all(known in line for line in warnings)
    assert len(warnings) <= 1


def test_every_table_comes_from_the_run_folders(regenerated):
    sweep, _, folder = regenerated
    ours, theirs = (
        {path.name: path.read_bytes() for path in (of / "tables").glob("*.csv")}
        for of in (sweep / "report", folder)
    )
    assert ours == theirs
    assert ours


def test_the_report_comes_from_the_run_folders(regenerated):
    sweep, _, folder = regenerated
    assert (sweep / "report" / "report.md").read_bytes() == (folder / "report.md").read_bytes()


def test_every_plot_of_a_report_is_committed_and_no_other(regenerated):
    sweep, _, folder = regenerated
    plots = {path.name for path in committed(sweep / "report") if path.parent.name == "plots"}
    assert plots == {path.name for path in (folder / "plots").glob("*.png")}
    assert all(f"](plots/{name})" in (folder / "report.md").read_text() for name in plots)


def test_no_image_of_a_data_set_no_checkpoint_and_no_page_is_committed():
    files = committed(RESULTS)
    endings = {path.suffix for path in files if path.parent.name != "plots"}
    assert endings <= {".yaml", ".json", ".csv", ".gz", ".npz", ".md"}
    assert {path.suffix for path in files if path.parent.name == "plots"} == {".png"}


def test_results_are_small_enough_to_clone():
    files = [path for path in committed(RESULTS) if path.exists()]
    assert len(files) < MOST_FILES
    assert sum(path.stat().st_size for path in files) < MOST_BYTES


def test_the_readme_has_the_numbers_of_the_committed_tables():
    tables = RESULTS / "camvid" / "report" / "tables"
    readme = (ROOT / "README.md").read_text()
    scores = list(csv.DictReader((tables / "table3_atrous_against_deformable.csv").open()))
    shown = [row for row in scores if row["Trial"] != "deformable-2-beta1"]
    line = " | ".join(f"{float(row['mIoU (%)']):.1f} ± {float(row['mIoU (%) std']):.1f}" for row in shown)
    assert f"| mIoU (%) | {line} |" in readme


@pytest.mark.parametrize("study", ["object_size", "shapes"])
def test_the_readme_has_the_effect_of_the_committed_table(study):
    name = "At the same position (cells)"
    tables = RESULTS / study / "report" / "tables"
    [row] = (
        row
        for row in csv.DictReader((tables / "same_position_effect.csv").open())
        if (row["Trial"], row["Contrast"]) == ("deformable-2", "large minus small")
        and row["Layer"] == last_layer(tables)
    )
    value, low, high = (float(row[f"{name}{bound}"]) for bound in ("", " low", " high"))
    for document in (ROOT / "README.md", ROOT / "docs" / "results.md"):
        assert f"{value:.2f} [{low:.2f}, {high:.2f}] cells" in document.read_text()


def last_layer(tables: Path) -> str:
    """The deformable layer that is nearest to the output."""
    rows = csv.DictReader((tables / "table2_effective_dilation.csv").open())
    return max(row["Layer"] for row in rows if row["Trial"] == "deformable-2")


def test_the_readme_has_the_measured_speed():
    measured = [json.loads(path.read_text()) for path in (RESULTS / "benchmarks").glob("operators-*.json")]
    rows = [row for results in measured for row in results["rows"] if row["dtype"] == "float32"]
    passes = ("forward", "forward_backward")
    ratios = [row[name]["ratio"] for row in rows for name in passes]
    factors = [row["torchvision"][name]["times_faster"] for row in rows for name in passes]
    readme = (ROOT / "README.md").read_text()
    assert f"it takes {min(ratios):.1f} to {max(ratios):.1f} times as long as `conv2d`" in readme
    assert f"is {min(factors):.1f} to {max(factors):.0f} times as fast as torchvision" in readme
