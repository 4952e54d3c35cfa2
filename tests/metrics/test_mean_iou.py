"""`MeanIoU`: agrees with the official evaluator of Cityscapes."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from deformlab.metrics import MeanIoU

CITYSCAPES = Path(__file__).parents[2].parent / "shared" / "data" / "cityscapes_sample"


def test_by_hand():
    metric = MeanIoU(3)
    metric.update(torch.tensor([[0, 0, 1, 1]]), torch.tensor([[0, 1, 1, 255]]))
    result = metric.compute()
    assert result.iou[:2].tolist() == [0.5, 0.5]
    assert result.miou == 0.5


def test_a_class_in_neither_map_is_left_out_of_the_mean():
    metric = MeanIoU(4)
    metric.update(torch.tensor([[0, 1]]), torch.tensor([[0, 0]]))
    result = metric.compute()
    assert result.iou[:2].tolist() == [0.5, 0.0]
    assert result.iou[2:].isnan().all()
    assert result.miou == 0.25


def test_predictions_on_ignored_pixels_do_not_count():
    metric = MeanIoU(3)
    metric.update(torch.tensor([[0, 2, 1]]), torch.tensor([[0, 255, 255]]))
    result = metric.compute()
    assert result.miou == 1
    assert result.iou[1:].isnan().all()


def test_predicting_the_ignored_label_is_a_miss():
    metric = MeanIoU(2)
    metric.update(torch.tensor([[0, 255]]), torch.tensor([[0, 0]]))
    assert metric.compute().iou[0] == 0.5


def test_the_score_is_nan_if_all_pixels_are_ignored():
    metric = MeanIoU(2)
    metric.update(torch.tensor([[0, 1]]), torch.tensor([[255, 255]]))
    assert metric.compute().miou.isnan()


def test_batches_and_processes_add_up():
    generator = torch.Generator().manual_seed(0)
    preds, target = torch.randint(0, 5, (2, 6, 20, 30), generator=generator)
    whole, first, second = MeanIoU(5), MeanIoU(5), MeanIoU(5)
    whole.update(preds, target)
    first.update(preds[:1], target[:1])
    first.update(preds[1:2], target[1:2])
    second.update(preds[2:], target[2:])
    first.merge_state(second)
    assert torch.equal(first.confusion, whole.confusion)
    assert first.compute().miou == whole.compute().miou


def test_counts_are_int64():
    metric = MeanIoU(2)
    metric.confusion += 2**40
    metric.update(torch.tensor([0]), torch.tensor([0]))
    assert metric.confusion[0, 0] == 2**40 + 1


def test_reset_forgets():
    metric = MeanIoU(2)
    metric.update(torch.tensor([0]), torch.tensor([1]))
    metric.reset()
    metric.update(torch.tensor([0]), torch.tensor([0]))
    assert metric.compute().miou == 1


@pytest.mark.parametrize(("num_classes", "ignored"), [(2, -1), (2, -100), (2, 2), (2, 255), (300, -1)])
def test_the_ignored_label_can_be_another(num_classes, ignored):
    metric = MeanIoU(num_classes, ignore_index=ignored)
    metric.update(torch.tensor([0, 1, 1, ignored]), torch.tensor([0, 0, ignored, 1]))
    assert metric.compute().iou[:2].tolist() == [0.5, 0.0]


def test_an_empty_batch_counts_nothing():
    metric = MeanIoU(2)
    metric.update(torch.zeros(0, 4, 4, dtype=torch.long), torch.zeros(0, 4, 4, dtype=torch.long))
    assert metric.compute().miou.isnan()


@pytest.mark.parametrize("num_classes", [2, 15, 16, 180, 254])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32, torch.int64])
def test_any_number_of_classes_and_any_integer_type(num_classes, dtype):
    generator = torch.Generator().manual_seed(0)
    preds, target = torch.randint(0, num_classes, (2, 1, 40, 50), generator=generator)
    preds, target = preds.to(dtype).clone(), target.to(dtype).clone()
    target[:, :4] = 255
    metric = MeanIoU(num_classes)
    before = preds.clone(), target.clone()
    metric.update(preds, target)
    assert torch.equal(preds, before[0])
    assert torch.equal(target, before[1])
    counted = target != 255
    for k, iou in enumerate(metric.compute().iou.tolist()):
        ours, theirs = (preds == k) & counted, (target == k) & counted
        union = (ours | theirs).sum().item()
        expected = (ours & theirs).sum().item() / union if union else math.nan
        assert iou == pytest.approx(expected, abs=1e-12, nan_ok=True)


def official_scores(pairs, folder):
    """Scores of the official evaluator on pairs of (prediction, target) maps of label ids."""
    from cityscapesscripts.evaluation import evalPixelLevelSemanticLabeling as official

    files = []
    for i, pair in enumerate(pairs):
        files.append([str(folder / f"{kind}_{i}.png") for kind in ("prediction", "target")])
        for ids, file in zip(pair, files[-1], strict=True):
            Image.fromarray(ids.astype(np.uint8)).save(file)
    official.args.quiet = True
    official.args.JSONOutput = False
    official.args.evalInstLevelScore = False
    predictions, targets = (list(names) for names in zip(*files, strict=True))
    return official.evaluateImgLists(predictions, targets, official.args)


def assert_equals_official(pairs, folder):
    from cityscapesscripts.helpers.labels import id2label, labels

    to_train_id = np.full(256, 255)
    for label in labels:
        if label.id >= 0:
            to_train_id[label.id] = 255 if label.ignoreInEval else label.trainId
    metric = MeanIoU(19)
    for prediction, target in pairs:
        metric.update(torch.from_numpy(to_train_id[prediction]), torch.from_numpy(to_train_id[target]))
    result, expected = metric.compute(), official_scores(pairs, folder)
    for label in id2label.values():
        if not label.ignoreInEval:
            score = expected["classScores"][label.name]
            assert result.iou[label.trainId].item() == pytest.approx(score, abs=1e-9, nan_ok=True), label.name
    assert result.miou.item() == pytest.approx(expected["averageScoreClasses"], abs=1e-9)
    return result


def test_equals_the_official_evaluator_on_generated_maps(tmp_path):
    random = np.random.default_rng(0)
    pairs = []
    for _ in range(3):
        target = random.integers(0, 30, (40, 60))  # ids 30 to 33 are absent
        prediction = np.where(random.random(target.shape) < 0.6, target, random.integers(0, 32, target.shape))
        pairs.append((prediction, target))
    result = assert_equals_official(pairs, tmp_path)
    assert result.iou.isnan().sum() == 2  # motorcycle and bicycle, ids 32 and 33; train, 31, is predicted


@pytest.mark.skipif(not CITYSCAPES.is_dir(), reason="the Cityscapes sample is not there")
def test_equals_the_official_evaluator_on_cityscapes(tmp_path):
    pairs = []
    for file in sorted(CITYSCAPES.glob("gtFine/*/*/*_labelIds.png")):
        target = np.asarray(Image.open(file))
        prediction = np.roll(target, (7, 11), (0, 1))  # wrong at the edges of things, as a network is
        pairs.append((prediction, target))
    assert len(pairs) == 3
    assert_equals_official(pairs, tmp_path)


@pytest.mark.parametrize(
    ("preds", "target", "message"),
    [
        ([[0, 1]], [[0, 19]], "target contains illegal values: 19; legal are the classes 0 to 18 and 255"),
        ([[0, 1]], [[-1, 33]], "target contains illegal values: -1, 33;"),
        ([[0, 20]], [[0, 0]], "preds contains illegal values: 20;"),
        ([list(range(100, 115))], [[0] * 15], "108, 109, ...;"),
        ([[0, 1, 2]], [[0, 1]], r"same shape, got \(1, 3\) and \(1, 2\)"),
        ([[0.1, 0.9]], [[0, 1]], "preds must be of an integer type, got torch.float32"),
    ],
)
def test_illegal_maps_are_named_and_not_counted(preds, target, message):
    metric = MeanIoU(19)
    with pytest.raises(ValueError, match=message):
        metric.update(torch.tensor(preds), torch.tensor(target))
    assert metric.confusion.sum() == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1,), "num_classes must be >= 2, got 1"),
        ((19, 18), "ignore_index must not be one of the classes"),
        ((19, -1000), "ignore_index must be in -255 to 255, got -1000"),
    ],
)
def test_a_bad_argument_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        MeanIoU(*arguments)
