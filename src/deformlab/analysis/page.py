"""The report as one HTML file without scripts or network access, for light and dark mode, desktop and phone.

The scores, one figure and the verdicts are at the top; everything else is folded away below. The template is
`templates/report.html`; Jinja2 escapes every name and number in it.
"""

import base64
import re
from collections.abc import Mapping, Sequence
from importlib.resources import files
from itertools import groupby
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from deformlab.analysis.estimate import Estimate
from deformlab.analysis.export import PUBLISHED, Cell, Table, text, text_columns
from deformlab.analysis.gallery import gallery
from deformlab.analysis.published import SOURCE
from deformlab.analysis.tables import definitions
from deformlab.analysis.trial_set import TrialSet
from deformlab.analysis.verdicts import FAILS, HOLDS, MIXED, TOO_SMALL, Finding

LEAD_TABLE = "table3_atrous_against_deformable"
LEAD_FIGURE = "score_over_dilation"
# Figures and tables of each topic, in the order of the page. Tables not listed here go to the first topic.
TOPICS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "Scores in detail": (
        ("score_over_layers",),
        ("table5_detection", "evaluations", "table1_deformable_layers"),
    ),
    "Effective dilation and object size": (
        ("same_position_effect", "dilation_and_iou_by_size", "dilation_by_layer"),
        (
            "same_position_effect",
            "dilation_and_iou_by_size",
            "table2_effective_dilation",
            "published_effective_dilation",
        ),
    ),
    "Effective dilation in detail": (
        (),
        (
            "dilation_by_layer_and_size",
            "dilation_by_distance",
            "size_and_dilation",
            "size_and_dilation_by_class",
            "dilation_and_iou_by_class",
        ),
    ),
    "Training": (("learning_curves", "training_loss"), ()),
}
PROVENANCE = ("cost", "runs")
KINDS = {HOLDS: "holds", FAILS: "fails", MIXED: "mixed"}
# Signs repeat the meaning of the colours, for colour-blind readers.
SIGNS = {HOLDS: "✓", FAILS: "✗", MIXED: "±", TOO_SMALL: "≈"}


class _Figure(NamedTuple):
    caption: str
    uri: str


class _Cell(NamedTuple):
    """A cell of a table; `small` is text on a second line, `again` marks a repetition of the cell above."""

    text: str
    kind: str
    source: str | None = None
    small: str | None = None
    again: bool = False


class _Body(NamedTuple):
    """Rows of a table; numbers link to the body with the runs of their trial."""

    source: str | None
    rows: list[list[_Cell]]


class _View(NamedTuple):
    """A table as the template renders it."""

    name: str
    title: str
    note: str
    header: list[_Cell]
    bodies: list[_Body]


class _Topic(NamedTuple):
    title: str
    figures: list[_Figure]
    tables: list[_View]


def page(
    trials: TrialSet,
    question: str,
    findings: Sequence[Finding],
    tables: Sequence[Table],
    plots: Mapping[str, tuple[str, Path]],
    warnings: Sequence[str],
    output: Path,
) -> str:
    """Render the HTML page of a report.

    Args:
        trials: The trials that the report is about.
        question: The question of the sweep, in a sentence or two.
        findings: In the order of the page.
        tables: All tables.
        plots: Caption and PNG file of each figure, by name.
        warnings: One line each.
        output: The folder that the page will be written to.
    """
    views = {table.name: _view(table) for table in tables}
    drawn = {name: _figure(*plot) for name, plot in plots.items()}
    topics = [
        _Topic(
            title,
            [drawn[name] for name in plot_names if name in drawn],
            [views[name] for name in table_names if name in views],
        )
        for title, (plot_names, table_names) in TOPICS.items()
    ]
    placed = {LEAD_TABLE, *PROVENANCE, *(name for _, names in TOPICS.values() for name in names)}
    topics[0].tables.extend(view for name, view in views.items() if name not in placed)
    images = gallery(trials.trials, output)
    published = any(PUBLISHED in (*table.row_sources, *table.column_sources) for table in tables)
    return (
        _environment()
        .get_template("report.html")
        .render(
            name=trials.folder.resolve().name,
            dataset=trials.dataset,
            style=page_style(),
            question=question,
            lead_table=views.get(LEAD_TABLE),
            lead_figure=drawn.get(LEAD_FIGURE),
            findings=findings,
            warnings=warnings,
            facts=_facts(trials),
            topics=[topic for topic in topics if topic.figures or topic.tables],
            gallery=images or None,
            definitions=definitions(trials),
            provenance=[views[name] for name in PROVENANCE if name in views],
            published=SOURCE if published else "",
            published_source=PUBLISHED,
        )
    )


def page_style() -> Markup:
    """The style sheet that all HTML pages of deformlab share."""
    return Markup(files("deformlab.analysis").joinpath("templates/report.css").read_text("utf-8"))


def anchor(source: str) -> str:
    """The HTML id of a trial's runs, or of the published numbers; different names get different ids."""
    return "source-" + re.sub(r"[^\w.+-]", lambda found: f"~{ord(found[0]):x}~", source)


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("deformlab.analysis"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters |= {
        "anchor": anchor,
        "unbroken": _unbroken,
        "quote": quote,
        "kind": lambda finding: KINDS.get(finding.verdict, "open"),
        "sign": lambda finding: SIGNS.get(finding.verdict, "?"),
    }
    return environment


def _unbroken(sentence: str) -> Markup:
    """Escape a sentence and prevent line breaks between a number, its spread and its interval."""
    escaped = str(escape(sentence)).replace(" ± ", "\u00a0±\u00a0").replace(" %", "\u00a0%")
    return Markup(
        re.sub(r"(?<=\d) (\[[^\]]+\])", lambda found: "\u00a0" + found[1].replace(" ", "\u00a0"), escaped)
    )


def _figure(caption: str, path: Path) -> _Figure:
    return _Figure(caption, f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}")


def _view(table: Table) -> _View:
    kinds = ["text" if is_text else "number" for is_text in text_columns(table)]
    sources = table.column_sources or (None,) * len(table.header)
    header = [_Cell(*column) for column in zip(table.header, kinds, sources, strict=True)]
    rows = [_row(table, index, kinds) for index in range(len(table.rows))]
    if table.name == "runs":
        pairs = zip(table.row_sources, rows, strict=True)
        groups = groupby(pairs, key=lambda pair: pair[0])
        bodies = [_Body(source, [row for _, row in group]) for source, group in groups]
    else:
        bodies = [_Body(None, rows)]
    return _View(table.name, table.title, table.note, header, bodies)


def _row(table: Table, index: int, kinds: Sequence[str]) -> list[_Cell]:
    row = table.rows[index]
    above: Sequence[Cell] = table.rows[index - 1] if index else ()
    linked = table.name != "runs"
    same = linked and table.header[0] in ("Trial", "Layer")
    cells = []
    for column, cell in enumerate(row):
        # Repeated names are pale, which makes groups of rows visible.
        last = column + 1 == len(row)
        same = same and isinstance(cell, str) and not last and above[column : column + 1] == (cell,)
        source = table.source(index, column)
        is_number = cell is not None and not isinstance(cell, str)
        link = source if linked and source is not None and (is_number or cell == source) else None
        shown, small = text(cell), None
        if isinstance(cell, Estimate):
            # Interval and count go on a second line, which makes tables narrow enough for a phone.
            found = re.match(r"([^\[(]+?)(?: (\[.+\]|\(n = .+\)))?$", shown)
            shown, small = (found[1], found[2]) if found else (shown, None)
        cells.append(_Cell(shown, kinds[column], link, small, same))
    return cells


def _facts(trials: TrialSet) -> str:
    model = trials.trials[0].first.result.model
    network = f"{model.get('backbone', 'unknown backbone')}"
    if model.get("output_stride"):
        network += f" at output stride {model['output_stride']}"
    seeds = sorted({run.seed for trial in trials.trials for run in trial.runs if run.seed is not None})
    return (
        f"Data set {trials.dataset}, {len(trials.classes)} classes; {network}; {len(trials.trials)} trials, "
        f"{sum(len(trial.runs) for trial in trials.trials)} runs, "
        f"{'seed' if len(seeds) == 1 else 'seeds'} {', '.join(str(seed) for seed in seeds) or 'unknown'}. "
        "Numbers in tables link to the runs that they come from."
    )
