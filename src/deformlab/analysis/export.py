"""Tables of a report as Markdown, LaTeX (booktabs), CSV and pandas.

Markdown and LaTeX print an estimate as `mean ± std [low, high] (n = count)`. CSV and pandas have a column for
each of these numbers, unrounded.
"""

import math
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from deformlab.analysis.estimate import Estimate
from deformlab.run_folder import csv_cell

if TYPE_CHECKING:
    from pandas import DataFrame

Cell = str | int | float | Estimate | None
# The source of numbers that come from the papers.
PUBLISHED = "published"


@dataclass(frozen=True)
class Table:
    """A table of the report.

    Attributes:
        name: File name without suffix.
        title: Title of the table.
        note: Text below the table that gives its units and the source of its numbers.
        header: Names of the columns.
        rows: The cells. Floats print with one decimal, None as a dash.
        row_sources: For each row, the trial whose runs its numbers come from, or `PUBLISHED`.
        column_sources: The same for each column; None for a column that has the source of its row.
        symbols: Explains symbols that several tables share. A report explains them once for all tables; a
            table outside a report needs the explanation in its note (`standalone`).
    """

    name: str
    title: str
    note: str
    header: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    row_sources: tuple[str, ...] = ()
    column_sources: tuple[str | None, ...] = ()
    symbols: str = ""

    def standalone(self) -> "Table":
        """Return the table with its symbols explained in its note, for use outside a report."""
        note = f"{self.note} {self.symbols}".strip()
        return replace(self, note=note, symbols="")

    def source(self, row: int, column: int) -> str | None:
        """Return the trial that a number comes from, or `PUBLISHED`; None if unknown."""
        of_column = self.column_sources[column] if self.column_sources else None
        if of_column == PUBLISHED or not self.row_sources:
            return of_column
        return self.row_sources[row]

    def frame(self) -> "DataFrame":
        """Return the table as a pandas data frame.

        A column of estimates becomes `<name>` and `<name> std`. It also becomes `<name> low` and
        `<name> high` if some estimate has an interval, and `<name> count` if some estimate has a count.
        Missing numbers are NaN, missing counts are NA.
        """
        import pandas as pd

        columns = self._columns()
        # Names may repeat: a trial can have the name of another column.
        frame = pd.DataFrame(dict(enumerate(values for _, values in columns)))
        frame.columns = [name for name, _ in columns]
        return frame

    def _columns(self) -> list[tuple[str, Any]]:
        """Names and values of the columns of the data frame."""
        import pandas as pd

        columns: list[tuple[str, Any]] = []
        for i, name in enumerate(self.header):
            cells = [row[i] for row in self.rows]
            if any(isinstance(cell, Estimate) for cell in cells):
                estimates = [_estimate(cell) for cell in cells]
                columns.append((name, [estimate.value for estimate in estimates]))
                columns.append((f"{name} std", [estimate.std for estimate in estimates]))
                if any(estimate.interval for estimate in estimates):
                    columns.append((f"{name} low", [estimate.low for estimate in estimates]))
                    columns.append((f"{name} high", [estimate.high for estimate in estimates]))
                if any(estimate.count is not None for estimate in estimates):
                    columns.append((f"{name} count", pd.array([e.count for e in estimates], dtype="Int64")))
            elif all(cell is None or type(cell) is int for cell in cells):
                columns.append((name, pd.array(cells, dtype="Int64")))
            else:
                columns.append((name, cells))
        return columns


def _estimate(cell: Cell) -> Estimate:
    if isinstance(cell, Estimate):
        return cell
    return Estimate(float(cell) if isinstance(cell, int | float) else math.nan)


def text(cell: Cell) -> str:
    """A cell as plain text."""
    if cell is None:
        return "–"
    if isinstance(cell, bool | str | Estimate):
        return str(cell)
    return f"{cell:,}" if isinstance(cell, int) else f"{cell:.1f}"


def area_text(area: float) -> str:
    """An area in pixels as text; squares of whole numbers as `96²`."""
    side = math.isqrt(round(area))
    return f"{side}²" if side**2 == area else f"{area:,.0f}"


def text_columns(table: Table) -> list[bool]:
    """For each column, whether it contains text; text aligns left, numbers align right."""
    return [any(isinstance(row[column], str) for row in table.rows) for column in range(len(table.header))]


def comma_separated(table: Table) -> str:
    """The table as CSV with unrounded numbers; text that looks like a spreadsheet formula is escaped."""
    frame = table.frame().map(lambda value: csv_cell(value) if isinstance(value, str) else value)
    frame.columns = [csv_cell(name) for name in frame.columns]
    written = frame.to_csv(index=False, float_format="%.10g", lineterminator="\n")
    assert isinstance(written, str)
    return written


def markdown(table: Table) -> str:
    """The table with its title and note as GitHub-flavoured Markdown."""
    lines = [
        f"### {plain_markdown(table.title)}",
        "",
        _markdown_row([plain_markdown(name) for name in table.header]),
        _markdown_row([":--" if is_text else "--:" for is_text in text_columns(table)]),
        *(
            _markdown_row([plain_markdown(cell) if isinstance(cell, str) else text(cell) for cell in row])
            for row in table.rows
        ),
        "",
        markdown_sentence(table.note),
    ]
    return "\n".join(lines) + "\n"


def plain_markdown(name: str) -> str:
    """Escape text so that Markdown shows it literally, for names that users chose."""
    # An underscore within a word is harmless; elsewhere it may begin or end emphasis.
    return re.sub(r"`|(?<![^\W_])_|_(?![^\W_])", r"\\\g<0>", markdown_sentence(name))


def markdown_sentence(sentence: str) -> str:
    """Escape a sentence for Markdown as `plain_markdown` does, except that backticks still mark code."""
    return re.sub(
        r"[\\*|$~]|<(?=[\w/!?])|&(?=[\w#])|(?<=\])[(\[]", r"\\\g<0>", " ".join(sentence.splitlines())
    )


def _markdown_row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


# Unlike pandas, this also covers ±, ², | and others that pdflatex cannot print in every font.
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
    r"""The table as a LaTeX float; the document must load the package `booktabs`."""
    import pandas as pd

    rows = [[_latex_cell(text(cell), i == 0) for i, cell in enumerate(row)] for row in table.rows]
    header = [_latex_cell(name, i == 0) for i, name in enumerate(table.header)]
    columns = "".join("l" if is_text else "r" for is_text in text_columns(table))
    body = pd.DataFrame(rows, columns=header).to_latex(index=False, escape=False, column_format=columns)
    stop = "" if table.title.endswith("?") else "."
    return (
        "\\begin{table}\n\\centering\n"
        f"\\caption{{{table.title.translate(_LATEX)}{stop} {table.note.translate(_LATEX)}}}\n"
        f"\\label{{tab:{table.name}}}\n{body}\\end{{table}}\n"
    )


def _latex_cell(content: str, first: bool) -> str:
    cell = content.translate(_LATEX)
    # After the \\ of the previous row, LaTeX would read a bracket or a star as its argument.
    return re.sub(r"^[\[*]", r"{\g<0>}", cell) if first else cell
