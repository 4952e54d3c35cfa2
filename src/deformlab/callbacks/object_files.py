"""Object measurements of a validation, with the names of the images."""

from typing import Any

from deformlab.data import SegmentationDataset
from deformlab.metrics import image_key
from deformlab.records import ObjectMeasurement, join_scores

__all__ = ["measured_objects"]


def measured_objects(task: Any, dataset: SegmentationDataset) -> ObjectMeasurement | None:
    """Return the object measurements of the last validation or test.

    Every process must call it, because the metrics combine the counts of all processes.

    Args:
        task: The task after a validation or test. It measures objects if it has an `EffectiveDilation` as
            `effective_dilation`; their scores come from its `object_scores`.
        dataset: The images of that validation or test.

    Returns:
        Records of objects with scores, and the filters of deformable layers. None if the task measures no
        objects.
    """
    if not hasattr(task, "effective_dilation"):
        return None
    measurement = task.effective_dilation.compute()
    records = join_scores(measurement.records, task.object_scores.compute())
    return measurement._replace(records=records).named({str(image_key(name)): name for name in dataset.names})
