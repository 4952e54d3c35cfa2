"""All detection data sets, by their names in configurations."""

from deformlab.data.dataset import ImageDataset
from deformlab.data.detection.boxes import Boxes
from deformlab.data.detection.coco import CocoBoxes
from deformlab.data.detection.shapes import ShapeBoxes
from deformlab.data.detection.voc import VocBoxes

DETECTION_DATASETS: dict[str, type[ImageDataset]] = {
    dataset.name: dataset for dataset in (ShapeBoxes, Boxes, VocBoxes, CocoBoxes)
}
"""The class of each detection data set, by its name in configurations."""
