import re

import pytest

from deformlab.analysis import Estimate, Table, read_trials
from deformlab.analysis.export import PUBLISHED
from deformlab.analysis.page import anchor, page


@pytest.fixture
def html_table(sweep):
    """The fragment of one table on a page."""
    sweep.atrous(2)
    trials = read_trials(sweep.folder)

    def fragment(table):
        whole = page(trials, "", [], [table], {}, [], sweep.folder)
        return whole[whole.index(f'<h3 id="{table.name}">') :].split("</details>")[0]

    return fragment


TABLE = Table(
    "scores",
    "Scores",
    "",
    ("Trial", "Layer", "mIoU (%)", "Published", "Gain over atrous-2"),
    (
        ("atrous 4", "last", Estimate(45.0), 70.4, None),
        ("atrous 4", "first", Estimate(46.0, 0.5, count=7), None, Estimate(1.0, None, 0.5, 1.5)),
    ),
    row_sources=("atrous 4", "atrous 4"),
    column_sources=(None, None, None, PUBLISHED, "atrous-2"),
)


def links(fragment):
    return re.findall(r'<a class="source" href="#([^"]+)">([^<]+)', fragment)


def test_html_is_escaped(html_table):
    table = Table("t", "<b>", "a & b", ("<i>",), (("<script>",),))
    assert "<script>" not in html_table(table)
    assert "&lt;script&gt;" in html_table(table)


def test_every_number_links_to_its_runs_and_published_ones_to_the_paper(html_table):
    found = links(html_table(TABLE).split("<tbody")[1])
    ours = "source-atrous~20~4"
    assert found == [
        (ours, "atrous 4"),
        (ours, "45.0"),
        ("source-published", "70.4"),
        (ours, "atrous 4"),
        (ours, "46.0 ± 0.5"),
        (ours, "1.0"),
    ]


def test_a_column_with_runs_of_its_own_says_so_in_its_header(html_table):
    head = html_table(TABLE).split("<tbody")[0]
    assert links(head) == [("source-published", "Published"), ("source-atrous-2", "Gain over atrous-2")]


def test_runs_of_a_trial_share_an_anchor_that_the_links_lead_to(html_table):
    table = Table("runs", "Runs", "", ("Trial", "Seed"), (("atrous 4", 0), ("atrous 4", 1), ("b", 0)))
    fragment = html_table(Table(**vars(table) | {"row_sources": ("atrous 4", "atrous 4", "b")}))
    assert re.findall(r'<tbody id="([^"]+)"', fragment) == ["source-atrous~20~4", "source-b"]
    assert "<a " not in fragment


def test_a_repetition_of_the_row_above_is_pale(html_table):
    rows = html_table(TABLE).split("<tr>")[2:]
    assert ["again" in row for row in rows] == [False, True]


def test_intervals_and_counts_have_a_line_of_their_own(html_table):
    fragment = html_table(TABLE)
    assert "46.0 ± 0.5</a><br><small>(n = 7)</small>" in fragment
    assert "1.0</a><br><small>[0.5, 1.5]</small>" in fragment


def test_different_trials_never_share_an_anchor():
    assert len({anchor(name) for name in ("a|b", "a-b", "a b", "a~7c~b")}) == 4
