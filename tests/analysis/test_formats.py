import math

import pytest

from deformlab.analysis import Measure, Table
from deformlab.analysis.formats import comma_separated, html_table, latex, markdown, text

TABLE = Table(
    name="scores",
    title="Scores & more",
    note="In %, mean ± std.",
    header=("Trial", "mIoU (%)", "Seeds", "Published"),
    rows=(
        ("atrous_2", Measure(45.26, 0.31), 3, 69.7),
        ("a|b", Measure(math.nan), 1200, None),
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
        "  \\centering\n"
        "  \\caption{Scores \\& more. In \\%, mean $\\pm$ std.}\n"
        "  \\label{tab:scores}\n"
        "  \\begin{tabular}{lrrr}\n"
        "    \\toprule\n"
        "    Trial & mIoU (\\%) & Seeds & Published \\\\\n"
        "    \\midrule\n"
        "    atrous\\_2 & 45.3 $\\pm$ 0.3 & 3 & 69.7 \\\\\n"
        "    a|b & -- & 1,200 & -- \\\\\n"
        "    \\bottomrule\n"
        "  \\end{tabular}\n"
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
    table = Table("t", "T", "", ("Small",), ((Measure(2.2, 0.5, 7, digits=2),),))
    assert comma_separated(table) == "Small,Small std,Small count\n2.2,0.5,7\n"
    assert text(table.rows[0][0]) == "2.20 ± 0.50 (n = 7)"


def test_html_is_escaped():
    table = Table("t", "<b>", "a & b", ("<i>",), (("<script>",),))
    assert "<script>" not in html_table(table)
    assert "&lt;script&gt;" in html_table(table)
