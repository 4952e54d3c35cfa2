"""What a validation writes of effective dilation and objects: the paper's table 2, and `objects.*`."""

import json
from pathlib import Path
from typing import Any

from deformlab.data import SegmentationDataset
from deformlab.metrics import EffectiveDilationRow, image_key
from deformlab.records import ObjectRecords, summarize
from deformlab.run_folder.files import csv_text, write_atomically
from deformlab.run_folder.objects import records_text
from deformlab.tasks import SemanticSegmentation

__all__ = ["ObjectFiles"]


class ObjectFiles:
    """What a validation measured of objects, ready to be written or printed.

    Every process makes one, because `EffectiveDilation.compute` puts together what they counted.

    Args:
        module: The network after a validation.
        dataset: What it was validated on.
    """

    def __init__(self, module: SemanticSegmentation, dataset: SegmentationDataset) -> None:
        self._module = module
        self._dataset = dataset
        self.rows, records = module.effective_dilation.compute()
        self.records: ObjectRecords = records.named({str(image_key(name)): name for name in dataset.names})

    def summary(self) -> dict[str, Any]:
        """The contents of `objects.json`, explained in `deformlab.records.summary`."""
        metric = self._module.effective_dilation
        return summarize(self.records, metric.rule, self._dataset.classes, metric.region)

    def write(self, directory: Path) -> dict[str, Any]:
        """Writes `effective_dilation.csv`, `objects.csv` and `objects.json` and returns the summary.

        Always all three, so that no table of a run is of another validation than the others.

        Raises:
            RunFolderError: The disk is full or the folder cannot be written.
        """
        summary = self.summary()
        write_atomically(
            directory / "effective_dilation.csv",
            csv_text(EffectiveDilationRow._fields, [row._asdict() for row in self.rows]),
        )
        write_atomically(directory / "objects.csv", records_text(self.records, self._dataset.classes))
        write_atomically(directory / "objects.json", json.dumps(summary, indent=1) + "\n")
        return summary
