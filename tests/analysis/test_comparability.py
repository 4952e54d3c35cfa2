from deformlab.analysis import read_runs
from deformlab.analysis.comparability import comparability
from deformlab.analysis.find import find


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
