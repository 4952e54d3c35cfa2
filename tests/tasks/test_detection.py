"""Training, evaluation and prediction of detectors, from the command line and in parts."""

import json

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from deformlab.cli import main
from deformlab.data.detection.datamodule import collate_detection
from deformlab.errors import ConfigError, DatasetError
from deformlab.models.detection import Candidates, DetectionPostprocessing
from deformlab.run_folder import read_objects, read_result
from deformlab.tasks import Detection, DetectionEvaluation

TINY = {
    "task": "detection",
    "seed_everything": 0,
    "trainer": {"accelerator": "cpu", "max_epochs": 2},
    "model": {
        "backbone": "resnet10",
        "width": 0.125,
        "conv5": "deformable",
        "num_deformable_layers": 2,
        "detector": {
            "roi_pooling": "deformable",
            "initialization": "kaiming",
            "reduction_channels": 16,
            "fc_channels": 16,
            "rpn_channels": 16,
            "anchor_scales": [1, 2],
            "anchor_ratios": [1.0],
            "proposals": 20,
            "bins": 3,
        },
        "optimization": {"learning_rate": 0.01},
    },
    "data": {
        "dataset": "shapes",
        "batch_size": 4,
        "train_transform": {"short_side": None},
        "eval_transform": {"short_side": None},
        "options": {"size": 96, "train_images": 8, "val_images": 4},
    },
}


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    path = tmp_path_factory.mktemp("config") / "detection.yaml"
    path.write_text(yaml.safe_dump(TINY))
    return path


@pytest.fixture(scope="module")
def run_dir(config, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "detector"
    assert main(["fit", "--config", str(config), "--run_dir", str(folder), "--wandb", "off"]) == 0
    return folder


def task(num_classes=3, **options):
    torch.manual_seed(0)
    model = {key: value for key, value in TINY["model"].items() if key not in ("detector", "optimization")}
    found = Detection(num_classes=num_classes, **model | options)
    found.log = lambda *arguments, **keywords: None
    return found


def training_batch(boxes=((10.0, 10.0, 40.0, 50.0),)):
    generator = torch.Generator().manual_seed(0)
    return {
        "image": torch.randn(1, 3, 64, 96, generator=generator),
        "size": [(64, 96)],
        "boxes": [torch.tensor(boxes).view(-1, 4)],
        "labels": [torch.zeros(len(boxes), dtype=torch.long)],
        "name": ["a"],
    }


def test_a_run_records_ap_and_the_detectors_options(run_dir):
    result = read_result(run_dir)
    assert result.status == "finished"
    assert result.score.name == "ap"
    assert {"ap50", "ap70", "ap75"} <= set(result.other_scores)
    assert set(result.class_scores.values) == {"disc", "square", "triangle"}
    assert result.model["detector"] == "faster_rcnn"
    assert result.model["roi_pooling"] == "deformable"
    assert result.measurement.sizes.assignment == "box"


def test_a_run_records_effective_dilation_and_detection_of_each_object(run_dir):
    records = read_objects(run_dir, read_result(run_dir).classes).records
    assert records.layers == ("layer4.0.conv1", "layer4.0.conv2")
    assert records.detections is not None
    assert records.is_object.sum() > 0


def test_pictures_show_objects_beside_detections(run_dir):
    picture = Image.open(run_dir / "predictions" / "00-val_00000.png")
    assert picture.size == (2 * 96, 96)


def test_a_finished_run_is_measured_again_with_other_options(run_dir, capsys):
    arguments = ["validate", "--run_dir", str(run_dir), "--name", "two-scales"]
    options = ["--model.evaluation.scales", "[1.0, 1.5]", "--model.evaluation.flip", "true"]
    assert main([*arguments, *options]) == 0
    text = capsys.readouterr().out
    assert "AP50" in text
    content = json.loads((run_dir / "evaluations" / "two-scales.json").read_text())
    assert content["score"]["name"] == "ap"
    assert content["other_scores"]["ap50"] is not None


def test_validation_repeats_the_score_of_the_training(run_dir, capsys):
    before = read_result(run_dir)
    assert main(["validate", "--run_dir", str(run_dir)]) == 0
    after = read_result(run_dir)
    assert after.score == before.score
    assert after.other_scores == before.other_scores


def test_predict_writes_boxes_in_pixels_of_each_image(run_dir, tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    for name, (height, width) in {"a.jpg": (50, 70), "b.png": (120, 90)}.items():
        pixels = np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(images / name)
    output = tmp_path / "out"
    arguments = ["predict", "--run_dir", str(run_dir), "--data.predict_root", str(images)]
    assert main([*arguments, "--output", str(output)]) == 0
    assert sorted(path.name for path in output.iterdir()) == [
        *("a.json", "a_boxes.png", "b.json", "b_boxes.png")
    ]
    content = json.loads((output / "b.json").read_text())
    assert content["size"] == [120, 90]
    assert content["detections"]
    for entry in content["detections"]:
        left, top, width, height = entry["box"]
        assert entry["class"] in ("disc", "square", "triangle")
        assert left >= 0
        assert top >= 0
        assert left + width <= 90.01
        assert top + height <= 120.01
    assert Image.open(output / "b_boxes.png").size == (90, 120)


def test_an_interrupted_training_ends_like_an_uninterrupted_one(config, run_dir, tmp_path, monkeypatch):
    folder = tmp_path / "stopped"
    arguments = ["fit", "--config", str(config), "--run_dir", str(folder), "--wandb", "off"]
    step = Detection.training_step

    def interrupt(self, *batch):
        if self.current_epoch == 1:
            raise KeyboardInterrupt
        return step(self, *batch)

    with monkeypatch.context() as patch:
        patch.setattr(Detection, "training_step", interrupt)
        assert main(arguments) == 130
    assert main(arguments) == 0
    ours, expected = (
        torch.load(where / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        for where in (folder, run_dir)
    )
    assert all(torch.equal(ours[name], expected[name]) for name in expected)


def test_a_run_of_another_task_is_not_continued(run_dir, capsys):
    assert (
        main(["fit", "--task", "segmentation", "--trainer.max_epochs", "1", "--run_dir", str(run_dir)]) == 2
    )
    error = capsys.readouterr().err
    assert "recorded for task 'detection', and this is 'segmentation'" in error


def test_help_of_the_task_fits_one_screen(capsys):
    with pytest.raises(SystemExit):
        main(["fit", "--task", "detection", "--help"])
    assert len(capsys.readouterr().out.splitlines()) <= 45


def test_every_parameter_gets_a_gradient_even_without_objects():
    for boxes in (((10.0, 10.0, 40.0, 50.0),), ()):
        found = task()
        found.training_step(training_batch(boxes), 0).backward()
        # Processes wait for each of them.
        missing = [name for name, weight in found.model.named_parameters() if weight.grad is None]
        assert not missing


def test_results_do_not_depend_on_the_size_of_batches():
    found = task().eval()
    images = [torch.randn(3, 64, 96), torch.randn(3, 64, 96)]

    def batch(chosen):
        return collate_detection(
            [
                {
                    "image": images[i],
                    "size": (64, 96),
                    "original_size": (64, 96),
                    "boxes": torch.tensor([[10.0, 10, 40, 50]]),
                    "labels": torch.tensor([1]),
                    "difficult": torch.tensor([False]),
                    "crowd": torch.tensor([False]),
                    "area": torch.tensor([1200.0]),
                    "ids": torch.tensor([1]),
                    "masks": None,
                    "name": str(i),
                    "image_id": i,
                }
                for i in chosen
            ]
        )

    with torch.no_grad():
        together = found.validation_step(batch([0, 1]), 0)
        alone = [found.validation_step(batch([i]), 0)[0] for i in (0, 1)]
    for one, other in zip(together, alone, strict=True):
        assert torch.equal(one.boxes, other.boxes)
        assert torch.equal(one.scores, other.scores)


def test_mirrored_and_scaled_candidates_are_on_the_image_itself():
    found = task()
    fixed = Candidates(torch.tensor([[10.0, 20, 30, 40]]), torch.tensor([[0.1, 0.9, 0, 0]]))

    class Fixed(torch.nn.Module):
        def forward(self, image, sizes):
            width = sizes[0][1]
            left, top, right, bottom = (fixed.boxes[0] * width / 96).tolist()
            mirrored = bool(image[0, 0, 0, 0] == 0)
            if mirrored:
                left, right = width - right, width - left
            return [Candidates(torch.tensor([[left, top, right, bottom]]), fixed.scores)]

    found.model = Fixed()
    found.evaluation = DetectionEvaluation(scales=[1.0, 2.0], flip=True)
    image = torch.zeros(1, 3, 64, 96)
    image[0, 0, 0, 0] = 1
    # The top left pixel tells whether the image is mirrored.
    for scale in (1.0, 2.0):
        for flip in (False, True):
            candidates = found._candidates(image, scale, flip)
            torch.testing.assert_close(candidates[0].boxes, fixed.boxes)
    detections = found._select(image, (128, 192), found._candidates(image, 1.0, False))
    assert detections.boxes[0].tolist() == [20, 40, 60, 80]  # twice as large on the original image


def test_detections_may_be_scored_again():
    options = DetectionPostprocessing(box_average=True)
    found = task(evaluation=DetectionEvaluation(rescoring=True, postprocessing=options)).eval()
    with torch.no_grad():
        candidates = found._candidates(torch.randn(1, 3, 64, 96), 1.0, False)
    assert len(candidates) == 2


@pytest.mark.parametrize("protocol", ["voc2007", "voc2012"])
def test_voc_is_scored_by_ap_at_one_half(protocol):
    assert task(evaluation=DetectionEvaluation(protocol=protocol)).monitor == "val/ap50"
    assert task().monitor == "val/ap"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scales": []}, "scales must be one or more factors"),
        ({"protocol": "lvis"}, "protocol must be one of coco, voc2007, voc2012"),
        ({"object_sizes": (9.0, 4.0)}, "9"),
    ],
)
def test_illegal_options_of_the_evaluation_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        DetectionEvaluation(**options)


def test_an_illegal_label_is_a_fault_of_the_data_and_names_the_image():
    found = task().eval()
    batch = collate_detection(
        [
            {
                "image": torch.randn(3, 64, 96),
                "size": (64, 96),
                "original_size": (64, 96),
                "boxes": torch.tensor([[10.0, 10, 40, 50]]),
                "labels": torch.tensor([7]),  # there are three classes
                "difficult": torch.tensor([False]),
                "crowd": torch.tensor([False]),
                "area": torch.tensor([1200.0]),
                "ids": torch.tensor([1]),
                "masks": None,
                "name": "street",
                "image_id": 0,
            }
        ]
    )
    with torch.no_grad(), pytest.raises(DatasetError, match="street"):
        found.validation_step(batch, 0)
