"""The image to inspect, with its label if the data set has one."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deformlab.data import FileDataset, SegmentationDataset, connected_objects, read_image
from deformlab.errors import DatasetError
from deformlab.inspection.network import TrainedNetwork

__all__ = ["Scene", "read_scene"]

# The order in which splits are searched: images that the network was not trained on come first.
SPLITS = ("val", "test", "train")


@dataclass(frozen=True)
class Scene:
    """An image at its original size, with its label if it has one.

    Attributes:
        name: The file's stem, or the sample's name in its data set.
        image: RGB (H, W, 3).
        label: Class indices (H, W), 255 for ignored; None for an unlabelled image.
        instance: Instance ids (H, W), 0 for background; None for an unlabelled image.
    """

    name: str
    image: NDArray[np.uint8]
    label: NDArray[np.uint8] | None = None
    instance: NDArray[np.int32] | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.image.shape[0], self.image.shape[1]

    @property
    def regions(self) -> NDArray[np.int32] | None:
        """A different number for every class and object (H, W), for outlines; None without a label."""
        if self.label is None or self.instance is None:
            return None
        return 256 * self.instance + self.label


def read_scene(source: str, network: TrainedNetwork) -> Scene:
    """Reads an image and, if it belongs to the network's data set, its label.

    Args:
        source: An image file, or the name of a sample of the network's data set.
        network: The network, whose data set is searched.

    Raises:
        DatasetError: The image does not exist or cannot be read.
    """
    file = Path(source).expanduser()
    is_file = file.is_file()
    example = None
    for split in SPLITS:
        try:
            dataset = _open(network, split)
        except DatasetError:
            continue
        if dataset is None:
            continue
        example = example or dataset.names[0]
        index = _index_of_file(dataset, file) if is_file else _index_of_name(dataset, source)
        if index is not None:
            sample = dataset.raw(index)
            return Scene(
                sample["name"].replace("/", "-"), sample["image"], sample["label"], sample["instance"]
            )
    if is_file:
        return Scene(file.stem, read_image(file))
    hint = f", for example {example}" if example else ""
    raise DatasetError(
        f"{source}: no such image; give an image file, or the name of a sample of the data set "
        f"{network.data.dataset_class.name!r}{hint}"
    )


def with_predicted_label(scene: Scene, classes: NDArray[np.uint8], things: list[int]) -> Scene:
    """The scene with the prediction in place of its label, for unlabelled images.

    Args:
        scene: The image.
        classes: Predicted classes (H, W).
        things: Indices of the classes of countable objects.
    """
    return Scene(scene.name, scene.image, classes, connected_objects(classes, things))


def _open(network: TrainedNetwork, split: str) -> SegmentationDataset | None:
    data = network.data
    if split not in data.dataset_class.splits:
        return None
    dataset: SegmentationDataset = data.dataset_class(data.root, split, **data.options)  # type: ignore[assignment]
    return dataset


def _index_of_file(dataset: SegmentationDataset, file: Path) -> int | None:
    if not isinstance(dataset, FileDataset):
        return None
    file = file.resolve()
    for index, files in enumerate(dataset.files):
        if files.image.name == file.name and files.image.resolve() == file:
            return index
    return None


def _index_of_name(dataset: SegmentationDataset, name: str) -> int | None:
    return dataset.names.index(name) if name in dataset.names else None
