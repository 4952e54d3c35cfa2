"""The metric: whose filters, how they are counted, and that batches and processes agree."""

import math

import numpy as np
import pytest
import torch

from deformlab.errors import ConfigError
from deformlab.metrics import EffectiveDilation, LayerGeometry, distance_from_border
from deformlab.records import FilterSums

THREE = LayerGeometry((3, 3), (2, 2), stride=1)


def scene():
    """A 40x40 map with a small object (6x6), a medium one (10x20) and a large one (20x30)."""
    instances = torch.zeros(1, 40, 40, dtype=torch.int64)
    instances[0, 1:7, 1:7] = 26001
    instances[0, 1:11, 12:32] = 7
    instances[0, 15:35, 5:35] = 3
    return instances


def metric_for(**layers):
    return EffectiveDilation(layers or {"conv": THREE}, thresholds=(100, 400))


def table(metric):
    return {(row.layer, row.size): row for row in metric.compute().rows}


def stretched(factor, size=(40, 40)):
    """Offsets that stretch every filter of dilation 2 by a factor (scalar or one per cell)."""
    grid = torch.tensor([(2.0 * (i - 1), 2.0 * (j - 1)) for i in range(3) for j in range(3)]).flatten()
    return (grid[:, None, None] * (torch.as_tensor(factor).expand(size) - 1)).unsqueeze(0)


def test_every_filter_belongs_to_the_object_under_its_centre():
    metric = metric_for()
    metric.update({"conv": torch.zeros(1, 18, 40, 40)}, scene())
    assert [(row.size, row.count) for row in metric.compute().rows] == [
        ("small", 36),
        ("medium", 200),
        ("large", 600),
        ("background", 1600 - 836),
    ]


def test_mean_and_std_are_those_of_the_filters():
    instances = scene()
    stretch = torch.ones(40, 40)
    stretch[instances[0] == 3] = 2
    stretch[20, 20] = 5
    metric = metric_for()
    metric.update({"conv": stretched(stretch)}, instances)
    rows = table(metric)
    values = 2 * stretch[instances[0] == 3].double()
    assert rows["conv", "large"].mean == pytest.approx(values.mean().item())
    assert rows["conv", "large"].std == pytest.approx(values.std(correction=0).item())
    assert (rows["conv", "small"].mean, rows["conv", "small"].std) == (2, 0)


def test_a_plain_layer_has_exactly_its_dilation_everywhere():
    metric = metric_for(conv=LayerGeometry((3, 3), (7, 7), stride=3))
    metric.update({"conv": torch.zeros(()).expand(1, 18, 14, 14)}, scene())
    assert {(row.mean, row.std) for row in metric.compute().rows} == {(7, 0)}


def test_filters_away_from_the_border_are_counted_apart():
    # Everything looks 4 cells far in the outermost ring, 6 in the next, 2 further inside.
    distance = distance_from_border(40, 40)
    stretch = torch.ones(40, 40)
    stretch[distance == 0], stretch[distance == 1] = 2, 3
    instances = scene()
    label = torch.zeros_like(instances)
    label[0, :, 0] = 255  # of the outermost ring's 156 filters 40 belong to nothing, of the next none
    metric = metric_for()
    metric.update({"conv": stretched(stretch)}, instances, label)
    result = metric.compute()
    rows = {row.size: row for row in result.rows}
    # The small object covers rows and columns 1 to 6: of its 36 filters 11 are at distance 1, 9 at 2.
    assert (rows["small"].count, rows["small"].inside_count) == (36, 16)
    assert rows["small"].mean == pytest.approx((11 * 6 + 25 * 2) / 36)
    assert (rows["small"].inside_mean, rows["small"].inside_std) == (2, 0)
    # The large one is all inside.
    assert (rows["large"].count, rows["large"].inside_count) == (600, 600)
    records = result.records
    assert records.margins == (3,)
    assert records.ring_filters.sum((0, 1)).tolist() == [156 - 40, 148, 140]
    assert (records.ring_total.sum((0, 1)) / records.ring_filters.sum((0, 1))).tolist() == [4, 6, 2]
    small = records.object.tolist().index(26001)
    assert records.ring_filters[small, 0].tolist() == [0, 11, 9]
    counted = records.ring_filters.sum(-1) + records.inside.filters
    assert (counted == records.everywhere.filters).all()


def test_each_layer_has_its_own_margin():
    metric = metric_for(near=THREE._replace(dilation=(1, 1)), far=THREE._replace(stride=4))
    metric.update({"near": torch.zeros(1, 18, 40, 40), "far": torch.zeros(1, 18, 10, 10)}, scene())
    records = metric.compute().records
    assert records.margins == (2, 3)
    assert records.ring_filters.sum(0).tolist() == [[156, 148, 0], [36, 28, 20]]
    assert records.inside.filters.sum(0).tolist() == [36 * 36, 4 * 4]
    assert records.inside.total.sum(0).tolist() == [36 * 36, 2 * 4 * 4]


def test_a_map_that_is_all_border_has_nothing_inside():
    metric = metric_for(conv=THREE._replace(stride=8))
    metric.update({"conv": torch.zeros(1, 18, 5, 5)}, scene())
    assert {row.inside_count for row in metric.compute().rows} == {0}
    assert all(math.isnan(row.inside_mean) for row in metric.compute().rows)


def test_groups_and_modulation_are_counted_away_from_the_border_too():
    geometry = THREE._replace(deform_groups=2, modulated=True)
    metric = metric_for(conv=geometry)
    offset = torch.cat([stretched(1.0), stretched(2.0)], dim=1)
    offset[..., 0, :] = 0
    metric.update({"conv": offset}, scene(), modulation={"conv": torch.ones(1, 18, 40, 40)})
    inside = metric.compute().records.inside
    filters = inside.filters.sum()
    assert filters == 34 * 34
    assert (inside.group_total.sum((0, 1)) / filters).tolist() == [2, 4]
    assert (inside.group_squares.sum((0, 1)) / filters).tolist() == [4, 16]
    assert inside.weighted.sum() == pytest.approx(3 * filters)


def test_a_filter_of_a_strided_layer_is_centred_on_its_multiple_of_the_stride():
    metric = metric_for(conv=THREE._replace(stride=16))
    instances = torch.zeros(1, 32, 32, dtype=torch.int64)
    instances[0, 16, 0] = 1  # the centre of filter (1, 0)
    metric.update({"conv": torch.zeros(1, 18, 2, 2)}, instances)
    assert table(metric)["conv", "small"].count == 1
    instances = instances.roll(8, 1)  # half a cell further: no filter is centred there
    metric.update({"conv": torch.zeros(1, 18, 2, 2)}, instances)
    assert table(metric)["conv", "small"].count == 1


def test_a_resized_image_moves_the_centres_with_it():
    metric = metric_for(conv=THREE._replace(stride=16))
    instances = torch.zeros(1, 96, 96, dtype=torch.int64)
    instances[0, 49, 1] = 1  # pixel (16, 0) of the network's 32x32 is centred on (49, 1) of 96x96
    metric.update({"conv": torch.zeros(1, 18, 2, 2)}, instances, network_size=(32, 32))
    assert table(metric)["conv", "small"].count == 1


def test_a_map_that_the_stride_does_not_make_is_refused():
    metric = metric_for(conv=THREE._replace(stride=16))
    with pytest.raises(ValueError, match="has 3x2 filters, but a stride of 16 on 33x33 pixels makes 3x3"):
        metric.update({"conv": torch.zeros(1, 18, 3, 2)}, torch.zeros(1, 33, 33, dtype=torch.int64))


def test_size_is_the_area_of_the_bounding_box_of_the_whole_mask():
    instances = torch.zeros(1, 40, 40, dtype=torch.int64)
    instances[0, 0, 0] = instances[0, 19, 29] = 5  # two pixels whose box is 20x30
    metric = metric_for()
    metric.update({"conv": torch.zeros(1, 18, 40, 40)}, instances)
    assert table(metric)["conv", "large"].count == 2


def test_thresholds_themselves_are_medium():
    instances = torch.zeros(1, 40, 40, dtype=torch.int64)
    instances[0, :10, :10] = 1
    instances[0, 20:40, 20:40] = 2
    metric = metric_for()
    metric.update({"conv": torch.zeros(1, 18, 40, 40)}, instances)
    assert table(metric)["conv", "medium"].count == 500


def test_where_boxes_overlap_the_mask_decides():
    instances = torch.zeros(1, 40, 40, dtype=torch.int64)
    instances[0, :30, :30] = 1
    instances[0, 10:15, 10:15] = 2
    metric = metric_for()
    metric.update({"conv": torch.zeros(1, 18, 40, 40)}, instances)
    assert table(metric)["conv", "small"].count == 25
    assert table(metric)["conv", "large"].count == 900 - 25


def test_filters_centred_on_an_ignored_pixel_belong_to_nothing():
    instances = scene()
    label = torch.zeros(1, 40, 40, dtype=torch.int64)
    label[0, 15:35, 5:35] = 255
    label[0, 39] = 255
    metric = metric_for()
    metric.update({"conv": torch.zeros(1, 18, 40, 40)}, instances, label)
    assert [row.count for row in metric.compute().rows] == [36, 200, 0, 1600 - 836 - 40]


def test_an_id_means_another_object_in_every_image():
    instances = torch.zeros(2, 40, 40, dtype=torch.int64)
    instances[0, :5, :5] = 1
    instances[1, :30, :30] = 1
    metric = metric_for()
    metric.update({"conv": torch.zeros(2, 18, 40, 40)}, instances)
    assert table(metric)["conv", "small"].count == 25
    assert table(metric)["conv", "large"].count == 900


def test_deform_groups_are_averaged_and_kept_apart():
    metric = metric_for(conv=LayerGeometry((3, 3), (2, 2), stride=1, deform_groups=2))
    metric.update({"conv": torch.cat([stretched(1.0), stretched(2.0)], dim=1)}, scene())
    assert {(row.mean, row.std, row.count) for row in metric.compute().rows} >= {(3, 0, 36)}
    records = metric.compute().records
    per_group = records.everywhere.group_total.sum((0, 1)) / records.everywhere.filters.sum()
    assert per_group.tolist() == [2, 4]
    assert (records.everywhere.group_squares.sum((0, 1)) / records.everywhere.filters.sum()).tolist() == [
        4,
        16,
    ]


def test_modulated_layers_are_also_weighted_by_modulation():
    metric = metric_for(conv=LayerGeometry((3, 3), (2, 2), stride=1, modulated=True))
    offset, modulation = torch.zeros(1, 18, 40, 40), torch.ones(1, 9, 40, 40)
    offset[:, 16:], modulation[:, 8] = 100, 0
    metric.update({"conv": offset}, scene(), modulation={"conv": modulation})
    records = metric.compute().records
    assert (records.everywhere.weighted == 2 * records.everywhere.filters).all()
    assert (records.everywhere.total > records.everywhere.weighted).any()
    with pytest.raises(ValueError, match="modulation has no layer conv"):
        metric.update({"conv": offset}, scene())


def test_rows_come_by_layer_in_order_and_by_size():
    metric = metric_for(b=THREE._replace(stride=4), a=THREE)
    metric.update({"a": stretched(1.0), "b": stretched(2.0, (10, 10))}, scene())
    rows = metric.compute().rows
    assert [(row.layer, row.size) for row in rows] == [
        (layer, size) for layer in "ba" for size in ("small", "medium", "large", "background")
    ]
    assert (rows[3].mean, rows[7].mean) == (4, 2)


def test_a_size_that_never_occurred_has_no_mean():
    metric = metric_for(conv=THREE._replace(stride=10))
    metric.update({"conv": torch.zeros(1, 18, 4, 4)}, torch.zeros(1, 40, 40, dtype=torch.int64))
    row = table(metric)["conv", "small"]
    assert row.count == 0
    assert math.isnan(row.mean)
    assert math.isnan(row.std)


def test_batches_and_processes_add_up():
    torch.manual_seed(0)
    offset, instances = torch.randn(4, 18, 10, 10), scene().expand(4, -1, -1)
    whole, first, second = (metric_for(conv=THREE._replace(stride=4)) for _ in range(3))
    whole.update({"conv": offset}, instances)
    first.update({"conv": offset[:1]}, instances[:1])
    first.update({"conv": offset[1:2]}, instances[1:2])
    second.update({"conv": offset[2:]}, instances[2:])
    first.merge_state(second)
    for ours, expected in zip(first.compute().rows, whole.compute().rows, strict=True):
        assert ours.count == expected.count
        assert ours.mean == pytest.approx(expected.mean, rel=1e-12)
        assert ours.std == pytest.approx(expected.std, rel=1e-9)


@pytest.mark.parametrize("thresholds", [(100,), (400, 100), (100, 100), (0, 100), (math.nan, 100), "halves"])
def test_bad_thresholds_are_refused(thresholds):
    with pytest.raises(ConfigError, match="object_sizes must be two increasing areas > 0 or thirds"):
        EffectiveDilation({"conv": THREE}, thresholds)


def test_a_bad_region_is_refused():
    with pytest.raises(ValueError, match="region must be mask or box, got 'hull'"):
        EffectiveDilation({"conv": THREE}, region="hull")


def test_a_layer_without_neighbouring_taps_is_refused():
    with pytest.raises(ValueError, match="conv is 1x1"):
        EffectiveDilation({"conv": LayerGeometry((1, 1), (1, 1), stride=1)})


def random_images(images=5, seed=0):
    """Offsets of two layers, modulation, instances, labels with ignored pixels, predictions and names."""
    generator = torch.Generator().manual_seed(seed)
    blocks = torch.randint(0, 6, (images, 8, 10), generator=generator)
    instances = blocks.repeat_interleave(8, 1).repeat_interleave(8, 2)
    label = instances % 3
    label[:, :, :5] = 255
    prediction = torch.randint(0, 3, label.shape, generator=generator)
    offsets = {name: torch.randn(images, 36, 8, 10, generator=generator) for name in "ab"}
    modulation = {"b": torch.rand(images, 18, 8, 10, generator=generator)}
    return offsets, modulation, instances - 1, label, prediction, [f"image {i}" for i in range(images)]


def measured(parts, images=5):
    """Records after updating with the images of each part, a list of lists of images."""
    offsets, modulation, instances, label, prediction, names = random_images(images)
    geometry = LayerGeometry((3, 3), (2, 2), stride=16, deform_groups=2)
    metric = EffectiveDilation({"a": geometry, "b": geometry._replace(modulated=True)}, (100, 300))
    for part in parts:
        metric.update(
            {name: values[part] for name, values in offsets.items()},
            instances[part],
            label[part],
            prediction=prediction[part],
            modulation={name: values[part] for name, values in modulation.items()},
            names=[names[i] for i in part],
            network_size=(128, 160),
        )
    return metric


def assert_equal(ours, expected):
    for name, mine, theirs in zip(ours._fields, ours, expected, strict=True):
        if isinstance(mine, FilterSums):
            assert_equal(mine, theirs)
        else:
            assert np.array_equal(np.asarray(mine), np.asarray(theirs), equal_nan=name == "weighted"), name


def test_images_one_by_one_and_eight_at_a_time_give_the_same_to_the_last_bit():
    together = measured([list(range(8))], 8).compute().records
    assert together.inside.filters.any(axis=0).all()
    assert_equal(measured([[i] for i in range(8)], 8).compute().records, together)
    assert_equal(measured([[7, 2], [0, 1, 3], [6], [5, 4]], 8).compute().records, together)


def test_parts_of_several_processes_give_the_same_to_the_last_bit():
    first, second = measured([[4, 0]]), measured([[1], [3, 2]])
    first.merge_state(second)
    assert_equal(first.compute().records, measured([[0, 1, 2, 3, 4]]).compute().records)


@pytest.mark.filterwarnings("ignore:The ``compute`` method")
def test_a_reset_metric_starts_anew():
    metric = measured([[0], [1, 2]])
    metric.reset()
    assert len(metric.compute().records.image) == 0
    assert {row.count for row in metric.compute().rows} == {0}


def test_objects_have_their_class_areas_and_scale():
    instances = scene()
    label = torch.zeros_like(instances)
    label[instances == 7] = 2
    label[0, 1, 12:32] = 1  # a row of the medium object is of another class
    label[instances == 26001] = 1
    metric = metric_for()
    metric.update({"conv": torch.zeros(1, 18, 20, 20)}, instances, label, network_size=(20, 20))
    records = metric.compute().records
    assert records.object.tolist() == [0, 3, 7, 26001]
    assert records.label.tolist() == [0, 0, 2, 1]
    assert records.box_area.tolist() == [0, 600, 200, 36]
    assert records.mask_area.tolist() == [0, 600, 200, 36]
    assert set(records.scale.tolist()) == {0.25}
    assert not records.scored


def test_objects_that_are_not_told_apart_belong_to_nothing():
    instances = scene()
    instances[instances == 3] = -1
    metric = metric_for()
    metric.update({"conv": torch.zeros(1, 18, 40, 40)}, instances)
    assert [row.count for row in metric.compute().rows] == [36, 200, 0, 1600 - 836]


def test_by_box_a_filter_belongs_to_the_smallest_box_that_contains_it():
    instances = torch.zeros(1, 40, 40, dtype=torch.int64)
    instances[0, 0, 0] = instances[0, 29, 29] = 5  # two pixels whose box is 30x30
    instances[0, 10:15, 10:15] = 2
    instances[0, 12, 12] = 0  # a hole
    label = torch.zeros_like(instances)
    label[0, :5] = 255
    metric = EffectiveDilation({"conv": THREE}, (100, 400), region="box")
    metric.update({"conv": torch.zeros(1, 18, 40, 40)}, instances, label)
    counts = {row.size: row.count for row in metric.compute().rows}
    # Without the first five rows the large object is one pixel.
    assert counts == {"small": 25 + 1, "medium": 0, "large": 0, "background": 40 * 35 - 26}
    metric = EffectiveDilation({"conv": THREE}, (100, 400), region="box")
    metric.update({"conv": torch.zeros(1, 18, 40, 40)}, instances)
    counts = {row.size: row.count for row in metric.compute().rows}
    assert counts == {"small": 25, "medium": 0, "large": 900 - 25, "background": 1600 - 900}


def test_sizes_in_pixels_of_the_network_and_of_masks():
    for options, seen, counts in (
        ({"pixels": "network"}, 20, [9 + 50, 150, 0]),
        ({"area": "mask"}, 40, [36, 200, 600]),
        ({"thresholds": "thirds"}, 40, [36, 200, 600]),
    ):
        metric = EffectiveDilation({"conv": THREE}, **{"thresholds": (100, 400), **options})
        metric.update({"conv": torch.zeros(1, 18, seen, seen)}, scene(), network_size=(seen, seen))
        assert [row.count for row in metric.compute().rows][:3] == counts


@pytest.mark.parametrize(
    ("offsets", "instances", "label", "message"),
    [
        ({"other": (1, 18, 4, 4)}, (1, 8, 8), None, "offsets has no layer conv, only other"),
        ({"conv": (2, 18, 4, 4)}, (1, 8, 8), None, r"offsets\['conv'\] has 2 images, instances 1"),
        ({"conv": (1, 18, 4, 4)}, (8, 8), None, r"must both be \(N, H, W\), got \(8, 8\)"),
        ({"conv": (1, 18, 4, 4)}, (1, 8, 8), (1, 8, 9), r"\(N, H, W\), got \(1, 8, 8\) and \(1, 8, 9\)"),
        ({"conv": (1, 8, 4, 4)}, (1, 8, 8), None, "offset must be"),
        ({"conv": (1, 36, 4, 4)}, (1, 8, 8), None, "is for 2 offset groups, layers says 1"),
    ],
)
def test_maps_that_do_not_fit_are_named(offsets, instances, label, message):
    with pytest.raises(ValueError, match=message):
        metric_for().update(
            {name: torch.zeros(shape) for name, shape in offsets.items()},
            torch.zeros(instances, dtype=torch.int64),
            None if label is None else torch.zeros(label, dtype=torch.int64),
        )
