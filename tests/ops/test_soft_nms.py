"""What soft_nms computes, in each implementation: known answers, limits and borders."""

import math

import pytest
import torch

from deformlab.ops import reference

DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]
# The second box has an IoU of 0.5 with the first; the third is far away.
BOXES = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 5], [20, 20, 30, 30]])
SCORES = torch.tensor([0.9, 0.8, 0.7])


def random_boxes(count, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    corners, sizes = torch.randint(0, 12, (2, count, 2), generator=generator).to(dtype)
    scores = torch.randint(0, 1 + count // 4, (count,), generator=generator).to(dtype) / 64
    return torch.cat((corners, corners + sizes - 1), dim=1), scores


def test_known_answer_of_the_gaussian(suppression):
    """0.8 exp(-0.5^2 / 0.6) = 0.527393: below 0.7, so it is selected last."""
    scores, indices = suppression.soft_nms(BOXES, SCORES)
    assert indices.tolist() == [0, 2, 1]
    torch.testing.assert_close(scores, torch.tensor([0.9, 0.7, 0.527393]), rtol=0, atol=1e-6)


def test_known_answer_of_the_linear_method(suppression):
    scores, indices = suppression.soft_nms(BOXES, SCORES, 0.3, method="linear")
    assert indices.tolist() == [0, 2, 1]
    torch.testing.assert_close(scores, torch.tensor([0.9, 0.7, 0.4]))


def test_the_linear_method_lowers_at_the_threshold_but_not_below(suppression):
    for threshold, score in ((0.5, 0.4), (math.nextafter(0.5, 1), 0.8)):
        scores, indices = suppression.soft_nms(BOXES[:2], SCORES[:2], threshold, method="linear")
        assert indices.tolist() == [0, 1]
        assert scores[1].item() == pytest.approx(score)


def test_factors_of_all_selected_boxes_are_multiplied(suppression):
    # The last box has an IoU of 0.5 with each of the others, which do not overlap.
    boxes = torch.tensor([[0.0, 0, 10, 10], [10, 0, 20, 10], [0, 0, 20, 10]])
    scores, indices = suppression.soft_nms(boxes, torch.tensor([3.0, 2, 1]), method="linear")
    assert indices.tolist() == [0, 1, 2]
    assert scores.tolist() == [3, 2, 0.25]


def test_sigma_is_the_divisor(suppression):
    scores, _ = suppression.soft_nms(BOXES[:2], SCORES[:2], sigma=0.5)
    assert scores[1].item() == pytest.approx(0.8 * math.exp(-0.5))


def test_with_offset_1_coordinates_are_the_first_and_last_pixel(suppression):
    scores, _ = suppression.soft_nms(BOXES[:2], SCORES[:2], method="linear", offset=1)
    assert scores[1].item() == pytest.approx(0.8 * (1 - 66 / 121))


def test_boxes_whose_lowered_score_is_too_low_are_left_out(suppression):
    for min_score, kept in ((0.52, [0, 2, 1]), (0.53, [0, 2]), (0.7, [0]), (0.95, [])):
        scores = SCORES.double()
        assert suppression.soft_nms(BOXES, scores, min_score=min_score)[1].tolist() == kept


def test_selection_stops_after_max_output_boxes(suppression):
    for most, kept in ((0, []), (1, [0]), (2, [0, 2]), (3, [0, 2, 1]), (9, [0, 2, 1])):
        scores, indices = suppression.soft_nms(BOXES, SCORES, max_output=most)
        assert indices.tolist() == kept
        assert len(scores) == len(kept)


def test_of_equal_scores_the_lower_index_is_selected_first(suppression):
    boxes = torch.arange(100.0)[:, None] * 10 + torch.tensor([0, 0, 5, 5])
    assert suppression.soft_nms(boxes, torch.ones(100))[1].tolist() == list(range(100))


def test_an_identical_box_keeps_a_score_of_zero_with_the_linear_method(suppression):
    scores, indices = suppression.soft_nms(BOXES[[0, 0]], SCORES[:2], method="linear")
    assert (scores.tolist()[1], indices.tolist()) == (0, [0, 1])


@pytest.mark.parametrize("dtype", DTYPES)
def test_results_have_the_scores_dtype_also_without_boxes(suppression, dtype):
    for count in (0, 3):
        scores, indices = suppression.soft_nms(BOXES[:count], SCORES[:count].to(dtype))
        assert (scores.dtype, indices.dtype) == (dtype, torch.int64)
        assert scores.shape == indices.shape == (count,)


@pytest.mark.parametrize(
    "box",
    [
        [math.nan, 0, 2, 2],
        [0, 0, math.inf, 2],
        [2, 0, 0, 2],
        [2, 2, 0, 0],
        [1, 1, 1, 1],
        [-3e38, -3e38, 3e38, 3e38],
    ],
)
@pytest.mark.parametrize("method", ["gaussian", "linear"])
def test_a_box_without_a_finite_positive_area_lowers_nothing(suppression, box, method):
    scores, indices = suppression.soft_nms(
        torch.tensor([box, [0.0, 0, 2, 2], box]), torch.tensor([3.0, 2, 1]), method=method
    )
    assert (scores.tolist(), indices.tolist()) == ([3, 2, 1], [0, 1, 2])


def test_a_score_of_nan_is_left_out_and_infinity_comes_first(suppression):
    scores, indices = suppression.soft_nms(BOXES, torch.tensor([math.nan, 0.5, math.inf]))
    assert (scores.tolist(), indices.tolist()) == ([math.inf, 0.5], [2, 1])


def test_negative_scores_need_a_negative_limit(suppression):
    boxes, scores = BOXES[[0, 2]], torch.tensor([-1.0, -2])
    assert suppression.soft_nms(boxes, scores)[1].tolist() == []
    assert suppression.soft_nms(boxes, scores, min_score=-math.inf)[1].tolist() == [0, 1]


@pytest.mark.parametrize("count", [1, 9, 65])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("method", ["gaussian", "linear"])
def test_agrees_with_the_reference(suppression, count, dtype, method):
    boxes, scores = random_boxes(count, dtype)
    if dtype == torch.float64:  # exp differs in the last bit: without ties, the order is the same
        scores = scores + torch.arange(count) / 1000 / count
    for offset, min_score, most in ((0, 0.0, None), (1, 0.05, None), (0, 0.05, 7)):
        options = {"method": method, "offset": offset, "min_score": min_score, "max_output": most}
        actual = suppression.soft_nms(boxes, scores, **options)
        expected = reference.soft_nms(boxes, scores, **options)
        assert torch.equal(actual[1], expected[1])
        exact = 1e-13 if dtype == torch.float64 else 0
        torch.testing.assert_close(actual[0], expected[0], rtol=exact, atol=0)


def test_float64_scores_keep_their_precision_beside_float32_boxes(suppression):
    scores, _ = suppression.soft_nms(BOXES, SCORES.double() + 1e-12)
    assert scores[0].item() == SCORES[0].double().item() + 1e-12
