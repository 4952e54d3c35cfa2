"""What a validation measured of objects, with the images' names."""

from typing import Protocol

from deformlab.data import SegmentationDataset
from deformlab.metrics import EffectiveDilation, ObjectScores, image_key
from deformlab.records import ObjectMeasurement, join_scores

__all__ = ["measured_objects"]


class MeasuresObjects(Protocol):
    """A task that measures where filters look and how well objects are found."""

    effective_dilation: EffectiveDilation
    object_scores: ObjectScores


def measured_objects(task: MeasuresObjects, dataset: SegmentationDataset) -> ObjectMeasurement:
    """What the task's metrics counted in the last validation or test.

    Every process has to call it: the metrics put together what all of them counted.

    Args:
        task: The task after a validation or test.
        dataset: The images it was validated or tested on.
    """
    measurement = task.effective_dilation.compute()
    records = join_scores(measurement.records, task.object_scores.compute())
    return measurement._replace(records=records).named({str(image_key(name)): name for name in dataset.names})
