"""The report of a sweep: tables, findings, plots and one self-contained page, all from run folders.

`deformlab report` and the end of `deformlab sweep` call `write_report` and print what it returns.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from deformlab.analysis.comparability import comparability
from deformlab.analysis.evaluation_tables import evaluation_scores
from deformlab.analysis.export import (
    Table,
    comma_separated,
    latex,
    markdown,
    markdown_sentence,
    plain_markdown,
)
from deformlab.analysis.find import find
from deformlab.analysis.findings import Finding
from deformlab.analysis.html import page
from deformlab.analysis.plots import figures
from deformlab.analysis.tables import build_tables
from deformlab.analysis.terminal import print_finding, print_tables
from deformlab.analysis.trials import RunSet, read_runs
from deformlab.analysis.unjoined import unjoined
from deformlab.errors import RunFolderError
from deformlab.figure_style import save_figure

QUESTION = (
    "How far should the network look, and does it help to let it decide for itself? DeepLab with conv5 at "
    "several atrous rates, against deformable convolution that learns where to sample."
)


@dataclass(frozen=True)
class Report:
    """What a report says, and the files that it was written to; `page` is the one to open."""

    page: Path
    files: tuple[Path, ...]
    runs: RunSet
    tables: tuple[Table, ...]
    findings: tuple[Finding, ...]
    warnings: tuple[str, ...]

    def table(self, name: str) -> Table | None:
        """The table of that name, None where the runs had no data for it."""
        return next((table for table in self.tables if table.name == name), None)

    def print(self, console: Console) -> None:
        """Show the score and effective-dilation tables, the findings and the warnings on the terminal."""
        print_tables(console, self.runs)
        for finding in self.findings:
            print_finding(console, finding)
        for warning in self.warnings:
            console.print(f"[yellow]Warning:[/] {escape(warning)}", highlight=False)
        console.print(f"Report: {escape(str(self.page))}", highlight=False, soft_wrap=True)


def write_report(sweep_dir: str | Path, output: str | Path | None = None) -> Report:
    """Read the run folders of a sweep and write its report to `output`, by default `<sweep_dir>/report`.

    Writes `report.html`, `report.md`, `tables/` (Markdown, LaTeX, CSV) and `plots/` (PNG, PDF).

    Raises:
        RunFolderError: No finished trial, runs of different data sets or class lists, or `output` cannot be
            written.
    """
    runs = read_runs(sweep_dir)
    output = Path(output) if output is not None else runs.folder / "report"
    tables, findings = build_tables(runs), find(runs)
    _, unused = evaluation_scores(runs.trials)
    warnings = (*runs.warnings, *unjoined(runs), *comparability(runs), *unused)
    try:
        table_files = _write_tables(output / "tables", tables)
        drawn = _draw(output / "plots", runs)
        summary = output / "report.md"
        summary.write_text(_markdown(runs, tables, findings, warnings, drawn), encoding="utf-8")
        html = output / "report.html"
        html.write_text(page(runs, QUESTION, findings, tables, drawn, warnings, output), encoding="utf-8")
    except OSError as error:
        raise RunFolderError(f"{output}: cannot write the report ({error.strerror or error})") from error
    plot_files = [path.with_suffix(suffix) for _, path in drawn.values() for suffix in (".png", ".pdf")]
    files = (html, summary, *table_files, *plot_files)
    return Report(html, files, runs, tuple(tables), tuple(findings), warnings)


def _write_tables(folder: Path, tables: Sequence[Table]) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    formats = {".md": markdown, ".tex": latex, ".csv": comma_separated}
    files = []
    for table in tables:
        for suffix, write in formats.items():
            path = folder / (table.name + suffix)
            path.write_text(write(table), encoding="utf-8")
            files.append(path)
    return files


def _draw(folder: Path, runs: RunSet) -> dict[str, tuple[str, Path]]:
    """Draw every figure that the runs have data for; caption and PNG file by name."""
    folder.mkdir(parents=True, exist_ok=True)
    return {
        name: (caption, save_figure(figure, folder, name)[0])
        for name, (caption, figure) in figures(runs).items()
    }


def _markdown(
    runs: RunSet,
    tables: Sequence[Table],
    findings: Sequence[Finding],
    warnings: Sequence[str],
    drawn: Mapping[str, tuple[str, Path]],
) -> str:
    lines = [
        f"# {plain_markdown(f'{runs.folder.resolve().name}: {runs.dataset}')}",
        "",
        QUESTION,
        "",
        "## Findings in these runs",
        "",
    ]
    for finding in findings:
        certainty = f" ({finding.certainty})" if finding.certainty else ""
        sentence = markdown_sentence(finding.sentence)
        lines.append(f"- **{finding.claim}: {finding.words}{certainty}.** {sentence}")
        lines += [f"  - {markdown_sentence(line)}" for line in (*finding.evidence, *finding.details)]
    if warnings:
        lines += ["", "## Warnings", "", *(f"- {markdown_sentence(warning)}" for warning in warnings)]
    lines += ["", "## Plots", ""]
    for caption, path in drawn.values():
        lines += [f"![{caption}](plots/{path.name})", "", caption, ""]
    lines += ["## Tables", "", "\n".join(markdown(table) for table in tables)]
    return "\n".join(lines)
