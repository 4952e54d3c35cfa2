"""Every detector: shapes, images without objects, and learning one image by heart."""

import pytest
import torch

from deformlab.errors import ConfigError
from deformlab.models import BackboneConfig, build_backbone
from deformlab.models.detection import (
    ClassAwareRPN,
    DetectionPostprocessing,
    DetectorConfig,
    Targets,
    TwoStageDetector,
    build_detector,
    select_detections,
)
from deformlab.models.detection.boxes import box_iou

SMALL = {
    "reduction_channels": 32,
    "fc_channels": 64,
    "offset_channels": 32,
    "rpn_channels": 32,
    "anchor_scales": (2.0, 3.0),
    "initialization": "kaiming",
    "proposals_before_nms": 200,
    "proposals": 50,
    "bins": 3,
    "samples_per_bin": 2,
}
DETECTORS = [
    ("faster_rcnn", "plain"),
    ("faster_rcnn", "deformable"),
    ("faster_rcnn", "modulated"),
    ("rfcn", "plain"),
    ("rfcn", "deformable"),
    ("rfcn", "modulated"),
    ("class_aware_rpn", "plain"),
]


def small_detector(architecture, pooling="plain", **options):
    torch.manual_seed(0)
    backbone = build_backbone(BackboneConfig(backbone="resnet10", width=0.25, conv5="deformable"))
    config = DetectorConfig(architecture=architecture, roi_pooling=pooling, **SMALL | options)
    return build_detector(config, backbone, 3)


def one_image():
    """A bright box of class 2 and a dark one of class 0 on noise."""
    image = torch.randn(1, 3, 96, 112, generator=torch.Generator().manual_seed(1)) * 0.1
    image[:, :, 16:58, 8:44] += 2
    image[:, 0, 40:80, 60:100] -= 2
    boxes = torch.tensor([[8.0, 16, 44, 58], [60, 40, 100, 80]])
    return image, [(96, 112)], Targets([boxes], [torch.tensor([2, 0])])


def test_the_configuration_names_the_class():
    assert isinstance(small_detector("class_aware_rpn"), ClassAwareRPN)
    assert isinstance(small_detector("faster_rcnn"), TwoStageDetector)


@pytest.mark.parametrize(("architecture", "pooling"), DETECTORS)
def test_candidates_have_scores_of_all_classes_and_lie_in_the_image(architecture, pooling):
    model = small_detector(architecture, pooling).eval()
    sizes = [(96, 112), (64, 80)]
    with torch.no_grad():
        found = model(torch.randn(2, 3, 96, 112), sizes)
    for one, (height, width) in zip(found, sizes, strict=True):
        count = len(one.scores)
        assert count > 0
        assert one.boxes.shape == (count, 16 if architecture == "faster_rcnn" else 4)
        torch.testing.assert_close(one.scores.sum(1), torch.ones(count))
        edges = one.boxes.view(-1, 4)
        assert edges.min() >= 0
        assert edges[:, 2].max() <= width
        assert edges[:, 3].max() <= height


@pytest.mark.parametrize(("architecture", "pooling"), DETECTORS)
def test_images_without_objects_train(architecture, pooling):
    model = small_detector(architecture, pooling).train()
    empty = Targets([torch.zeros(0, 4)] * 2, [torch.zeros(0, dtype=torch.int64)] * 2)
    losses = model.losses(torch.randn(2, 3, 96, 112), [(96, 112), (64, 80)], empty)
    sum(losses.values()).backward()
    assert losses["class"].item() > 0
    assert losses["box"].item() == 0
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


@pytest.mark.parametrize(("architecture", "pooling"), DETECTORS)
def test_one_image_is_learnt_by_heart(architecture, pooling):
    model = small_detector(architecture, pooling).train()
    image, sizes, targets = one_image()
    optimizer = torch.optim.Adam(model.parameters(), 2e-3)
    for _ in range(100):
        optimizer.zero_grad()
        sum(model.losses(image, sizes, targets).values()).backward()
        optimizer.step()
    # Training mode keeps the statistics of the one image.
    with torch.no_grad():
        found = model(image, sizes)[0]
    boxes = found.boxes if found.boxes.shape[1] == 4 else found.boxes[:, 4:]
    best = select_detections([found.scores], [boxes], DetectionPostprocessing(nms_threshold=0.3))
    for box, label in zip(targets.boxes[0], targets.labels[0], strict=True):
        first = (best.labels == label).nonzero()[0, 0]
        assert best.scores[first] > 0.5
        assert box_iou(best.boxes[first][None], box[None]).item() > 0.7


def test_the_class_aware_network_refuses_what_needs_regions():
    with pytest.raises(ConfigError, match="ohem"):
        DetectorConfig(architecture="class_aware_rpn", ohem=True)
    with pytest.raises(ConfigError, match="pools no regions"):
        small_detector("class_aware_rpn").rescore(torch.zeros(1, 3, 64, 64), [torch.zeros(1, 4)], [(64, 64)])


def test_boxes_of_the_class_aware_network_can_differ_by_class():
    model = small_detector("class_aware_rpn", class_agnostic_boxes=False)
    image, sizes, targets = one_image()
    assert model(image, sizes)[0].boxes.shape[1] == 16
    loss = model.losses(image, sizes, targets)["box"]
    loss.backward()
    # Of the four boxes of each of the six anchors, only those of the objects' classes get a gradient.
    moved = model.boxes.bias.grad.view(6, 4, 4).abs().sum((0, 2)) > 0
    assert moved.tolist() == [False, True, False, True]
