"""The report on the terminal: scores, effective dilation, findings, warnings and where the page is.

Fits 80 columns; the full tables are in the report's files.
"""

import re
from dataclasses import replace

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table as RichTable

from deformlab.analysis.by_object import Joined
from deformlab.analysis.dilation_tables import effective_dilation
from deformlab.analysis.estimate import Estimate
from deformlab.analysis.evaluation_tables import scores_on_other_data
from deformlab.analysis.export import Table, text, text_columns
from deformlab.analysis.findings import FAILS, HOLDS, MIXED, SEEN, UNJUDGED, UNSEEN, Finding
from deformlab.analysis.joined_plot import compared_trials
from deformlab.analysis.joined_tables import AWAY, AWAY_FILTERS, EVERYWHERE, joined_tables
from deformlab.analysis.score_tables import atrous_against_deformable, deformable_layers
from deformlab.analysis.trials import RunSet

SHOWN_LAYERS = 3
# Columns of the joined table for which 80 columns have no room.
NOT_PRINTED = ("By modulation (cells)", "Filters", AWAY_FILTERS, "Objects", "With a filter", "Recall (%)")
COLOURS = {HOLDS: "green", FAILS: "red", MIXED: "yellow", UNJUDGED: "cyan", SEEN: "cyan", UNSEEN: "cyan"}


def print_tables(console: Console, runs: RunSet) -> None:
    """Print table 3, table 1 if the number of deformable layers varies, and effective dilation by size.

    The latter beside IoU where the runs have records of objects, else table 2's deformable layers.
    """
    trials = runs.trials
    console.print(_rich(atrous_against_deformable(trials)))
    others = scores_on_other_data(trials)
    if others is not None:
        for line in _other_data(others):
            console.print(escape(line), highlight=False)
    layers = deformable_layers(trials)
    if (
        layers is not None
        and len({trial.first.deformable_layers for trial in trials if trial.deformable}) > 1
    ):
        # The trial's name and the parameters would not fit beside the scores, but rows must be told apart.
        unique = len({row[:3] for row in layers.rows}) == len(layers.rows)
        console.print(_rich(layers, leave_out=("Trial" if unique else "Seeds", "Parameters")))
    deformable = [trial for trial in trials if trial.deformable]
    if runs.joined.trials:
        # The findings below have both; beside each other they would not fit.
        known = any(runs.joined.knows_border(trial) for trial in runs.joined.trials)
        leave_out = (*NOT_PRINTED, EVERYWHERE if known else AWAY)
        console.print(_rich(_in_short(runs.joined), section="Trial", leave_out=leave_out))
        return
    dilations = effective_dilation(deformable) if deformable else None
    if dilations is not None:
        console.print(_rich(_last_layers(dilations), section="Trial"))


def _other_data(table: Table) -> list[str]:
    """A line for each evaluation: the score of each trial and its drop."""
    lines = []
    for column in range(2, len(table.header), 2):
        parts = [
            f"{row[0]} {text(row[column])}, drop {text(row[column + 1])}"
            for row in table.rows
            if row[column] is not None
        ]
        lines.append(f"On other data, {table.header[column]}: {'; '.join(parts)}")
    return lines


def _in_short(joined: Joined) -> Table:
    """The joined table of the trials that its figure compares, without the spread over seeds."""
    names = {trial.name for trial in compared_trials(joined)}
    table = joined_tables(joined)[0]
    rows = (
        tuple(replace(cell, seeds=()) if isinstance(cell, Estimate) else cell for cell in row)
        for row in table.rows
        if row[0] in names
    )
    return replace(
        table,
        title=f"{table.title} (effective dilation of the last layer; 95 % over images)",
        rows=tuple(rows),
    )


def _last_layers(table: Table) -> Table:
    """The first `SHOWN_LAYERS` rows of each trial, which are its last layers; the paper lists as many."""
    shown: dict[str, list[tuple]] = {}
    for row in table.rows:
        shown.setdefault(text(row[0]), []).append(row)
    rows = tuple(row for group in shown.values() for row in group[:SHOWN_LAYERS])
    more = "" if len(rows) == len(table.rows) else f" (last {SHOWN_LAYERS} layers)"
    return replace(table, title=table.title + more, rows=rows)


def print_finding(console: Console, finding: Finding) -> None:
    """Print claim, verdict and numbers of one finding."""
    colour = COLOURS[finding.verdict]
    certainty = f" ({finding.certainty})" if finding.certainty else ""
    console.print(
        f"[bold]{escape(finding.claim)}: [{colour}]{finding.words}{certainty}.[/][/]",
        highlight=False,
    )
    for line in (finding.sentence, *finding.evidence):
        console.print(Padding(escape(line), (0, 0, 0, 2)), highlight=False)


def _rich(table: Table, section: str | None = None, leave_out: tuple[str, ...] = ()) -> RichTable:
    """The table for the terminal; a `section` column becomes a line above the rows that share its value."""
    shown = RichTable(title=escape(table.title), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    kept = [i for i, name in enumerate(table.header) if name != section and name not in leave_out]
    words = text_columns(table)
    for i in kept:
        shown.add_column(escape(table.header[i]), justify="left" if words[i] else "right", overflow="fold")
    heading = None
    for row in table.rows:
        if section is not None and (name := text(row[table.header.index(section)])) != heading:
            shown.add_section()
            shown.add_row(f"[bold]{escape(name)}[/]")
            heading = name
        # The number of filters on a line of its own keeps four sizes within 80 columns.
        shown.add_row(*(escape(re.sub(r" \((n = [\d,]+)\)", r"\n\1", text(row[i]))) for i in kept))
    return shown
