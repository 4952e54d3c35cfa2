import math

import pytest
import torch

from deformlab.models.detection.anchors import anchor_grid, base_anchors
from deformlab.models.detection.boxes import (
    REGRESSION_STD,
    box_area,
    box_iou,
    clip_boxes,
    decode_boxes,
    encode_boxes,
)


def boxes(*rows):
    return torch.tensor(rows, dtype=torch.float64)


def test_overlap_of_hand_made_boxes():
    one = boxes((0, 0, 4, 2))
    others = boxes((0, 0, 4, 2), (2, 1, 6, 3), (4, 0, 8, 2), (1, 1, 1, 1))
    assert box_iou(one, others).tolist() == [[1.0, 2 / 14, 0.0, 0.0]]


def test_boxes_without_area_overlap_nothing_and_have_no_negative_area():
    empty = boxes((3, 3, 3, 3), (5, 5, 2, 9))
    assert box_area(empty).tolist() == [0.0, 0.0]
    assert box_iou(empty, empty).tolist() == [[0.0, 0.0], [0.0, 0.0]]


def test_the_codes_of_the_authors_example():
    # In the authors' inclusive coordinates: RoI (0, 0, 9, 9) and object (5, 5, 14, 14).
    codes = encode_boxes(boxes((0, 0, 10, 10)), boxes((5, 5, 15, 15)), REGRESSION_STD)
    assert codes.tolist() == [[5.0, 5.0, 0.0, 0.0]]


def test_decoding_inverts_encoding():
    generator = torch.Generator().manual_seed(0)
    corner = torch.rand(20, 2, generator=generator, dtype=torch.float64) * 50
    size = torch.rand(20, 2, generator=generator, dtype=torch.float64) * 40 + 1
    reference = torch.cat([corner, corner + size], dim=1)
    target = reference.flip(0)
    codes = encode_boxes(reference, target, REGRESSION_STD)
    torch.testing.assert_close(decode_boxes(reference, codes, REGRESSION_STD), target)


def test_one_region_decodes_a_box_for_each_class():
    codes = torch.tensor([[0.0, 0, 0, 0, 1, 0, 0, math.log(2)]])
    assert decode_boxes(boxes((0, 0, 10, 10)), codes)[0].tolist() == pytest.approx(
        [0, 0, 10, 10, 10, -5, 20, 15]
    )


def test_huge_codes_give_finite_boxes():
    assert decode_boxes(boxes((0, 0, 10, 10)), torch.full((1, 4), 1e4)).isfinite().all()


def test_clipping_keeps_boxes_in_the_image_of_height_and_width():
    assert clip_boxes(boxes((-5, -5, 30, 30)), (10, 20)).tolist() == [[0, 0, 20, 10]]


def test_the_authors_first_anchor():
    # (-84, -40, 99, 55) in inclusive coordinates.
    base = base_anchors((0.5, 1, 2), (8, 16, 32))
    assert base[0].tolist() == [-84, -40, 100, 56]
    assert len(base) == 9


def test_anchors_of_a_map_are_row_by_row_with_all_anchors_of_a_cell_together():
    base = base_anchors((1.0,), (1, 2))
    grid = anchor_grid(base, (2, 3), 16)
    assert len(grid) == 12
    assert grid[0].tolist() == [0, 0, 16, 16]
    assert grid[2].tolist() == [16, 0, 32, 16]
    assert grid[6].tolist() == [0, 16, 16, 32]
