import io
import re

import pytest
from PIL import Image
from rich.console import Console

from deformlab.analysis import write_report
from deformlab.errors import RunFolderError


@pytest.fixture
def good(sweep):
    return _good(sweep)


@pytest.fixture(scope="module")
def report(new_sweep, tmp_path_factory):
    """The report of the good runs in the place where it goes by itself; tests only read it."""
    return write_report(_good(new_sweep(tmp_path_factory.mktemp("report") / "dilation")).folder)


def _good(sweep):
    for rate, miou in ((2, 0.45), (4, 0.46), (6, 0.44)):
        sweep.atrous(rate, miou)
    folder = sweep.deformable(0.47)
    (folder / "predictions").mkdir()
    Image.new("RGB", (3000, 600), "red").save(folder / "predictions" / "street.png")
    return sweep


def printed(report, width=80):
    console = Console(file=io.StringIO(), width=width)
    report.print(console)
    return console.file.getvalue()


def test_a_report_is_one_page_tables_and_plots_in_the_sweep_folder(report):
    assert report.page == report.runs.folder / "report" / "report.html"
    written = {path.relative_to(report.page.parent).as_posix() for path in report.files}
    assert {
        "report.html",
        "report.md",
        "plots/miou_over_dilation.pdf",
        "plots/effective_dilation.png",
    } <= written
    for name in ("table1_deformable_layers", "table2_effective_dilation", "table3_atrous_against_deformable"):
        assert {f"tables/{name}{suffix}" for suffix in (".md", ".tex", ".csv")} <= written
    assert all(path.stat().st_size for path in report.files)


def test_the_report_can_go_to_another_folder_and_the_same_runs_give_the_same_files(report, good, tmp_path):
    again = write_report(good.folder, tmp_path / "elsewhere")
    assert again.page == tmp_path / "elsewhere" / "report.html"
    assert not (good.folder / "report").exists()
    for one, other in zip(report.files, again.files, strict=True):
        assert one.read_bytes() == other.read_bytes(), one.name


def test_all_tables_and_findings_are_in_one_markdown_file(report):
    summary = (report.page.parent / "report.md").read_text()
    assert all(f"### {table.title}" in summary for table in report.tables)
    assert all(finding.sentence in summary for finding in report.findings)
    assert all(line in summary for finding in report.findings for line in finding.evidence)


def test_the_page_needs_no_network_and_no_script(report):
    page = report.page.read_text()
    assert "<script" not in page
    assert not re.search(r"(src|href)=\"(?!data:|#)", page)
    assert "url(" not in page
    assert "prefers-color-scheme: dark" in page
    assert 'name="viewport"' in page


def test_the_page_has_plots_and_small_pictures_of_the_trials(report):
    page = report.page.read_text()
    assert page.count("data:image/png;base64,") == 4
    assert page.count("data:image/jpeg;base64,") == 3  # image, label, prediction
    assert "deformable-2, seed 0" in page
    assert len(page) < 2_000_000


def test_names_from_run_folders_cannot_break_the_page(sweep, no_figures):
    sweep.run("a", trial_name=1, machine="<b>&")
    page = write_report(sweep.folder).page.read_text()
    assert "<b>&" not in page
    assert "&lt;b&gt;&amp;" in page


def test_nine_good_runs_and_a_broken_one_give_a_report_that_names_the_broken_one(sweep, no_figures):
    for seed in range(9):
        sweep.atrous(2, seed=seed)
    (sweep.atrous(4) / "result.json").write_text("{")
    report = write_report(sweep.folder)
    assert [row[3] for row in report.table("table3_atrous_against_deformable").rows] == [9]
    assert "left out: atrous-4-seed0/result.json" in report.warnings[0]
    assert "\n" not in report.warnings[0]
    assert "atrous-4-seed0/result.json" in report.page.read_text()


def test_every_table_and_figure_is_on_the_page(compared_report):
    page = compared_report.page.read_text()
    assert all(f'<h3 id="{table.name}">' in page for table in compared_report.tables)
    assert page.count("data:image/png;base64,") == len(
        list((compared_report.page.parent / "plots").glob("*.png"))
    )


def test_the_joined_table_comes_right_after_the_findings(compared_report):
    page = compared_report.page.read_text()
    titles = re.findall("<h2>(.+?)</h2>", page)
    assert titles[:3] == ["Warnings", "Findings", "How far it looks, and what it gains"]


def test_every_link_leads_somewhere_on_the_page(compared_report):
    page = compared_report.page.read_text()
    assert set(re.findall('href="#([^"]+)"', page)) <= set(re.findall('id="([^"]+)"', page))


def test_published_numbers_link_to_the_paper(sweep, no_figures):
    sweep.deformable(dataset="voc")
    page = write_report(sweep.folder).page.read_text()
    assert '<a class="source" href="#source-published">75.2</a>' in page
    assert 'id="source-published">Published numbers: Dai et al.' in page


def test_verdicts_differ_in_word_and_colour(sweep, no_figures):
    for seed, means in enumerate(((2, 3, 4, 3), (4, 3, 2, 3))):
        sweep.deformable(seed=seed, means=means)
    page = write_report(sweep.folder).page.read_text()
    assert re.search('class="finding mixed">.+\n?.+holds in 1 of 2 seeds', page)


def test_runs_without_records_are_one_line_on_page_and_terminal(report):
    assert report.page.read_text().count("deformlab validate --run_dir RUN") == 1
    assert printed(report, 400).count("Warning: no run has objects.json and objects.csv; ") == 1


def test_paths_of_the_machine_stay_out_of_the_report(good, no_figures):
    good.atrous(8, status="failed")
    report = write_report(good.folder)
    for path in report.files:
        if path.suffix in {".md", ".html", ".csv", ".tex"}:
            assert str(good.folder.parent) not in path.read_text()


def test_the_terminal_shows_tables_findings_and_the_page(report):
    shown = printed(report, width=200)
    assert "deformable, 3 layers, d = 2" in shown
    assert "layer4.1.conv2" in shown
    assert "Effective dilation grows with object size: seen in the only seed." in shown
    assert "Deformable is at least as good as the best atrous rate: cannot be judged (one seed)." in shown
    assert f"Report: {report.page}" in shown


def test_the_terminal_names_what_was_left_out(good, no_figures):
    good.atrous(8, status="interrupted")
    assert "Warning: left out: atrous-8-seed0: interrupted" in printed(write_report(good.folder))


def test_the_terminal_tables_fit_80_columns(good, no_figures):
    for number in (1, "all"):
        good.deformable(trial=f"deformable-{number}", model={"num_deformable_layers": number})
    lines = printed(write_report(good.folder)).splitlines()
    tables = lines[: next(i for i, line in enumerate(lines) if line.startswith("Effective dilation grows"))]
    assert any(line.split()[:2] == ["all", "deformable"] for line in tables)
    assert "…" not in "".join(tables)
    assert max(map(len, tables)) <= 80


def test_the_terminal_shows_the_joined_table_in_80_columns(compared_report):
    shown = printed(compared_report)
    (row,) = [line for line in shown.splitlines() if line.startswith(" large") and "+22.7" in line]
    assert row.split()[:2] == ["large", "4.25"]
    assert "atrous-4\n" not in shown.split("gain there?")[1].split("Effective dilation grows")[0]
    assert "…" not in shown
    assert max(map(len, shown.splitlines()[:-1])) <= 80


def test_the_terminal_lists_the_last_three_layers_of_a_trial(sweep, no_figures):
    layers = {f"layer4.{i}.conv2": {"small": (2.0, 0.1, 500)} for i in range(5)}
    sweep.run("deformable-2", dilation=layers, model={"conv5": "deformable"})
    shown = printed(write_report(sweep.folder))
    assert "Effective dilation by object size (last 3 layers)" in shown
    listed = [line.split()[0] for line in shown.splitlines() if line.startswith(" layer")]
    assert listed == ["layer4.4.conv2", "layer4.3.conv2", "layer4.2.conv2"]


def test_atrous_runs_alone_give_a_report_that_judges_what_it_can(sweep, no_figures):
    sweep.atrous(2)
    report = write_report(sweep.folder)
    assert {finding.verdict for finding in report.findings} == {"cannot be judged"}
    assert ": cannot be judged." in printed(report)


def test_an_output_that_cannot_be_written_is_one_line(good, tmp_path, no_figures):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFolderError, match="cannot write the report") as raised:
        write_report(good.folder, tmp_path / "file")
    assert "\n" not in str(raised.value)


def test_names_are_shown_as_they_are_wherever_they_are(sweep, no_figures):
    name, classes = "[red]<b>a|b $x_1$", ["<script>alert(1)</script>", "=1+1"]
    iou = dict.fromkeys(classes, 0.5)
    sweep.deformable(trial=name, seed=0, classes=classes, iou=iou)
    sweep.atrous(2, trial="=cmd|' c calc'!A0", classes=classes, iou=iou)
    report = write_report(sweep.folder)
    assert "[red]<b>a|b $x_1$" in printed(report, 300)
    page, summary = report.page.read_text(), (report.page.parent / "report.md").read_text()
    assert not re.search("<(b|script)>", page)
    assert not re.search(r"(?<!\\)<(b|script)>", summary)
    for path in (report.page.parent / "tables").glob("*.csv"):
        assert not re.search("(?m)(^|,)=", path.read_text())
