"""Hits and false positives per object, against counting by hand."""

import pytest
import torch

from deformlab.metrics import ObjectScores, find_objects, objects_from_boxes
from deformlab.metrics.object_scores import count_pixels


def one_image(instance, label):
    """The objects of one image from (H, W) maps; the label map may be None."""
    return find_objects(instance[None], None if label is None else label[None], ["a"])[0]


def uint8(rows):
    return torch.tensor(rows, dtype=torch.uint8)


def test_hits_misses_and_false_positives_of_an_object():
    label = torch.zeros(10, 12, dtype=torch.uint8)
    label[4:6, 4:8] = 1
    prediction = label.clone()
    prediction[5, 4:8] = 0  # four misses
    prediction[3, 3:9] = 1  # six false positives within the box made twice as large: rows 3-6, columns 2-9
    prediction[9, 0:3] = 1  # three far from it
    label[3, 3] = 255  # one of the six is ignored
    objects = one_image((label == 1).long(), label)
    of_objects, of_classes = count_pixels(objects, prediction)
    assert [counts.tolist() for counts in of_objects] == [[8], [4], [5]]
    # Outside objects, class 1 has no pixels; its false positives are counted in the whole image.
    assert [counts[1].item() for counts in of_classes] == [0, 0, 8]
    assert [counts[0].item() for counts in of_classes] == [120 - 8 - 1, 120 - 8 - 1 - 8, 4]


def test_a_false_positive_between_two_objects_counts_for_both():
    label = uint8([[1, 1, 0, 0, 1, 1, 2, 2]])
    prediction = uint8([[1, 1, 1, 0, 1, 1, 2, 2]])
    objects = one_image(torch.tensor([[1, 1, 0, 0, 2, 2, 3, 3]]), label)
    assert count_pixels(objects, prediction)[0].false_positives.tolist() == [1, 0, 0]
    prediction[0, 3] = 1
    assert count_pixels(objects, prediction)[0].false_positives.tolist() == [1, 1, 0]
    one = uint8([[1, 1, 0, 1, 1]])
    objects = one_image(torch.tensor([[1, 1, 0, 2, 2]]), one)
    counts = count_pixels(objects, uint8([[1, 1, 1, 1, 1]]))[0]
    assert counts.false_positives.tolist() == [1, 1]


def test_random_maps_agree_with_a_loop_over_objects():
    generator = torch.Generator().manual_seed(0)
    for _ in range(5):
        label = (
            torch.randint(0, 4, (9, 7), generator=generator).repeat_interleave(4, 0).repeat_interleave(5, 1)
        )
        instance = torch.randint(0, 5, label.shape, generator=generator) * 1000
        prediction = torch.randint(0, 4, label.shape, generator=generator)
        label[torch.rand(label.shape, generator=generator) < 0.1] = 255
        label, prediction = label.to(torch.uint8), prediction.to(torch.uint8)
        objects = one_image(instance, label)
        counts, background = count_pixels(objects, prediction)
        on_objects = torch.zeros(256, dtype=torch.long)
        for k, number in enumerate(objects.ids.tolist()):
            mask = (instance == number) & (label != 255)
            kind = label[mask].bincount().argmax()
            assert objects.label[k] == kind
            own = mask & (label == kind)
            on_objects[kind] += own.sum()
            rows, columns = mask.nonzero().T
            box = [rows.min().item(), columns.min().item(), rows.max().item() + 1, columns.max().item() + 1]
            found = [getattr(objects, side)[k].item() for side in ("top", "left", "bottom", "right")]
            assert found == box
            half_h, half_w = (box[2] - box[0] + 1) // 2, (box[3] - box[1] + 1) // 2
            region = torch.zeros_like(mask)
            region[max(0, box[0] - half_h) : box[2] + half_h, max(0, box[1] - half_w) : box[3] + half_w] = (
                True
            )
            false = region & (prediction == kind) & (label != kind) & (label != 255)
            assert counts.pixels[k] == own.sum()
            assert counts.hits[k] == (own & (prediction == kind)).sum()
            assert counts.false_positives[k] == false.sum()
        for kind in range(4):
            assert background.pixels[kind] == (label == kind).sum() - on_objects[kind]
            wrong = (prediction == kind) & (label != kind) & (label != 255)
            assert background.false_positives[kind] == wrong.sum()


def test_ids_too_large_for_a_table_are_sorted_instead():
    label = torch.zeros(4, 4, dtype=torch.uint8)
    small = torch.tensor([[0, 0, 7, 7], [0, 3, 3, 0], [9, 9, 0, 0], [0, 0, -1, 0]])
    large = torch.where(small > 0, small + 2**40, small)
    for ours, expected in zip(one_image(large, label)[4:-1], one_image(small, label)[4:-1], strict=True):
        assert torch.equal(ours, expected)


def test_an_image_without_objects():
    label = torch.zeros(4, 4, dtype=torch.uint8)
    objects = one_image(torch.zeros(4, 4, dtype=torch.long), label)
    counts, background = count_pixels(objects, label)
    assert len(counts.pixels) == len(counts.false_positives) == 0
    assert background.hits[0] == 16


@pytest.mark.parametrize("value", [-100, 256, 307])
def test_illegal_classes_are_refused(value):
    label = torch.zeros(1, 4, 4, dtype=torch.int64)
    found = find_objects(label, label, ["a"])
    bad = label.clone()
    bad[0, 1, 2] = value
    message = f"contains illegal values: {value}; legal are 0 to 255 "
    with pytest.raises(ValueError, match=rf"label {message}\(255: ignored\)"):
        find_objects(label, bad, ["a"])
    scores = ObjectScores()
    with pytest.raises(ValueError, match=rf"prediction {message}\(255: neither"):
        scores.update(found, bad)
    assert len(scores.compute().pixels) == 0
    with pytest.raises(ValueError, match=f"prediction {message}"):
        count_pixels(found[0], bad[0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bool])
def test_maps_must_be_of_an_integer_type(dtype):
    good = torch.zeros(1, 4, 4, dtype=torch.int16)
    bad = good.to(dtype)
    for name, instances, label in (("instances", bad, good), ("label", good, bad)):
        with pytest.raises(ValueError, match=f"{name} must be of an integer type, got {dtype}"):
            find_objects(instances, label, ["a"])
    with pytest.raises(ValueError, match=f"prediction must be of an integer type, got {dtype}"):
        ObjectScores().update(find_objects(good, good, ["a"]), bad)


def test_a_prediction_of_255_is_neither_a_hit_nor_a_false_positive():
    label = uint8([[1, 1, 0, 255]])
    objects = one_image(torch.tensor([[1, 1, 0, 0]]), label)
    counts, background = count_pixels(objects, uint8([[255, 1, 255, 255]]))
    assert [part.tolist() for part in counts] == [[2], [1], [0]]
    assert background.pixels.tolist() == [1] + [0] * 255
    assert background.hits.sum() == background.false_positives.sum() == 0


@pytest.mark.parametrize(
    "box", [[3, 1, 2, 4], [1, 4, 2, 3], [0, 0, float("nan"), 1], [0, 0, float("inf"), 1]]
)
def test_inverted_and_infinite_boxes_are_refused(box):
    boxes = torch.tensor([[0.0, 0.0, 0.0, 0.0], [float(side) for side in box]])
    with pytest.raises(ValueError, match=r"left <= right and top <= bottom, got \[.*\] in row 1"):
        objects_from_boxes(boxes, None, "a", (8, 8))


def test_labels_of_boxes_that_do_not_fit_are_refused():
    boxes = torch.tensor([[0.0, 0.0, 2.0, 2.0]] * 2)
    with pytest.raises(ValueError, match=r"label \(K,\), got \(2, 4\) and \(2, 1\)"):
        objects_from_boxes(boxes, torch.ones(2, 1, dtype=torch.int64), "a", (8, 8))
    with pytest.raises(ValueError, match=r"label must be of an integer type, got torch\.float32"):
        objects_from_boxes(boxes, torch.ones(2), "a", (8, 8))


def test_boxes_are_not_clipped_to_the_image():
    found = objects_from_boxes(torch.tensor([[-2.0, 6.0, 4.0, 12.0]]), None, "a", (8, 8))
    assert found.box_area.tolist() == [36]
