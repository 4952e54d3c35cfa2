import numpy as np
import pytest
import torch
from jsonargparse import ArgumentParser
from PIL import Image
from pytorch_lightning import LightningModule, Trainer

from deformlab.data import EvalTransform, SegmentationDataModule, TrainTransform
from deformlab.errors import ConfigError, DatasetError

SMALL = {"size": 48, "train_images": 10, "val_images": 3}


def opened(stage="fit", **arguments):
    data = SegmentationDataModule(**{"batch_size": 4, "options": SMALL} | arguments)
    data.setup(stage)
    return data


def images(loader):
    return torch.cat([batch["image"] for batch in loader])


def test_training_batches_have_the_documented_content():
    batches = list(opened().train_dataloader())
    assert len(batches) == 2  # ten images in fours: the last two are dropped
    batch = batches[0]
    assert batch["image"].shape == (4, 3, 48, 48)
    assert batch["label"].shape == batch["instance"].shape == (4, 48, 48)
    assert batch["label"].dtype == batch["instance"].dtype == torch.int64
    assert len(batch["name"]) == 4


def test_validation_keeps_labels_at_the_original_resolution():
    data = opened(eval_transform=EvalTransform(short_side=24))
    batch = next(iter(data.val_dataloader()))
    assert batch["image"].shape == (1, 3, 24, 24)
    assert batch["label"].shape == batch["instance"].shape == (1, 48, 48)


def test_validation_visits_every_image_in_order():
    names = [name for batch in opened("validate").val_dataloader() for name in batch["name"]]
    assert names == ["val_00000", "val_00001", "val_00002"]


def test_test_uses_the_test_split_where_labels_exist(cityscapes_root):
    assert opened("test").test_dataset.split == "test"
    cityscapes = opened("test", dataset="cityscapes", root=str(cityscapes_root), options=None)
    assert cityscapes.test_dataset.split == "val"


def test_the_number_of_workers_changes_nothing():
    transform = TrainTransform(scale=(0.5, 2.0), crop=(32, 32), color=0.5)
    alone = images(opened(train_transform=transform).train_dataloader())
    helped = images(opened(train_transform=transform, num_workers=2).train_dataloader())
    assert torch.equal(alone, helped)


def test_epochs_differ_in_order_and_augmentation_with_persistent_workers():
    loader = opened(num_workers=1).train_dataloader()
    loader.sampler.set_epoch(0)
    first = images(loader)
    loader.sampler.set_epoch(1)
    assert not torch.equal(first, images(loader))
    loader.sampler.set_epoch(0)
    assert torch.equal(first, images(loader))


def test_lightning_tells_the_sampler_its_epoch():
    class Recorder(LightningModule):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))
            self.names = []

        def training_step(self, batch, batch_idx):
            self.names.append(tuple(batch["name"]))
            return self.weight.sum()

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

    model = Recorder()
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = Trainer(max_epochs=2, accelerator="cpu", enable_model_summary=False, **quiet)
    trainer.fit(model, datamodule=SegmentationDataModule(batch_size=5, options=SMALL))
    assert len(model.names) == 4
    assert model.names[:2] != model.names[2:]


def test_another_seed_gives_another_order():
    first = next(iter(opened().train_dataloader()))["name"]
    assert first != next(iter(opened(seed=1).train_dataloader()))["name"]


def test_classes_palette_and_things_are_known_before_any_file_is_read():
    data = SegmentationDataModule("camvid")
    assert data.num_classes == len(data.classes) == len(data.palette) == 11
    assert "Car" in data.things


def test_prediction_keeps_the_original_size(tmp_path):
    for number, size in enumerate([(40, 30), (20, 60)]):
        Image.new("RGB", size).save(tmp_path / f"{number}.png")
    (tmp_path / "notes.txt").write_text("no image")
    data = opened("predict", predict_root=str(tmp_path), eval_transform=EvalTransform(short_side=15))
    batches = list(data.predict_dataloader())
    assert [(batch["name"], batch["size"]) for batch in batches] == [(["0"], [(30, 40)]), (["1"], [(60, 20)])]
    assert batches[0]["image"].shape == (1, 3, 15, 20)


def test_a_folder_without_images_to_predict_is_named(tmp_path):
    with pytest.raises(DatasetError, match="contains no images"):
        opened("predict", predict_root=str(tmp_path))
    with pytest.raises(ConfigError, match=r"data\.predict_root"):
        opened("predict")


@pytest.mark.parametrize("workers", [0, 1])
def test_a_corrupt_image_in_the_middle_of_an_epoch_is_one_line(camvid_root, workers):
    file = camvid_root / "train" / "train2.png"
    file.write_bytes(file.read_bytes()[:200])
    data = opened(dataset="camvid", root=str(camvid_root), options=None, batch_size=1, num_workers=workers)
    with pytest.raises(DatasetError) as caught:
        list(data.train_dataloader())
    assert str(caught.value).startswith(f"{file}: cannot be read (")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("workers", [0, 1])
def test_images_of_different_size_in_one_batch_are_refused_with_a_remedy(camvid_root, workers):
    Image.new("RGB", (20, 20)).save(camvid_root / "train" / "train2.png")
    Image.new("L", (20, 20)).save(camvid_root / "trainannot" / "train2.png")
    data = opened(dataset="camvid", root=str(camvid_root), options=None, batch_size=3, num_workers=workers)
    with pytest.raises(ConfigError) as caught:
        list(data.train_dataloader())
    assert str(caught.value) == (
        "image maps of one batch differ in size (20x20 and 32x24): set data.train_transform.crop "
        "for training, data.val_batch_size to 1 for evaluation"
    )


def test_a_configuration_sets_the_transforms_field_by_field():
    parser = ArgumentParser()
    parser.add_class_arguments(SegmentationDataModule, "data")
    configuration = {
        "train_transform": {"scale": [0.5, 2.0], "crop": [32, 24]},
        "eval_transform": {"short_side": 24},
        "options": {"size": 64, "radius": [4, 20]},
    }
    parsed = parser.parse_object({"data": configuration})
    data = parser.instantiate(parsed).data
    assert data.train_transform == TrainTransform(scale=(0.5, 2.0), crop=(32, 24))
    assert data.eval_transform == EvalTransform(short_side=24)
    data.setup("fit")
    assert np.shape(data.val_dataset[0]["label"]) == (64, 64)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dataset": "kitti"}, "'kitti': unknown data set; choose one of shapes, camvid, cityscapes, voc"),
        ({"options": {"sise": 3}}, "'shapes' has no option 'sise'; it has cache, train_images"),
        ({"batch_size": 0}, r"data\.batch_size=0: must be at least 1"),
        ({"num_workers": -1}, r"data\.num_workers=-1"),
        ({"seed": -1}, r"data\.seed=-1"),
        ({"seed": 10**30}, r"data\.seed=1000"),
    ],
)
def test_an_unknown_name_or_number_is_one_line_that_lists_the_legal_ones(arguments, message):
    with pytest.raises(ConfigError, match=message):
        SegmentationDataModule(**arguments)


def test_an_illegal_option_value_is_a_configuration_error():
    with pytest.raises(ConfigError, match=r"data\.options: size=1: must be at least 16"):
        opened(options={"size": 1})


def test_a_batch_larger_than_the_training_split_is_refused():
    with pytest.raises(ConfigError, match=r"data\.batch_size=11: larger than the training split.*10 images"):
        opened(batch_size=11)
