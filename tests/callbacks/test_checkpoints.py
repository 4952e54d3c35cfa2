import pytest
import torch

from deformlab.callbacks import AtomicCheckpointIO
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


def test_no_previous_checkpoint_is_promised_where_there_is_none(tmp_path, monkeypatch):
    def full(checkpoint, file):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(CheckpointError) as e:
        AtomicCheckpointIO().save_checkpoint({"epoch": 0}, tmp_path / "last.ckpt")
    assert "previous checkpoint" not in str(e.value)
