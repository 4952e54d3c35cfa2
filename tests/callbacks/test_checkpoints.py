import shutil

import pytest
import pytorch_lightning as pl
import torch

from deformlab.callbacks import AtomicCheckpointIO, BestCheckpoint, LastCheckpoint
from deformlab.errors import CheckpointError


def test_a_checkpoint_is_read_back(tmp_path):
    AtomicCheckpointIO().save_checkpoint({"x": torch.ones(2)}, tmp_path / "last.ckpt")
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["x"].tolist() == [1, 1]
    assert [path.name for path in tmp_path.iterdir()] == ["last.ckpt"]


@pytest.mark.parametrize(
    "failure", [OSError(28, "No space left on device"), RuntimeError("file write failed")]
)
def test_the_previous_checkpoint_survives_a_full_disk(tmp_path, monkeypatch, failure):
    path = tmp_path / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"epoch": 1}, path)

    def half_written(checkpoint, file):
        file.write(b"half")
        raise failure

    monkeypatch.setattr(torch, "save", half_written)
    with pytest.raises(CheckpointError, match="previous checkpoint is kept"):
        AtomicCheckpointIO().save_checkpoint({"epoch": 2}, path)
    assert torch.load(path, weights_only=True) == {"epoch": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["last.ckpt"]


def test_the_message_mentions_no_previous_checkpoint_if_none_exists(tmp_path, monkeypatch):
    def full(checkpoint, file):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(CheckpointError) as e:
        AtomicCheckpointIO().save_checkpoint({"epoch": 0}, tmp_path / "last.ckpt")
    assert "previous checkpoint" not in str(e.value)


class Scored(pl.LightningModule):
    """Scores what it is told to, epoch by epoch; its one weight is the number of epochs trained."""

    def __init__(self, scores: list[float]) -> None:
        super().__init__()
        self.scores = scores
        self.weight = torch.nn.Parameter(torch.zeros(()))

    def train_dataloader(self):
        return [torch.zeros(1)]

    val_dataloader = train_dataloader

    def training_step(self, batch, batch_idx):
        return -self.weight

    def validation_step(self, batch, batch_idx):
        self.log("val/miou", torch.tensor(self.scores[self.current_epoch]))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=1.0)


def fit(folder, *scores: float, resume: bool = False) -> None:
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=len(scores),
        callbacks=[BestCheckpoint(folder, "val/miou", "max"), LastCheckpoint(folder)],
        plugins=[AtomicCheckpointIO()],
        logger=False,
        num_sanity_val_steps=0,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    last = str(folder / "last.ckpt") if resume else None
    trainer.fit(Scored(list(scores)), ckpt_path=last, weights_only=True)


def epochs_of_best(folder) -> float:
    checkpoint = torch.load(folder / "best.ckpt", weights_only=True)
    return float(checkpoint["state_dict"]["weight"])


@pytest.fixture(scope="module")
def two_epochs(tmp_path_factory):
    """Checkpoints of a training whose first epoch scored better than its second."""
    folder = tmp_path_factory.mktemp("two_epochs")
    fit(folder, 0.5, 0.4)
    return folder


def test_best_is_of_the_best_epoch_and_last_of_the_last(two_epochs):
    assert epochs_of_best(two_epochs) == 1
    assert torch.load(two_epochs / "last.ckpt", weights_only=True)["epoch"] == 1


@pytest.mark.filterwarnings("error:The dirpath has changed")
def test_a_worse_epoch_does_not_replace_the_best_one_of_a_copied_folder(two_epochs, tmp_path):
    folder = shutil.copytree(two_epochs, tmp_path / "copy")
    fit(folder, 0.5, 0.4, 0.45, resume=True)
    assert epochs_of_best(folder) == 1


def test_a_better_epoch_replaces_the_best_one_of_a_copied_folder(two_epochs, tmp_path):
    folder = shutil.copytree(two_epochs, tmp_path / "copy")
    fit(folder, 0.5, 0.4, 0.6, resume=True)
    assert epochs_of_best(folder) == 3


@pytest.mark.parametrize(
    "damage", [lambda best: best.unlink(), lambda best: best.write_bytes(b"half a file")]
)
def test_a_lost_best_checkpoint_is_reported_and_written_again(two_epochs, tmp_path, caplog, damage):
    folder = shutil.copytree(two_epochs, tmp_path / "copy")
    damage(folder / "best.ckpt")
    fit(folder, 0.5, 0.4, 0.3, resume=True)
    assert "best.ckpt" in caplog.text
    assert epochs_of_best(folder) == 3


def test_a_new_training_is_not_compared_with_an_older_one(two_epochs, tmp_path):
    folder = shutil.copytree(two_epochs, tmp_path / "copy")
    (folder / "last.ckpt").unlink()
    fit(folder, 0.2)
    assert torch.load(folder / "best.ckpt", weights_only=True)["epoch"] == 0
    fit(folder, 0.2, 0.3, resume=True)
    assert epochs_of_best(folder) == 2


def test_checkpoints_of_lightnings_own_callback_are_read(two_epochs, tmp_path):
    folder = shutil.copytree(two_epochs, tmp_path / "copy")
    for name in ("best.ckpt", "last.ckpt"):
        checkpoint = torch.load(folder / name, weights_only=True)
        own = {"monitor": "val/miou", "best_model_score": torch.tensor(0.5), "dirpath": "/elsewhere"}
        checkpoint["callbacks"] = {"ModelCheckpoint{'monitor': 'val/miou', 'mode': 'max'}": own}
        torch.save(checkpoint, folder / name)
    fit(folder, 0.5, 0.4, 0.45, resume=True)
    assert epochs_of_best(folder) == 1
