"""The report as one HTML file: no network, no script, images inside, light and dark, on a desk or a phone.

Results come topic by topic, each with its figures and tables; a new kind of result is a line in `TOPICS`.
"""

from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path

from deformlab.analysis.export import PUBLISHED, Table
from deformlab.analysis.findings import Finding
from deformlab.analysis.gallery import gallery
from deformlab.analysis.html_tables import anchor
from deformlab.analysis.page_parts import figures_html, finding_html, gallery_html, table_html, warnings_html
from deformlab.analysis.published import SOURCE
from deformlab.analysis.trials import RunSet

# Titles with the plots and tables of each topic, in the order of the page.
TOPICS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "How far it looks, and what it gains": (
        ("dilation_and_iou_by_size",),
        (
            "dilation_and_iou_by_size",
            "dilation_by_distance",
            "size_and_dilation",
            "dilation_by_layer_and_size",
            "size_and_dilation_by_class",
            "dilation_and_iou_by_class",
        ),
    ),
    "Scores": (
        ("miou_over_dilation", "miou_over_layers"),
        ("table3_atrous_against_deformable", "evaluations", "table1_deformable_layers", "iou_per_class"),
    ),
    "Effective dilation": (
        ("effective_dilation",),
        (
            "table2_effective_dilation",
            "effective_dilation_inside",
            "effective_dilation_over_seeds",
            "published_effective_dilation",
        ),
    ),
    "Training": (("learning_curves", "training_loss"), ()),
}
PROVENANCE = ("cost", "runs")


def page(
    runs: RunSet,
    question: str,
    findings: Sequence[Finding],
    tables: Sequence[Table],
    plots: Mapping[str, tuple[str, Path]],
    warnings: Sequence[str],
    output: Path,
) -> str:
    """The whole page.

    Args:
        runs: The runs that it reports on.
        question: What the sweep asks, in a sentence or two.
        findings: In the order in which they are shown.
        tables: All of them.
        plots: Caption and PNG file by name.
        warnings: One line each.
        output: The folder that the page will be in.
    """
    name = runs.folder.resolve().name
    by_name = {table.name: table for table in tables}
    sections = {
        "Warnings": warnings_html(warnings),
        "Findings": "".join(finding_html(finding) for finding in findings),
    }
    for title, (plot_names, table_names) in TOPICS.items():
        sections[title] = figures_html([plots[plot] for plot in plot_names if plot in plots])
        sections[title] += "".join(table_html(by_name[table]) for table in table_names if table in by_name)
    sections["Pictures"] = gallery_html(gallery(runs.trials, output))
    sections["Provenance"] = "".join(table_html(by_name[table]) for table in PROVENANCE if table in by_name)
    if any(PUBLISHED in (*table.row_sources, *table.column_sources) for table in tables):
        sections["Provenance"] += (
            f'<p class="note" id="{anchor(PUBLISHED)}">Published numbers: {SOURCE}</p>\n'
        )
    shown = {title: body for title, body in sections.items() if body}
    links = "".join(f'<a href="#{_id(title)}">{title}</a> ' for title in shown)
    body = "".join(
        f'<section id="{_id(title)}"><h2>{title}</h2>\n{text}</section>\n' for title, text in shown.items()
    )
    style = files("deformlab.analysis").joinpath("templates/report.css").read_text("utf-8")
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(name)}: {escape(runs.dataset)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n"
        f'<h1>{escape(name)}</h1>\n<p class="lead">{escape(question)}</p>\n'
        f'<p class="facts">{escape(_facts(runs))} Numbers in tables link to their runs.</p>\n'
        f"<nav>{links}</nav>\n{body}</body>\n</html>\n"
    )


def _id(title: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in title.lower())


def _facts(runs: RunSet) -> str:
    first = runs.trials[0].first
    network = f"{first.model.get('backbone', 'unknown backbone')}"
    if first.model.get("output_stride"):
        network += f" at output stride {first.model['output_stride']}"
    seeds = sorted({run.seed for trial in runs.trials for run in trial.runs if run.seed is not None})
    return (
        f"Data set {runs.dataset}, {len(runs.classes)} classes; {network}; {len(runs.trials)} trials, "
        f"{sum(len(trial.runs) for trial in runs.trials)} runs, "
        f"{'seed' if len(seeds) == 1 else 'seeds'} {', '.join(str(seed) for seed in seeds) or 'unknown'}."
    )
