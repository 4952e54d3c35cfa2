"""Weights from files and torch hub; a bad file gives one line that says how to fix it."""

import urllib.error
from pathlib import Path

import pytest
import torch

from deformlab.errors import CheckpointError, ConfigError
from deformlab.models import BackboneConfig, DeepLab, ResNet, load_backbone_weights, load_model_weights


def backbone(name="resnet10", *, width=0.125, conv5="atrous", **options):
    return ResNet(BackboneConfig(name, width, conv5=conv5, **options))


def deeplab(num_classes=5, **options):
    return DeepLab(backbone(**options), num_classes, head_channels=16)


def save_classifier(path, network):
    """Save a file like torchvision's: the parameters of the backbone and a classifier."""
    state = dict(network.state_dict())
    state["fc.weight"], state["fc.bias"] = torch.zeros(1000, network.channels[-1]), torch.zeros(1000)
    torch.save(state, path)
    return path


def save_task(path, model):
    """Save a file like a Lightning checkpoint of the task."""
    state = {f"model.{name}": value for name, value in model.state_dict().items()}
    state["loss.weight"] = torch.ones(5)
    torch.save({"state_dict": state, "epoch": 3, "hyper_parameters": {"name": "x"}}, path)
    return path


def assert_one_line(error, *parts):
    text = str(error.value)
    assert "\n" not in text
    for part in parts:
        assert str(part) in text


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """Torch hub without internet access, with an empty folder."""

    def refuse(*args, **kwargs):
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.urlopen", refuse)
    return tmp_path / "hub" / "checkpoints"


def test_a_classification_checkpoint_loads_without_its_classifier(tmp_path):
    source, network = backbone(), backbone()
    assert load_backbone_weights(network, save_classifier(tmp_path / "resnet.pth", source)) == []
    assert torch.equal(network.layer4[0].conv2.weight, source.layer4[0].conv2.weight)


def test_the_path_may_be_a_string(tmp_path):
    assert load_backbone_weights(backbone(), str(save_classifier(tmp_path / "resnet.pth", backbone()))) == []


def test_offsets_that_a_checkpoint_does_not_have_start_at_zero_and_are_named(tmp_path):
    network = backbone(conv5="deformable", num_deformable_layers=1)
    missing = load_backbone_weights(network, save_classifier(tmp_path / "resnet.pth", backbone()))
    assert missing == ["layer4.0.conv2.conv_offset.weight", "layer4.0.conv2.conv_offset.bias"]
    assert network.layer4[0].conv2.conv_offset.weight.count_nonzero() == 0


def test_a_backbone_of_mmdetection_loads_with_its_offsets(tmp_path):
    source, network = (backbone(conv5="modulated", num_deformable_layers=2) for _ in range(2))
    torch.nn.init.normal_(source.layer4[0].conv2.conv_offset.weight)
    state = {f"backbone.{name}": value for name, value in source.state_dict().items()}
    state["bbox_head.fc_cls.weight"] = torch.ones(5)
    torch.save({"meta": {"epoch": 12}, "state_dict": state}, tmp_path / "epoch_12.pth")
    assert load_backbone_weights(network, tmp_path / "epoch_12.pth") == []
    for name, value in source.state_dict().items():
        assert torch.equal(network.state_dict()[name], value)


def test_offsets_beside_their_layer_as_in_detectron2_load(tmp_path):
    source, network = (backbone(conv5="deformable", num_deformable_layers=2) for _ in range(2))
    torch.nn.init.normal_(source.layer4[0].conv2.conv_offset.weight)
    state = {name.replace(".conv_offset.", "_offset."): value for name, value in source.state_dict().items()}
    torch.save(state, tmp_path / "renamed.pth")
    assert load_backbone_weights(network, tmp_path / "renamed.pth") == []
    for name, value in source.state_dict().items():
        assert torch.equal(network.state_dict()[name], value)


def test_files_without_the_batch_counts_of_batch_norm_load(tmp_path):
    state = {k: v for k, v in backbone().state_dict().items() if "num_batches_tracked" not in k}
    torch.save(state, tmp_path / "old.pth")
    assert load_backbone_weights(backbone(), tmp_path / "old.pth") == []


def test_imagenet_weights_are_taken_from_torch_hubs_folder(offline):
    offline.mkdir(parents=True)
    with torch.device("meta"):
        shapes = {name: value.shape for name, value in backbone("resnet18", width=1).state_dict().items()}
    # One stored number per tensor keeps the file small.
    state = {name: torch.tensor(0.5).expand(shape) for name, shape in shapes.items()}
    torch.save(state, offline / "resnet18-f37072fd.pth")
    network = backbone("resnet18", width=1)
    assert load_backbone_weights(network, "imagenet") == []
    assert network.layer4[1].conv2.weight.unique().tolist() == [0.5]


def test_if_the_download_fails_the_error_names_the_file_and_the_folder(offline):
    with pytest.raises(CheckpointError) as error:
        load_backbone_weights(backbone("resnet18", width=1), "imagenet")
    assert_one_line(
        error,
        "https://download.pytorch.org/models/resnet18-f37072fd.pth",
        offline,
        "Name or service not known",
    )


@pytest.mark.parametrize("network", [backbone, lambda: backbone("resnet18", width=0.5)])
def test_a_backbone_without_imagenet_weights_is_refused(network):
    with pytest.raises(ConfigError, match="no ImageNet weights for resnet1") as error:
        load_backbone_weights(network(), "imagenet")
    assert_one_line(error, "resnet18, resnet34, resnet50, resnet101, resnet152")


def test_a_task_checkpoint_loads(tmp_path):
    source, model = deeplab(), deeplab()
    assert load_model_weights(model, save_task(tmp_path / "last.ckpt", source)) == []
    assert torch.equal(model.classifier.weight, source.classifier.weight)


def test_a_state_dict_of_the_network_loads(tmp_path):
    source, model = deeplab(conv5="deformable"), deeplab(conv5="deformable")
    torch.nn.init.normal_(source.backbone.layer4[0].conv2.conv_offset.weight)
    torch.save(source.state_dict(), tmp_path / "model.pth")
    assert load_model_weights(model, tmp_path / "model.pth") == []
    for name, value in source.state_dict().items():
        assert torch.equal(model.state_dict()[name], value)


def test_an_atrous_network_continues_as_a_deformable_one(tmp_path):
    atrous, deformable = deeplab().eval(), deeplab(conv5="deformable").eval()
    missing = load_model_weights(deformable, save_task(tmp_path / "last.ckpt", atrous))
    assert len(missing) == 2 * 3
    assert all(".conv_offset." in name for name in missing)
    image = torch.randn(1, 3, 40, 40)
    torch.testing.assert_close(deformable(image), atrous(image))


@pytest.mark.parametrize(
    ("source", "target", "name"),
    [
        (
            deeplab,
            lambda: deeplab(width=0.25),
            "backbone.conv1.weight is [8, 3, 7, 7] in the checkpoint and [16, 3, 7, 7]",
        ),
        (
            deeplab,
            lambda: deeplab(num_classes=7),
            "classifier.weight is [5, 16, 1, 1] in the checkpoint and [7, 16, 1, 1]",
        ),
        (
            lambda: deeplab(conv5="deformable"),
            deeplab,
            "backbone.layer3.0.conv2.conv_offset.weight in the checkpoint belongs to no deformable layer",
        ),
        (
            lambda: deeplab(conv5="deformable"),
            lambda: deeplab(conv5="modulated"),
            "conv2.conv_offset.weight is [18, 32, 3, 3] in the checkpoint and [27, 32, 3, 3]",
        ),
        (
            deeplab,
            lambda: DeepLab(backbone("resnet18"), 5, 16),
            "backbone.layer1.1.conv1.weight is missing in the checkpoint and [8, 8, 3, 3]",
        ),
    ],
)
def test_a_checkpoint_of_another_architecture_is_refused_and_the_parameter_named(
    tmp_path, source, target, name
):
    model = target()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    path = save_task(tmp_path / "last.ckpt", source())
    with pytest.raises(CheckpointError) as error:
        load_model_weights(model, path)
    assert_one_line(error, path, name)
    assert any(hint in str(error.value) for hint in ("--model.backbone", "set conv5"))
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_a_backbone_of_another_depth_is_refused_and_the_parameter_named(tmp_path):
    path = save_classifier(tmp_path / "resnet.pth", backbone("resnet18"))
    with pytest.raises(CheckpointError) as error:
        load_backbone_weights(backbone(), path)
    assert_one_line(error, path, "layer1.1.conv1.weight", "--model.backbone")


@pytest.mark.parametrize(
    "load", [lambda p: load_backbone_weights(backbone(), p), lambda p: load_model_weights(deeplab(), p)]
)
class TestBadFiles:
    def test_missing(self, load, tmp_path):
        with pytest.raises(CheckpointError) as error:
            load(tmp_path / "no.ckpt")
        assert_one_line(error, tmp_path / "no.ckpt")

    @pytest.mark.parametrize(
        "content", [b"", b"not a checkpoint", b"PK\x03\x04 and then nothing", b"\x80\x02uuu."]
    )
    def test_unreadable(self, load, tmp_path, content):
        path = tmp_path / "broken.ckpt"
        path.write_bytes(content)
        with pytest.raises(CheckpointError) as error:
            load(path)
        assert_one_line(error, path)

    def test_cut_short(self, load, tmp_path):
        path = save_task(tmp_path / "short.ckpt", deeplab())
        path.write_bytes(path.read_bytes()[:2000])
        with pytest.raises(CheckpointError) as error:
            load(path)
        assert_one_line(error, path)

    def test_code_in_a_file_is_not_run(self, load, tmp_path):
        class Payload:
            def __reduce__(self):
                return (Path.touch, (tmp_path / "was-run",))

        torch.save({"state_dict": Payload()}, tmp_path / "evil.ckpt")
        with pytest.raises(CheckpointError) as error:
            load(tmp_path / "evil.ckpt")
        assert_one_line(error, tmp_path / "evil.ckpt")
        assert not (tmp_path / "was-run").exists()

    def test_a_file_without_weights(self, load, tmp_path):
        torch.save([1, 2, 3], tmp_path / "list.pth")
        with pytest.raises(CheckpointError, match="contains no weights"):
            load(tmp_path / "list.pth")
