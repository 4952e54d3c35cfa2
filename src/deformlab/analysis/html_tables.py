"""Tables of the page, in which each number links to the runs that it comes from."""

import re
from collections.abc import Sequence
from html import escape
from itertools import groupby

from deformlab.analysis.estimate import Estimate, Measure
from deformlab.analysis.export import Cell, Table, text, text_columns


def anchor(source: str) -> str:
    """The id of a trial's runs, or of the published numbers, on the page."""
    # Different names never share an id: a number must not link to the runs of another trial.
    return "source-" + re.sub(r"[^\w.+-]", lambda found: f"~{ord(found[0]):x}~", source)


def source_link(source: str, body: str) -> str:
    """A link to the runs of a trial around `body`, which is HTML."""
    return f'<a class="source" href="#{anchor(source)}">{body}</a>'


def html_table(table: Table) -> str:
    """The table as an HTML fragment with its title and note; numbers link to their source."""
    body = "\n".join(_row(table, i) for i in range(len(table.rows)))
    return _around(table, f"<tbody>\n{body}\n</tbody>")


def html_provenance(table: Table) -> str:
    """The table of runs, to which the numbers of other tables link: one anchor for the runs of each trial."""
    rows = enumerate(table.row_sources)
    bodies = [
        f'<tbody id="{anchor(source)}">\n'
        + "\n".join(_row(table, i, linked=False) for i, _ in group)
        + "\n</tbody>"
        for source, group in groupby(rows, key=lambda row: row[1])
    ]
    return _around(table, "\n".join(bodies))


def _around(table: Table, bodies: str) -> str:
    kinds = _kinds(table)
    sources: Sequence[str | None] = table.column_sources or (None,) * len(table.header)
    header = "".join(
        f'<th class="{kind}">{escape(name) if source is None else source_link(source, escape(name))}</th>'
        for name, kind, source in zip(table.header, kinds, sources, strict=True)
    )
    return (
        f'<h3 id="{table.name}">{escape(table.title)}</h3>\n<div class="scroll" tabindex="0"><table>\n'
        f"<thead><tr>{header}</tr></thead>\n{bodies}</table></div>\n"
        f'<p class="note">{escape(table.note)}</p>\n'
    )


def _kinds(table: Table) -> list[str]:
    return ["text" if words else "number" for words in text_columns(table)]


def _row(table: Table, index: int, linked: bool = True) -> str:
    row = table.rows[index]
    above: Sequence[Cell] = table.rows[index - 1] if index else ()
    cells = []
    same = linked and table.header[0] in ("Trial", "Layer")
    for column, (cell, kind) in enumerate(zip(row, _kinds(table), strict=True)):
        # What the row above said already is there for the reader who looks, not for the one who scans.
        same = (
            same and isinstance(cell, str) and column + 1 < len(row) and above[column : column + 1] == (cell,)
        )
        body = _cell(cell)
        source = table.source(index, column)
        if linked and source is not None and (_is_number(cell) or cell == source):
            body = source_link(source, body)
        cells.append(f'<td class="{kind}{" again" if same else ""}">{body}</td>')
    return f"<tr>{''.join(cells)}</tr>"


def _is_number(cell: Cell) -> bool:
    return cell is not None and not isinstance(cell, str)


def _cell(cell: Cell) -> str:
    """Count and interval on a line of their own, which keeps a table narrow enough for a phone."""
    words = escape(text(cell))
    if isinstance(cell, Measure | Estimate):
        return re.sub(r" (\(n = [\d,]+\)|\[.+\])$", r"<br><small>\1</small>", words)
    return words
