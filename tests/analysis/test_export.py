import csv
import math
from html import unescape

import pytest
from markdown_it import MarkdownIt

from deformlab.analysis import Estimate, Table
from deformlab.analysis.export import comma_separated, latex, markdown, plain_markdown

TABLE = Table(
    name="scores",
    title="Scores & more",
    note="In %, mean ± std.",
    header=("Trial", "mIoU (%)", "Seeds", "Published"),
    rows=(
        ("atrous_2", Estimate(45.26, 0.31), 3, 69.7),
        ("a|b", Estimate(math.nan), 1200, None),
    ),
)


def test_markdown_aligns_numbers_right_and_escapes_bars():
    assert markdown(TABLE) == (
        "### Scores & more\n"
        "\n"
        "| Trial | mIoU (%) | Seeds | Published |\n"
        "| :-- | --: | --: | --: |\n"
        "| atrous_2 | 45.3 ± 0.3 | 3 | 69.7 |\n"
        "| a\\|b | – | 1,200 | – |\n"
        "\n"
        "In %, mean ± std.\n"
    )


def test_latex_is_a_booktabs_table_with_everything_escaped():
    assert latex(TABLE) == (
        "\\begin{table}\n"
        "\\centering\n"
        "\\caption{Scores \\& more. In \\%, mean $\\pm$ std.}\n"
        "\\label{tab:scores}\n"
        "\\begin{tabular}{lrrr}\n"
        "\\toprule\n"
        "Trial & mIoU (\\%) & Seeds & Published \\\\\n"
        "\\midrule\n"
        "atrous\\_2 & 45.3 $\\pm$ 0.3 & 3 & 69.7 \\\\\n"
        "a\\textbar{}b & -- & 1,200 & -- \\\\\n"
        "\\bottomrule\n"
        "\\end{tabular}\n"
        "\\end{table}\n"
    )


@pytest.mark.parametrize(
    ("character", "escaped"),
    [
        ("\\", r"\textbackslash{}"),
        ("&", r"\&"),
        ("%", r"\%"),
        ("$", r"\$"),
        ("#", r"\#"),
        ("_", r"\_"),
        ("{", r"\{"),
        ("}", r"\}"),
        ("~", r"\textasciitilde{}"),
        ("^", r"\textasciicircum{}"),
        ("²", "$^2$"),
    ],
)
def test_latex_escapes(character, escaped):
    table = Table("t", "T", "", ("Name",), ((f"x{character}y",),))
    assert f"x{escaped}y" in latex(table)


def test_csv_has_a_column_for_each_number_and_rounds_nothing():
    assert comma_separated(TABLE) == (
        "Trial,mIoU (%),mIoU (%) std,Seeds,Published\natrous_2,45.26,0.31,3,69.7\na|b,,,1200,\n"
    )


def test_csv_has_a_count_where_filters_were_counted():
    table = Table("t", "T", "", ("Small",), ((Estimate(2.2, 0.5, count=7, digits=2),),))
    assert comma_separated(table) == "Small,Small std,Small count\n2.2,0.5,7\n"


def test_csv_has_a_column_for_each_bound_of_an_interval():
    estimate = Estimate(4.25, 1.767766953, 4.0, 4.5, digits=2)
    table = Table("t", "T", "", ("Gain",), ((estimate,), (None,)))
    assert comma_separated(table) == "Gain,Gain std,Gain low,Gain high\n4.25,1.767766953,4,4.5\n,,,\n"


def test_a_frame_keeps_integers_and_missing_numbers():
    frame = TABLE.frame()
    assert frame["Seeds"].tolist() == [3, 1200]
    assert frame["mIoU (%) std"].tolist()[0] == 0.31
    assert frame["Published"].isna().tolist() == [False, True]


def test_columns_with_the_same_name_are_both_kept():
    table = Table("t", "", "", ("Class", "Class"), (("Sky", 1), ("Road", 2)))
    assert comma_separated(table) == "Class,Class\nSky,1\nRoad,2\n"


HOSTILE = (
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "=cmd|'/c calc'!A0",
    "a|b",
    "[x](javascript:alert(1))",
    "[x][y]",
    "door, double door",
    "&lt;b&gt; & R&D",
    "_a_ *b* `c` ~~d~~ snake_case",
    r"\frac{1}{2} $x$ 50 % #1 ~ ^",
)


@pytest.mark.parametrize("name", HOSTILE)
def test_markdown_shows_a_name_as_it_is(name):
    table = Table("t", name, "", (name, "n"), ((name, 1),))
    rendered = MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(markdown(table))
    for opening, closing in (
        ("<h3>", "</h3>"),
        ('<th style="text-align:left">', "</th>"),
        ('<td style="text-align:left">', "</td>"),
    ):
        shown = rendered.split(opening)[1].split(closing)[0]
        assert "<" not in shown
        assert unescape(shown) == name


def test_markdown_keeps_numbers_and_words_with_underscores_as_they_are():
    assert plain_markdown("Road_mark [2.1, 2.2] < 96²") == "Road_mark [2.1, 2.2] < 96²"


@pytest.mark.parametrize("name", HOSTILE)
def test_csv_has_no_formula_and_reads_back(name):
    header, row = csv.reader(comma_separated(Table("t", "", "", (name, "n"), ((name, 1),))).splitlines())
    for cell in (header[0], row[0]):
        assert not cell.startswith(("=", "+", "-", "@"))
        assert cell.removeprefix("'") == name


@pytest.mark.parametrize(("name", "row"), [("[1] a", "{[}1] a"), ("*", "{*}"), ("a|b", r"a\textbar{}b")])
def test_latex_rows_may_begin_with_anything(name, row):
    assert f"\n{row} & 1 \\\\\n" in latex(Table("t", "", "", ("a", "n"), ((name, 1),)))
