"""Boxes, anchors and their assignment, against known answers of the authors' code."""

import pytest
import torch

from deformlab.models.detection.anchors import anchor_grid, base_anchors
from deformlab.models.detection.boxes import REGRESSION_STD, box_iou, clip_boxes, decode_boxes, encode_boxes
from deformlab.models.detection.matching import Matches, match_anchors, match_regions, sample


def boxes_of(*rows):
    return torch.tensor(rows, dtype=torch.float32).reshape(-1, 4)


def test_the_first_anchor_is_that_of_the_authors():
    # Theirs is (-84, -40, 99, 55): the right and bottom edges are inclusive.
    anchors = base_anchors((0.5, 1, 2), (8, 16, 32))
    assert anchors[0].tolist() == [-84, -40, 100, 56]
    assert anchors[3].tolist() == [-56, -56, 72, 72]  # the second ratio, after all scales of the first
    assert len(anchors) == 9


def test_anchors_run_along_rows():
    grid = anchor_grid(boxes_of([0, 0, 16, 16]), (2, 3), 8)
    assert grid[:, :2].tolist() == [[0, 0], [8, 0], [16, 0], [0, 8], [8, 8], [16, 8]]


def test_codes_are_those_of_the_authors():
    # Theirs: region (0, 0, 9, 9), object (5, 5, 14, 14).
    region, box = boxes_of([0, 0, 10, 10]), boxes_of([5, 5, 15, 15])
    codes = encode_boxes(region, box, REGRESSION_STD)
    assert codes[0].tolist() == pytest.approx([5, 5, 0, 0])
    assert decode_boxes(region, codes, REGRESSION_STD)[0].tolist() == pytest.approx([5, 5, 15, 15])


def test_decoding_inverts_encoding_for_each_class_and_stays_finite():
    torch.manual_seed(0)
    corner = torch.rand(2, 20, 2) * 50
    reference, boxes = torch.cat([corner, corner + 1 + torch.rand(2, 20, 2) * 50], 2)
    codes = encode_boxes(reference, boxes)
    torch.testing.assert_close(decode_boxes(reference, codes.repeat(1, 3)), boxes.repeat(1, 3))
    assert decode_boxes(reference, torch.full((20, 4), 1e6)).isfinite().all()


def test_overlap_and_clipping_by_hand():
    boxes = boxes_of([0, 0, 10, 10], [5, 0, 15, 10], [10, 0, 20, 10], [3, 3, 3, 3])
    expected = [1, 1 / 3, 0, 0]
    assert box_iou(boxes[:1], boxes)[0].tolist() == pytest.approx(expected)
    assert box_iou(boxes[3:], boxes[3:]).item() == 0
    assert clip_boxes(boxes_of([-5, -5, 30, 30]), (20, 10)).tolist() == [[0, 0, 10, 20]]


def test_anchors_match_by_threshold_and_each_object_has_its_best_anchor():
    anchors = boxes_of([0, 0, 10, 10], [0, 0, 10, 8], [0, 0, 10, 5], [40, 0, 50, 10], [-1, 0, 10, 10])
    objects = boxes_of([0, 0, 10, 10], [40, 0, 50, 4])
    # The fourth is the best of the second object although its overlap is 0.4; the last crosses the border.
    assert match_anchors(anchors, objects, (100, 100)).object.tolist() == [0, 0, -2, 1, -2]
    none = match_anchors(anchors, boxes_of(), (100, 100))
    assert none.object.tolist() == [-1, -1, -1, -1, -2]


def test_equally_good_anchors_of_an_object_are_all_positive():
    anchors = boxes_of([0, 0, 10, 10], [10, 0, 20, 10], [60, 0, 70, 10])
    assert match_anchors(anchors, boxes_of([5, 0, 15, 10]), (99, 99)).object.tolist() == [0, 0, -1]


def test_regions_match_from_a_half_and_far_ones_take_no_part():
    regions = boxes_of([0, 0, 10, 5], [0, 0, 10, 4], [0, 0, 10, 1], [0, 0, 5, 1], [50, 50, 60, 60])
    objects = boxes_of([0, 0, 10, 10])
    assert match_regions(regions, objects, 0.5, (0.1, 0.5)).object.tolist() == [0, -1, -1, -2, -2]
    assert match_regions(regions, objects).object.tolist() == [0, -1, -1, -1, -1]


def test_background_fills_the_sample_and_the_seed_decides_it():
    matches = Matches(torch.tensor([0] * 10 + [-1] * 30 + [-2] * 5), torch.zeros(45))
    torch.manual_seed(3)
    chosen = sample(matches, 16, 0.25)
    assert (chosen[:4] < 10).all()
    assert ((chosen[4:] >= 10) & (chosen[4:] < 40)).all()
    assert len(set(chosen.tolist())) == 16
    torch.manual_seed(3)
    assert sample(matches, 16, 0.25).tolist() == chosen.tolist()
