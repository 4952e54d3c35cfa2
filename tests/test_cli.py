import json
import os
import shutil
import subprocess
import sys

import pytest
import yaml

from deformlab.cli import TRAINING_VERBS, main
from deformlab.run_folder import read_result

VERBS = ["fit", "validate", "test", "predict", "sweep", "report", "show", "data", "doctor"]


def error_line(capsys) -> str:
    """The one line that a user's mistake prints."""
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("deformlab: error: ")
    return lines[0]


def test_help_lists_every_verb(capsys):
    assert main(["--help"]) == 0
    overview = capsys.readouterr().out
    assert all(f"deformlab {verb}" in overview for verb in VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(verb, capsys):
    with pytest.raises(SystemExit) as exit_:
        main([verb, "--help"])
    assert exit_.value.code == 0
    assert "usage" in capsys.readouterr().out


@pytest.mark.parametrize("verb", TRAINING_VERBS)
def test_help_of_a_training_verb_fits_one_screen_and_names_the_rest(verb, capsys):
    with pytest.raises(SystemExit, match="0"):
        main([verb, "--help"])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 45
    assert max(map(len, lines)) <= 80
    assert f"deformlab {verb} --help-all" in lines[-1]


def test_help_shows_common_options_with_the_parsers_defaults(capsys):
    with pytest.raises(SystemExit):
        main(["fit", "--help"])
    common = capsys.readouterr().out
    assert "--model.dilation 2 " in common
    assert "--data.root ROOT " in common
    assert "--model.boundary" not in common


def test_help_of_predict_is_about_prediction(capsys):
    with pytest.raises(SystemExit):
        main(["predict", "-h"])
    common = capsys.readouterr().out
    assert "--data.predict_root" in common
    assert "--output predictions" in common
    assert "--trainer.max_epochs" not in common


def test_help_all_shows_every_option(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["validate", "--help-all"])
    everything = capsys.readouterr().out
    for option in ("--model.boundary", "--trainer.limit_val_batches", "--name", "--help-all"):
        assert option in everything


def test_an_unknown_verb_names_the_verbs(capsys):
    assert main(["trian"]) == 2
    assert "fit, validate, test, predict, sweep, report, show, shift, data, doctor" in error_line(capsys)


def test_a_missing_configuration_is_one_line(capsys):
    assert main(["fit", "--config", "nowhere.yaml"]) == 2
    assert error_line(capsys).endswith("--config nowhere.yaml: no such file")


def test_a_configuration_without_its_option_is_told_where_it_goes(capsys):
    assert main(["fit", "demo.yaml"]) == 2
    assert "demo.yaml: give configuration files as --config demo.yaml" in error_line(capsys)


@pytest.mark.parametrize(
    ("option", "value", "named"),
    [
        ("--model.conv5", "deformed", "conv5"),
        ("--model.backbone", "resnet19", "resnet18"),
        ("--model.no_such_option", "1", "no_such_option"),
        ("--model.optimization.learning_rate", "-1", "learning_rate"),
        ("--data.dataset", "camvit", "camvid"),
        ("--data.options", "{colour: 1}", "colour"),
        ("--trainer.max_epochs", "many", "max_epochs"),
        ("--model.backbone_weights", "nowhere.pth", "nowhere.pth"),
        ("--model.init_weights", "nowhere.ckpt", "nowhere.ckpt"),
    ],
)
def test_a_wrong_option_is_named_in_one_line(tiny_config, tmp_path, capsys, option, value, named):
    arguments = ["fit", "--config", str(tiny_config), "--run_dir", str(tmp_path / "run"), "--wandb", "off"]
    assert main([*arguments, option, value]) == 2
    assert named in error_line(capsys)


def test_a_missing_data_set_says_what_was_looked_for(tiny_config, tmp_path, capsys):
    arguments = ["fit", "--config", str(tiny_config), "--run_dir", str(tmp_path / "run"), "--wandb", "off"]
    arguments += ["--data.dataset", "camvid", "--data.options", "null"]
    assert main([*arguments, "--data.root", str(tmp_path / "nothing")]) == 2
    assert "nothing" in error_line(capsys)


def test_an_unknown_class_of_yaml_keys_is_one_line(tmp_path, capsys):
    path = tmp_path / "bad.yaml"
    path.write_text("model: {dilatoin: 4}\n")
    assert main(["fit", "--config", str(path)]) == 2
    assert "dilatoin" in error_line(capsys)


def test_broken_yaml_is_one_line(tmp_path, capsys):
    path = tmp_path / "bad.yaml"
    path.write_text("model: {dilation: [\n")
    assert main(["fit", "--config", str(path)]) == 2
    assert "bad.yaml" in error_line(capsys)


def test_validate_repeats_the_score_of_the_run(trained_run, capsys):
    assert main(["validate", "--run_dir", str(trained_run)]) == 0
    miou = read_result(trained_run).score.value
    printed = capsys.readouterr().out
    assert f"{100 * miou:.1f}" in printed
    assert "layer4.0.conv2" in printed


def test_test_scores_the_test_split(trained_run, tmp_path, capsys):
    run_dir = shutil.copytree(trained_run, tmp_path / "run")
    assert main(["test", "--run_dir", str(run_dir)]) == 0
    assert "mIoU" in capsys.readouterr().out


def test_validate_without_a_network_says_how_to_name_one(tiny_config, capsys):
    assert main(["validate", "--config", str(tiny_config)]) == 2
    assert "--run_dir" in error_line(capsys)


def test_validate_of_a_folder_without_a_run_is_one_line(tmp_path, capsys):
    assert main(["validate", "--run_dir", str(tmp_path)]) == 2
    assert "config.yaml" in error_line(capsys)


def test_a_checkpoint_of_another_architecture_is_one_line(trained_run, capsys):
    assert main(["validate", "--run_dir", str(trained_run), "--model.head_channels", "8"]) == 2
    assert "another architecture" in error_line(capsys)


def test_a_file_that_is_no_checkpoint_is_one_line(trained_run, tmp_path, capsys):
    path = tmp_path / "broken.ckpt"
    path.write_bytes(b"not a checkpoint")
    assert main(["validate", "--run_dir", str(trained_run), "--ckpt_path", str(path)]) == 2
    assert "broken.ckpt" in error_line(capsys)


def test_a_sweep_runs_its_trials_and_reports(tiny_config, tmp_path, capsys):
    sweep = tmp_path / "sweep.yaml"
    trials = [
        {"name": "start", "role": "pretraining", "set": {"model.conv5": "atrous"}},
        {"name": "atrous-2", "init_from": "start", "set": {"model.conv5": "atrous"}},
        {"name": "deformable-2", "init_from": "start", "set": {"model.conv5": "deformable"}},
    ]
    sweep.write_text(
        yaml.safe_dump({"name": "tiny", "base": str(tiny_config), "seeds": [0], "trials": trials})
    )
    output = tmp_path / "runs"
    assert main(["sweep", str(sweep), "--output", str(output), "--set", "trainer.max_epochs=1"]) == 0
    printed = capsys.readouterr().out
    assert "atrous-2" in printed
    assert (output / "report" / "report.html").is_file()
    results = [json.loads(path.read_text()) for path in output.glob("*/result.json")]
    assert {result["trial"]: result["init_from"] for result in results} == {
        "start": None,
        "atrous-2": "start",
        "deformable-2": "start",
    }
    assert {result["status"] for result in results} == {"finished"}

    modified = {path: path.stat().st_mtime_ns for path in output.glob("*/result.json")}
    assert main(["sweep", str(sweep), "--output", str(output), "--set", "trainer.max_epochs=1"]) == 0
    assert modified == {path: path.stat().st_mtime_ns for path in output.glob("*/result.json")}


def test_a_sweep_with_a_wrong_option_starts_nothing(tiny_config, tmp_path, capsys):
    sweep = tmp_path / "sweep.yaml"
    trials = [{"name": "a", "set": {"model.dilatoin": 2}}]
    sweep.write_text(yaml.safe_dump({"name": "t", "base": str(tiny_config), "seeds": [0], "trials": trials}))
    assert main(["sweep", str(sweep), "--output", str(tmp_path / "runs")]) == 2
    assert "dilatoin" in error_line(capsys)
    assert not list(tmp_path.glob("runs/*/result.json"))


@pytest.mark.parametrize("value", ["-1", "nan", "inf", "far"])
def test_a_sweep_with_a_wrong_smallest_effect_starts_nothing(tmp_path, capsys, value):
    with pytest.raises(SystemExit, match="2"):
        main(["sweep", str(tmp_path / "sweep.yaml"), "--smallest-effect", value])
    assert f"must be a number of cells of 0 or more, got {value}" in capsys.readouterr().err


def test_a_report_of_nothing_is_one_line(tmp_path, capsys):
    assert main(["report", str(tmp_path / "nothing")]) == 2
    assert "nothing" in error_line(capsys)


def test_data_check_of_a_missing_folder_is_one_line(tmp_path, capsys):
    assert main(["data", "check", "camvid", str(tmp_path / "nothing")]) == 1
    assert f"{tmp_path / 'nothing'}: no such folder" in capsys.readouterr().out


def test_doctor_names_versions_operators_and_advice(capsys):
    assert main(["doctor"]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in ("torch", "operators on the CPU", "Weights & Biases", "machine"))


def test_help_does_not_wait_for_torch():
    code = "import sys; from deformlab.cli import main; main(['--help']); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


def test_a_file_in_the_working_directory_takes_no_modules_place(tmp_path):
    (tmp_path / "random.py").write_text("raise SystemExit('the wrong random')")
    (tmp_path / "json.py").write_text("raise SystemExit('the wrong json')")
    command = [sys.executable, "-m", "deformlab", "doctor"]
    environment = {**os.environ, "PYTHONPATH": ""}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_training_without_a_length_is_refused(tmp_path, capsys):
    assert main(["fit", "--run_dir", str(tmp_path / "run"), "--wandb", "off"]) == 2
    assert "the length of the training is not set" in error_line(capsys)


@pytest.mark.parametrize("option", ["max_epochs", "max_steps"])
def test_a_training_of_no_length_is_refused(tiny_config, tmp_path, capsys, option):
    arguments = ["fit", "--config", str(tiny_config), "--run_dir", str(tmp_path / "run"), "--wandb", "off"]
    assert main([*arguments, f"--trainer.{option}", "0"]) == 2
    assert f"trainer.{option}=0: must be at least 1" in error_line(capsys)


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--model.dilaton", "3", "did you mean model.dilation?"),
        ("--data.train_transform.flip", "x", "data.train_transform.flip: must be a number, got x"),
        ("--trainer.max_epochs", "many", "trainer.max_epochs: must be int or null, got many"),
        (
            "--model.conv5",
            "deformabel",
            "--model.conv5: must be atrous, deformable or modulated, got deformabel",
        ),
        ("--model.dilation", "two", "--model.dilation: must be an integer, got two"),
        ("--conifg", "demo.yaml", "demo.yaml: give configuration files as --config demo.yaml"),
        ("--trainer.accelerator", "gpu", "torch finds no GPU here"),
    ],
)
def test_an_error_of_the_parser_says_what_is_legal(tiny_config, tmp_path, capsys, option, value, said):
    import torch

    if value == "gpu" and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    arguments = ["fit", "--config", str(tiny_config), "--run_dir", str(tmp_path / "run"), "--wandb", "off"]
    assert main([*arguments, option, value]) == 2
    line = error_line(capsys)
    assert said in line
    assert "Union" not in line


def test_a_misspelt_option_in_a_file_is_named_with_the_right_one(tmp_path, capsys):
    path = tmp_path / "bad.yaml"
    path.write_text("model: {dilatoin: 4}\n")
    assert main(["fit", "--config", str(path)]) == 2
    assert "did you mean model.dilation?" in error_line(capsys)


def test_a_training_that_is_mostly_warm_up_is_said(tiny_config, tmp_path, caplog):
    arguments = ["fit", "--config", str(tiny_config), "--run_dir", str(tmp_path / "run"), "--wandb", "off"]
    with caplog.at_level("INFO"):
        assert main([*arguments, "--model.optimization.warmup_steps", "50"]) == 0
    assert "the warm-up (50 steps) is too long for this training (steps in all: 4)" in caplog.text
