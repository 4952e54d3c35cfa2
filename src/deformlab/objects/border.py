"""Effective dilation of one layer by distance from the border of its map, with intervals over images."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from deformlab.objects.bootstrap import ratio, ratio_interval
from deformlab.objects.numbers import number
from deformlab.objects.records import ObjectRecords


def border_rows(
    records: ObjectRecords, layer: int, images: Sequence[str], drawn: np.ndarray
) -> list[dict[str, Any]]:
    """One row per ring of the layer's margin, the outermost first, and one for all that is further inside.

    Of the filters that belong to an object or to the background, of every class; keys as under `border` in
    `deformlab.objects.summary`. None where distances were not recorded.

    Args:
        records: Of one network, or of several seeds put together.
        layer: Its index.
        images: Names of all images, sorted.
        drawn: (resamples, I) how often each image was drawn.
    """
    if not records.knows_border:
        return []
    margin = records.margins[layer]
    filters = np.column_stack([records.ring_filters[:, layer, :margin], records.inside.filters[:, layer]])
    total = np.column_stack([records.ring_total[:, layer, :margin], records.inside.total[:, layer]])
    image = records.image_numbers(images)
    filters_of_images, total_of_images = np.zeros((2, len(images), margin + 1))
    np.add.at(filters_of_images, image, filters)
    np.add.at(total_of_images, image, total)
    mean = ratio(total_of_images.sum(0), filters_of_images.sum(0))
    low, high = ratio_interval(drawn, total_of_images, filters_of_images)
    return [
        {
            "layer": records.layers[layer],
            "distance": distance,
            "inside": distance == margin,
            "mean": number(mean[distance]),
            "low": number(low[distance]),
            "high": number(high[distance]),
            "filters": int(filters_of_images[:, distance].sum()),
            "images": int((filters_of_images[:, distance] > 0).sum()),
        }
        for distance in range(margin + 1)
        if filters_of_images[:, distance].any()
    ]
