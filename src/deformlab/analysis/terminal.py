"""The report on one screen of a terminal: scores, verdicts and the path of the page."""

from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable
from rich.text import Text

from deformlab.analysis.export import Table, text, text_columns
from deformlab.analysis.tables import scores, scores_on_other_data
from deformlab.analysis.trials import Trial
from deformlab.analysis.verdicts import FAILS, HOLDS, MIXED, Finding

COLOURS = {HOLDS: "green", FAILS: "red", MIXED: "yellow"}
# Only the number of further warnings is shown.
SHOWN_WARNINGS = 3
INDENT = "  "


def print_report(
    console: Console,
    trials: Sequence[Trial],
    findings: Sequence[Finding],
    warnings: Sequence[str],
    page: Path,
) -> None:
    """Print scores, a verdict and its numbers per finding, the first warnings and the path of the page."""
    console.print(rich_table(scores(trials)))
    console.print()
    others = scores_on_other_data(trials)
    if others is not None:
        for line in _other_data(others):
            console.print(escape(line), highlight=False)
    for finding in findings:
        colour = COLOURS.get(finding.verdict, "cyan")
        console.print(f"[bold]{escape(finding.claim)}: [{colour}]{finding.words}[/][/].", highlight=False)
        if finding.short:
            width = max(console.width - len(INDENT), 20)
            for numbers in Text(finding.short, style="dim").wrap(console, width):
                console.print(Text(INDENT), numbers, sep="")
    for warning in warnings[:SHOWN_WARNINGS]:
        console.print(f"[yellow]Warning:[/] {escape(warning)}", highlight=False)
    if len(warnings) > SHOWN_WARNINGS:
        more = len(warnings) - SHOWN_WARNINGS
        console.print(
            f"[yellow]{more} more warning{'s' if more > 1 else ''} in the report[/]", highlight=False
        )
    console.print(f"Report: {escape(str(page))}", highlight=False, soft_wrap=True)


def rich_table(table: Table) -> RichTable:
    """Return the table for the terminal."""
    shown = RichTable(
        title=escape(table.title),
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        show_edge=False,
    )
    for name, words in zip(table.header, text_columns(table), strict=True):
        shown.add_column(escape(name), justify="left" if words else "right", overflow="fold")
    for row in table.rows:
        shown.add_row(*(escape(text(cell)) for cell in row))
    return shown


def _other_data(table: Table) -> list[str]:
    """Return a line for each evaluation: the score of each trial and its drop."""
    lines = []
    for column in range(2, len(table.header), 2):
        parts = [
            f"{row[0]} {text(row[column])}, drop {text(row[column + 1])}"
            for row in table.rows
            if row[column] is not None
        ]
        lines.append(f"On other data, {table.header[column]}: {'; '.join(parts)}")
    return lines
