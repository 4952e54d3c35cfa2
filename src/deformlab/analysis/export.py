"""Tables as Markdown, LaTeX (booktabs) and CSV.

Text formats print a spread as `mean ± std`, an interval as `value [low, high]`, both as
`value ± std [low, high]`; CSV gives each of them a column, unrounded.
"""

import csv
import io
import math
import re
from dataclasses import dataclass

from deformlab.analysis.estimate import Estimate, Measure
from deformlab.run_folder.files import csv_cell

Cell = str | int | float | Measure | Estimate | None
# Source of numbers that no run has: the paper.
PUBLISHED = "published"


@dataclass(frozen=True)
class Table:
    """A table of the report.

    `name` is its file name, `note` says what the numbers are and where they come from. Floats print with one
    decimal, `None` as a dash. `row_sources` names for each row the trial whose runs its numbers come from;
    `column_sources` does so for each column, None for those that say nothing about it.
    """

    name: str
    title: str
    note: str
    header: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    row_sources: tuple[str, ...] = ()
    column_sources: tuple[str | None, ...] = ()

    def source(self, row: int, column: int) -> str | None:
        """The trial that a number comes from, or `PUBLISHED`, whatever its row is; None where unknown."""
        of_column = self.column_sources[column] if self.column_sources else None
        if of_column == PUBLISHED or not self.row_sources:
            return of_column
        return self.row_sources[row]


def text(cell: Cell) -> str:
    """A cell as plain text."""
    if cell is None:
        return "–"
    if isinstance(cell, Measure):
        return _measure_text(cell)
    if isinstance(cell, Estimate):
        return _estimate_text(cell)
    if isinstance(cell, bool | str):
        return str(cell)
    if isinstance(cell, int):
        return f"{cell:,}"
    return f"{cell:.1f}"


def _measure_text(measure: Measure) -> str:
    if math.isnan(measure.mean):
        return "–"
    words = f"{measure.mean:.{measure.digits}f}"
    if measure.std is not None:
        words += f" ± {measure.std:.{measure.digits}f}"
    if measure.count is not None:
        words += f" (n = {measure.count:,})"
    return words


def _estimate_text(estimate: Estimate) -> str:
    sign = "+" if estimate.signed else ""
    words = f"{estimate.value:{sign}.{estimate.digits}f}"
    if estimate.std is not None:
        words += f" ± {estimate.std:.{estimate.digits}f}"
    if estimate.low is not None and estimate.high is not None:
        words += f" [{estimate.low:{sign}.{estimate.digits}f}, {estimate.high:{sign}.{estimate.digits}f}]"
    return words


def area_text(area: float) -> str:
    """An area in pixels, as a square where it is one: `96²`."""
    side = math.isqrt(round(area))
    return f"{side}²" if side**2 == area else f"{area:,.0f}"


def markdown(table: Table) -> str:
    """The table with its title and note as GitHub Markdown."""
    lines = [
        f"### {plain_markdown(table.title)}",
        "",
        _markdown_row([plain_markdown(name) for name in table.header]),
        _markdown_row([":--" if words else "--:" for words in text_columns(table)]),
        *(
            _markdown_row([plain_markdown(cell) if isinstance(cell, str) else text(cell) for cell in row])
            for row in table.rows
        ),
        "",
        markdown_sentence(table.note),
    ]
    return "\n".join(lines) + "\n"


def plain_markdown(words: str) -> str:
    """Markdown that shows these words as they are, whatever a name in them holds."""
    # An underscore within a word is one; elsewhere it may begin or end emphasis.
    return re.sub(r"`|(?<![^\W_])_|_(?![^\W_])", r"\\\g<0>", markdown_sentence(words))


def markdown_sentence(words: str) -> str:
    """As `plain_markdown`, for our own sentences with names in them: backticks still mark code."""
    return re.sub(r"[\\*|$~]|<(?=[\w/!?])|&(?=[\w#])|(?<=\])[(\[]", r"\\\g<0>", " ".join(words.splitlines()))


def _markdown_row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def text_columns(table: Table) -> list[bool]:
    """For each column whether it holds words, which align left; numbers align right."""
    return [any(isinstance(row[column], str) for row in table.rows) for column in range(len(table.header))]


_LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "&": r"\&",
        "%": r"\%",
        "$": r"\$",
        "#": r"\#",
        "_": r"\_",
        "{": r"\{",
        "}": r"\}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "|": r"\textbar{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "±": r"$\pm$",
        "×": r"$\times$",
        "²": r"$^2$",
        "–": "--",
    }
)


def latex(table: Table) -> str:
    r"""The table as a LaTeX float; the document needs `\usepackage{booktabs}`."""
    columns = "".join("l" if words else "r" for words in text_columns(table))
    stop = "" if table.title.endswith("?") else "."
    lines = [
        r"\begin{table}",
        r"  \centering",
        rf"  \caption{{{table.title.translate(_LATEX)}{stop} {table.note.translate(_LATEX)}}}",
        rf"  \label{{tab:{table.name}}}",
        rf"  \begin{{tabular}}{{{columns}}}",
        r"    \toprule",
        f"    {_latex_row(table.header)}",
        r"    \midrule",
        *(f"    {_latex_row(tuple(text(cell) for cell in row))}" for row in table.rows),
        r"    \bottomrule",
        r"  \end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _latex_row(cells: tuple[str, ...]) -> str:
    row = " & ".join(cell.translate(_LATEX) for cell in cells)
    # After the \\ of the row above, a bracket would be its length and a star its variant.
    return re.sub(r"^[\[*]", r"{\g<0>}", row) + r" \\"


def comma_separated(table: Table) -> str:
    """The table as CSV, numbers unrounded; a column of measures becomes mean, std and count columns."""
    columns = [_csv_column(table, column) for column in range(len(table.header))]
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    for row in zip(*columns, strict=True):
        writer.writerow([csv_cell(field) for fields in row for field in fields])
    return buffer.getvalue()


def _csv_column(table: Table, column: int) -> list[list[str]]:
    name = table.header[column]
    cells = [row[column] for row in table.rows]
    measures = [cell for cell in cells if isinstance(cell, Measure)]
    if any(isinstance(cell, Estimate) for cell in cells):
        return _estimate_columns(name, cells)
    if not measures:
        return [[name], *([_csv_number(cell)] for cell in cells)]
    counted = any(measure.count is not None for measure in measures)
    fields = [[name, f"{name} std", f"{name} count"][: 3 if counted else 2]]
    for cell in cells:
        parts = (cell.mean, cell.std, cell.count) if isinstance(cell, Measure) else (cell, None, None)
        fields.append([_csv_number(part) for part in parts[: 3 if counted else 2]])
    return fields


def _estimate_columns(name: str, cells: list[Cell]) -> list[list[str]]:
    spread = any(isinstance(cell, Estimate) and cell.std is not None for cell in cells)
    fields = [[name, *([f"{name} std"] if spread else []), f"{name} low", f"{name} high"]]
    for cell in cells:
        found = cell if isinstance(cell, Estimate) else Estimate(math.nan)
        parts = (found.value, *((found.std,) if spread else ()), found.low, found.high)
        fields.append([_csv_number(part) for part in parts])
    return fields


def _csv_number(value: Cell) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return f"{value:.10g}" if isinstance(value, float) else str(value)
