"""Networks and images as the command line names them."""

import shutil

import numpy as np
import pytest
import torch
import yaml

from deformlab.errors import CheckpointError, ConfigError, DatasetError, RunFolderError
from deformlab.inspection import load_network, predict, read_scene
from deformlab.run_folder import read_result


def test_a_run_folder_and_its_checkpoint_give_the_same_network(trained_run, network):
    other = load_network(trained_run / "checkpoints" / "last.ckpt")
    assert other.name == network.name
    for ours, theirs in zip(network.model.parameters(), other.model.parameters(), strict=True):
        assert torch.equal(ours, theirs)
        assert not theirs.requires_grad
    assert not other.model.training


def test_it_predicts_as_the_validation_did(trained_run, network):
    names = [f"val_{index:05d}" for index in range(4)]
    confusion = np.zeros((4, 4))
    for name in names:
        scene = read_scene(name, network)
        np.add.at(confusion, (scene.label.ravel(), predict(network, scene).classes.ravel()), 1)
    union = confusion.sum(0) + confusion.sum(1) - confusion.diagonal()
    miou = (confusion.diagonal()[union > 0] / union[union > 0]).mean()
    assert miou == pytest.approx(read_result(trained_run).score.value, abs=1e-5)


def test_the_weights_that_a_training_started_from_are_not_needed(trained_run, tmp_path):
    run = shutil.copytree(trained_run, tmp_path / "run")
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["model"]["init_weights"] = "gone.ckpt"
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    assert load_network(run).deformable_layers


def test_a_folder_without_a_run_is_an_error_that_says_what_to_give(tmp_path):
    with pytest.raises(RunFolderError, match=r"config\.yaml; give a run folder"):
        load_network(tmp_path)


def test_a_missing_path_is_named(tmp_path):
    with pytest.raises(RunFolderError, match="nowhere"):
        load_network(tmp_path / "nowhere")


def test_a_checkpoint_away_from_its_run_folder_needs_its_configuration(trained_run, tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    lonely = tmp_path / "a" / "b" / "last.ckpt"
    shutil.copy(trained_run / "checkpoints" / "last.ckpt", lonely)
    with pytest.raises(RunFolderError, match="leave the checkpoint in its run folder"):
        load_network(lonely)


def test_a_run_without_a_checkpoint_yet_is_named(trained_run, tmp_path):
    shutil.copy(trained_run / "config.yaml", tmp_path)
    with pytest.raises(CheckpointError, match=r"last\.ckpt"):
        load_network(tmp_path)


def test_a_checkpoint_of_another_architecture_is_refused(trained_run, tmp_path):
    run = shutil.copytree(trained_run, tmp_path / "run")
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["model"]["head_channels"] = 24
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(CheckpointError, match="another architecture"):
        load_network(run)


def test_a_broken_configuration_is_one_line(trained_run, tmp_path):
    run = shutil.copytree(trained_run, tmp_path / "run")
    (run / "config.yaml").write_text("model: {dilatoin: 2}\ndata: {dataset: shapes}\n")
    with pytest.raises(RunFolderError, match="dilatoin") as error:
        load_network(run)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("model: {}\ndata: 3\n", "lacks model or data"),
        ("model: {}\ndata: {batch_size: many}\n", "does not match this version of deformlab"),
    ],
)
def test_an_unusable_configuration_says_what_to_do_instead(text, reason, trained_run, tmp_path):
    run = shutil.copytree(trained_run, tmp_path / "run")
    (run / "config.yaml").write_text(text)
    with pytest.raises(
        RunFolderError, match=rf"config\.yaml: {reason}.*; give another run, or train"
    ) as error:
        load_network(run)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("model: [1", "not valid YAML"),
        ("hello", "must contain a mapping"),
        ("model: {class_path: os.system}", "contains a class_path"),
    ],
)
def test_a_configuration_that_is_damaged_or_names_a_class_is_one_line(text, reason, trained_run, tmp_path):
    run = shutil.copytree(trained_run, tmp_path / "run")
    (run / "config.yaml").write_text(text)
    with pytest.raises(ConfigError, match=reason) as error:
        load_network(run)
    assert str(run / "config.yaml") in str(error.value)
    assert "\n" not in str(error.value)


def test_an_image_file_of_no_data_set_has_no_label(network, photograph):
    scene = read_scene(str(photograph), network)
    assert (scene.name, scene.size, scene.label) == ("street", (50, 90), None)


def test_a_sample_of_the_data_set_has_its_label(scene):
    assert scene.label.shape == scene.instance.shape == scene.size == (64, 64)


def test_an_image_file_of_the_data_set_has_its_label(trained_run, tmp_path, network):
    from PIL import Image

    root = tmp_path / "data"
    for kind in ("images", "labels"):
        (root / "val" / kind).mkdir(parents=True)
    Image.fromarray(np.zeros((20, 30, 3), dtype=np.uint8)).save(root / "val" / "images" / "a.png")
    Image.fromarray(np.ones((20, 30), dtype=np.uint8)).save(root / "val" / "labels" / "a.png")
    (root / "classes.txt").write_text("ground\nleaf\nstem\nflower\n")
    run = shutil.copytree(trained_run, tmp_path / "run")
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["data"] |= {"dataset": "folder", "root": str(root), "options": None}
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    scene = read_scene(str(root / "val" / "images" / "a.png"), load_network(run))
    assert (scene.label == 1).all()


def test_a_missing_image_is_an_error_with_an_example(network):
    with pytest.raises(DatasetError, match="for example val_00000"):
        read_scene("nowhere.png", network)


def test_an_unreadable_image_is_named(network, tmp_path):
    path = tmp_path / "broken.png"
    path.write_bytes(b"not an image")
    with pytest.raises(DatasetError, match=r"broken\.png"):
        read_scene(str(path), network)
