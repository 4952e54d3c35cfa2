from dataclasses import replace

import pytest
from deformlab.analysis.evaluation_tables import evaluation_scores, scores_on_other_data

from deformlab.analysis import read_runs, write_report
from deformlab.analysis.export import text
from deformlab.run_folder.evaluations import Evaluation, write_evaluation

FOG = Evaluation(
    name="fog",
    split="val",
    score={"name": "miou", "value": 0.3, "mode": "max"},
    iou={"Sky": 0.4, "Road_mark": 0.2},
    images=3,
    data={"dataset": "camvid", "root": "/fog", "fingerprint": "0123"},
    checkpoint={"file": "checkpoints/last.ckpt", "epochs": 2},
)


def scored(value, **changes):
    return replace(FOG, score=FOG.score | {"value": value}, **changes)


def table(sweep):
    return scores_on_other_data(read_runs(sweep.folder).trials)


def lines(sweep):
    return evaluation_scores(read_runs(sweep.folder).trials)[1]


def test_scores_stand_beside_those_of_the_validation_with_their_drop_seed_by_seed(sweep):
    for seed, (miou, fog) in enumerate(((0.5, 0.3), (0.6, 0.2), (0.7, None))):
        folder = sweep.atrous(2, miou, seed)
        if fog is not None:
            write_evaluation(folder, scored(fog))
    sweep.atrous(4, 0.4)
    found = table(sweep)
    assert found.header == ("Trial", "Validation mIoU (%)", "fog: mIoU (%)", "fog: drop (points)")
    assert [tuple(map(text, row)) for row in found.rows] == [
        ("atrous-2", "60.0 ± 10.0 (n = 3)", "25.0 ± 7.1 (n = 2)", "30.0 ± 14.1 (n = 2)"),
        ("atrous-4", "40.0 (n = 1)", "–", "–"),
    ]
    assert lines(sweep) == []


def test_without_evaluations_there_is_no_such_table(sweep):
    sweep.atrous(2)
    assert table(sweep) is None


@pytest.mark.parametrize(
    ("evaluation", "reason"),
    [
        (
            scored(0.3, checkpoint={"file": "last.ckpt", "epochs": 1}),
            "is of epoch 1, but the run ended after epoch 2",
        ),
        (scored(0.3, iou={"Sky": 0.3, "Car": 0.3}), "has other classes than the training"),
        (scored(None), "has no mIoU: none of its pixels are labelled"),
        (scored(30.0), "its mIoU is 30.0, expected a fraction"),
        (scored(float("nan")), "its mIoU is nan"),
        (
            replace(FOG, score={"name": "accuracy", "value": 0.9, "mode": "max"}),
            "is of 'accuracy', not of mIoU",
        ),
    ],
)
def test_an_evaluation_that_cannot_stand_there_is_a_line(sweep, evaluation, reason):
    write_evaluation(sweep.atrous(2), evaluation)
    (line,) = lines(sweep)
    assert line.startswith(f"not in the scores on other data: fog: {reason}")
    assert line.endswith("(atrous-2-seed0)")
    assert table(sweep) is None


@pytest.mark.parametrize(
    "other",
    [
        scored(0.3, data=FOG.data | {"fingerprint": "4567"}),
        scored(0.3, options={"evaluation.flip": True}),
        scored(0.3, split="test"),
    ],
)
def test_evaluations_of_one_name_that_were_made_differently_are_not_mixed(sweep, other):
    write_evaluation(sweep.atrous(2), FOG)
    write_evaluation(sweep.atrous(4), other)
    (line,) = lines(sweep)
    assert "fog: the runs were evaluated differently: val, data 0123, 3 images (atrous-2-seed0); " in line
    assert table(sweep) is None


@pytest.mark.parametrize(
    "change", [{"iou": []}, {"checkpoint": 3}, {"options": "x"}, {"data": {"root": "\x1b"}}]
)
def test_a_damaged_evaluation_is_a_line(sweep, change):
    write_evaluation(sweep.atrous(2), replace(FOG, **change))
    (line,) = read_runs(sweep.folder).warnings
    assert line.startswith("not in the scores on other data: atrous-2-seed0/evaluations/fog.json: ")


def test_the_table_follows_the_scores_in_every_part_of_the_report(sweep, no_figures, capsys):
    from rich.console import Console

    write_evaluation(sweep.atrous(2, 0.5), FOG)
    report = write_report(sweep.folder)
    names = [shown.name for shown in report.tables]
    assert names[names.index("table3_atrous_against_deformable") + 1] == "evaluations"
    assert "### Scores on other data" in (report.page.parent / "report.md").read_text()
    assert '<h3 id="evaluations">' in report.page.read_text()
    report.print(Console(width=200))
    assert "On other data, fog: mIoU (%): atrous-2 30.0 (n = 1), drop 20.0 (n = 1)" in capsys.readouterr().out
