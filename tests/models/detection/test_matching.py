import torch

from deformlab.models.detection.matching import BACKGROUND, IGNORED, match_anchors, match_regions, sample

SIZE = (100, 100)


def boxes(*rows):
    return torch.tensor(rows, dtype=torch.float32).view(-1, 4)


def test_anchors_are_positive_above_one_overlap_and_background_below_another():
    anchors = boxes((0, 0, 10, 10), (0, 0, 10, 8), (0, 0, 10, 5), (50, 50, 60, 60))
    found = match_anchors(anchors, boxes((0, 0, 10, 10)), SIZE)
    assert found.object.tolist() == [0, 0, IGNORED, BACKGROUND]
    assert found.positive.tolist() == [True, True, False, False]


def test_the_best_anchors_of_an_object_are_positive_even_with_little_overlap():
    anchors = boxes((0, 0, 10, 10), (20, 0, 30, 10), (60, 60, 70, 70))
    found = match_anchors(anchors, boxes((5, 0, 25, 10)), SIZE)
    assert found.object.tolist() == [0, 0, BACKGROUND]  # both overlap by the same quarter


def test_anchors_across_the_border_take_no_part():
    anchors = boxes((-1, 0, 10, 10), (90, 90, 101, 100), (0, 0, 10, 10))
    assert match_anchors(anchors, boxes((0, 0, 10, 10)), SIZE).object.tolist() == [IGNORED, IGNORED, 0]


def test_an_object_that_overlaps_no_anchor_makes_none_positive():
    anchors = boxes((0, 0, 10, 10), (20, 20, 30, 30))
    assert match_anchors(anchors, boxes((70, 70, 80, 80)), SIZE).object.tolist() == [BACKGROUND] * 2


def test_without_objects_all_anchors_inside_are_background():
    anchors = boxes((0, 0, 10, 10), (-5, 0, 5, 10))
    found = match_anchors(anchors, boxes(), SIZE)
    assert found.object.tolist() == [BACKGROUND, IGNORED]
    assert found.overlap.tolist() == [0, 0]


def test_regions_get_their_best_object_or_are_background_in_an_interval():
    regions = boxes((0, 0, 10, 10), (20, 20, 30, 30), (20, 20, 22, 30), (80, 80, 90, 90))
    objects = boxes((0, 0, 10, 9), (20, 20, 30, 30))
    assert match_regions(regions, objects, 0.5, (0.1, 0.5)).object.tolist() == [0, 1, BACKGROUND, IGNORED]
    assert match_regions(regions, objects).object.tolist() == [0, 1, BACKGROUND, BACKGROUND]


def test_without_objects_all_regions_are_background():
    assert match_regions(boxes((0, 0, 1, 1)), boxes(), 0.5, (0.1, 0.5)).object.tolist() == [BACKGROUND]


def test_a_sample_has_at_most_the_share_of_positives_and_background_fills_the_rest():
    regions = torch.cat([boxes((0, 0, 10, 10)).expand(30, 4), boxes((50, 50, 60, 60)).expand(70, 4)])
    matches = match_regions(regions, boxes((0, 0, 10, 10)))
    chosen = sample(matches, 40, 0.25)
    assert len(chosen) == len(chosen.unique()) == 40
    assert matches.positive[chosen].sum() == 10
    assert matches.positive[chosen[:10]].all()
    few = sample(match_regions(regions[:5], boxes((0, 0, 10, 10))), 40, 0.25)
    assert few.tolist() == [0, 1, 2, 3, 4]


def test_a_sample_depends_on_the_seed_alone():
    matches = match_regions(boxes((50, 50, 60, 60)).expand(100, 4), boxes((0, 0, 10, 10)))
    torch.manual_seed(3)
    first = sample(matches, 10, 0.5)
    torch.manual_seed(3)
    assert torch.equal(sample(matches, 10, 0.5), first)
