"""Object measurements of a validation, with the names of the images."""

from typing import Protocol

from deformlab.data import SegmentationDataset
from deformlab.metrics import EffectiveDilation, ObjectScores, image_key
from deformlab.records import ObjectMeasurement, join_scores

__all__ = ["measured_objects"]


class MeasuresObjects(Protocol):
    """A task that measures effective dilation and how well objects are segmented."""

    effective_dilation: EffectiveDilation
    object_scores: ObjectScores


def measured_objects(task: MeasuresObjects, dataset: SegmentationDataset) -> ObjectMeasurement:
    """Return the object measurements of the last validation or test.

    Every process must call it, because the metrics combine the counts of all processes.

    Args:
        task: The task after a validation or test.
        dataset: The images of that validation or test.

    Returns:
        Records of objects with scores, and the filters of deformable layers.
    """
    measurement = task.effective_dilation.compute()
    records = join_scores(measurement.records, task.object_scores.compute())
    return measurement._replace(records=records).named({str(image_key(name)): name for name in dataset.names})
