"""The report as one HTML file: no network, no script, images inside, light and dark, on a desk or a phone.

Sections are functions of their own, so that a new kind of result is a new section.
"""

import base64
from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path

from deformlab.analysis.findings import FAILS, HOLDS, Finding
from deformlab.analysis.formats import Table, html_table
from deformlab.analysis.gallery import Picture, gallery
from deformlab.analysis.runs import RunSet

PROVENANCE = ("runs",)


def page(
    runs: RunSet,
    question: str,
    findings: Sequence[Finding],
    tables: Sequence[Table],
    plots: Mapping[str, tuple[str, Path]],
    warnings: Sequence[str],
) -> str:
    """The whole page.

    Args:
        runs: The runs that it reports on.
        question: What the sweep asks, in a sentence or two.
        findings: In the order in which they are shown.
        tables: Those of provenance are shown last.
        plots: Caption and PNG file by name.
        warnings: One line each.
    """
    name = runs.folder.resolve().name
    results = [table for table in tables if table.name not in PROVENANCE]
    sections = {
        "Findings": "".join(_finding(finding) for finding in findings),
        "Warnings": "".join(f'<p class="warning">{escape(line)}</p>\n' for line in warnings),
        "Plots": "".join(_plot(caption, path) for caption, path in plots.values()),
        "Tables": "".join(html_table(table) for table in results),
        "Predictions": _gallery(gallery(runs.trials)),
        "Provenance": "".join(html_table(table) for table in tables if table.name in PROVENANCE),
    }
    shown = {title: body for title, body in sections.items() if body}
    links = "".join(f'<a href="#{title.lower()}">{title}</a> ' for title in shown)
    body = "".join(f'<h2 id="{title.lower()}">{title}</h2>\n{text}' for title, text in shown.items())
    style = files("deformlab.analysis").joinpath("page.css").read_text("utf-8")
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(name)}: {escape(runs.dataset)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n"
        f'<h1>{escape(name)}</h1>\n<p class="lead">{escape(question)}</p>\n'
        f'<p class="facts">{escape(_facts(runs))}</p>\n<nav>{links}</nav>\n{body}</body>\n</html>\n'
    )


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


def _finding(finding: Finding) -> str:
    kind = {HOLDS: "holds", FAILS: "fails"}.get(finding.verdict, "open")
    certainty = f" ({escape(finding.certainty)})" if finding.certainty else ""
    details = "".join(f"<li>{_unbroken(line)}</li>" for line in finding.details)
    if details:
        details = f"<details><summary>In numbers</summary><ul>{details}</ul></details>\n"
    return (
        f'<div class="finding {kind}"><strong>{escape(finding.claim)}</strong>: '
        f'<span class="verdict">{finding.verdict} in this run</span>{certainty}.\n'
        f"<p>{_unbroken(finding.sentence)}</p>\n{details}</div>\n"
    )


def _unbroken(sentence: str) -> str:
    """Escaped, with each number and its spread on one line."""
    return escape(sentence).replace(" ± ", "\u00a0±\u00a0").replace(" %", "\u00a0%")


def _plot(caption: str, path: Path) -> str:
    data = base64.b64encode(path.read_bytes()).decode()
    return (
        f'<figure><div class="plot"><img alt="{escape(caption)}" src="data:image/png;base64,{data}"></div>'
        f"<figcaption>{escape(caption)}</figcaption></figure>\n"
    )


def _gallery(pictures: Mapping[str, Sequence[Picture]]) -> str:
    if not pictures:
        return ""
    body = '<p class="note">Image, label and prediction side by side.</p>\n'
    for name, trials in pictures.items():
        body += f'<h3>{escape(Path(name).stem)}</h3>\n<div class="pictures">\n'
        for picture in trials:
            caption = escape(f"{picture.trial}, seed {picture.seed}")
            body += (
                f'<figure><img loading="lazy" alt="{escape(name)}: {caption}" src="{picture.uri}">'
                f"<figcaption>{caption}</figcaption></figure>\n"
            )
        body += "</div>\n"
    return body
