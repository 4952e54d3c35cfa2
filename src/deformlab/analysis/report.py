"""The report of a sweep: tables, findings, plots and one self-contained page, all from run folders.

`deformlab report` and the end of `deformlab sweep` call `write_report` and print what it returns.
"""

from dataclasses import dataclass
from pathlib import Path

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

from deformlab.analysis.comparability import comparability
from deformlab.analysis.findings import FAILS, HOLDS, Finding, find
from deformlab.analysis.formats import Table, comma_separated, latex, markdown, text, text_columns
from deformlab.analysis.runs import RunSet, read_runs
from deformlab.analysis.tables import build_tables
from deformlab.errors import RunFolderError

QUESTION = (
    "How far should the network look, and does it help to let it decide for itself? DeepLab with conv5 at "
    "several atrous rates, against deformable convolution that learns where to sample."
)
# Tables short enough for a terminal.
SHOWN = ("table3_atrous_against_deformable", "table1_deformable_layers", "table2_effective_dilation")


@dataclass(frozen=True)
class Report:
    """What a report says and the files that it was written to."""

    page: Path
    files: tuple[Path, ...]
    tables: tuple[Table, ...]
    findings: tuple[Finding, ...]
    warnings: tuple[str, ...]

    def table(self, name: str) -> Table | None:
        """The table of that name, None where the runs had no data for it."""
        return next((table for table in self.tables if table.name == name), None)

    def print(self, console: Console) -> None:
        """Show the score and effective-dilation tables, the findings and the warnings on the terminal."""
        for table in self.tables:
            if table.name in SHOWN:
                console.print(_rich(table))
        colours = {HOLDS: "green", FAILS: "red"}
        for finding in self.findings:
            certainty = f" ({finding.certainty})" if finding.certainty else ""
            colour = colours.get(finding.verdict, "yellow")
            console.print(
                f"[bold]{finding.claim}: [{colour}]{finding.verdict} in this run{certainty}.[/][/] "
                f"{escape(finding.sentence)}",
                highlight=False,
            )
        for warning in self.warnings:
            console.print(f"[yellow]Warning:[/] {escape(warning)}", highlight=False)
        console.print(f"Report: {escape(str(self.page))}", highlight=False, soft_wrap=True)


def write_report(sweep_dir: Path, output: Path | None = None) -> Report:
    """Read the run folders of a sweep and write its report to `output`, by default `<sweep_dir>/report`.

    Raises:
        RunFolderError: No finished trial, runs of different data sets or class lists, or `output` cannot be
            written.
    """
    runs = read_runs(Path(sweep_dir))
    output = Path(output) if output is not None else runs.folder / "report"
    tables, findings = build_tables(runs), find(runs)
    warnings = (*runs.warnings, *comparability(runs))
    try:
        files = _write_tables(output / "tables", tables)
        summary = output / "report.md"
        summary.write_text(report_markdown(runs, tables, findings, warnings), encoding="utf-8")
    except OSError as error:
        raise RunFolderError(f"{output}: cannot write the report ({error.strerror or error})") from error
    return Report(summary, (*files, summary), tuple(tables), tuple(findings), warnings)


def _write_tables(folder: Path, tables: list[Table]) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    formats = {".md": markdown, ".tex": latex, ".csv": comma_separated}
    files = []
    for table in tables:
        for suffix, write in formats.items():
            path = folder / (table.name + suffix)
            path.write_text(write(table), encoding="utf-8")
            files.append(path)
    return files


def report_markdown(
    runs: RunSet, tables: list[Table], findings: list[Finding], warnings: tuple[str, ...]
) -> str:
    """Question, findings, warnings and all tables as one Markdown text."""
    lines = [
        f"# {runs.folder.resolve().name}: {runs.dataset}",
        "",
        QUESTION,
        "",
        "## Findings in these runs",
        "",
    ]
    for finding in findings:
        certainty = f" ({finding.certainty})" if finding.certainty else ""
        lines.append(f"- **{finding.claim}: {finding.verdict}{certainty}.** {finding.sentence}")
        lines += [f"  - {detail}" for detail in finding.details]
    if warnings:
        lines += ["", "## Warnings", "", *(f"- {warning}" for warning in warnings)]
    lines += ["", "## Tables", "", "\n".join(markdown(table) for table in tables)]
    return "\n".join(lines)


def _rich(table: Table) -> RichTable:
    shown = RichTable(title=table.title, title_justify="left", box=box.SIMPLE_HEAD)
    for name, words in zip(table.header, text_columns(table), strict=True):
        shown.add_column(name, justify="left" if words else "right")
    for row in table.rows:
        # The number of filters on a line of its own keeps four sizes within 80 columns.
        shown.add_row(*(escape(text(cell).replace(" (n", "\n(n")) for cell in row))
    return shown
