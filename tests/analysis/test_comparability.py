from deformlab.analysis.find import find

from deformlab.analysis import read_runs
from deformlab.analysis.comparability import comparability
from deformlab.run_folder import MEASUREMENT_VERSION as VERSION


def warnings(sweep):
    return comparability(read_runs(sweep.folder))


def test_a_fair_sweep_has_no_warning(sweep):
    sweep.run("pretrain", role="pretraining", curve=(0.1,) * 4)
    sweep.atrous(2, curve=(0.1,) * 6)
    sweep.deformable(init_from="pretrain", curve=(0.1,) * 2)
    assert warnings(sweep) == []


def test_different_budgets_are_named_pretraining_included(sweep):
    sweep.run("pretrain", role="pretraining", curve=(0.1,) * 4)
    sweep.atrous(2, curve=(0.1,) * 2)
    sweep.deformable(init_from="pretrain", curve=(0.1,) * 2)
    assert warnings(sweep) == [
        "trials were trained for different numbers of epochs in all: 2 (atrous-2); 6 (deformable-2)"
    ]


def test_a_finding_says_that_its_trials_were_not_trained_alike(sweep):
    sweep.atrous(2, miou=0.5, curve=(0.1,) * 2)
    sweep.deformable(miou=0.6, curve=(0.1,) * 4)
    (unequal,) = [finding for finding in find(read_runs(sweep.folder)) if len(finding.trials) == 2]
    assert unequal.evidence[-1] == (
        "Not on equal terms: trials were trained for different numbers of epochs in all: "
        "2 (atrous-2); 4 (deformable-2)."
    )


def test_a_finding_on_equal_terms_says_nothing_of_them(sweep):
    sweep.atrous(2, miou=0.5)
    sweep.deformable(miou=0.6)
    assert not any("terms" in str(finding) for finding in find(read_runs(sweep.folder)))


def test_different_seeds_are_named(sweep):
    sweep.atrous(2, seed=0)
    sweep.atrous(2, seed=1)
    sweep.deformable(seed=0)
    assert warnings(sweep) == ["trials have different seeds: 0, 1 (atrous-2); 0 (deformable-2)"]


def test_different_backbones_are_named(sweep):
    sweep.atrous(2)
    sweep.deformable(model={"backbone": "resnet50"})
    assert warnings(sweep) == [
        "trials have different model.backbone: resnet18 (atrous-2); resnet50 (deformable-2)"
    ]


def test_seeds_of_different_networks_are_named(sweep):
    sweep.deformable(seed=0)
    sweep.deformable(seed=1, model={"offset_lr_multiplier": 0.1})
    assert warnings(sweep) == [
        "the runs of deformable-2 have different model settings; its ± is not over seeds"
    ]


def test_different_thresholds_of_object_size_are_named(sweep):
    sweep.atrous(2)
    sweep.deformable(thresholds=[1024, 9216])
    assert "different thresholds of object size" in warnings(sweep)[0]


def test_a_score_of_before_the_last_epoch_is_named(sweep):
    sweep.atrous(2, curve=(0.1,) * 4, max_epochs=6)
    sweep.atrous(4, curve=(0.1,) * 4, max_epochs=4)
    assert warnings(sweep) == ["scores are not those after the last epoch: atrous-2-seed0 after epoch 4 of 6"]


def test_trials_trained_on_different_data_are_named(sweep):
    for rate, fingerprint in ((2, "0123"), (4, "4567")):
        sweep.atrous(rate, data={"train": {"fingerprint": fingerprint}})
    assert warnings(sweep) == ["trials were trained on different data: 0123 (atrous-2); 4567 (atrous-4)"]


def test_what_an_older_version_measured_is_named(sweep):
    sweep.atrous(2, measurement={"version": 1, "options": {}})
    sweep.atrous(4, measurement={"version": VERSION, "options": {}})
    (line,) = warnings(sweep)
    assert "an older version of deformlab (measurement 1, " in line
    assert "objects: atrous-2; run `deformlab validate --run_dir RUN`" in line


def test_runs_that_name_no_version_are_known_by_their_files(sweep):
    """Filters moved to their centres before effective_dilation.csv got columns away from the border."""
    new, old, second = sweep.atrous(2), sweep.atrous(4), sweep.add_objects(sweep.atrous(6))
    sweep.forget_distances(second)
    for path in (old / "effective_dilation.csv", second / "effective_dilation.csv"):
        cells = [line.split(",")[:5] for line in path.read_text().splitlines()]
        path.write_text("".join(",".join(line) + "\n" for line in cells))
    assert new.is_dir()
    (line,) = warnings(sweep)
    assert "objects: atrous-4; run" in line


def test_measurements_with_different_options_are_named(sweep):
    for rate, region in ((2, "mask"), (4, "box")):
        sweep.atrous(rate, measurement={"version": VERSION, "options": {"object_region": region}})
    (line,) = warnings(sweep)
    assert 'measured with different options: {"object_region": "mask"} (atrous-2); ' in line
