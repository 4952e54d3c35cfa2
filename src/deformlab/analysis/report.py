"""The report of a sweep: a self-contained HTML page, the same as Markdown, tables and plots.

`deformlab report` and the end of `deformlab sweep` call `write_report` and print a summary of the result.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from deformlab.analysis.comparability import comparability
from deformlab.analysis.export import (
    Table,
    comma_separated,
    latex,
    markdown,
    markdown_sentence,
    plain_markdown,
)
from deformlab.analysis.findings import SMALLEST_EFFECT, check_smallest_effect, judge
from deformlab.analysis.page import LEAD_FIGURE, LEAD_TABLE, page
from deformlab.analysis.plots import figures
from deformlab.analysis.tables import build_tables, definitions
from deformlab.analysis.terminal import print_report
from deformlab.analysis.trial_set import TrialSet, read_trials
from deformlab.analysis.verdicts import Finding
from deformlab.errors import RunFolderError
from deformlab.figure_style import save_figure

QUESTION = (
    "How far should the network look, and does it help to let it decide for itself? This report compares "
    "{network} with conv5 at several atrous rates to deformable convolution, which learns where to sample."
)
NETWORKS = {
    "class_aware_rpn": "a class-aware RPN",
    "faster_rcnn": "Faster R-CNN",
    "mask_rcnn": "Mask R-CNN",
    "rfcn": "R-FCN",
}


@dataclass(frozen=True)
class Report:
    """The content of a report, and the files that were written.

    Attributes:
        page: The HTML page.
        files: All files that were written.
        trials: The trials that it reports on.
        tables: In the order of the report.
        findings: In the order of the report.
        warnings: One line each.
    """

    page: Path
    files: tuple[Path, ...]
    trials: TrialSet
    tables: tuple[Table, ...]
    findings: tuple[Finding, ...]
    warnings: tuple[str, ...]

    def table(self, name: str) -> Table | None:
        """Return the table of that name; None if the runs have no data for it."""
        return next((table for table in self.tables if table.name == name), None)

    def print(self, console: Console) -> None:
        """Print scores, verdicts and the path of the page to the terminal."""
        print_report(console, self.trials.trials, self.findings, self.warnings, self.page)


def write_report(
    sweep_dir: str | Path, output: str | Path | None = None, smallest_effect: float = SMALLEST_EFFECT
) -> Report:
    """Read the run folders of a sweep and write its report.

    Writes `report.html`, `report.md`, `tables/` (Markdown, LaTeX and CSV) and `plots/` (PNG and PDF).

    Args:
        sweep_dir: The sweep folder, or a single run folder.
        output: Folder for the report; None for `<sweep_dir>/report`.
        smallest_effect: Differences in effective dilation up to this count as too small to matter, in cells,
            >= 0.

    Raises:
        ConfigError: `smallest_effect` is negative or not finite.
        RunFolderError: There is no finished trial, the runs have different data sets or class lists, or
            `output` cannot be written.
    """
    check_smallest_effect(smallest_effect)  # before anything is read
    trials = read_trials(sweep_dir)
    output = Path(output) if output is not None else trials.folder / "report"
    tables, findings = build_tables(trials), judge(trials, smallest_effect)
    warnings = (*trials.warnings, *comparability(trials))
    try:
        table_files = _write_tables(output / "tables", tables)
        drawn = _draw(output / "plots", trials, smallest_effect)
        summary = output / "report.md"
        summary.write_text(_markdown(trials, tables, findings, warnings, drawn), encoding="utf-8")
        html = output / "report.html"
        html.write_text(
            page(trials, question(trials), findings, tables, drawn, warnings, output), encoding="utf-8"
        )
    except OSError as error:
        raise RunFolderError(f"{output}: cannot write the report ({error.strerror or error})") from error
    plot_files = [path.with_suffix(suffix) for _, path in drawn.values() for suffix in (".png", ".pdf")]
    files = (html, summary, *table_files, *plot_files)
    return Report(html, files, trials, tuple(tables), tuple(findings), warnings)


def question(trials: TrialSet) -> str:
    """The question that the report answers."""
    first = trials.trials[0].first
    other = "a classifier" if first.result.score.name.startswith("top") else "DeepLab"
    return QUESTION.format(network=NETWORKS.get(first.detector or "", other))


def _write_tables(folder: Path, tables: Sequence[Table]) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    formats = {".md": markdown, ".tex": latex, ".csv": comma_separated}
    files = []
    for table in tables:
        for suffix, write in formats.items():
            path = folder / (table.name + suffix)
            path.write_text(write(table.standalone()), encoding="utf-8")
            files.append(path)
    return files


def _draw(folder: Path, trials: TrialSet, smallest_effect: float) -> dict[str, tuple[str, Path]]:
    """Draw every figure that the runs have data for; return caption and PNG file by name."""
    folder.mkdir(parents=True, exist_ok=True)
    return {
        name: (caption, save_figure(figure, folder, name)[0])
        for name, (caption, figure) in figures(trials, smallest_effect).items()
    }


def _markdown(
    trials: TrialSet,
    tables: Sequence[Table],
    findings: Sequence[Finding],
    warnings: Sequence[str],
    drawn: Mapping[str, tuple[str, Path]],
) -> str:
    """The report in the order of the page."""

    def plot(caption: str, path: Path) -> list[str]:
        return [f"![{markdown_sentence(caption)}](plots/{path.name})", "", markdown_sentence(caption), ""]

    title = plain_markdown(f"{trials.folder.resolve().name}: {trials.dataset}")
    lines = [f"# {title}", "", question(trials), ""]
    lines += ["## Summary", ""]
    lines += [markdown(table) for table in tables if table.name == LEAD_TABLE]
    if LEAD_FIGURE in drawn:
        lines += plot(*drawn[LEAD_FIGURE])
    for finding in findings:
        short = f" {markdown_sentence(finding.short)}" if finding.short else ""
        lines.append(f"- **{finding.claim}: {finding.words}.**{short}")
    if warnings:
        lines += ["", "## Warnings", "", *(f"- {markdown_sentence(warning)}" for warning in warnings)]
    lines += ["", "## Findings in detail", ""]
    for finding in findings:
        certainty = f" ({finding.certainty})" if finding.certainty else ""
        sentence = markdown_sentence(finding.sentence)
        lines.append(f"- **{finding.claim}: {finding.words}{certainty}.** {sentence}")
        lines += [f"  - {markdown_sentence(line)}" for line in (*finding.evidence, *finding.details)]
    lines += ["", "## Figures", ""]
    for name, drawing in drawn.items():
        if name != LEAD_FIGURE:
            lines += plot(*drawing)
    others = [markdown(table) for table in tables if table.name != LEAD_TABLE]
    lines += ["## Tables", "", "\n".join(others)]
    lines += ["## Definitions", ""]
    lines += [
        f"- **{plain_markdown(term)}**: {markdown_sentence(meaning)}" for term, meaning in definitions(trials)
    ]
    return "\n".join(lines) + "\n"
