"""Create the augmented training set of PASCAL VOC 2012: 10,582 masks from VOC 2012 and SBD.

Writes `SegmentationClassAug/`, `SegmentationObjectAug/` and `ImageSets/Segmentation/train_aug.txt` into the
folder `VOC2012`. Training images that VOC itself annotates keep VOC's masks. VOC's validation images are left
out.

Needs the unpacked official archives:
  VOCtrainval_11-May-2012.tar   contains VOCdevkit/VOC2012/
  benchmark.tgz                 contains benchmark_RELEASE/dataset/{cls,inst}/*.mat (SBD)
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from rich.console import Console
from rich.progress import track
from scipy.io import loadmat

from deformlab.data import PascalVOC, read_label
from deformlab.data.pascal_voc import read_names
from deformlab.errors import DatasetError

OFFICIAL_COUNT = 10_582


def main() -> int:
    """Runs the script; returns 0 if the set was written, 2 if a file is missing or broken."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("voc", type=Path, help="folder that contains VOCdevkit/VOC2012")
    parser.add_argument("sbd", type=Path, help="folder benchmark_RELEASE")
    parser.add_argument(
        "--incomplete",
        action="store_true",
        help=f"write the set even if it has fewer than {OFFICIAL_COUNT:,} images",
    )
    arguments = parser.parse_args()
    try:
        count = prepare(arguments.voc, arguments.sbd, arguments.incomplete)
    except DatasetError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"wrote {count:,} masks; check them with: deformlab data check voc {arguments.voc}")
    return 0


def prepare(voc_root: Path, sbd_root: Path, incomplete: bool = False) -> int:
    """Writes the augmented set.

    Args:
        voc_root: Folder that contains `VOCdevkit/VOC2012`, or that folder itself.
        sbd_root: Folder `benchmark_RELEASE`.
        incomplete: Whether to accept fewer images than in the official archives.

    Returns:
        Number of images.

    Raises:
        DatasetError: A folder, list, image or mask is missing or broken. The list of the set is not written
            then.
    """
    voc = PascalVOC.folder(voc_root)
    masks = _sbd_masks(sbd_root)
    lists = voc / "ImageSets" / "Segmentation"
    train, val = _names(lists / "train.txt"), _names(lists / "val.txt")
    names = sorted((set(masks) | set(train)) - set(val))
    if len(names) != OFFICIAL_COUNT and not incomplete:
        raise DatasetError(
            f"{sbd_root}: together with {voc}, it has {len(names):,} images, but the official archives have "
            f"{OFFICIAL_COUNT:,}; unpack both again, or accept this with --incomplete"
        )
    for name in names:
        image = voc / "JPEGImages" / f"{name}.jpg"
        if not image.is_file():
            raise DatasetError(f"{image}: no such image; unpack VOCtrainval_11-May-2012.tar again")

    # The list is written last, because the data set counts as prepared as soon as it exists.
    listing = lists / "train_aug.txt"
    listing.unlink(missing_ok=True)
    own = set(train)
    for folder in ("SegmentationClassAug", "SegmentationObjectAug"):
        (voc / folder).mkdir(exist_ok=True)
    for name in track(names, description="masks", console=Console(stderr=True), transient=True):
        if name in own:
            label = read_label(voc / "SegmentationClass" / f"{name}.png")
            instance = read_label(voc / "SegmentationObject" / f"{name}.png")
        else:
            label = read_sbd(masks[name], "GTcls")
            instance = read_sbd(masks[name].parents[1] / "inst" / f"{name}.mat", "GTinst")
        Image.fromarray(label).save(voc / "SegmentationClassAug" / f"{name}.png")
        Image.fromarray(instance).save(voc / "SegmentationObjectAug" / f"{name}.png")
    listing.write_text("".join(f"{name}\n" for name in names))
    return len(names)


def read_sbd(file: Path, variable: str) -> npt.NDArray[np.uint8]:
    """The map `Segmentation` of one of SBD's MATLAB files, shape (H, W).

    Args:
        file: The `.mat` file.
        variable: `GTcls` for classes, `GTinst` for instances.

    Raises:
        DatasetError: The file is missing or not one of SBD's.
    """
    if not file.is_file():
        raise DatasetError(f"{file}: no such file; unpack benchmark.tgz again")
    try:
        content: dict[str, Any] = loadmat(file, variable_names=[variable])
        values: npt.NDArray[np.uint8] = content[variable]["Segmentation"][0, 0].astype(np.uint8)
    # For a broken file, scipy raises many types: its own, zlib's, ValueError, KeyError, TypeError.
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DatasetError(
            f"{file}: contains no readable {variable}.Segmentation ({reason}); unpack benchmark.tgz again"
        ) from None
    return values


def _sbd_masks(root: Path) -> dict[str, Path]:
    for dataset in (root / "dataset", root / "benchmark_RELEASE" / "dataset", root):
        classes, instances = dataset / "cls", dataset / "inst"
        if classes.is_dir() and instances.is_dir():
            masks = {file.stem: file for file in classes.glob("*.mat")}
            if not masks:
                raise DatasetError(f"{classes}: contains no .mat files; unpack benchmark.tgz again")
            return masks
    raise DatasetError(f"{root}: contains no dataset/cls and dataset/inst; unpack benchmark.tgz there")


def _names(file: Path) -> list[str]:
    if not file.is_file():
        raise DatasetError(f"{file}: no such file; unpack VOCtrainval_11-May-2012.tar again")
    return read_names(file)


if __name__ == "__main__":
    sys.exit(main())
