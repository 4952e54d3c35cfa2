import pytest

from deformlab.run_folder import ClassScores, MeasuredSizes, Measurement, Result, Score


@pytest.fixture
def result() -> Result:
    """The result of a finished training of two epochs."""
    return Result(
        status="finished",
        trial="deformable-2",
        sweep="dilation",
        seed=3,
        seconds=61.5,
        peak_memory_bytes=2**30,
        measurement=Measurement(
            2, {"model.evaluation.flip": True}, MeasuredSizes((100.0, 400.0), area="mask")
        ),
        score=Score("miou", 0.5, 0.625),
        class_scores=ClassScores("iou", {"road": 0.5, "car": None}),
        epochs=2,
        max_epochs=2,
        dataset="camvid",
        data={"val": {"dataset": "camvid", "fingerprint": "0123", "images": 3}},
        classes=("road", "car"),
        palette=("#000000", "#ff0000"),
        model={"conv5": "deformable", "dilation": 2, "num_deformable_layers": 3},
        parameters=1234,
        images_per_second=30.5,
        precision="32-true",
        versions={"deformlab": "0.1.0"},
        git_revision=None,
        operator_backend="native",
        machine="a machine, 2 cores",
    )
