"""The report as one HTML file: no network, no script, images inside, light and dark, on a desk or a phone.

On top are the question, one figure and the verdicts; everything else is folded away below them. The template
is `templates/report.html`; Jinja2 escapes every name and number in it.
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

LEAD = "score_over_dilation"
# Titles with the plots and tables of each topic, in the order of the page. Other tables go to the first.
TOPICS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "Scores": (
        ("score_over_layers",),
        ("table3_atrous_against_deformable", "evaluations", "table1_deformable_layers"),
    ),
    "How far the network looks": (
        ("same_place_effect", "dilation_and_iou_by_size", "dilation_by_layer"),
        (
            "same_place_effect",
            "dilation_and_iou_by_size",
            "table2_effective_dilation",
            "published_effective_dilation",
        ),
    ),
    "More on how far it looks": (
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
# For readers who cannot tell the colours apart.
SIGNS = {HOLDS: "✓", FAILS: "✗", MIXED: "±", TOO_SMALL: "≈"}


class _Figure(NamedTuple):
    caption: str
    uri: str


class _Cell(NamedTuple):
    """A cell of a table: `small` is on a line of its own, `again` repeats the cell above."""

    words: str
    kind: str
    source: str | None = None
    small: str | None = None
    again: bool = False


class _Body(NamedTuple):
    """Rows of a table; those of the runs of one trial are what numbers link to."""

    source: str | None
    rows: list[list[_Cell]]


class _View(NamedTuple):
    """A table as the template shows it."""

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
    """The whole page.

    Args:
        trials: The trials that it reports on.
        question: What the sweep asks, in a sentence or two.
        findings: In the order in which they are shown.
        tables: All of them.
        plots: Caption and PNG file by name.
        warnings: One line each.
        output: The folder that the page will be in.
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
    placed = {name for _, names in TOPICS.values() for name in (*names, *PROVENANCE)}
    topics[0].tables.extend(view for name, view in views.items() if name not in placed)
    seen = gallery(trials.trials, output)
    published = any(PUBLISHED in (*table.row_sources, *table.column_sources) for table in tables)
    return (
        _environment()
        .get_template("report.html")
        .render(
            name=trials.folder.resolve().name,
            dataset=trials.dataset,
            style=page_style(),
            question=question,
            lead=drawn.get(LEAD),
            findings=findings,
            warnings=warnings,
            facts=_facts(trials),
            topics=[topic for topic in topics if topic.figures or topic.tables],
            gallery=seen if seen else None,
            definitions=definitions(trials),
            provenance=[views[name] for name in PROVENANCE if name in views],
            published=SOURCE if published else "",
            published_source=PUBLISHED,
        )
    )


def page_style() -> Markup:
    """The style sheet of deformlab's pages."""
    return Markup(files("deformlab.analysis").joinpath("templates/report.css").read_text("utf-8"))


def anchor(source: str) -> str:
    """The id on the page of a trial's runs, or of the published numbers; different names never share one."""
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
    """Escaped, with each number, its spread and its interval on one line."""
    escaped = str(escape(sentence)).replace(" ± ", "\u00a0±\u00a0").replace(" %", "\u00a0%")
    return Markup(
        re.sub(r"(?<=\d) (\[[^\]]+\])", lambda found: "\u00a0" + found[1].replace(" ", "\u00a0"), escaped)
    )


def _figure(caption: str, path: Path) -> _Figure:
    return _Figure(caption, f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}")


def _view(table: Table) -> _View:
    kinds = ["text" if words else "number" for words in text_columns(table)]
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
        # Repeated names are pale, so that groups of rows can be seen.
        last = column + 1 == len(row)
        same = same and isinstance(cell, str) and not last and above[column : column + 1] == (cell,)
        source = table.source(index, column)
        is_number = cell is not None and not isinstance(cell, str)
        link = source if linked and source is not None and (is_number or cell == source) else None
        words, small = text(cell), None
        if isinstance(cell, Estimate):
            # Interval and count get a line of their own, so that tables fit a phone.
            found = re.match(r"([^\[(]+?)(?: (\[.+\]|\(n = .+\)))?$", words)
            words, small = (found[1], found[2]) if found else (words, None)
        cells.append(_Cell(words, kinds[column], link, small, same))
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
        "Numbers in tables link to their runs."
    )
