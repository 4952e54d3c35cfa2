"""The effect of object size at the same position, on simulated filters with known effects."""

import numpy as np
import pytest

from deformlab.records import (
    REGIONS,
    SIZES,
    FilterSums,
    ObjectRecords,
    PositionRecords,
    SizeRule,
    draws,
    size_effects,
)

RULE = SizeRule((100, 1000))
# Objects 1, 2 and 3 of every image are small, medium and large; 0 is the background.
AREAS = np.array([0.0, 50, 500, 5000])
SIZE_OF_OBJECT = np.array([SIZES.index(name) for name in ("background", "small", "medium", "large")])
SMALL, MEDIUM, LARGE, BACKGROUND = range(4)
OBJECT_OF_SIZE = np.array([1, 2, 3, 0])


def records_of(images):
    """Three objects in each image, and its background."""
    names = [f"image {i:04}" for i in range(images)]
    rows = 4 * images
    zeros = np.zeros(rows, dtype=np.int64)
    return ObjectRecords(
        layers=(),
        groups=(),
        modulated=(),
        margins=(),
        image=np.repeat(names, 4),
        object=np.tile(np.arange(4), images),
        label=zeros,
        box_area=np.tile(AREAS, images),
        mask_area=np.tile(AREAS, images),
        scale=np.ones(rows),
        pixels=zeros,
        hits=zeros - 1,
        false_positives=zeros - 1,
        sums={region: FilterSums.zeros(rows, 0, 1) for region in REGIONS},
        ring_filters=np.zeros((rows, 0, 0), dtype=np.int64),
        ring_total=np.zeros((rows, 0, 0)),
    )


def positions_of(image, position, size, dilation, images, map_size=None):
    """Filters of a layer from arrays; every image has a map of 10 rows unless `map_size` says otherwise."""
    return PositionRecords(
        layer="conv",
        images=np.array([f"image {i:04}" for i in range(images)]),
        map_size=np.full((images, 2), 100) if map_size is None else np.asarray(map_size),
        image=np.asarray(image),
        position=np.asarray(position),
        dilation=np.asarray(dilation, dtype=np.float32),
        object=OBJECT_OF_SIZE[np.asarray(size)],
        label=np.asarray(size) % 2,
    )


def simulated(
    effect, *, images=100, positions=150, seed=0, sorting=6.0, slope=1.0, noise=0.2, image_noise=0.1
):
    """Filters whose objects are small at the first positions and large at the last, sharply with `sorting`.

    Effective dilation is 2 + slope · (place from 0 to 1) + the effect of size + noise of the image, of the
    image and size (filters of an object are not independent) and of the filter.
    """
    rng = np.random.default_rng(seed)
    image, position = (part.ravel() for part in np.mgrid[:images, :positions])
    place = position / (positions - 1)
    large = 1 / (1 + np.exp(-sorting * (place - 0.5)))
    size = np.where(rng.random(len(image)) < large, LARGE, SMALL)
    other = rng.random(len(image))
    size[other < 0.4] = BACKGROUND
    size[other > 0.9] = MEDIUM
    of_size = np.array([0, effect / 2, effect, 0.05])
    dilation = 2 + slope * place + of_size[size] + noise * rng.normal(size=len(image))
    dilation += image_noise * rng.normal(size=images)[image]
    dilation += image_noise * rng.normal(size=(images, 4))[image, size]
    return positions_of(image, position, size, dilation, images)


def contrast(filters, size="large", reference="small", images=100, **options):
    return size_effects([filters], records_of(images), RULE, **options).contrast(size, reference)


def least_squares(filters, weight=None):
    """The size effects by plain least squares on indicators of positions and sizes."""
    size = SIZE_OF_OBJECT[filters.object]
    shape = np.unique(filters.map_size[filters.image], axis=0, return_inverse=True)[1]
    _, position = np.unique(shape.reshape(-1) * 10**6 + filters.position, return_inverse=True)
    design = np.zeros((len(size), position.max() + 1 + len(SIZES)))
    design[np.arange(len(size)), position] = 1
    design[np.arange(len(size)), position.max() + 1 + size] = 1
    root = np.ones(len(size)) if weight is None else np.sqrt(weight[filters.image])
    solution = np.linalg.lstsq(design * root[:, None], filters.dilation * root, rcond=None)[0]
    return solution[-len(SIZES) :]


def difference_of_residuals(filters):
    """Large minus small of effective dilation less the mean at the filter's position in the other images."""
    total = np.bincount(filters.position, filters.dilation)
    count = np.bincount(filters.position)
    others = (total[filters.position] - filters.dilation) / (count[filters.position] - 1)
    relative, size = filters.dilation - others, SIZE_OF_OBJECT[filters.object]
    return relative[size == LARGE].mean() - relative[size == SMALL].mean()


def test_an_effect_of_the_position_only_is_no_effect_of_size():
    effect = contrast(simulated(0.0))
    assert effect.raw.low > 0.25
    assert effect.controlled.low <= 0 <= effect.controlled.high
    assert abs(effect.controlled.value) < 0.05


def test_the_true_effect_is_recovered_although_the_difference_of_residuals_is_attenuated():
    filters = simulated(0.2, sorting=15.0)
    effect = contrast(filters)
    assert effect.controlled.low <= 0.2 <= effect.controlled.high
    assert effect.controlled.value == pytest.approx(0.2, abs=0.04)
    assert effect.raw.value > 0.5
    assert difference_of_residuals(filters) < 0.14 < effect.controlled.low


def test_every_contrast_is_that_of_plain_least_squares():
    filters = simulated(0.3, images=6, positions=20)
    effects = size_effects([filters], records_of(6), RULE)
    solution = least_squares(filters)
    for s, size in enumerate(SIZES):
        for r, reference in enumerate(SIZES):
            if s != r:
                value = effects.contrast(size, reference).controlled.value
                assert value == pytest.approx(solution[s] - solution[r], abs=1e-6)


def test_the_interval_is_that_of_least_squares_weighted_by_each_resample():
    filters = simulated(0.3, images=8, positions=20)
    drawn = draws(8, resamples=60)
    effect = contrast(filters, images=8, drawn=drawn)
    solutions = [least_squares(filters, weight) for weight in drawn]
    values = [solution[LARGE] - solution[SMALL] for solution in solutions]
    assert effect.controlled[1:] == pytest.approx(np.quantile(values, (0.025, 0.975)), abs=1e-6)


def test_positions_in_maps_of_different_size_are_different_positions():
    # Position 5 in small maps looks 1 cell further than position 5 in large ones.
    image, position = (part.ravel() for part in np.mgrid[:6, 5:7])
    size = np.array([LARGE, SMALL, LARGE, SMALL, SMALL, LARGE, LARGE, SMALL, SMALL, LARGE, SMALL, LARGE])
    map_size = np.array([[4, 4]] * 3 + [[8, 2]] * 3)
    dilation = 2 + (image < 3) + 0.5 * (size == LARGE)
    filters = positions_of(image, position, size, dilation, 6, map_size)
    assert contrast(filters, images=6).controlled.value == pytest.approx(0.5)
    effect = least_squares(filters)
    assert effect[LARGE] - effect[SMALL] == pytest.approx(0.5)


def test_sizes_are_compared_over_a_chain_of_positions():
    # Large and small are never at the same position, but both are where background is.
    image = np.array([0, 1, 2, 3, 0, 1, 2, 3])
    position = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    size = np.array([LARGE, BACKGROUND, LARGE, BACKGROUND, BACKGROUND, SMALL, BACKGROUND, SMALL])
    filters = positions_of(image, position, size, [5, 4, 5, 4, 8, 7.5, 8, 7.5], 4)
    effect = contrast(filters, images=4)
    assert effect.controlled.value == pytest.approx(1 + 0.5)
    assert effect.positions == 0


def test_sizes_that_no_position_connects_have_no_effect():
    image, position = np.array([0, 1, 2, 3] * 2), np.repeat([0, 1], 4)
    size = np.repeat([SMALL, LARGE], 4)
    effect = contrast(positions_of(image, position, size, position + 1.0, 4), images=4)
    assert effect.controlled == (None, None, None)
    assert effect.seeds == (None,)
    assert effect.raw.value == 1


@pytest.mark.parametrize("size", ["medium", "background"])
def test_a_size_that_does_not_occur_has_no_effect(size):
    filters = positions_of([0, 1, 2, 3], [0, 0, 0, 0], [SMALL, LARGE, SMALL, LARGE], [1, 2, 1, 2], 4)
    effect = contrast(filters, "large", size, images=4)
    assert (effect.controlled.value, effect.raw.value, effect.filters) == (None, None, 2)


def test_a_size_in_one_image_has_no_effect_and_its_raw_difference_no_interval():
    filters = positions_of([0, 1, 2, 3], [0, 0, 0, 0], [LARGE, SMALL, SMALL, SMALL], [2, 1, 1, 1], 4)
    effect = contrast(filters, images=4)
    assert effect.controlled == (None, None, None)
    assert effect.raw == (1, None, None)


def test_no_filters_at_all_have_no_effect():
    effects = size_effects([positions_of(*np.zeros((4, 0), dtype=int), 3)], records_of(3), RULE)
    assert effects.contrast("large", "small").controlled.value is None
    assert effects.explained == (None, None)


def test_runaway_offsets_have_no_effect():
    filters = positions_of([0, 1, 2, 3], [0] * 4, [LARGE, SMALL, LARGE, SMALL], [np.nan, 1, 2, 1], 4)
    assert contrast(filters, images=4).controlled.value is None


def test_several_seeds_have_the_mean_effect_and_each_its_own():
    seeds = [simulated(0.2, images=20, seed=1)]
    seeds.append(
        seeds[0]._replace(dilation=seeds[0].dilation + 0.3 * (seeds[0].object == 3).astype(np.float32))
    )
    together = size_effects(seeds, records_of(20), RULE).contrast("large", "small")
    alone = [size_effects([seed], records_of(20), RULE).contrast("large", "small") for seed in seeds]
    assert together.seeds == pytest.approx([effect.controlled.value for effect in alone])
    assert together.seeds[1] - together.seeds[0] == pytest.approx(0.3, abs=1e-5)
    assert together.controlled.value == pytest.approx(np.mean(together.seeds))
    assert together.raw.value == pytest.approx(np.mean(together.raw_seeds))
    # The seeds differ by a constant, and the resamples are the same.
    shift = together.controlled.value - alone[0].controlled.value
    assert together.controlled.low == pytest.approx(alone[0].controlled.low + shift, abs=1e-5)


def test_seeds_of_different_filters_are_refused():
    one = simulated(0.2, images=5, positions=10, seed=1)
    other = simulated(0.2, images=5, positions=10, seed=2)
    with pytest.raises(ValueError, match="different images, objects or layers"):
        size_effects([one, other], records_of(5), RULE)
    with pytest.raises(ValueError, match="got none"):
        size_effects([], records_of(5), RULE)


def test_filters_on_unknown_objects_and_images_are_refused():
    filters = simulated(0.2, images=5, positions=10)
    with pytest.raises(ValueError, match="filters in images that are not in the records"):
        size_effects([filters], records_of(4), RULE)
    with pytest.raises(ValueError, match="filters on objects that are not in the records"):
        size_effects([filters._replace(object=filters.object + 1)], records_of(5), RULE)


def test_unknown_sizes_cannot_be_compared():
    effects = size_effects([simulated(0.2, images=5, positions=10)], records_of(5), RULE)
    with pytest.raises(ValueError, match="size must be one of small, medium, large, background, got 'huge'"):
        effects.contrast("huge", "small")
    with pytest.raises(ValueError, match="must differ"):
        effects.contrast("small", "small")


def test_counts_are_of_the_filters_behind_an_effect():
    filters = positions_of(
        [0, 0, 1, 1, 2, 2], [3, 4, 3, 4, 3, 4], [LARGE, BACKGROUND, SMALL, SMALL, SMALL, SMALL], range(6), 3
    )
    effect = contrast(filters, images=3)
    assert (effect.filters, effect.positions, effect.images) == (5, 1, 3)
    effect = contrast(filters, "large", "background", images=3)
    assert (effect.filters, effect.positions, effect.images) == (2, 0, 1)


def test_blocks_of_positions_and_the_order_of_filters_do_not_matter(monkeypatch):
    filters = simulated(0.2, images=12, positions=40)
    whole = contrast(filters, images=12)
    monkeypatch.setattr("deformlab.records.same_position._AT_ONCE", 20_000)
    blocks = contrast(filters, images=12)
    assert blocks.controlled == pytest.approx(whole.controlled, abs=1e-9)
    assert blocks.raw == pytest.approx(whole.raw, abs=1e-9)


def test_equal_input_gives_equal_output():
    filters = simulated(0.2, images=10, positions=30)
    assert contrast(filters, images=10) == contrast(filters, images=10)


def test_shares_of_variance_are_adjusted_for_the_number_of_positions_and_classes():
    rng = np.random.default_rng(0)
    image, position = (part.ravel() for part in np.mgrid[:10, :200])
    noise = positions_of(image, position, rng.integers(0, 4, 2000), rng.normal(size=2000), 10)
    explained = size_effects([noise], records_of(10), RULE).explained
    # 200 positions with 10 filters each explain a tenth by chance.
    assert explained.position == pytest.approx(0, abs=0.05)
    assert explained.label == pytest.approx(0, abs=0.01)
    by_position = noise._replace(dilation=position.astype(np.float32))
    assert size_effects([by_position], records_of(10), RULE).explained.position == pytest.approx(1)
    by_label = noise._replace(dilation=noise.label.astype(np.float32))
    assert size_effects([by_label], records_of(10), RULE).explained.label == pytest.approx(1)
    constant = noise._replace(dilation=np.full(2000, 2, dtype=np.float32))
    assert size_effects([constant], records_of(10), RULE).explained == (None, None)
