"""Reads image and label files as arrays; a file that cannot be read raises a DatasetError that names it.

Every file is read as a viewer shows it: the orientation in its EXIF data is applied to images and label maps
alike. A label map therefore matches the image as the annotator saw it, and a predicted class map matches the
image as a viewer shows it. Files whose conversion to 8 bits would be a guess are refused.
"""

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, UnidentifiedImageError

from deformlab.errors import DatasetError
from deformlab.labels import IGNORED

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
# Lossless formats.
LABEL_SUFFIXES = (".png", ".tif", ".tiff")
# 8192 x 8192: larger images do not fit a network anyway, and reading one takes gigabytes.
MAX_PIXELS = 2**26
_TOO_LARGE = f"at most {MAX_PIXELS:,} (8192x8192) are read, cut the image into tiles"
# A 16-bit image whose values fit into 14 bits may come from a camera with 10, 12 or 14 bits, or be dark.
_CAMERA_BITS = 14
# The transposition that a viewer applies for each EXIF orientation.
_TRANSPOSITIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_LOSSY_FORMATS = ("JPEG", "MPO", "WEBP")
_MIN_IS_WHITE = 0


class _Refusal(Exception):
    """What is wrong with a file and how to fix it, without the file's name."""


def read_image(file: Path) -> npt.NDArray[np.uint8]:
    """An image file as RGB, shape (H, W, 3), with its EXIF orientation applied.

    16-bit images are reduced to their upper 8 bits.

    Raises:
        DatasetError: The file is missing, broken or larger than 8192 x 8192 pixels; or its colours are
            ambiguous: it has 32-bit values, 16-bit values that use at most 14 bits, transparent pixels or
            several pages.
    """
    pixels: npt.NDArray[np.uint8] = _decode(file, _rgb)
    return pixels


def read_label(file: Path, ignored: Sequence[int] = ()) -> npt.NDArray[np.uint8]:
    """An 8-bit single-channel label map, shape (H, W); of a palette image, the palette indices.

    Args:
        file: The label map.
        ignored: Values that become 255.

    Raises:
        DatasetError: The file is missing, broken, larger than 8192 x 8192 pixels, or not a map of 8-bit
            numbers.
    """
    values: npt.NDArray[Any] = _decode(file, _numbers)
    if values.dtype != np.uint8:
        raise DatasetError(f"{file}: is a {values.dtype} image; a label map is an 8-bit PNG, 0 to 255")
    values[np.isin(values, ignored)] = IGNORED
    return values


def read_integers(file: Path) -> npt.NDArray[np.int32]:
    """A single-channel map of integers (8-bit, palette or 16-bit PNG), shape (H, W).

    Raises:
        DatasetError: The file is missing, broken, too large, or not a map of integers.
    """
    values: npt.NDArray[Any] = _decode(file, _numbers)
    if values.dtype.kind not in "iu":
        raise DatasetError(f"{file}: is a {values.dtype} image; the map must have integers, save it as PNG")
    return values.astype(np.int32)


def turned_at_same_size(file: Path) -> bool:
    """Whether EXIF data turns or mirrors an image without changing its size.

    Raises:
        DatasetError: The file cannot be read.
    """

    def inspect(image: Image.Image) -> bool:
        # Pillow would decode the whole PNG to find EXIF data that follow the pixels.
        if image.format == "PNG" and "exif" not in image.info:
            return False
        orientation = _orientation(image)
        return orientation in (2, 3, 4) or (orientation in (5, 6, 7, 8) and image.width == image.height)

    return bool(_decode(file, inspect))


def palette_of(file: Path) -> dict[int, tuple[int, ...]] | None:
    """The colour of each label value in a map's palette; None if the map has no palette.

    Raises:
        DatasetError: The file cannot be read.
    """

    def inspect(image: Image.Image) -> dict[int, tuple[int, ...]] | None:
        colours = image.getpalette("RGB") if image.mode == "P" else None
        if colours is None:
            return None
        return {start // 3: tuple(colours[start : start + 3]) for start in range(0, len(colours), 3)}

    palette: dict[int, tuple[int, ...]] | None = _decode(file, inspect)
    return palette


def _rgb(image: Image.Image) -> npt.NDArray[np.uint8]:
    if image.mode in ("I", "F"):
        raise _Refusal(
            "has 32-bit or signed values, whose white level is unknown; save it with 8 bits per channel"
        )
    raw = _raw_mode(image)
    _check_pages(image)
    white_is_0 = getattr(image, "tag_v2", {}).get(ExifTags.Base.PhotometricInterpretation) == _MIN_IS_WHITE
    image = _as_shown(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        if np.asarray(image)[..., 3].min() < 255:
            raise _Refusal("has transparent pixels, whose colour depends on what is behind them; flatten it")
    if image.mode.startswith("I;16"):
        if white_is_0:
            raise _Refusal("stores white as 0 in 16 bits; save it with 8 bits per channel")
        grey = (np.asarray(image) >> 8).astype(np.uint8)
        pixels = np.repeat(grey[:, :, None], 3, axis=2)
    else:
        pixels = np.asarray(image.convert("RGB"), dtype=np.uint8)
    if ";16" in raw and pixels.max(initial=0) < 1 << _CAMERA_BITS - 8:
        raise _Refusal(
            f"is a 16-bit image that uses at most {_CAMERA_BITS} bits, so its white level is unknown; scale "
            "its values and save it with 8 bits per channel"
        )
    return pixels


def _numbers(image: Image.Image) -> npt.NDArray[Any]:
    if image.format in _LOSSY_FORMATS or "jpeg" in str(image.info.get("compression")):
        raise _Refusal("uses lossy compression, which changes label values; export it again as PNG")
    raw = _raw_mode(image)
    # Pillow scales values of 1, 2 and 4 bits to 8, and inverts TIFF files that store white as 0.
    if image.mode == "1" or (image.mode == "L" and raw != "L"):
        raise _Refusal(f"stores its values as {raw!r}, not as plain 8-bit numbers; save it as an 8-bit PNG")
    _check_pages(image)
    values = np.array(_as_shown(image))
    if values.ndim != 2:
        raise _Refusal(f"has {values.shape[-1]} channels; the map must have one (numbers, not colours)")
    return values


def _as_shown(image: Image.Image) -> Image.Image:
    """The image with its EXIF orientation applied; Pillow has already done that for TIFF."""
    transposition = None if image.format == "TIFF" else _TRANSPOSITIONS.get(_orientation(image))
    return image if transposition is None else image.transpose(transposition)


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    # If EXIF data are broken, viewers show the image as it is stored.
    except Exception:
        return 1


def _raw_mode(image: Image.Image) -> str:
    """How the file stores a pixel, for instance `RGB;16B`; only known before the image is decoded."""
    for tile in getattr(image, "tile", None) or ():
        arguments = tile[3]
        return str(arguments[0] if isinstance(arguments, tuple) and arguments else arguments)
    return image.mode


def _check_pages(image: Image.Image) -> None:
    # The second image in a phone's JPEG is a preview. TIFF marks smaller copies (1) and masks (4).
    if image.format == "MPO":
        return
    pages = 0
    for page in range(getattr(image, "n_frames", 1)):
        image.seek(page)
        pages += not getattr(image, "tag_v2", {}).get(ExifTags.Base.NewSubfileType, 0) & 5
    image.seek(0)
    if pages > 1:
        raise _Refusal(f"has {pages} pages; save the page that you mean as a separate file")


def _decode(file: Path, convert: Callable[[Image.Image], Any]) -> Any:
    """The result of `convert` for an opened image, whose pixels are not decoded yet."""
    try:
        # Given a file name, Pillow maps the file into memory and then reads rotated TIFF files wrongly.
        with file.open("rb") as stream, warnings.catch_warnings():
            # Warnings about large images, which are refused below, and about broken EXIF data.
            warnings.simplefilter("ignore")
            with Image.open(stream) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise _Refusal(f"has {image.width}x{image.height} pixels; {_TOO_LARGE}")
                return convert(image)
    except FileNotFoundError:
        raise DatasetError(
            f"{file}: file is missing; restore it, or remove the sample's other files"
        ) from None
    except _Refusal as refusal:
        raise DatasetError(f"{file}: {refusal}") from None
    except Image.DecompressionBombError:
        raise DatasetError(f"{file}: has too many pixels; {_TOO_LARGE}") from None
    except UnidentifiedImageError:
        raise DatasetError(f"{file}: cannot be read (unknown image format); replace or remove it") from None
    # Pillow raises OSError, SyntaxError (broken PNG) or ValueError, depending on format and damage.
    except Exception as error:
        raise DatasetError(
            f"{file}: cannot be read ({_one_line(error)}); replace or remove the file"
        ) from None


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
