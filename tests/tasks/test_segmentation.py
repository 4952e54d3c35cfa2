from types import SimpleNamespace

import pytest
import torch
from torch import nn

from deformlab.errors import CheckpointError, ConfigError, TrainingError
from deformlab.records import SizeRule, by_size
from deformlab.tasks import Evaluation, Optimization, SemanticSegmentation

SMALL = {"backbone": "resnet10", "width": 0.125, "head_channels": 8, "num_deformable_layers": 2}


def task(**options) -> SemanticSegmentation:
    torch.manual_seed(0)
    return SemanticSegmentation(num_classes=3, **{**SMALL, **options})


def batch(size: int = 32) -> dict:
    generator = torch.Generator().manual_seed(1)
    return {
        "image": torch.randn(2, 3, size, size, generator=generator),
        "label": torch.randint(0, 3, (2, size, size), generator=generator),
        "instance": torch.zeros(2, size, size, dtype=torch.long),
        "name": ["a", "b"],
    }


def log_nothing(module: SemanticSegmentation) -> SemanticSegmentation:
    module.log = lambda *args, **kwargs: None  # type: ignore[method-assign]
    return module


def test_the_loss_ignores_label_255():
    module = log_nothing(task(conv5="atrous").eval())
    some = batch()
    some["label"][:, :16] = 255
    loss = module.training_step(some, 0)
    scores = module(some["image"])
    expected = nn.functional.cross_entropy(scores[:, :, 16:], some["label"][:, 16:])
    torch.testing.assert_close(loss, expected)


def test_a_batch_of_only_ignored_pixels_has_loss_0():
    module = log_nothing(task())
    some = batch()
    some["label"][:] = 255
    loss = module.training_step(some, 0)
    loss.backward()
    assert loss.item() == 0
    # DDP waits for each of them.
    assert all(p.grad is not None for p in module.model.parameters())


def test_a_training_step_does_not_wait_for_the_device():
    # A meta tensor has no values, so that whatever would read one back fails.
    module = log_nothing(task().to("meta"))
    on_device = {key: value.to("meta") for key, value in batch().items() if key != "name"}
    assert module.training_step(on_device, 0).device.type == "meta"


def test_validation_scores_at_the_labels_resolution():
    module = task(conv5="atrous").eval()
    some = batch()
    some["label"] = torch.zeros(2, 50, 70, dtype=torch.long)
    some["instance"] = torch.zeros(2, 50, 70, dtype=torch.long)
    assert module.validation_step(some, 0).shape == (2, 50, 70)


def test_validation_measures_an_atrous_network_as_its_dilation():
    module = task(conv5="atrous", dilation=4).eval()
    module.validation_step(batch(), 0)
    rows = by_size(module.effective_dilation.compute().records, "all", SizeRule())
    means = {(row.layer, row.size): row.mean for row in rows}
    assert means[("layer4.0.conv2", "background")] == 4.0


@pytest.mark.parametrize("options", [{}, {"deform_groups": 2}, {"conv5": "modulated"}])
def test_validation_measures_every_kind_of_deformable_layer(options):
    module = task(**options).eval()
    some = batch()
    some["instance"][:, 4:20, 4:20] = 1
    module.validation_step(some, 0)
    records = module.effective_dilation.compute().records
    assert records.groups == (options.get("deform_groups", 1),) * 2
    assert records.modulated == (options.get("conv5") == "modulated",) * 2
    # Offsets start at zero, so that all of it is the dilation.
    assert (records.sums["all"].total == 2 * records.sums["all"].filters).all()
    assert (records.sums["all"].group_total == 2 * records.sums["all"].filters[..., None]).all()
    if records.modulated[0]:
        torch.testing.assert_close(records.sums["all"].weighted, records.sums["all"].total)


def things(*names):
    dataset = SimpleNamespace(name="folder")
    return SimpleNamespace(datamodule=SimpleNamespace(things=names, dataset_class=dataset))


def test_thirds_are_refused_for_data_without_objects():
    module = task(evaluation=Evaluation(object_sizes="thirds"))
    module._trainer = things("leaf")
    module.setup("fit")
    module._trainer = things()
    with pytest.raises(ConfigError, match="object_sizes=thirds: data set 'folder' has no objects; give two"):
        module.setup("validate")


def test_flipped_scores_are_flipped_back():
    module = task(conv5="atrous", evaluation=Evaluation(flip=True)).eval()
    image = batch()["image"]
    image = torch.cat([image, image.flip(-1)], dim=-1)
    scores = module.scores(image, (32, 64))
    torch.testing.assert_close(scores, scores.flip(-1))


def test_several_scales_are_averaged_as_probabilities():
    module = task(conv5="atrous", evaluation=Evaluation(scales=(0.5, 1.0, 1.5))).eval()
    scores = module.scores(batch()["image"], (32, 32))
    torch.testing.assert_close(scores.sum(1), torch.ones(2, 32, 32))


def test_illegal_object_sizes_and_scales_are_refused():
    with pytest.raises(ConfigError, match="object_sizes"):
        Evaluation(object_sizes=(100, 50))
    with pytest.raises(ConfigError, match=r"object_sizes .* must be .* or thirds, got 'quarters'"):
        Evaluation(object_sizes="quarters")
    with pytest.raises(ConfigError, match="object_area must be one of box, mask"):
        Evaluation(object_area="hull")
    with pytest.raises(ConfigError, match="object_pixels must be one of original, network"):
        Evaluation(object_pixels="cells")
    with pytest.raises(ConfigError, match="object_region must be one of mask, box"):
        Evaluation(object_region="hull")
    for scales in ((), (0.0,), (1.0, float("nan")), (float("inf"),), (1e9,)):
        with pytest.raises(ConfigError, match="scales"):
            Evaluation(scales=scales)


def test_a_scale_that_leaves_no_pixel_is_named():
    module = task(conv5="atrous", evaluation=Evaluation(scales=(1.0, 0.01))).eval()
    with pytest.raises(ConfigError, match=r"scales.*0\.01"):
        module.scores(batch()["image"], (32, 32))


def test_deformable_training_starts_from_an_atrous_networks_weights(tmp_path):
    atrous = task(conv5="atrous").eval()
    torch.save({"state_dict": atrous.state_dict()}, tmp_path / "atrous.ckpt")
    torch.manual_seed(5)
    deformable = SemanticSegmentation(num_classes=3, **SMALL, init_weights=tmp_path / "atrous.ckpt").eval()
    image = batch()["image"]
    torch.testing.assert_close(deformable(image), atrous(image), rtol=1e-4, atol=1e-4)


def test_a_checkpoint_of_another_architecture_is_refused_in_one_line():
    wide = task(head_channels=16)
    with pytest.raises(CheckpointError, match="another architecture: model") as error:
        task().on_load_checkpoint({"state_dict": wide.state_dict()})
    assert "\n" not in str(error.value)


def test_offsets_do_not_run_away_by_default():
    assert Optimization().offset_lr_multiplier == 0.1


@pytest.mark.parametrize("scaler", [None, object()], ids=["no scaler", "scaler"])
def test_gradients_under_a_scaler_are_not_checked(scaler):
    module = task()
    plugin = SimpleNamespace(scaler=scaler)
    module._trainer = SimpleNamespace(precision_plugin=plugin, global_step=0)
    module.model.classifier.bias.grad = torch.full((3,), float("inf"))
    module.on_before_optimizer_step(None)
    if scaler is None:
        with pytest.raises(TrainingError, match="gradient"):
            module.on_train_epoch_end()
    else:
        module._divergence.check()
