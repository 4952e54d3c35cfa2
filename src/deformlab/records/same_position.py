"""Effect of object size on effective dilation, at the same position of the feature map.

In road scenes, small objects are near the horizon and large ones near the bottom, and a network may look
further at some positions for any content. The raw difference between sizes then mixes both effects. Here,
filters are compared with filters at the same position in other images.

The model, over interior filters of one layer: e(i, p) = alpha_p + beta_s(i, p) + noise, where e is effective
dilation in image i at position p, and s is the size of the object there (small, medium, large) or background.
The estimator is ordinary least squares on indicators of positions and sizes (the within or fixed-effects
estimator; Wooldridge, Econometric Analysis of Cross Section and Panel Data, 2010, chapter 10). By the theorem
of Frisch, Waugh and Lovell it is solved by demeaning e and the size indicators by position. The effect is a
contrast such as beta_large - beta_small.

Averaging e minus its mean at the filter's position would underestimate the effect: where most filters at a
position are on large objects, the position's mean already contains most of their effect.

Intervals come from an exact bootstrap over images: an image's weight enters the position means as well as the
normal equations. With several seeds, the effect is the mean of the seeds' effects in the same resamples.

Shapes: N filters, B resamples, P positions, S sizes in the order of `SIZES`, K seeds.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from deformlab.records.records import BACKGROUND, Integers, ObjectRecords, PositionRecords
from deformlab.records.sizes import SIZES, SizeRule
from deformlab.records.statistics import Interval, draws, percentile_bounds, ratio

_Floats = npt.NDArray[np.float64]
# Most float64 values in an intermediate array; limits memory on large data sets.
_AT_ONCE = 8_000_000


class Effect(NamedTuple):
    """Effective dilation on objects of one size minus that on another, in cells.

    Attributes:
        size: The first size, one of `SIZES`.
        reference: The size that is subtracted.
        controlled: Difference at the same position and its 95 % interval. Undefined (None) if size and
            position cannot be separated because no chain of shared positions connects the two sizes, or if
            fewer than two images have filters of one of the sizes.
        raw: Difference of the plain means of the same filters. Undefined (None) if a size has no filters.
        seeds: The controlled difference of each seed.
        raw_seeds: The raw difference of each seed.
        filters: Number of filters of both sizes in one network.
        positions: Number of positions at which both sizes occur.
        images: Number of images with filters of either size.
    """

    size: str
    reference: str
    controlled: Interval
    raw: Interval
    seeds: tuple[float | None, ...]
    raw_seeds: tuple[float | None, ...]
    filters: int
    positions: int
    images: int


class Explained(NamedTuple):
    """Shares of the variance of effective dilation over filters and images, as adjusted R².

    Attributes:
        position: Share explained by the means of the positions. It is adjusted for their number, so it is
            about 0, possibly negative, if position does not matter. None if undefined.
        label: Share explained by the class of the pixel at the filter's centre. None if undefined.
    """

    position: float | None
    label: float | None


@dataclass(frozen=True)
class SizeEffects:
    """Effects of object size on the effective dilation of one layer, as returned by `size_effects`.

    Attributes:
        layer: The layer's name.
        explained: Shares of the variance explained by position and by class, averaged over seeds.
    """

    layer: str
    explained: Explained
    # The first entry is the sample itself; the other B are resamples.
    _effect: _Floats  # (1 + B, S, K), up to a constant in each component
    _component: Integers  # (1 + B, S), equal for sizes that shared positions connect
    _mean: _Floats  # (1 + B, S, K) plain means
    _filters: Integers  # (S,)
    _at_position: npt.NDArray[np.bool_]  # (P, S) whether a size occurs at a position
    _in_image: npt.NDArray[np.bool_]  # (I, S) whether a size occurs in an image

    def contrast(self, size: str, reference: str) -> Effect:
        """The effect of one size compared with another, for example `contrast("large", "small")`.

        Args:
            size: One of `SIZES`.
            reference: Another of `SIZES`, which is subtracted.

        Raises:
            ValueError: A name is not in `SIZES`, or both are the same.
        """
        for name in (size, reference):
            if name not in SIZES:
                raise ValueError(f"size must be one of {', '.join(SIZES)}, got {name!r}")
        if size == reference:
            raise ValueError(f"size and reference must differ, got {size!r} twice")
        s, r = SIZES.index(size), SIZES.index(reference)
        controlled = self._effect[:, s] - self._effect[:, r]
        controlled[self._component[:, s] != self._component[:, r]] = np.nan
        several = bool((self._in_image[:, [s, r]].sum(0) >= 2).all())
        if not several:
            controlled[:] = np.nan
        raw = self._mean[:, s] - self._mean[:, r]
        return Effect(
            size=size,
            reference=reference,
            controlled=_mean_of_seeds(controlled, several),
            raw=_mean_of_seeds(raw, several),
            seeds=tuple(Interval.of(value).value for value in controlled[0]),
            raw_seeds=tuple(Interval.of(value).value for value in raw[0]),
            filters=int(self._filters[[s, r]].sum()),
            positions=int(self._at_position[:, [s, r]].all(1).sum()),
            images=int(self._in_image[:, [s, r]].any(1).sum()),
        )


def size_effects(
    seeds: Sequence[PositionRecords],
    records: ObjectRecords,
    rule: SizeRule,
    drawn: _Floats | None = None,
) -> SizeEffects:
    """Effects of object size on the effective dilation of one layer, at the same position.

    Fixed-effects estimator: ordinary least squares on indicators of positions and sizes (Wooldridge,
    Econometric Analysis of Cross Section and Panel Data, 2010, chapter 10).

    Args:
        seeds: Interior filters of the layer in each network: one network, or the seeds of one trial on the
            same images.
        records: Records of the same images, which give the size of each object; of one network, or merged.
        rule: Which objects are small and large.
        drawn: (B, I) how often each image of `records.images` was drawn; None for the default `draws`.

    Raises:
        ValueError: `seeds` is empty, or the seeds or records have different images, objects or layers.
    """
    if not seeds:
        raise ValueError("seeds must contain at least one network's filters, got none")
    first = seeds[0]
    for other in seeds[1:]:
        if not _same_filters(first, other):
            raise ValueError(f"the seeds recorded different images, objects or layers for {first.layer}")
    images = records.images
    if drawn is None:
        drawn = draws(len(images))
    image_number = np.searchsorted(images, first.images)
    if np.any(np.asarray([*images, ""])[image_number] != first.images):
        raise ValueError(f"{first.layer} has filters in images that are not in the records")
    image = image_number[first.image]
    size = _sizes(first, image, records, rule)
    dilation = np.stack([part.dilation for part in seeds], axis=1).astype(np.float64)
    maps, map_number = np.unique(first.map_size, axis=0, return_inverse=True)
    map_number = map_number.reshape(-1)[first.image]
    cells = int(maps.prod(1).max(initial=1))
    positions, position = np.unique(map_number * cells + first.position, return_inverse=True)
    filters = _Filters(image, position.reshape(-1), size, dilation, map_number)

    # Centring keeps precision; a constant does not change any difference.
    centre = dilation.mean(0) if len(dilation) else np.zeros(len(seeds))
    weight = np.concatenate([np.ones((1, len(images))), drawn])
    with np.errstate(invalid="ignore"):
        gram, target, count, total = _normal_equations(
            filters._replace(dilation=dilation - centre), weight, len(positions)
        )
        effect, component = _solve(gram, target)
        mean = ratio(total, np.broadcast_to(count[..., None], total.shape))
    at_position = np.zeros((len(positions), len(SIZES)), dtype=bool)
    at_position[filters.position, size] = True
    in_image = np.zeros((len(images), len(SIZES)), dtype=bool)
    in_image[image, size] = True
    shares = [
        (
            _share_explained(values, filters.position),
            _share_explained(values[first.label >= 0], first.label[first.label >= 0]),
        )
        for values in dilation.T
    ]
    explained = (Interval.of(float(np.mean(share))).value for share in zip(*shares, strict=True))
    return SizeEffects(
        layer=first.layer,
        explained=Explained(*explained),
        _effect=effect,
        _component=component,
        _mean=mean + centre,
        _filters=np.bincount(size, minlength=len(SIZES)),
        _at_position=at_position,
        _in_image=in_image,
    )


class _Filters(NamedTuple):
    """Per filter: image, position, size and map size as indices (N,), and dilation (N, K)."""

    image: Integers
    position: Integers
    size: Integers
    dilation: _Floats
    map: Integers


def _same_filters(one: PositionRecords, other: PositionRecords) -> bool:
    names = ("images", "map_size", "image", "position", "object")
    return one.layer == other.layer and all(
        np.array_equal(getattr(one, name), getattr(other, name)) for name in names
    )


def _sizes(positions: PositionRecords, image: Integers, records: ObjectRecords, rule: SizeRule) -> Integers:
    """(N,) index into `SIZES` of each filter's object; `image` (N,) indexes `records.images`."""
    rows = np.flatnonzero(records.is_object)
    recorded = records.object[rows]
    ids = np.unique(recorded)
    # A unique number per image and object.
    keys = records.image_numbers[rows] * len(ids) + np.searchsorted(ids, recorded)
    order = np.argsort(keys)
    size = np.full(len(positions.object), SIZES.index("background"))
    on_object = np.flatnonzero(positions.object != BACKGROUND)
    if not len(on_object):
        return size
    wanted = positions.object[on_object]
    at = np.searchsorted(ids, wanted)
    wanted_keys = image[on_object] * len(ids) + at
    found = np.searchsorted(keys[order], wanted_keys)
    matched = (at < len(ids)) & (found < len(keys))
    matched[matched] = (ids[at[matched]] == wanted[matched]) & (
        keys[order][found[matched]] == wanted_keys[matched]
    )
    if not matched.all():
        raise ValueError(f"{positions.layer} has filters on objects that are not in the records")
    size[on_object] = rule.sizes(records)[rows[order[found]]]
    return size


def _normal_equations(
    filters: _Filters, weight: _Floats, positions: int
) -> tuple[_Floats, _Floats, _Floats, _Floats]:
    """The normal equations after demeaning by position, for each row of `weight` (B, I).

    N_ps is the weighted number of filters of size s at position p, and T_ps the sum of their dilation:
    gram_st = sum_p (N_ps [s = t] - N_ps N_pt / N_p), target_s = sum_p (T_ps - N_ps T_p / N_p).

    Returns:
        gram (B, S, S), target (B, S, K), the number of filters per size (B, S) and the sum of their dilation
        (B, S, K).
    """
    resamples, sizes, seeds = len(weight), len(SIZES), filters.dilation.shape[1]
    gram = np.zeros((resamples, sizes, sizes))
    target, total = np.zeros((2, resamples, sizes, seeds))
    count = np.zeros((resamples, sizes))
    for image, images_weight, position, size, dilation, width in _blocks(filters, weight, positions):
        shape = (len(images_weight.T), width, sizes)
        counts, sums = np.zeros(shape), np.zeros((*shape, seeds))
        counts[image, position, size] = 1
        sums[image, position, size] = dilation
        n = (images_weight @ counts.reshape(shape[0], -1)).reshape(resamples, width, sizes)
        t = (images_weight @ sums.reshape(shape[0], -1)).reshape(resamples, width, sizes, seeds)
        n_of_position = n.sum(2)
        share = ratio(n, np.broadcast_to(n_of_position[..., None], n.shape))
        share[n_of_position == 0] = 0
        share = share.transpose(0, 2, 1)
        n_of_size, t_of_size = n.sum(1), t.sum(1)
        gram -= share @ n
        gram[:, range(sizes), range(sizes)] += n_of_size
        target += t_of_size - share @ t.sum(2)
        count += n_of_size
        total += t_of_size
    return gram, target, count, total


def _blocks(
    filters: _Filters, weight: _Floats, positions: int
) -> Iterator[tuple[Integers, _Floats, Integers, Integers, _Floats, int]]:
    """Splits the filters into blocks of positions whose arrays fit into memory.

    The positions of a block are in feature maps of one size, so a block contains only images of that size.

    Yields:
        Image (n,) and weights (B, images of the block), position (n,), size (n,), dilation (n, K), and the
        number of positions; images and positions are numbered within the block.
    """
    order = np.argsort(filters.position, kind="stable")
    ends = np.searchsorted(filters.position[order], np.arange(positions), side="right")
    map_of_position = filters.map[order[ends - 1]]
    seeds = filters.dilation.shape[1]
    start = 0
    while start < positions:
        same_map = int(np.searchsorted(map_of_position, map_of_position[start], side="right"))
        begin = 0 if start == 0 else int(ends[start - 1])
        images = np.unique(filters.image[order[begin : ends[same_map - 1]]])
        values = max(len(weight), len(images)) * len(SIZES) * (1 + seeds)
        stop = min(same_map, start + max(1, _AT_ONCE // values))
        chosen = order[begin : ends[stop - 1]]
        yield (
            np.searchsorted(images, filters.image[chosen]),
            weight[:, images],
            filters.position[chosen] - start,
            filters.size[chosen],
            filters.dilation[chosen],
            stop - start,
        )
        start = stop


def _solve(gram: _Floats, target: _Floats) -> tuple[_Floats, Integers]:
    """Solves for the effects (B, S, K); differences are defined within the same component (B, S) only.

    Sizes that occur at the same position are connected, directly or through other sizes. The null space of
    `gram` is spanned by the indicators of the components, so differences within a component are unique.
    """
    sizes = gram.shape[-1]
    # An off-diagonal entry is negative exactly if two sizes share a position.
    connected = (gram < 0) | np.eye(sizes, dtype=bool)
    for _ in range(sizes - 1):
        connected = connected | (connected.astype(np.int64) @ connected.astype(np.int64) > 0)
    # The first size that each size is connected to.
    component = connected.argmax(-1)
    scale = np.trace(gram, axis1=1, axis2=2)
    scale[scale == 0] = 1
    # Adding the null space makes the system solvable without changing differences within a component.
    return np.linalg.solve(gram + connected * scale[:, None, None], target), component


def _mean_of_seeds(values: _Floats, several: bool) -> Interval:
    """Mean over seeds and its interval, from values (1 + B, K); no interval without `several` images."""
    mean = values.mean(1)
    bounds = percentile_bounds(mean[1:, None])[:, 0] if several and len(mean) > 1 else (np.nan, np.nan)
    return Interval.of(mean[0], bounds)


def _share_explained(values: _Floats, groups: Integers) -> float:
    """Adjusted share of the variance of values (n,) explained by group means; NaN if undefined."""
    _, group = np.unique(groups, return_inverse=True)
    count = np.bincount(group.reshape(-1))
    if len(values) <= len(count) or values.min() == values.max():
        return float("nan")
    mean = np.bincount(group, values) / count
    within = ((values - mean[group]) ** 2).sum() / (len(values) - len(count))
    return float(1 - within / values.var(ddof=1))
