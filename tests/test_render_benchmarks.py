"""The speed in the documents is what the saved results say, and the renderer's verdicts are right."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def render(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "scripts")
    import render_benchmarks

    return render_benchmarks


def test_the_speed_page_shows_the_saved_results(render):
    page = render.PAGE.read_text()
    assert {name: render.marked(name).search(page)[2] for name in render.sections()} == render.sections()


def test_the_speed_page_has_the_figure(render):
    assert render.FIGURE.is_file()
    assert render.FIGURE.relative_to(ROOT).as_posix() in render.PAGE.read_text()


@pytest.mark.parametrize(
    ("values", "limits", "least", "text"),
    [
        ([1.1, 1.2], [1.25, 1.25], False, "1.10–1.20 (≤ 1.25: met)"),
        ([1.1, 1.3, None], [1.25] * 3, False, "1.10–1.30 (≤ 1.25: met by 1 of 2)"),
        ([14.2], [12.0], True, "14 (≥ 12: met)"),
        ([3.0], [4.5], True, "3.00 (≥ 4.5: not met)"),
        ([3.0, 3.0], [2.5, 3.5], True, "3.00 (≥ 2.5–3.5: met by 1 of 2)"),
        ([None], [4.5], True, "not measured (≥ 4.5)"),
        ([0.0017, 0.14], [2.0, 2.0], False, "0.0017–0.14 (≤ 2: met)"),
        ([0.5], [None], False, "0.50"),
    ],
)
def test_a_cell_has_range_limit_and_verdict(render, values, limits, least, text):
    readings = [
        (value, None if limit is None else render.Limit(limit, least))
        for value, limit in zip(values, limits, strict=True)
    ]
    assert render.cell(readings) == text


def test_the_limit_on_torchvision_is_the_factor_of_an_operator_at_its_conv2d_limit(render):
    targets = render.speed_targets
    row = {
        "shape": "voc",
        "dtype": "float32",
        "forward": {"ratio": 1.0},
        "torchvision": {"forward": {"times_faster": 5.0}},
    }
    # torchvision takes 5 convolutions' time, an operator at the limit 1.25.
    limit = targets.against_torchvision("cpu", row, "forward")
    assert limit == targets.Limit(5.0 / 1.25, least=True)
    assert limit.is_met(5.0)
    assert targets.against_torchvision("cpu", row, "forward_backward") is None
    assert targets.against_torchvision("cpu", row | {"shape": "batch37"}, "forward") is None


def test_both_limits_are_met_in_the_same_rows_on_the_cpu(render):
    for result in render.load("operators"):
        for row in result["rows"]:
            for direction, found in row.get("torchvision", {}).items():
                dense = render.speed_targets.against_dense(result["device"], row, direction)
                limit = render.speed_targets.against_torchvision(result["device"], row, direction)
                assert limit.is_met(found["times_faster"]) == dense.is_met(row[direction]["ratio"])


def test_a_gpus_result_is_rendered_with_fixed_limits_and_all_its_shapes(render):
    rows = [
        {
            "shape": shape,
            "dtype": dtype,
            "memory_format": "contiguous",
            "modulated": False,
            "forward": {"dense_ms": 1.0, "deformable_ms": 1.2, "ratio": 1.2},
            "torchvision": {"forward": {"torchvision_ms": 4.8, "times_faster": 4.0}},
            "scratch_mb": {"forward": {"dense": 3.0, "deformable": 2.0}},
        }
        for shape in ("cityscapes", "batch37")
        for dtype in ("bfloat16", "autocast")
    ]
    machine = {"gpu": "a GPU"}
    result = {"device": "cuda", "machine": machine, "versions": {"torch": "2"}, "revision": "r", "rows": rows}
    table = render.operator_speed([result])
    assert "1.20 (≤ 1.5: met)" in table
    assert "4.00 (≥ 5: not met)" in table
    assert (
        "| batch of 37 (37, 128, 32, 32) | float32 under bfloat16 autocast | 1.20 | not measured | 4.00 |"
        in table
    )
    assert "no kernel has been timed" not in table
    assert "2.00; conv2d 3.00" in render.operator_details(result)
    assert render.operators_figure([result]).axes


def test_without_a_result_from_a_gpu_its_cells_say_so(render):
    table = render.operator_speed([])
    assert table.count("not measured") == 12
    assert not re.search(r"\bmet\b", table)
