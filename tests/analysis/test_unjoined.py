from deformlab.analysis import read_runs
from deformlab.analysis.unjoined import unjoined


def lines(sweep):
    return unjoined(read_runs(sweep.folder))


def test_runs_with_records_need_no_line(compared):
    assert lines(compared) == []


def test_one_line_says_that_no_run_has_records_and_how_to_get_them(sweep):
    sweep.atrous(2)
    sweep.deformable()
    (line,) = lines(sweep)
    assert line.startswith("no run has objects.json and objects.csv; ")
    assert "`deformlab validate --run_dir RUN` writes both files" in line


def test_one_line_names_the_first_of_those_without(compared):
    for seed in range(4):
        compared.atrous(8, seed=seed)
    (line,) = lines(compared)
    assert line.startswith(
        "4 of 9 runs have no objects.json and objects.csv "
        "(atrous-8-seed0, atrous-8-seed1, atrous-8-seed2 and 1 more)"
    )


def test_a_single_run_can_be_without(sweep):
    (line,) = unjoined(read_runs(sweep.atrous(2)))
    assert line.startswith("the run has no objects.json and objects.csv; ")


def test_trials_on_other_images_are_named(compared):
    compared.add_objects(compared.atrous(8), images=("x", "y"))
    (line,) = lines(compared)
    assert line.startswith("not in the tables by object: atrous-8: evaluated on other images")


def test_trials_whose_seeds_do_not_go_together_are_named(compared):
    compared.forget_distances(compared.folder / "deformable-2-seed1")
    (line,) = lines(compared)
    assert line.startswith(
        "not in the tables by object: deformable-2: its seeds recorded different layers, or"
    )


def test_a_trial_whose_seeds_recorded_different_layers_is_named(compared):
    for name in ("objects.csv", "objects.json", "effective_dilation.csv"):
        path = compared.folder / "deformable-2-seed1" / name
        path.write_text(path.read_text().replace("layer4.0", "layer3.0"))
    (line,) = lines(compared)
    assert line.startswith(
        "not in the tables by object: deformable-2: its seeds recorded different layers, or"
    )
