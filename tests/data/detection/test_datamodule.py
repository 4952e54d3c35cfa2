import pickle

import numpy as np
import pytest
import torch

from deformlab.data.detection import (
    DetectionDataModule,
    DetectionEvalTransform,
    DetectionTrainTransform,
    ShapeBoxes,
)
from deformlab.data.detection.datamodule import GroupedSampler, collate_detection
from deformlab.data.detection.transforms import resized_size
from deformlab.errors import ConfigError, DatasetError

SHAPES = {"train_images": 8, "val_images": 3, "size": 64}


def module(dataset="shapes", **options):
    transforms = {
        "train_transform": DetectionTrainTransform(short_side=None),
        "eval_transform": DetectionEvalTransform(short_side=None),
    }
    options = {"batch_size": 2, "options": SHAPES if dataset == "shapes" else {}} | transforms | options
    found = DetectionDataModule(dataset, **options)
    found.setup("fit")
    return found


def sample(size=(30, 40), boxes=((5, 4, 15, 12),), **changes):
    count = len(boxes)
    return {
        "image": np.random.default_rng(0).integers(0, 255, (*size, 3), dtype=np.uint8),
        "boxes": np.array(boxes, dtype=np.float32).reshape(-1, 4),
        "labels": np.arange(count),
        "difficult": np.zeros(count, dtype=bool),
        "crowd": np.zeros(count, dtype=bool),
        "area": np.ones(count),
        "ids": np.arange(count),
        "masks": None,
        "name": "a",
        "image_id": 0,
    } | changes


def test_a_flipped_box_is_mirrored_exactly():
    plain = DetectionTrainTransform(short_side=None, flip=0)(sample(), 0)
    flipped = DetectionTrainTransform(short_side=None, flip=1)(sample(), 0)
    assert flipped["boxes"].tolist() == [[25, 4, 35, 12]]
    assert torch.equal(flipped["image"], plain["image"].flip(-1))
    # The pixels inside the box are the same ones.
    assert torch.equal(flipped["image"][:, 4:12, 25:35], plain["image"][:, 4:12, 5:15].flip(-1))


def test_boxes_scale_by_the_exact_ratio_of_the_sides():
    result = DetectionTrainTransform(short_side=45, flip=0)(sample(), 0)
    assert result["size"] == tuple(result["image"].shape[-2:]) == (45, 60)
    assert result["boxes"].tolist() == [[7.5, 6, 22.5, 18]]


def test_the_longer_side_is_limited():
    assert resized_size((600, 800), 600, 1000) == (600, 800)
    assert resized_size((300, 900), 600, 1000) == (333, 1000)
    assert resized_size((300, 900), None, 1000) == (300, 900)


def test_difficult_objects_and_crowds_are_not_trained_on():
    boxes = ((1, 1, 9, 9), (2, 2, 9, 9), (3, 3, 9, 9))
    marked = sample(boxes=boxes, difficult=np.array([1, 0, 0], bool), crowd=np.array([0, 1, 0], bool))
    assert DetectionTrainTransform(short_side=None, flip=0)(marked, 0)["labels"].tolist() == [2]


def test_one_of_several_short_sides_is_drawn():
    transform = DetectionTrainTransform(short_side=(30, 60), flip=0)
    assert {transform(sample(), seed)["size"] for seed in range(20)} == {(30, 40), (60, 80)}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"short_side": 0}, "short_side=0: must be one or more lengths of at least 1"),
        ({"flip": 2}, "flip=2: must be a probability"),
        ({"max_side": 0}, "max_side=0: must be at least 1 pixel"),
    ],
)
def test_illegal_options_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        DetectionTrainTransform(**options)


def test_images_are_padded_on_the_right_and_at_the_bottom():
    transform = DetectionTrainTransform(short_side=None, flip=0)
    batch = collate_detection([transform(sample((30, 40)), 0), transform(sample((50, 20)), 0)])
    assert batch["image"].shape == (2, 3, 50, 40)
    assert batch["size"] == [(30, 40), (50, 20)]
    assert (batch["image"][0, :, 30:] == 0).all()
    assert (batch["image"][1, :, :, 20:] == 0).all()


def test_objects_to_evaluate_stay_in_pixels_of_the_original_image():
    batch = next(iter(module(eval_transform=DetectionEvalTransform(short_side=128)).val_dataloader()))
    assert batch["size"] == [(128, 128)]
    assert batch["original_size"] == [(64, 64)]
    assert torch.equal(batch["boxes"][0], torch.from_numpy(ShapeBoxes(None, "val", **SHAPES).raw(0)["boxes"]))


def test_order_and_augmentation_do_not_depend_on_workers():
    def first(workers):
        loader = module(num_workers=workers, seed=3).train_dataloader()
        return [(batch["name"], batch["image"].sum().item()) for batch in loader]

    assert first(0) == first(1)


def test_batches_have_one_orientation_and_every_epoch_another_order():
    portrait = [True] * 7 + [False] * 9
    sampler = GroupedSampler(range(16), portrait, 4, num_replicas=1, rank=0, seed=0)

    def epoch(number):
        sampler.set_epoch(number)
        return [index for index, _ in sampler]

    order = epoch(0)
    assert len(order) == len(sampler) == 12
    assert len(set(order)) == 12
    for start in range(0, 12, 4):
        assert len({portrait[index] for index in order[start : start + 4]}) == 1
    assert epoch(1) != order
    assert epoch(0) == order


def test_processes_share_the_batches_of_an_epoch():
    portrait = [True] * 9 + [False] * 9
    parts = []
    for rank in range(2):
        sampler = GroupedSampler(range(18), portrait, 2, num_replicas=2, rank=rank, seed=0)
        parts.append([index for index, _ in sampler])
    assert len(parts[0]) == len(parts[1]) == 8
    assert not set(parts[0]) & set(parts[1])


def test_an_interrupted_epoch_goes_on_where_it_stopped():
    portrait = [True] * 8 + [False] * 8
    whole = list(GroupedSampler(range(16), portrait, 2, num_replicas=1, rank=0, seed=0))
    sampler = GroupedSampler(range(16), portrait, 2, num_replicas=1, rank=0, seed=0)
    sampler.resume(0, 6)
    assert list(sampler) == whole[6:]


def test_training_images_without_objects_are_left_out(voc):
    for name, objects in (("a", [("cat", (1, 1, 9, 9))]), ("b", []), ("c", [("cat", (1, 1, 9, 9), 1)])):
        voc.add(name, objects)
        voc.add(f"v{name}", objects, "val")
    found = module("boxes", root=str(voc.root), batch_size=1)
    assert found.train_dataset.names == ["a"]
    assert found.val_dataset.names == ["va", "vb", "vc"]
    kept = module("boxes", root=str(voc.root), batch_size=1, skip_empty=False)
    assert kept.train_dataset.names == ["a", "b", "c"]


def test_a_split_without_any_object_cannot_be_trained_on(voc):
    voc.add("a", [])
    voc.add("b", [("cat", (1, 1, 9, 9))], "val")
    with pytest.raises(DatasetError, match="the images of train have no object to train on"):
        module("boxes", root=str(voc.root), batch_size=1)


def test_a_batch_that_cannot_be_filled_is_refused_before_training(voc):
    for number in range(5):
        voc.add(f"l{number}", [("cat", (1, 1, 9, 9))], size=(30, 40))
        voc.add(f"p{number}", [("cat", (1, 1, 9, 9))], size=(40, 30))
    voc.add("v", [("cat", (1, 1, 9, 9))], "val")
    found = module("boxes", root=str(voc.root), batch_size=8)
    with pytest.raises(ConfigError, match=r"data.batch_size=8: no batch can be filled from the 10 images"):
        found.train_dataloader()


def test_too_few_images_of_one_orientation_are_named(voc, caplog):
    for number in range(4):
        voc.add(f"l{number}", [("cat", (1, 1, 9, 9))], size=(30, 40))
    voc.add("p", [("cat", (1, 1, 9, 9))], size=(40, 30))
    voc.add("v", [("cat", (1, 1, 9, 9))], "val")
    with caplog.at_level("INFO"):
        loader = module("boxes", root=str(voc.root), batch_size=2).train_dataloader()
    assert len(loader) == 2
    assert "the 1 portrait images to train on fill no batch" in caplog.text


def test_spawned_workers_get_the_images_that_were_kept(voc):
    voc.add("a", [("cat", (1, 1, 9, 9))])
    voc.add("b", [])
    voc.add("v", [("cat", (1, 1, 9, 9))], "val")
    dataset = module("boxes", root=str(voc.root), batch_size=1).train_dataset
    copy = pickle.loads(pickle.dumps(dataset))
    assert copy.names == ["a"]
    assert copy.classes == ("cat",)
