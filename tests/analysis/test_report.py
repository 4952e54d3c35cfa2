import io
import math
import re

import pytest
from PIL import Image
from rich.console import Console

from deformlab.analysis import write_report
from deformlab.errors import ConfigError, RunFolderError
from deformlab.run_folder import ClassScores, Evaluation, Score, write_evaluation


@pytest.fixture
def good(sweep):
    return _good(sweep)


@pytest.fixture(scope="module")
def report(new_sweep, tmp_path_factory):
    """The report of the good runs in its default folder; tests only read it."""
    return write_report(_good(new_sweep(tmp_path_factory.mktemp("report") / "dilation")).folder)


def _good(sweep):
    for rate, score in ((2, 0.45), (4, 0.46), (6, 0.44)):
        sweep.atrous(rate, score)
    folder = sweep.deformable(0.47)
    (folder / "predictions").mkdir()
    Image.new("RGB", (3000, 600), "red").save(folder / "predictions" / "street.png")
    return sweep


def printed(report, width=80):
    console = Console(file=io.StringIO(), width=width)
    report.print(console)
    return console.file.getvalue()


def top(page):
    """What a reader sees before unfolding anything."""
    return re.sub("<details.*?</details>", "", page, flags=re.DOTALL)


def test_a_report_is_one_page_tables_and_plots_in_the_sweep_folder(report):
    assert report.page == report.trials.folder / "report" / "report.html"
    written = {path.relative_to(report.page.parent).as_posix() for path in report.files}
    assert {
        "report.html",
        "report.md",
        "plots/score_over_dilation.pdf",
        "plots/learning_curves.png",
    } <= written
    for name in ("table1_deformable_layers", "table3_atrous_against_deformable", "runs"):
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
    assert page.count("data:image/png;base64,") == 3
    assert page.count("data:image/jpeg;base64,") == 3  # image, label, prediction
    assert "deformable-2, seed 0" in page
    assert len(page) < 2_000_000


def test_scores_come_first_then_one_figure_and_a_line_per_finding(compared_report):
    shown = top(compared_report.page.read_text())
    assert "How far should the network look" in shown
    assert shown.count("<img") == shown.count("<table") == 1
    scores = shown.index('<h3 id="table3_atrous_against_deformable">')
    assert scores < shown.index("<img") < shown.index("<li class=")
    assert shown.count("<li class=") == len(compared_report.findings) <= 6
    for finding in compared_report.findings:
        assert finding.claim in shown


def test_symbols_are_explained_once_in_the_report_and_in_each_table_file(compared_report):
    folder = compared_report.page.parent
    summary = (folder / "report.md").read_text()
    for table in compared_report.tables:
        assert not table.symbols or summary.count(table.symbols) <= 1
        assert table.symbols in (folder / "tables" / f"{table.name}.md").read_text().replace("\\", "")
    assert summary.count("**±**") == 1


def test_warnings_are_counted_on_top(compared_report):
    assert re.search(
        '<a href="#warnings">1 warning</a>: trials have different seeds', compared_report.page.read_text()
    )


def test_markdown_has_the_order_of_the_page(compared_report):
    summary = (compared_report.page.parent / "report.md").read_text()
    titles = re.findall("(?m)^## (.+)", summary)
    assert titles == ["Summary", "Warnings", "Findings in detail", "Figures", "Tables", "Definitions"]
    head = summary.split("## Warnings")[0]
    assert head.index("### Atrous rates against deformable convolution") < head.index("![")
    assert head.count("![") == 1
    assert head.count("\n- **") == len(compared_report.findings)


def test_the_smallest_effect_of_interest_is_an_option(compared, tmp_path, no_figures):
    def verdict(smallest_effect):
        found = write_report(compared.folder, tmp_path, smallest_effect).findings
        return next(finding.verdict for finding in found if finding.key == "dilation_grows_with_size")

    assert (verdict(0.1), verdict(2.5)) == ("holds", "too small to matter")


@pytest.mark.parametrize("value", [-0.1, math.nan, math.inf])
def test_an_illegal_smallest_effect_is_one_line(compared, value):
    with pytest.raises(ConfigError, match="smallest_effect must be a finite number of cells >= 0, got"):
        write_report(compared.folder, smallest_effect=value)


def test_names_from_run_folders_cannot_break_the_page(sweep, no_figures):
    sweep.run("a", machine="<b>&")
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


def test_every_link_leads_somewhere_on_the_page(compared_report):
    page = compared_report.page.read_text()
    assert set(re.findall('href="#([^"]+)"', page)) <= set(re.findall('id="([^"]+)"', page))


def test_published_numbers_link_to_the_paper(sweep, no_figures):
    sweep.deformable(dataset="voc")
    page = write_report(sweep.folder).page.read_text()
    assert '<a class="source" href="#source-published">75.2</a>' in page
    assert 'id="source-published">Published numbers: Dai et al.' in page


def test_verdicts_differ_in_word_sign_and_colour(sweep, no_figures):
    for seed, large in enumerate((3.0, 3.0, 2.0)):
        sweep.measure(sweep.deformable(seed=seed), {"small": 2.0, "large": large})
    page = write_report(sweep.folder).page.read_text()
    assert re.search(
        '<li class="mixed"><span class="verdict"><span aria-hidden="true">±</span> seeds disagree', page
    )
    assert '<li class="open"><span class="verdict"><span aria-hidden="true">?</span> inconclusive' in page


def test_runs_without_records_are_one_warning_on_page_and_terminal(report):
    (line,) = [line for line in report.warnings if "object measurements" in line]
    assert "deformlab validate --run_dir RUN" in line
    assert report.page.read_text().count(f'<p class="warning">{line}</p>') == 1
    assert printed(report, 400).count("Warning: no run has object measurements; ") == 1


def test_paths_of_the_machine_stay_out_of_the_report(good, no_figures):
    good.atrous(8, status="failed")
    report = write_report(good.folder)
    for path in report.files:
        if path.suffix in {".md", ".html", ".csv", ".tex"}:
            assert str(good.folder.parent) not in path.read_text()


def test_the_terminal_shows_scores_verdicts_and_the_page(report):
    shown = " ".join(printed(report, width=200).split())
    assert "deformable, 3 layers, d = 2" in shown
    assert "Deformable convolution is at least as good as the best atrous rate: inconclusive." in shown
    assert "Effective dilation grows with object size: not measured. Validate the run again." in shown
    assert f"Report: {report.page}" in shown


def test_the_terminal_output_fits_one_screen(compared_report):
    lines = printed(compared_report).splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines[:-1])) <= 80
    assert "…" not in "".join(lines)


def test_the_terminal_names_what_was_left_out(good, no_figures):
    good.atrous(8, status="interrupted")
    assert "Warning: left out: atrous-8-seed0: interrupted" in printed(write_report(good.folder))


def test_the_terminal_counts_further_warnings(sweep, no_figures):
    sweep.atrous(2)
    for rate in (4, 6, 8, 12):
        (sweep.atrous(rate) / "metrics.csv").unlink()
    assert "2 more warnings in the report" in printed(write_report(sweep.folder))


def test_scores_on_other_data_are_on_the_terminal_and_in_the_report(sweep, no_figures):
    classes = ClassScores("iou", {"Sky": 0.4, "Road_mark": 0.2})
    checkpoint = {"file": "checkpoints/last.ckpt", "epochs": 2}
    fog = Evaluation("fog", "val", Score("miou", 0.3), classes, 3, {}, checkpoint)
    write_evaluation(sweep.atrous(2, 0.5), fog)
    report = write_report(sweep.folder)
    names = [shown.name for shown in report.tables]
    assert names[names.index("table3_atrous_against_deformable") + 1] == "evaluations"
    assert "### Scores on other data" in (report.page.parent / "report.md").read_text()
    assert '<h3 id="evaluations">' in report.page.read_text()
    shown = printed(report, 200)
    assert "On other data, fog: mIoU (%): atrous-2 30.0 (n = 1), drop 20.0 (n = 1)" in shown


def test_atrous_runs_alone_give_a_report_that_judges_what_it_can(sweep, no_figures):
    sweep.atrous(2)
    report = write_report(sweep.folder)
    assert {finding.verdict for finding in report.findings} == {"inconclusive"}
    assert ": inconclusive." in printed(report)


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
