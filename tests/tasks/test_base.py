"""`BaseTask`: another task than segmentation, and the options that all tasks take."""

import dataclasses
import os
import subprocess
import sys

import pytest
import pytorch_lightning as pl
import torch
from jsonargparse import ArgumentParser
from torch import nn
from torch.utils.data import DataLoader
from torchmetrics.classification import MulticlassAccuracy

from deformlab.callbacks import OffsetMonitor
from deformlab.errors import CheckpointError, ConfigError, TrainingError
from deformlab.models import BackboneConfig, build_backbone
from deformlab.tasks import BaseTask

SMALL = {"backbone": "resnet10", "width": 0.125, "num_deformable_layers": 2}


class Classifier(nn.Module):
    def __init__(self, backbone, num_classes):
        super().__init__()
        self.backbone = backbone
        self.head = nn.Linear(backbone.channels[-1], num_classes)

    def forward(self, image):
        return self.head(self.backbone(image).mean((2, 3)))


class Classification(BaseTask):
    """The class of an image.

    Args:
        smoothing: Label smoothing.
        options: Those of `BaseTask`.
    """

    monitor = "val/top1"

    def __init__(self, *, smoothing: float = 0.0, **options):
        self.smoothing = smoothing
        super().__init__(**options)

    def configure_models(self):
        self.model = Classifier(build_backbone(self.backbone_config), self.num_classes)

    def configure_losses(self):
        self.loss = nn.CrossEntropyLoss(label_smoothing=self.smoothing)

    def configure_metrics(self):
        self.accuracy = MulticlassAccuracy(self.num_classes)

    def training_step(self, batch, batch_idx):
        return self.log_loss(self.loss(self.model(batch["image"]), batch["label"]))

    def validation_step(self, batch, batch_idx):
        with self.recorded_layers() as (offsets, _):
            self.accuracy.update(self.model(batch["image"]), batch["label"])
        self.offsets = offsets

    def on_validation_epoch_end(self):
        self.log(self.monitor, self.accuracy.compute())


def images(poison=False):
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randn(4, 3, 32, 32, generator=generator)
    if poison:
        pixels[2] = float("nan")
    return DataLoader([{"image": x, "label": i % 2, "name": f"image{i}"} for i, x in enumerate(pixels)], 2)


def task(**options):
    torch.manual_seed(0)
    return Classification(num_classes=2, **{**SMALL, **options})


def trainer(tmp_path, *callbacks):
    return pl.Trainer(
        accelerator="cpu",
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        callbacks=list(callbacks),
        default_root_dir=tmp_path,
    )


def test_a_classification_task_trains_and_is_measured(tmp_path):
    module = task(smoothing=0.1)
    before = {name: weight.clone() for name, weight in module.named_parameters()}
    run = trainer(tmp_path, OffsetMonitor(tmp_path))
    run.fit(module, images(), images())
    assert run.global_step == 2
    assert any(not torch.equal(weight, before[name]) for name, weight in module.named_parameters())
    assert 0 <= run.callback_metrics[module.monitor] <= 1
    assert run.callback_metrics["train/loss"] == pytest.approx(module.train_loss)
    assert list(module.offsets) == list(module.tracked_layers) == ["layer4.0.conv1", "layer4.0.conv2"]
    assert (tmp_path / "offsets.csv").is_file()


def test_a_task_that_diverges_names_the_images(tmp_path):
    with pytest.raises(TrainingError, match=r"the loss became infinite or nan at step 1 .* image2, image3"):
        trainer(tmp_path).fit(task(), images(poison=True), images())


def test_its_checkpoint_of_another_architecture_is_refused():
    with pytest.raises(CheckpointError, match="another architecture: model"):
        task().on_load_checkpoint({"state_dict": task(width=0.25).state_dict()})


def test_it_starts_from_weights_that_do_not_have_its_offsets(tmp_path):
    atrous = task(conv5="atrous")
    torch.save({"state_dict": atrous.state_dict()}, tmp_path / "atrous.ckpt")
    torch.save(atrous.backbone.state_dict(), tmp_path / "backbone.pth")
    torch.manual_seed(1)
    options = {"num_classes": 2, **SMALL}
    whole = Classification(**options, init_weights=tmp_path / "atrous.ckpt")
    assert torch.equal(whole.model.head.weight, atrous.model.head.weight)
    part = Classification(**options, backbone_weights=str(tmp_path / "backbone.pth"))
    assert torch.equal(part.backbone.conv1.weight, atrous.backbone.conv1.weight)
    assert not torch.equal(part.model.head.weight, atrous.model.head.weight)


@pytest.fixture
def parser():
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(Classification, "model")
    return parser


def test_every_option_of_the_backbone_is_an_option_of_every_task(parser):
    config = parser.parse_args(["--model.num_classes=2", "--model.dilation=6", "--model.conv5=modulated"])
    assert config.model.dilation == 6
    known = {field.name: field.default for field in dataclasses.fields(BackboneConfig)}
    assert known.items() <= (vars(config.model) | {"dilation": 2, "conv5": "deformable"}).items()
    config = parser.parse_args(
        ["--model.num_classes=2", *(f"--model.{name}={value}" for name, value in SMALL.items())]
    )
    assert parser.instantiate(config).model.backbone_config == BackboneConfig(**SMALL)


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--model.dilation=wide", "model.dilation"),
        ("--model.conv5=dcn", "model.conv5"),
        ("--model.dilaton=2", "unrecognized arguments: --model.dilaton"),
    ],
)
def test_an_option_of_the_wrong_type_or_name_is_refused(parser, argument, message):
    with pytest.raises(Exception, match=message):
        parser.parse_args(["--model.num_classes=2", argument])


def test_the_command_line_explains_every_option_of_the_model():
    command = [sys.executable, "-m", "deformlab", "fit", "--help-all"]
    environment = os.environ | {"COLUMNS": "100"}
    shown = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    text = " ".join(shown.stdout.split())
    for option, explanation in (
        (
            "--model.head_channels HEAD_CHANNELS",
            "Number of channels between the 1x1 reduction and",
        ),
        ("--model.dilation DILATION", "Dilation of every 3x3 convolution of conv5,"),
        ("--model.freeze_at {0,1,2,3,4,5}", "How many stages, counted from the input, are not trained:"),
        ("--model.optimization.momentum MOMENTUM", "SGD momentum in [0, 1)"),
        (
            "--model.evaluation.flip {true,false}",
            "Whether to average over the mirrored image too,",
        ),
    ):
        assert f"{option} {explanation}" in text
    for field in dataclasses.fields(BackboneConfig):
        assert f"--model.{field.name} " in text


def test_an_unknown_option_in_python_is_refused():
    with pytest.raises(TypeError, match="dilaton"):
        task(dilaton=3)
    with pytest.raises(ConfigError, match="dilation must be an integer in 1 to 4096, got 0"):
        task(dilation=0)
