"""Image and label files as arrays; a file that cannot be read is a DatasetError that names it."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from deformlab.data.dataset import IGNORE_INDEX
from deformlab.errors import DatasetError


def read_image(file: Path) -> npt.NDArray[np.uint8]:
    """An image file as RGB, shape (H, W, 3)."""
    return _decode(file, lambda image: np.asarray(image.convert("RGB"), dtype=np.uint8))


def read_label(file: Path, ignored: Sequence[int] = ()) -> npt.NDArray[np.uint8]:
    """An 8-bit single-channel label map, palette indices unchanged, shape (H, W).

    Args:
        file: the label map.
        ignored: values that become 255.
    """
    values = _read_single_channel(file)
    if values.dtype != np.uint8:
        raise DatasetError(f"{file}: is a {values.dtype} image; a label map is an 8-bit PNG, 0 to 255")
    values[np.isin(values, ignored)] = IGNORE_INDEX
    return values


def read_integers(file: Path) -> npt.NDArray[np.int32]:
    """A single-channel map of integers (8-bit, palette or 16-bit PNG), shape (H, W)."""
    return _read_single_channel(file).astype(np.int32)


def _read_single_channel(file: Path) -> npt.NDArray[Any]:
    values = _decode(file, np.array)
    if values.ndim != 2:
        raise DatasetError(
            f"{file}: has {values.shape[-1]} channels; such a map has one (numbers, not colours)"
        )
    return values


def _decode(file: Path, convert: Callable[[Image.Image], npt.NDArray[Any]]) -> npt.NDArray[Any]:
    try:
        with Image.open(file) as image:
            return convert(image)
    except FileNotFoundError:
        raise DatasetError(f"{file}: file is missing; restore it or remove its partner") from None
    # Pillow raises OSError, SyntaxError (broken PNG), ValueError or its own bomb error, by format and damage.
    except Exception as error:
        raise DatasetError(
            f"{file}: cannot be read ({_one_line(error)}); replace or remove the file"
        ) from None


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
