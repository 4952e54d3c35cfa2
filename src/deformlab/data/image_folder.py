"""Images without labels, to predict on."""

from pathlib import Path
from typing import Any

from torch.utils.data import Dataset

from deformlab.data.files import visible_files
from deformlab.data.reading import IMAGE_SUFFIXES, read_image
from deformlab.data.transforms import EvalTransform
from deformlab.errors import DatasetError


class ImageFolder(Dataset[Any]):
    """The images right in one folder, by name.

    Indexing gives `image` (3, H', W'), `name` (the file's stem) and `size`, the original (H, W). An image is
    turned as its EXIF orientation says, and so is its size: what is predicted lies on the image as a viewer
    shows it.

    Args:
        root: folder of images.
        transform: makes the network's input.

    Raises:
        DatasetError: the folder is missing or holds no image; on indexing: an image is unreadable.
    """

    def __init__(self, root: str | Path, transform: EvalTransform) -> None:
        folder = Path(root).expanduser()
        if not folder.is_dir():
            raise DatasetError(f"{folder}: no such folder; data.predict_root must be a folder of images")
        self.files = [file for file in visible_files(folder) if file.suffix.lower() in IMAGE_SUFFIXES]
        if not self.files:
            raise DatasetError(
                f"{folder}: holds no images ({', '.join(IMAGE_SUFFIXES)}); those in subfolders are not read"
            )
        self.transform = transform

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> dict[str, Any]:
        image = read_image(self.files[index])
        return {
            "image": self.transform.image(image),
            "name": self.files[index].stem,
            "size": image.shape[:2],
        }
