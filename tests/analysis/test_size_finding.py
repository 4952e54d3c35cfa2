from deformlab.analysis import find, read_runs
from deformlab.analysis.size_finding import looks_further_and_gains


def judged(sweep):
    return looks_further_and_gains(read_runs(sweep.folder).joined)


def test_further_and_better_on_large_objects_is_found(compared):
    finding = judged(compared)
    assert finding.verdict == "holds"
    assert "layer4.1.conv2 of deformable-2" in finding.sentence
    assert "large +22.7 ± 6.4 [+22.7, +22.7]" in finding.sentence
    assert finding.certainty == "95 % over images, in 2 of 2 seeds"
    assert finding.evidence == (
        "Spearman and gain on large objects by seed (above, seeds averaged per object): "
        "seed 0: 1.00 and +18.2; seed 1: 0.88 and +27.3.",
    )
    assert finding in find(read_runs(compared.folder))


def test_further_only_near_the_border_does_not_hold(sweep):
    sweep.add_objects(sweep.atrous(2))
    sweep.add_objects(sweep.deformable(), dilation=(3.0, 2.0), hits=(5, 90), grow=0.1, border=(0, 0, 6))
    finding = judged(sweep)
    assert finding.verdict == "not seen in the only seed"
    assert "Spearman -0.88 [-1.00, -0.88] away from the image's border, 0.88" in finding.sentence


def test_without_distances_from_the_border_it_cannot_be_judged(compared):
    for folder in compared.folder.iterdir():
        compared.forget_distances(folder)
    finding = judged(compared)
    assert finding.verdict == "cannot be judged"
    assert "Spearman unknown away from the image's border, 0.88" in finding.sentence
    assert finding.sentence.endswith("Validate them again.")


def test_further_but_worse_does_not_hold(sweep):
    sweep.add_objects(sweep.atrous(2))
    sweep.add_objects(sweep.deformable(), dilation=(2.0, 4.0), hits=(5, 20), grow=0.1)
    assert judged(sweep).verdict == "not seen in the only seed"


def test_a_network_that_never_moved_cannot_be_judged(sweep):
    sweep.add_objects(sweep.atrous(2))
    sweep.add_objects(sweep.deformable(), hits=(5, 90))
    assert judged(sweep).verdict == "cannot be judged"


def test_without_records_there_is_no_such_finding(sweep):
    sweep.deformable()
    assert judged(sweep) is None


def test_seeds_that_disagree_are_counted(compared):
    compared.add_objects(compared.deformable(0.47, seed=2), dilation=(3.0, 2.0), hits=(5, 70))
    compared.add_objects(compared.atrous(2, 0.45, seed=2))
    assert judged(compared).words == "holds in 2 of 3 seeds"
