"""A diverged training stops, is told where it diverged, and leaves the last good checkpoint."""

import json

import pytest
import torch
from torch import nn

from deformlab.cli import main
from deformlab.errors import TrainingError
from deformlab.tasks import SemanticSegmentation
from deformlab.tasks.divergence import DivergenceWatch, training_state


def watched(*losses: float) -> DivergenceWatch:
    watch = DivergenceWatch()
    for step, loss in enumerate(losses):
        watch.begin(step, 0, 0.1, [f"image{step}"])
        watch.observe_loss(torch.tensor(loss, requires_grad=True), step)
    return watch


def test_finite_losses_pass():
    DivergenceWatch().check()
    watched(0.0, 1e30, -1.0).check()


@pytest.mark.parametrize("loss", [float("nan"), float("inf"), -float("inf")])
def test_the_first_step_without_a_finite_loss_is_named(loss):
    with pytest.raises(TrainingError, match=r"at step 2.*image2;"):
        watched(3.0, 2.0, loss, 1.0, float("nan")).check()


def test_step_0_counts():
    with pytest.raises(TrainingError, match="at step 0"):
        watched(float("nan"), 1.0).check()


def test_the_watch_is_reset_for_another_training():
    watch = watched(float("nan"))
    with pytest.raises(TrainingError):
        watch.check()
    watch.observe_loss(torch.tensor(1.0), 0)
    watch.check()


def test_observing_reads_nothing_back():
    watch = DivergenceWatch()
    watch.observe_loss(torch.ones((), device="meta"), 0)
    watch.observe_gradients([torch.ones(3, device="meta")], 0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_gradient_that_is_not_finite_is_seen_among_others(dtype, value):
    gradients = [torch.ones(4, dtype=dtype), torch.ones(2, 2, dtype=dtype)]
    watch = watched(1.0)
    watch.observe_gradients(gradients, 0)
    watch.check()
    gradients[1][0, 1] = value
    watch.observe_gradients(gradients, 1)
    with pytest.raises(TrainingError, match=r"gradient .* at step 1"):
        watch.check()


def test_all_batches_of_accumulated_gradients_are_named():
    watch = DivergenceWatch()
    watch.begin(0, 0, 0.1, ["before"])
    for name in ("first", "second"):
        watch.begin(1, 0, 0.1, [name])
        watch.observe_loss(torch.tensor(1.0), 1)
        watch.check()
    watch.observe_gradients([torch.tensor([float("nan")])], 1)
    with pytest.raises(TrainingError, match="on first, second;"):
        watch.check()


@pytest.mark.parametrize("spoilt", ["0.weight", "1.running_var", "momentum_buffer of 0.weight"])
def test_weights_buffers_and_momentum_have_to_be_finite(spoilt):
    model = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model(torch.randn(2, 1, 3, 3)).square().mean().backward()
    optimizer.step()
    watch = watched(1.0)
    watch.check_state(training_state(model, [optimizer]))
    dict(training_state(model, [optimizer]))[spoilt].data.view(-1)[0] = float("nan")
    with pytest.raises(TrainingError, match=f"^{spoilt} .* at step 0"):
        watch.check_state(training_state(model, [optimizer]))


@pytest.fixture
def fit(tiny_config, tmp_path, capsys, monkeypatch):
    """Trains for some epochs of two steps; the gradient of one step is nan, its loss is not."""
    run_dir = tmp_path / "run"
    step_of_task = SemanticSegmentation.training_step

    def run(epochs: int, *options: str, spoilt: int | None = None):
        def training_step(module, batch, batch_idx):
            loss = step_of_task(module, batch, batch_idx)
            if module.global_step != spoilt:
                return loss
            # The root is 0, its derivative times 0 is not a number.
            return loss + (0 * module.model.classifier.bias.sum()).sqrt()

        monkeypatch.setattr(SemanticSegmentation, "training_step", training_step)
        arguments = ["fit", "--config", str(tiny_config), "--run_dir", str(run_dir), "--wandb", "off"]
        code = main([*arguments, "--trainer.max_epochs", str(epochs), *options])
        return code, capsys.readouterr().err.strip().splitlines(), run_dir

    return run


@pytest.mark.parametrize("options", [[], ["--trainer.precision", "bf16-mixed"]], ids=["float32", "bfloat16"])
def test_a_nan_gradient_in_an_epochs_last_step_leaves_the_checkpoint_before(fit, options):
    code, errors, run_dir = fit(2, *options, spoilt=3)
    assert code == 2
    (error,) = [line for line in errors if line.startswith("deformlab: error")]
    assert "gradient" in error
    assert "step 3 of epoch 2" in error
    assert "learning rate" in error
    assert "train_0" in error
    assert json.loads((run_dir / "result.json").read_text())["status"] == "failed"
    for name in ("last.ckpt", "best.ckpt"):
        checkpoint = torch.load(run_dir / "checkpoints" / name, weights_only=True)
        assert checkpoint["epoch"] == 0
        assert all(torch.isfinite(tensor).all() for tensor in checkpoint["state_dict"].values())
    # Only the spoilt step was bad, so the same command goes on.
    assert fit(2, *options)[0] == 0


def test_a_training_that_diverges_in_its_first_epoch_writes_no_checkpoint(fit):
    code, errors, run_dir = fit(1, spoilt=1)
    assert code == 2
    assert not list(run_dir.rglob("*.ckpt"))
    assert "checkpoint" not in errors[-1]


def test_accumulated_gradients_are_checked_before_the_optimizer_step(fit):
    code, errors, _ = fit(1, "--trainer.accumulate_grad_batches", "2", spoilt=0)
    assert code == 2
    assert "step 0 of epoch 1" in errors[-1]
    assert errors[-1].count("train_0") == 8


def test_weights_that_one_step_made_infinite_are_not_saved(fit):
    steps = ["--trainer.accumulate_grad_batches", "2"]  # one, the epoch's last
    rates = ["--model.optimization.learning_rate", "1e38", "--model.optimization.weight_decay", "1e3"]
    code, errors, run_dir = fit(1, *steps, *rates)
    assert code == 2
    assert "became infinite or nan at step 0" in errors[-1]
    assert not list(run_dir.rglob("*.ckpt"))


def test_following_the_advice_of_the_message_helps(fit, tmp_path):
    code, errors, _ = fit(1, "--model.optimization.learning_rate", "1e30")
    assert code == 2
    for option in ("--run_dir", "--model.optimization.learning_rate", "--trainer.gradient_clip_val"):
        assert option in errors[-1]
    assert (
        fit(1, "--run_dir", str(tmp_path / "another"), "--model.optimization.learning_rate", "1e-3")[0] == 0
    )


def test_a_checkpoint_of_a_diverged_training_is_refused(fit):
    code, _, run_dir = fit(1)
    path = run_dir / "checkpoints" / "last.ckpt"
    checkpoint = torch.load(path, weights_only=True)
    next(iter(checkpoint["state_dict"].values())).fill_(float("nan"))
    torch.save(checkpoint, path)
    (run_dir / "result.json").unlink()  # else it is known to be finished
    code, errors, _ = fit(1)
    assert code == 2
    assert "diverged" in errors[-1]
