"""Average precision (AP) of COCO, of boxes and of masks, overall, by object size and by class.

The numbers are those of pycocotools; this module checks a detector's output, keeps it in a form that several
processes can share, and hands it over. Source: Lin et al., Microsoft COCO (arXiv 1405.0312), and
`pycocotools.cocoeval`.
"""

import contextlib
import importlib
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from deformlab.errors import ConfigError
from deformlab.metrics.detection_images import (
    DetectionImage,
    DetectionsLike,
    Integers,
    detection_images,
    refuse_duplicate_images,
)

__all__ = ["Backend", "CocoAveragePrecision", "CocoAveragePrecisionResult", "Kind"]

Backend = Literal["pycocotools", "faster-coco-eval", "hotcoco"]
"""The package that computes AP. All three give the same numbers; the last two are faster."""
Kind = Literal["boxes", "masks"]
"""What is compared with the ground truth."""

# Columns of the states, which are float64 or int64.
_IMAGE = ("key", "image_id", "height", "width", "detections", "objects")
_DETECTION = ("x1", "y1", "x2", "y2", "label", "score")
_OBJECT = ("x1", "y1", "x2", "y2", "label", "area", "ignored")
_MASK = ("height", "width", "bytes")
# Indices into the axes of COCO's arrays: IoU thresholds 0.5, 0.55, ...; sizes; limits of detections.
_IOU50, _IOU70, _IOU75 = 0, 4, 5
_ALL, _SMALL, _MEDIUM, _LARGE = range(4)
_LARGEST = 1e5**2
_LIMITS = (1, 10)

_Floats = npt.NDArray[np.float64]


class CocoAveragePrecisionResult(NamedTuple):
    """AP and average recall (AR) as fractions from 0 to 1; nan if there is no object to find.

    Attributes:
        ap: AP, the mean over the IoU thresholds 0.50, 0.55, ..., 0.95.
        ap50: AP at IoU 0.50.
        ap70: AP at IoU 0.70, as the other ones at 101 recall values.
        ap75: AP at IoU 0.75.
        ap_small: AP of objects of the first size.
        ap_medium: AP of objects of the second size.
        ap_large: AP of objects of the third size.
        ar_1: AR with one detection per image and class.
        ar_10: AR with ten detections per image and class.
        ar: AR with `max_detections`.
        ar_small: `ar` of objects of the first size.
        ar_medium: `ar` of objects of the second size.
        ar_large: `ar` of objects of the third size.
        class_ap: AP of each of the C classes; nan for a class without objects. The means leave it out.
        class_ap50: AP at IoU 0.50 of each class.
        class_objects: Number of objects of each class, without ignored ones.
    """

    ap: float
    ap50: float
    ap70: float
    ap75: float
    ap_small: float
    ap_medium: float
    ap_large: float
    ar_1: float
    ar_10: float
    ar: float
    ar_small: float
    ar_medium: float
    ar_large: float
    class_ap: tuple[float, ...]
    class_ap50: tuple[float, ...]
    class_objects: tuple[int, ...]


class CocoAveragePrecision(Metric):
    """Metric that computes the AP of COCO.

    Crowds are ignored as in COCO. COCO has no difficult objects (VOC): they count as crowds, so a detection
    inside one is neither right nor wrong.

    The states are the detections and objects themselves. Images are evaluated in the order of `image_id`, and
    detections of equal scores in this order too, as by pycocotools. Therefore any batch size, order of images
    and number of processes give exactly the same result.

    Args:
        num_classes: Number of classes C, >= 1. Legal labels are 0 to C - 1.
        kind: `boxes` or `masks`: whether the IoU is that of boxes or of masks.
        max_detections: Number of detections per image and class that count, > 10; those of the highest
            scores. 100 in COCO.
        sizes: Two areas in pixels of the original image, 0 < first < second. Objects between them are
            medium. The areas are those of the annotations: areas of masks in COCO, of boxes in data sets
            without masks.
        backend: The package that computes AP.

    Raises:
        ConfigError: An argument is not legal, or the package of `backend` is not installed.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    images: list[Tensor]
    detections: list[Tensor]
    objects: list[Tensor]
    detection_masks: list[Tensor]
    detection_counts: list[Tensor]
    object_masks: list[Tensor]
    object_counts: list[Tensor]

    def __init__(
        self,
        num_classes: int,
        kind: Kind = "boxes",
        max_detections: int = 100,
        sizes: tuple[float, float] = (32.0**2, 96.0**2),
        backend: Backend = "pycocotools",
    ) -> None:
        super().__init__()
        if num_classes < 1:
            raise ConfigError(f"num_classes must be >= 1, got {num_classes}")
        if max_detections <= _LIMITS[-1]:
            raise ConfigError(f"max_detections must be > {_LIMITS[-1]}, got {max_detections}")
        if len(sizes) != 2 or not 0 < sizes[0] < sizes[1] < _LARGEST:
            raise ConfigError(f"sizes must be two areas in pixels, 0 < first < second, got {list(sizes)}")
        for name, value, legal in (("kind", kind, Kind), ("backend", backend, Backend)):
            if value not in get_args(legal):
                raise ConfigError(f"{name} must be one of {', '.join(get_args(legal))}, got {value!r}")
        _package(backend)
        self.num_classes = num_classes
        self.kind: Kind = kind
        self.max_detections = max_detections
        self.sizes = (float(sizes[0]), float(sizes[1]))
        self.backend: Backend = backend
        for state in self._widths():
            self.add_state(state, [], dist_reduce_fx="cat")
        self._start()

    def _widths(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of a row of each state."""
        widths: dict[str, tuple[int, ...]] = {
            "images": (len(_IMAGE),),
            "detections": (len(_DETECTION),),
            "objects": (len(_OBJECT),),
        }
        if self.kind == "masks":
            widths |= {"detection_masks": (len(_MASK),), "object_masks": (len(_MASK),)}
            widths |= {"detection_counts": (), "object_counts": ()}
        return widths

    def reset(self) -> None:
        """Discard all detections and objects."""
        super().reset()
        self._start()

    def _start(self) -> None:
        self._names: dict[int, str] = {}
        # A process that receives no image must still have states of the right shape, because states are
        # concatenated.
        for state, width in self._widths().items():
            kind = torch.float64 if state in ("detections", "objects") else torch.int64
            kind = torch.uint8 if state.endswith("counts") else kind
            getattr(self, state).append(torch.zeros(0, *width, dtype=kind, device=self.device))

    def update(self, detections: Sequence[DetectionsLike], targets: Mapping[str, Any]) -> None:
        """Record one batch.

        Args:
            detections: The detections of each of the N images, in pixels of the original images.
            targets: A batch for evaluation, see `deformlab.metrics.detection_images`. Masks are run lengths
                of COCO, `{"size": [height, width], "counts": bytes}`.

        Raises:
            ValueError: The batch is not legal (`detection_images`), or, with `kind="masks"`, an image has no
                masks or masks of another size. The message names the image, and nothing is recorded.
        """
        batch = detection_images(detections, targets, self.num_classes)
        masks = [_encoded_masks(image) for image in batch] if self.kind == "masks" else []
        for image in batch:
            self._names[image.key] = image.name
            counts = [len(image.boxes), len(image.object_boxes)]
            self._keep("images", np.array([[image.key, image.image_id, *image.size, *counts]]))
            self._keep("detections", np.column_stack([image.boxes, image.labels, image.scores]))
            self._keep(
                "objects",
                np.column_stack([image.object_boxes, image.object_labels, image.area, image.ignored]),
            )
        for of_detections, of_objects in masks:
            for what, (rows, encoded) in (("detection", of_detections), ("object", of_objects)):
                self._keep(f"{what}_masks", rows)
                self._keep(f"{what}_counts", encoded)

    def _keep(self, state: str, rows: np.ndarray) -> None:
        getattr(self, state).append(torch.from_numpy(rows).to(self.device))

    def compute(self) -> CocoAveragePrecisionResult:
        """Compute AP and AR of everything since the last reset.

        Raises:
            ValueError: Two images have the same name.
        """
        state = {name: dim_zero_cat(getattr(self, name)).cpu().numpy() for name in self._widths()}
        keys, ids = state["images"][:, 0], state["images"][:, 1]
        refuse_duplicate_images(keys, ids, self._names)
        precision, recall = self._evaluated(*_coco_format(state, self.num_classes))
        limit = len(_LIMITS)
        ap, ap_of_class = precision[..., limit], precision[:, :, :, _ALL, limit]
        counted = state["objects"][state["objects"][:, -1] == 0, _OBJECT.index("label")].astype(np.int64)
        return CocoAveragePrecisionResult(
            ap=_mean(ap_of_class),
            ap50=_mean(ap_of_class[_IOU50]),
            ap70=_mean(ap_of_class[_IOU70]),
            ap75=_mean(ap_of_class[_IOU75]),
            ap_small=_mean(ap[..., _SMALL]),
            ap_medium=_mean(ap[..., _MEDIUM]),
            ap_large=_mean(ap[..., _LARGE]),
            ar_1=_mean(recall[:, :, _ALL, 0]),
            ar_10=_mean(recall[:, :, _ALL, 1]),
            ar=_mean(recall[:, :, _ALL, limit]),
            ar_small=_mean(recall[:, :, _SMALL, limit]),
            ar_medium=_mean(recall[:, :, _MEDIUM, limit]),
            ar_large=_mean(recall[:, :, _LARGE, limit]),
            class_ap=tuple(_mean(ap_of_class[:, :, c]) for c in range(self.num_classes)),
            class_ap50=tuple(_mean(ap_of_class[_IOU50, :, c]) for c in range(self.num_classes)),
            class_objects=tuple(np.bincount(counted, minlength=self.num_classes).tolist()),
        )

    def _evaluated(
        self, objects: dict[str, Any], detections: list[dict[str, Any]]
    ) -> tuple[_Floats, _Floats]:
        """Return precision (T, R, C, A, M) and recall (T, C, A, M); -1 without objects.

        T IoU thresholds, R recall values, C classes, A sizes (all first), M limits of detections.
        """
        found = {**objects, "annotations": detections}
        # pycocotools prints its progress.
        with contextlib.redirect_stdout(io.StringIO()):
            package = _package(self.backend)
            if self.backend == "pycocotools":
                datasets = [_indexed(package.COCO(), dataset) for dataset in (objects, found)]
            else:
                datasets = [package.COCO(dataset) for dataset in (objects, found)]
            evaluator = package.COCOeval(*datasets, "bbox" if self.kind == "boxes" else "segm")
            small, large = self.sizes
            evaluator.params.areaRng = [[0, _LARGEST], [0, small], [small, large], [large, _LARGEST]]
            evaluator.params.maxDets = [*_LIMITS, self.max_detections]
            evaluator.evaluate()
            evaluator.accumulate()
        shape = (-1, len(evaluator.params.recThrs), self.num_classes, 4, len(_LIMITS) + 1)
        precision = np.asarray(evaluator.eval["precision"], dtype=np.float64).reshape(shape)
        recall = np.asarray(evaluator.eval["recall"], dtype=np.float64).reshape(-1, *shape[2:])
        return precision, recall


class _Package(NamedTuple):
    """The two classes that the packages have in common."""

    COCO: Any
    COCOeval: Any


def _package(backend: Backend) -> _Package:
    try:
        if backend == "pycocotools":
            coco, evaluation = (
                importlib.import_module(f"pycocotools.{name}") for name in ("coco", "cocoeval")
            )
            return _Package(coco.COCO, evaluation.COCOeval)
        if backend == "faster-coco-eval":
            package = importlib.import_module("faster_coco_eval")
            return _Package(package.COCO, package.COCOeval_faster)
        package = importlib.import_module("hotcoco")
        return _Package(package.COCO, package.COCOeval)
    except ImportError as error:
        raise ConfigError(
            f"backend {backend} needs the package {backend} ({error}): pip install {backend}, or use another "
            f"backend ({', '.join(name for name in get_args(Backend) if name != backend)})"
        ) from None


def _indexed(coco: Any, dataset: dict[str, Any]) -> Any:
    """Fill a `COCO` of pycocotools, whose constructor reads files only."""
    coco.dataset = dataset
    coco.createIndex()
    return coco


def _coco_format(
    state: Mapping[str, np.ndarray], num_classes: int
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Convert the states to the objects and the detections of a COCO file.

    Images are numbered from 1 in the order of their image_id; so are objects, because pycocotools takes an
    object with the id 0 for none.
    """
    images = state["images"]
    key, image_id, height, width, detections, objects = images.T
    order = np.lexsort((key, image_id))
    number = np.empty(len(images), dtype=np.int64)
    number[order] = np.arange(1, len(images) + 1)

    def rows_of(counts: Integers) -> tuple[Integers, list[int]]:
        """Return the order of the rows by image, and the number of the image of each."""
        owner = np.repeat(number, counts)
        rows = np.argsort(owner, kind="stable")
        return rows, owner[rows].tolist()

    rows, owner = rows_of(objects)
    table = state["objects"][rows]
    things = [
        {"id": n, "image_id": i, "category_id": c, "bbox": box, "area": area, "iscrowd": crowd}
        for n, (i, c, box, area, crowd) in enumerate(
            zip(
                owner,
                (table[:, 4].astype(np.int64) + 1).tolist(),
                _left_top_width_height(table),
                table[:, 5].tolist(),
                table[:, 6].astype(np.int64).tolist(),
                strict=True,
            ),
            start=1,
        )
    ]
    _add_masks(things, state, "object", rows)
    rows, owner = rows_of(detections)
    table = state["detections"][rows]
    boxes = _left_top_width_height(table)
    found = [
        {"id": n, "image_id": i, "category_id": c, "bbox": box, "score": score, "iscrowd": 0}
        for n, (i, c, box, score) in enumerate(
            zip(
                owner,
                (table[:, 4].astype(np.int64) + 1).tolist(),
                boxes,
                table[:, 5].tolist(),
                strict=True,
            ),
            start=1,
        )
    ]
    # The area decides whether an unmatched detection counts for a size.
    areas = _add_masks(found, state, "detection", rows)
    if areas is None:
        areas = [box[2] * box[3] for box in boxes]
    for entry, area in zip(found, areas, strict=True):
        entry["area"] = area
    dataset = {
        "info": {},
        "images": [
            {"id": int(number[i]), "height": int(height[i]), "width": int(width[i])} for i in order.tolist()
        ],
        "annotations": things,
        "categories": [{"id": c + 1, "name": str(c + 1)} for c in range(num_classes)],
    }
    return dataset, found


def _left_top_width_height(table: _Floats) -> list[list[float]]:
    return np.concatenate([table[:, :2], table[:, 2:4] - table[:, :2]], axis=1).tolist()


def _encoded_masks(image: DetectionImage) -> list[tuple[Integers, npt.NDArray[np.uint8]]]:
    """Return the run lengths of the image's detections and objects as rows and bytes."""
    encoded: list[tuple[Integers, npt.NDArray[np.uint8]]] = []
    for what, masks, count in (
        ("detections", image.masks, len(image.boxes)),
        ("objects", image.object_masks, len(image.object_boxes)),
    ):
        if masks is None and count:
            raise ValueError(f"image {image.name}: the {what} have no masks, which AP of masks needs")
        rows, counts = [], []
        for mask in masks or ():
            if tuple(mask["size"]) != image.size:
                raise ValueError(
                    f"image {image.name}: a mask of the {what} has the size {list(mask['size'])}, but the "
                    f"image has {list(image.size)} (height, width)"
                )
            code = mask["counts"]
            counts.append(code.encode() if isinstance(code, str) else bytes(code))
            rows.append((*image.size, len(counts[-1])))
        encoded.append(
            (
                np.array(rows, dtype=np.int64).reshape(-1, len(_MASK)),
                np.frombuffer(b"".join(counts), dtype=np.uint8).copy(),
            )
        )
    return encoded


def _add_masks(
    entries: list[dict[str, Any]], state: Mapping[str, np.ndarray], what: str, rows: Integers
) -> list[float] | None:
    """Add the run lengths to the entries, which are in the order `rows`; return the areas of the masks."""
    if f"{what}_masks" not in state:
        return None
    from pycocotools import mask as run_lengths

    masks, content = state[f"{what}_masks"], state[f"{what}_counts"].tobytes()
    end = np.cumsum(masks[:, 2])
    start = end - masks[:, 2]
    for entry, row in zip(entries, rows.tolist(), strict=True):
        height, width, _ = masks[row].tolist()
        entry["segmentation"] = {"size": [height, width], "counts": content[start[row] : end[row]].decode()}
    return [float(run_lengths.area(entry["segmentation"])) for entry in entries]


def _mean(values: _Floats) -> float:
    """The mean of the defined values, as pycocotools computes it; nan without any."""
    defined = values[values > -1]
    return float(np.mean(defined)) if len(defined) else math.nan
