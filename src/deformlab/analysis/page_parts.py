"""The parts of the page: findings, warnings, figures, tables and pictures as HTML fragments."""

import base64
from collections.abc import Sequence
from html import escape
from pathlib import Path
from urllib.parse import quote

from deformlab.analysis.export import Table
from deformlab.analysis.findings import FAILS, HOLDS, MIXED, Finding
from deformlab.analysis.gallery import Gallery, Picture
from deformlab.analysis.html_tables import html_provenance, html_table, source_link

KINDS = {HOLDS: "holds", FAILS: "fails", MIXED: "mixed"}
# A colour of its own, and a sign for those who cannot tell colours.
SIGNS = {HOLDS: "✓", FAILS: "✗", MIXED: "±"}
# Tables that answer a question which the page has answered in short.
FOLDED = ("dilation_by_layer_and_size", "size_and_dilation_by_class", "dilation_and_iou_by_class")


def finding_html(finding: Finding) -> str:
    """Claim, verdict and numbers, and the runs that they come from."""
    certainty = f" ({escape(finding.certainty)})" if finding.certainty else ""
    details = "".join(f"<li>{_unbroken(line)}</li>" for line in finding.details)
    if details:
        details = f"<details><summary>In numbers</summary><ul>{details}</ul></details>\n"
    lines = "".join(f"<p>{_unbroken(line)}</p>\n" for line in (finding.sentence, *finding.evidence))
    sources = ", ".join(source_link(trial, escape(trial)) for trial in finding.trials)
    if sources:
        sources = f'<p class="note">Runs: {sources}</p>\n'
    return (
        f'<div class="finding {KINDS.get(finding.verdict, "open")}">'
        f"<strong>{escape(finding.claim)}</strong>: "
        f'<span class="verdict"><span aria-hidden="true">{SIGNS.get(finding.verdict, "?")}</span> '
        f"{finding.words}</span>{certainty}.\n"
        f"{lines}{sources}{details}</div>\n"
    )


def _unbroken(sentence: str) -> str:
    """Escaped, with each number and its spread on one line."""
    return escape(sentence).replace(" ± ", "\u00a0±\u00a0").replace(" %", "\u00a0%")


def warnings_html(warnings: Sequence[str]) -> str:
    """One line each."""
    return "".join(f'<p class="warning">{escape(line)}</p>\n' for line in warnings)


def figures_html(plots: Sequence[tuple[str, Path]]) -> str:
    """Plots with their captions, side by side where there is room."""
    body = "".join(_plot(caption, path) for caption, path in plots)
    return f'<div class="plots">\n{body}</div>\n' if body else ""


def _plot(caption: str, path: Path) -> str:
    data = base64.b64encode(path.read_bytes()).decode()
    return (
        f'<figure><div class="plot"><img alt="{escape(caption)}" src="data:image/png;base64,{data}"></div>'
        f"<figcaption>{_unbroken(caption)}</figcaption></figure>\n"
    )


def table_html(table: Table) -> str:
    """The table, folded where it is for those who want more."""
    if table.name == "runs":
        return html_provenance(table)
    body = html_table(table)
    if table.name not in FOLDED:
        return body
    summary = f"{escape(table.title)}: {len(table.rows)} rows"
    return f"<details><summary>{summary}</summary>\n{body}</details>\n"


def gallery_html(pictures: Gallery) -> str:
    """Predictions, pictures of `deformlab show`, and links to pages on which one clicks."""
    body = ""
    if pictures.pages:
        links = "".join(
            f'<li><a href="{escape(quote(address))}">{escape(caption)}</a></li>'
            for caption, address in pictures.pages
        )
        body += (
            "<h3>Pages to click on</h3>\n"
            f'<ul>{links}</ul>\n<p class="note">Files of their own, in the run folders.</p>\n'
        )
    body += _legend(pictures.legend)
    for title, group in pictures.predictions:
        body += f"<h3>Prediction: {escape(title)}</h3>\n{_pictures(title, group, 'panels')}"
    for title, group in pictures.shown:
        body += f"<h3>{escape(title)}</h3>\n{_pictures(title, group, 'pictures')}"
    for names, why in (
        (pictures.left_out, "Not shown, but in the run folders"),
        (pictures.broken, "Not readable"),
    ):
        if names:
            body += f'<p class="note">{why}: {escape(", ".join(names))}.</p>\n'
    return body


def _legend(classes: Sequence[tuple[str, str]]) -> str:
    """The classes' colours in the predictions, once for all of them."""
    if not classes:
        return ""
    entries = "".join(
        f'<li><span class="swatch" style="background:{colour}"></span>{escape(name)}</li>'
        for name, colour in classes
    )
    return f'<h3>Colours of the classes</h3>\n<ul class="legend">{entries}</ul>\n'


def _pictures(title: str, pictures: Sequence[Picture], kind: str) -> str:
    body = ""
    for picture in pictures:
        caption = escape(picture.caption)
        shown = caption if picture.trial is None else source_link(picture.trial, caption)
        body += (
            f'<figure><img loading="lazy" alt="{escape(title)}: {caption}" src="{picture.uri}">'
            f"<figcaption>{shown}</figcaption></figure>\n"
        )
    return f'<div class="{kind}">\n{body}</div>\n'
