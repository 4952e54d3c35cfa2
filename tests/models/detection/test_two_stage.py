import pytest
import torch

from deformlab.errors import ConfigError
from deformlab.layers import DeformPSRoIPool, DeformRoIPool
from deformlab.models import BackboneConfig, build_backbone
from deformlab.models.detection import DetectorConfig, Targets, TwoStageDetector
from deformlab.models.detection.two_stage import RegionScores

SIZE = (96, 128)
OBJECTS = torch.tensor([[20.0, 20, 60, 70], [70, 30, 120, 90]])
LABELS = torch.tensor([0, 1])
NARROW = {
    "initialization": "kaiming",
    "reduction_channels": 32,
    "fc_channels": 64,
    "offset_channels": 32,
    "rpn_channels": 32,
    "anchor_scales": (2, 3, 4),
    "anchor_ratios": (1.0,),
    "proposals": 50,
    "roi_batch": 32,
}


def detector(architecture="faster_rcnn", roi_pooling="plain", seed=0, **options):
    torch.manual_seed(seed)
    backbone = build_backbone(
        BackboneConfig(backbone="resnet10", width=0.125, conv5="deformable", num_deformable_layers=1)
    )
    options = NARROW | options
    return TwoStageDetector(backbone, 2, DetectorConfig(architecture, roi_pooling, **options))


@pytest.fixture
def image():
    """Two rectangles, each bright in a channel of its own."""
    torch.manual_seed(0)
    pixels = 0.1 * torch.randn(1, 3, *SIZE)
    for channel, (left, top, right, bottom) in enumerate(OBJECTS.int().tolist()):
        pixels[0, channel, top:bottom, left:right] += 2
    return pixels


def test_offsets_of_bins_are_learnt(image):
    for architecture, kind in (("faster_rcnn", DeformRoIPool), ("rfcn", DeformPSRoIPool)):
        model = detector(architecture, "deformable")
        sum(model.losses(image, [SIZE], Targets([OBJECTS], [LABELS])).values()).backward()
        pools = [module for module in model.modules() if isinstance(module, kind)]
        assert pools
        for pool in pools:
            layer = pool.offset_fc if kind is DeformRoIPool else pool.conv_offset
            assert layer.bias.grad.abs().max() > 0


def test_the_loss_of_hand_made_regions():
    model = detector()
    regions = torch.tensor([[0.0, 0, 10, 10], [50, 50, 60, 60]])
    objects, labels = torch.tensor([[1.0, 0, 11, 10]]), torch.tensor([1])
    matches = model._match(regions, objects)
    assert matches.object.tolist() == [0, -2]  # the second is far from the object and takes no part
    logits = torch.tensor([[0.0, 0.0, 2.0], [5.0, 0.0, 0.0]])
    of_class, of_box = model._region_losses(
        RegionScores(logits, torch.zeros(2, 12)), regions, matches, objects, labels
    )
    assert of_class.item() == pytest.approx(-torch.log_softmax(logits[0], 0)[2].item())
    # The target is (0.1 / 0.1, 0, 0, 0): smooth L1 of 1 is 0.5, over 32 regions.
    assert of_box.item() == pytest.approx(0.5 / 32)


def test_hard_example_mining_counts_the_regions_with_the_largest_losses():
    model = detector("rfcn", roi_batch=1)
    regions = torch.tensor([[0.0, 0, 10, 10], [50, 50, 60, 60], [80, 50, 90, 60]])
    objects, labels = torch.tensor([[0.0, 0, 10, 10]]), torch.tensor([0])
    matches = model._match(regions, objects)
    logits = torch.tensor([[0.0, 9.0, 0.0], [0.0, 4.0, 0.0], [9.0, 0.0, 0.0]])
    of_class, of_box = model._region_losses(
        RegionScores(logits, torch.zeros(3, 4)), regions, matches, objects, labels
    )
    assert of_class.item() == pytest.approx(-torch.log_softmax(logits[1], 0)[0].item())
    assert of_box == 0


@pytest.mark.parametrize("architecture", ["faster_rcnn", "rfcn"])
def test_an_image_without_objects_trains_on_background_alone(architecture, image):
    nothing = Targets([OBJECTS[:0]], [LABELS[:0]])
    losses = detector(architecture).losses(image, [SIZE], nothing)
    assert all(value.isfinite() for value in losses.values())
    assert losses["box"] == losses["rpn_box"] == 0
    assert losses["class"] > 0


def test_an_image_that_is_smaller_than_every_anchor_still_trains():
    tiny = torch.randn(1, 3, 40, 40)
    objects = Targets([torch.tensor([[2.0, 2, 30, 30]])], [LABELS[:1]])
    losses = detector(anchor_scales=(8,)).losses(tiny, [(40, 40)], objects)
    assert losses["rpn_class"] == 0
    assert all(value.isfinite() for value in losses.values())


def test_padding_does_not_change_what_lies_in_the_valid_part(image):
    model = detector().eval()
    with torch.no_grad():
        padded = torch.nn.functional.pad(image, (0, 64, 0, 32))
        found = model(padded, [SIZE])[0]
    height, width = SIZE
    edges = found.boxes.view(-1, 4)
    assert edges[:, 0::2].max() <= width
    assert edges[:, 1::2].max() <= height


def test_no_gradient_flows_through_proposals(image):
    model = detector()
    scored = model.rpn(model.backbone.feature_maps(image)[-2])
    assert not any(boxes.requires_grad for boxes in model.rpn.proposals(scored, [SIZE]))


def test_given_boxes_are_scored_again(image):
    model = detector().eval()
    with torch.no_grad():
        found = model.rescore(image, [OBJECTS], [SIZE])[0]
    assert found.scores.shape == (2, 3)
    torch.testing.assert_close(found.scores.sum(1), torch.ones(2))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"architecture": "yolo"}, "architecture must be one of faster_rcnn, rfcn, class_aware_rpn"),
        ({"roi_pooling": "magic"}, "roi_pooling must be one of plain, deformable, modulated"),
        ({"gamma": 0}, "gamma must be > 0, got 0"),
        ({"bins": 0}, "bins must be an integer in 1 to 64, got 0"),
        ({"proposal_nms": 1.5}, r"proposal_nms must be in \(0, 1\], got 1.5"),
        ({"anchor_scales": []}, r"anchor_scales must be one or more numbers > 0, got \[\]"),
        ({"architecture": "rfcn", "class_agnostic_boxes": False}, "rfcn regresses one box for all classes"),
    ],
)
def test_illegal_options_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        DetectorConfig(**options)
