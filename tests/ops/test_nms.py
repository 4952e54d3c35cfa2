"""What nms and batched_nms compute, in each implementation: cases by hand, borders, and torchvision."""

import importlib.util
import inspect
import json
import math
from pathlib import Path

import pytest
import torch

from deformlab.ops import batched_nms, nms, reference

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "freeze_torchvision_nms.py"
specification = importlib.util.spec_from_file_location("freeze_torchvision_nms", SCRIPT)
frozen = importlib.util.module_from_spec(specification)
specification.loader.exec_module(frozen)
THEIRS = json.loads((ROOT / "tests" / "ops" / "data" / "torchvision_nms.json").read_text())
DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]


def random_boxes(count, seed=0, dtype=torch.float32, size=12):
    """Integer boxes with many equal IoUs and scores, some inverted, and their classes."""
    generator = torch.Generator().manual_seed(seed)
    corners, sizes = torch.randint(0, size, (2, count, 2), generator=generator).to(dtype)
    boxes = torch.cat((corners, corners + sizes - 1), dim=1)
    scores = torch.randint(0, 1 + count // 8, (count,), generator=generator).to(dtype)
    return boxes, scores, torch.randint(-2, 3, (count,), generator=generator)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_box_that_overlaps_a_better_one_too_much_is_left_out(suppression, dtype):
    # IoU with the first: 60 / 100, 50 / 100, 0.
    boxes = torch.tensor([[0, 0, 10, 10], [0, 0, 10, 6], [0, 0, 5, 10], [20, 20, 30, 30]], dtype=dtype)
    scores = torch.tensor([0.75, 0.5, 0.25, 1], dtype=dtype)
    assert suppression.nms(boxes, scores, 0.55).tolist() == [3, 0, 2]
    assert suppression.nms(boxes, scores, 0.45).tolist() == [3, 0]


def test_a_box_that_was_left_out_suppresses_nothing(suppression):
    # Each box overlaps its neighbours by 2 / 4.
    boxes = torch.tensor([[0.0, 0, 3, 1], [1, 0, 4, 1], [2, 0, 5, 1]])
    assert suppression.nms(boxes, torch.tensor([3.0, 2, 1]), 0.4).tolist() == [0, 2]


def test_at_the_threshold_a_box_is_kept(suppression):
    boxes = torch.tensor([[0.0, 0, 2, 1], [0, 0, 1, 1]])
    scores = torch.tensor([2.0, 1])
    assert suppression.nms(boxes, scores, 0.5).tolist() == [0, 1]
    assert suppression.nms(boxes, scores, math.nextafter(0.5, 0)).tolist() == [0]


@pytest.mark.parametrize(("dtype", "kept"), [(torch.float32, [0]), (torch.float64, [0, 1])])
def test_the_threshold_is_not_rounded(suppression, dtype, kept):
    """3 / 10 in float32 is greater than 0.3 in float64."""
    boxes = torch.tensor([[0, 0, 10, 1], [0, 0, 3, 1]], dtype=dtype)
    assert suppression.nms(boxes, torch.tensor([2.0, 1], dtype=dtype), 0.3).tolist() == kept


def test_with_offset_1_coordinates_are_the_first_and_last_pixel(suppression):
    # Edges: 1 / 2. Pixels: 2 x 2 of 3 x 2, 2 / 3.
    boxes = torch.tensor([[0.0, 0, 2, 1], [0, 0, 1, 1]])
    scores = torch.tensor([2.0, 1])
    assert suppression.nms(boxes, scores, 0.6).tolist() == [0, 1]
    assert suppression.nms(boxes, scores, 0.6, offset=1).tolist() == [0]
    assert suppression.nms(boxes, scores, 0.7, offset=1).tolist() == [0, 1]


def test_equal_scores_are_sorted_by_index(suppression):
    boxes = torch.arange(400.0).reshape(100, 4)
    assert suppression.nms(boxes, torch.ones(100), 0.5).tolist() == list(range(100))
    assert suppression.nms(
        torch.zeros(100, 4) + torch.tensor([0, 0, 1, 1]), torch.ones(100), 0.5
    ).tolist() == [0]


@pytest.mark.parametrize("dtype", DTYPES)
def test_without_boxes_nothing_is_kept(suppression, dtype):
    boxes, scores, classes = torch.zeros(0, 4, dtype=dtype), torch.zeros(0), torch.zeros(0, dtype=torch.int64)
    for kept in (suppression.nms(boxes, scores, 0.5), suppression.batched_nms(boxes, scores, classes, 0.5)):
        assert kept.dtype == torch.int64
        assert kept.shape == (0,)


@pytest.mark.parametrize(
    "box",
    [
        pytest.param([math.nan, 0, 2, 2], id="NaN x1"),
        pytest.param([0, 0, 2, math.nan], id="NaN y2"),
        pytest.param([0, 0, math.inf, 2], id="infinite"),
        pytest.param([-math.inf, -math.inf, math.inf, math.inf], id="the plane"),
        pytest.param([math.inf, 0, math.inf, 2], id="at infinity"),
        pytest.param([2, 0, 0, 2], id="x2 < x1"),
        pytest.param([2, 2, 0, 0], id="inverted twice"),
        pytest.param([1, 1, 1, 1], id="no area"),
        pytest.param([-3e38, -3e38, 3e38, 3e38], id="area overflows"),
    ],
)
@pytest.mark.parametrize("box_first", [True, False])
@pytest.mark.parametrize("threshold", [0.0, 0.5])
def test_a_box_without_a_finite_positive_area_overlaps_nothing(suppression, box, box_first, threshold):
    boxes = torch.tensor([box, [0.0, 0, 2, 2], box])
    scores = torch.tensor([2.0, 1, 0]) if box_first else torch.tensor([1.0, 2, 0])
    assert sorted(suppression.nms(boxes, scores, threshold).tolist()) == [0, 1, 2]


def test_nan_is_the_highest_score_and_minus_infinity_the_lowest(suppression):
    boxes = torch.tensor([[0.0, 0, 2, 2]]).repeat(4, 1) + 10 * torch.arange(4.0)[:, None]
    scores = torch.tensor([-math.inf, 1, math.nan, math.inf])
    assert suppression.nms(boxes, scores, 0.5).tolist() == [2, 3, 1, 0]


@pytest.mark.parametrize("index_dtype", [torch.int64, torch.int32, torch.int8])
def test_boxes_of_other_classes_are_not_compared(suppression, index_dtype):
    boxes = torch.tensor([[0.0, 0, 2, 2]]).repeat(5, 1)
    scores = torch.tensor([1.0, 5, 3, 4, 2])
    classes = torch.tensor([7, -1, 7, -1, 7], dtype=index_dtype)
    assert suppression.batched_nms(boxes, scores, classes, 0.5).tolist() == [1, 2]


def test_classes_are_exact_where_torchvision_moves_boxes_apart_and_rounds(suppression):
    # IoU 0.5 + 2^-11. Moved by 100 classes, the coordinates lose the fraction.
    boxes = torch.tensor([[0.0, 0, 2000, 1], [0, 0, 1001 - 1 / 64, 1]])
    scores, classes = torch.tensor([2.0, 1]), torch.tensor([10000, 10000])
    threshold = (1001 - 1 / 32) / 2000
    assert suppression.batched_nms(boxes, scores, classes, threshold).tolist() == [0]
    assert suppression.nms(boxes, scores, threshold).tolist() == [0]


def test_each_class_gives_what_nms_gives_for_it_alone(suppression):
    boxes, scores, classes = random_boxes(150)
    kept = suppression.batched_nms(boxes, scores, classes, 0.3)
    alone = []
    for index in classes.unique():
        own = (classes == index).nonzero()[:, 0]
        alone += own[suppression.nms(boxes[own], scores[own], 0.3)].tolist()
    assert sorted(kept.tolist()) == sorted(alone)
    assert len(alone) < 150
    order = scores.sort(descending=True, stable=True).indices
    assert kept.tolist() == [index for index in order.tolist() if index in alone]


@pytest.mark.parametrize(
    ("count", "dtype"),
    [(1, torch.float32), (63, torch.float32), (65, torch.float32), (600, torch.float32)]
    + [(130, dtype) for dtype in DTYPES],
)
def test_agrees_with_the_reference(suppression, count, dtype):
    boxes, scores, classes = random_boxes(count, dtype=dtype)
    for threshold, offset in ((0.0, 0), (1 / 3, 0), (0.7, 1)):
        kept = suppression.nms(boxes, scores, threshold, offset=offset)
        assert torch.equal(kept, reference.nms(boxes, scores, threshold, offset=offset))
        kept = suppression.batched_nms(boxes, scores, classes, threshold, offset=offset)
        assert torch.equal(kept, reference.batched_nms(boxes, scores, classes, threshold, offset=offset))


def test_any_memory_layout(suppression):
    boxes, scores, classes = random_boxes(70)
    expected = suppression.batched_nms(boxes, scores, classes, 0.3)
    boxes, scores, classes = (
        boxes.t().contiguous().t(),
        scores.repeat(2, 1).t()[:, 0],
        classes.repeat(2, 1).t(),
    )
    assert torch.equal(suppression.batched_nms(boxes, scores, classes[:, 0], 0.3), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_frozen_values_of_torchvision(suppression, dtype):
    boxes, scores, classes = frozen.case(dtype)
    name = str(dtype).removeprefix("torch.")
    finite = boxes.nan_to_num(3, 30, -3)
    for index, threshold in enumerate(frozen.THRESHOLDS):
        assert suppression.nms(boxes, scores, threshold).tolist() == THEIRS[f"nms {name}"][index]
        kept = suppression.batched_nms(finite, scores, classes, threshold)
        assert kept.tolist() == THEIRS[f"batched_nms {name}"][index]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("seed", range(5))
def test_live_values_of_torchvision(suppression, dtype, seed):
    torchvision = pytest.importorskip("torchvision")
    boxes, scores, classes = random_boxes(300, seed, dtype)
    boxes[5, 2], boxes[6, 0], scores[7] = math.inf, math.nan, math.nan
    for threshold in frozen.THRESHOLDS:
        assert torch.equal(
            suppression.nms(boxes, scores, threshold), torchvision.ops.nms(boxes, scores, threshold)
        )
    boxes[5:7] = 0
    for threshold in frozen.THRESHOLDS:
        assert torch.equal(
            suppression.batched_nms(boxes, scores, classes, threshold),
            torchvision.ops.batched_nms(boxes, scores, classes, threshold),
        )


def test_the_signatures_are_those_of_torchvision_plus_offset():
    for function, theirs in (
        (nms, ["boxes", "scores", "iou_threshold"]),
        (batched_nms, ["boxes", "scores", "idxs", "iou_threshold"]),
    ):
        *parameters, offset = inspect.signature(function).parameters.values()
        assert [parameter.name for parameter in parameters] == theirs
        assert all(parameter.default is parameter.empty for parameter in parameters)
        assert (offset.name, offset.default, offset.kind) == ("offset", 0, offset.KEYWORD_ONLY)
