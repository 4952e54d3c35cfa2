"""Hits and false positives per object, against counting by hand."""

import torch

from deformlab.metrics import find_objects
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
