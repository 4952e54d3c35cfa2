"""Batch norm in its three forms, and stages that are not trained."""

import pytest
import torch
from torch import nn

from deformlab.models import BackboneConfig, ResNet
from deformlab.models.batch_norm import FrozenBatchNorm2d


def resnet(**options):
    return ResNet(BackboneConfig(**{"backbone": "resnet10", "width": 0.125, "conv5": "atrous", **options}))


def norms(network):
    return [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]


def test_frozen_batch_norm_uses_its_global_statistics_during_training():
    norm = FrozenBatchNorm2d(3).train()
    norm.running_mean.copy_(torch.tensor([1.0, 2, 3]))
    norm.running_var.fill_(4.0)
    image = torch.randn(2, 3, 4, 4)
    expected = (image - norm.running_mean[:, None, None]) / (4 + norm.eps) ** 0.5
    torch.testing.assert_close(norm(image), expected)
    assert norm.running_mean.tolist() == [1, 2, 3]


def test_frozen_batch_norm_passes_gradients_on_but_is_not_trained():
    norm = FrozenBatchNorm2d(3)
    image = torch.randn(2, 3, 4, 4, requires_grad=True)
    norm(image).sum().backward()
    assert image.grad.abs().sum() > 0
    assert not any(p.requires_grad for p in norm.parameters())


@pytest.mark.parametrize(
    ("batch_norm", "kind"),
    [("trainable", nn.BatchNorm2d), ("frozen", FrozenBatchNorm2d), ("sync", nn.SyncBatchNorm)],
)
def test_the_option_applies_to_every_norm(batch_norm, kind):
    network = resnet(batch_norm=batch_norm).train()
    assert {type(norm) for norm in norms(network)} == {kind}
    assert all(norm.training == (batch_norm != "frozen") for norm in norms(network))
    assert all(
        p.requires_grad == (batch_norm != "frozen") for norm in norms(network) for p in norm.parameters()
    )


@pytest.mark.parametrize("batch_norm", ["trainable", "frozen", "sync"])
def test_the_weights_of_one_form_load_into_another(batch_norm):
    trained = resnet()
    network = resnet(batch_norm=batch_norm)
    network.load_state_dict(trained.state_dict())


def test_sync_trains_on_one_process_without_a_gpu():
    network = resnet(batch_norm="sync").train()
    network(torch.randn(2, 3, 32, 32)).sum().backward()


@pytest.mark.parametrize(
    ("freeze_at", "frozen"),
    [
        (0, set()),
        (1, {"conv1", "bn1"}),
        (2, {"conv1", "bn1", "layer1"}),
        (5, {"conv1", "bn1", "layer1", "layer2", "layer3", "layer4"}),
    ],
)
def test_freeze_at_counts_stages_from_the_input(freeze_at, frozen):
    network = resnet(freeze_at=freeze_at).train()
    for name, parameter in network.named_parameters():
        assert parameter.requires_grad == (name.split(".")[0] not in frozen), name
    for name, module in network.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.training == (name.split(".")[0] not in frozen), name


def test_a_frozen_network_with_deformable_layers_freezes_their_offsets():
    network = resnet(conv5="deformable", freeze_at=5)
    assert not any(p.requires_grad for p in network.parameters())
