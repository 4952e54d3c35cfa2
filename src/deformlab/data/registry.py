"""All data sets, by their names in configurations."""

from deformlab.data.camvid import CamVid
from deformlab.data.cityscapes import Cityscapes
from deformlab.data.coco import Coco
from deformlab.data.dataset import SegmentationDataset
from deformlab.data.folder import Folder
from deformlab.data.pascal_voc import PascalVOC
from deformlab.data.shapes import Shapes

DATASETS: dict[str, type[SegmentationDataset]] = {
    dataset.name: dataset for dataset in (Shapes, CamVid, Cityscapes, PascalVOC, Coco, Folder)
}
"""The class of each data set, by its name in configurations."""
