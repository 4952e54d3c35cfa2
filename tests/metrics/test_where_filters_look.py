"""EffectiveDilation and ObjectScores: filters are assigned to objects and counted, in batches of any size."""

import math

import numpy as np
import pytest
import torch

from deformlab.errors import ConfigError
from deformlab.metrics import (
    EffectiveDilation,
    LayerGeometry,
    ObjectScores,
    distance_from_border,
    find_objects,
    image_key,
    objects_from_boxes,
)
from deformlab.records import REGIONS, by_size, join_scores, size_effects

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


def rows_of(metric, region="all"):
    return by_size(metric.compute().records, region, metric.rule)


def table(metric, region="all"):
    return {(row.layer, row.size): row for row in rows_of(metric, region)}


def objects(instances, label=None, network_size=None):
    """The objects of a batch whose images have numbers for names."""
    return find_objects(instances, label, [str(i) for i in range(len(instances))], network_size)


def stretched(factor, size=(40, 40)):
    """Offsets that stretch every filter of dilation 2 by a factor (scalar or one per cell)."""
    grid = torch.tensor([(2.0 * (i - 1), 2.0 * (j - 1)) for i in range(3) for j in range(3)]).flatten()
    return (grid[:, None, None] * (torch.as_tensor(factor).expand(size) - 1)).unsqueeze(0)


def test_every_filter_belongs_to_the_object_under_its_centre():
    metric = metric_for()
    metric.update({"conv": torch.zeros(1, 18, 40, 40)}, objects(scene()))
    assert [(row.size, row.count) for row in rows_of(metric)] == [
        ("small", 36),
        ("medium", 200),
        ("large", 600),
        ("background", 1600 - 836),
    ]


def test_mean_and_std_are_computed_over_the_filters():
    instances = scene()
    stretch = torch.ones(40, 40)
    stretch[instances[0] == 3] = 2
    stretch[20, 20] = 5
    metric = metric_for()
    metric.update({"conv": stretched(stretch)}, objects(instances))
    rows = table(metric)
    values = 2 * stretch[instances[0] == 3].double()
    assert rows["conv", "large"].mean == pytest.approx(values.mean().item())
    assert rows["conv", "large"].std == pytest.approx(values.std(correction=0).item())
    assert (rows["conv", "small"].mean, rows["conv", "small"].std) == (2, 0)


def test_a_plain_layer_has_exactly_its_dilation_everywhere():
    metric = metric_for(conv=LayerGeometry((3, 3), (7, 7), stride=3))
    metric.update({"conv": torch.zeros(()).expand(1, 18, 14, 14)}, objects(scene()))
    assert {(row.mean, row.std) for row in rows_of(metric)} == {(7, 0)}


def test_interior_filters_and_rings_are_counted_separately():
    # Effective dilation is 4 in the outermost ring, 6 in the next ring and 2 further inside.
    distance = distance_from_border(40, 40)
    stretch = torch.ones(40, 40)
    stretch[distance == 0], stretch[distance == 1] = 2, 3
    instances = scene()
    label = torch.zeros_like(instances)
    label[0, :, 0] = 255  # ignores 40 of the 156 filters of the outermost ring, and none of the next ring
    metric = metric_for()
    metric.update({"conv": stretched(stretch)}, objects(instances, label))
    everywhere, interior = table(metric), table(metric, "interior")
    # The small object covers rows and columns 1 to 6: of its 36 filters 11 are at distance 1, 9 at 2.
    assert (everywhere["conv", "small"].count, interior["conv", "small"].count) == (36, 16)
    assert everywhere["conv", "small"].mean == pytest.approx((11 * 6 + 25 * 2) / 36)
    assert (interior["conv", "small"].mean, interior["conv", "small"].std) == (2, 0)
    # All filters on the large object are interior.
    assert (everywhere["conv", "large"].count, interior["conv", "large"].count) == (600, 600)
    records = metric.compute().records
    assert records.margins == (3,)
    assert records.ring_filters.sum((0, 1)).tolist() == [156 - 40, 148, 140]
    assert (records.ring_total.sum((0, 1)) / records.ring_filters.sum((0, 1))).tolist() == [4, 6, 2]
    small = records.object.tolist().index(26001)
    assert records.ring_filters[small, 0].tolist() == [0, 11, 9]
    counted = records.ring_filters.sum(-1) + records.sums["interior"].filters
    assert (counted == records.sums["all"].filters).all()


def test_each_layer_has_its_own_margin():
    metric = metric_for(near=THREE._replace(dilation=(1, 1)), far=THREE._replace(stride=4))
    metric.update({"near": torch.zeros(1, 18, 40, 40), "far": torch.zeros(1, 18, 10, 10)}, objects(scene()))
    records = metric.compute().records
    assert records.margins == (2, 3)
    assert records.ring_filters.sum(0).tolist() == [[156, 148, 0], [36, 28, 20]]
    assert records.sums["interior"].filters.sum(0).tolist() == [36 * 36, 4 * 4]
    assert records.sums["interior"].total.sum(0).tolist() == [36 * 36, 2 * 4 * 4]


def test_a_map_smaller_than_twice_its_margin_has_no_interior_filters():
    metric = metric_for(conv=THREE._replace(stride=8))
    metric.update({"conv": torch.zeros(1, 18, 5, 5)}, objects(scene()))
    assert {row.count for row in rows_of(metric, "interior")} == {0}
    assert all(math.isnan(row.mean) for row in rows_of(metric, "interior"))
    assert len(metric.compute().positions[0].dilation) == 0


def test_groups_and_modulation_are_counted_in_the_interior_too():
    geometry = THREE._replace(deform_groups=2, modulated=True)
    metric = metric_for(conv=geometry)
    offset = torch.cat([stretched(1.0), stretched(2.0)], dim=1)
    offset[..., 0, :] = 0
    metric.update({"conv": offset}, objects(scene()), modulation={"conv": torch.ones(1, 18, 40, 40)})
    interior = metric.compute().records.sums["interior"]
    filters = interior.filters.sum()
    assert filters == 34 * 34
    assert (interior.group_total.sum((0, 1)) / filters).tolist() == [2, 4]
    assert (interior.group_squares.sum((0, 1)) / filters).tolist() == [4, 16]
    assert interior.weighted.sum() == pytest.approx(3 * filters)


def test_a_filter_of_a_strided_layer_is_centred_on_its_multiple_of_the_stride():
    metric = metric_for(conv=THREE._replace(stride=16))
    instances = torch.zeros(1, 32, 32, dtype=torch.int64)
    instances[0, 16, 0] = 1  # the centre of filter (1, 0)
    metric.update({"conv": torch.zeros(1, 18, 2, 2)}, objects(instances))
    assert table(metric)["conv", "small"].count == 1
    instances = instances.roll(8, 1)  # half a cell further: no filter is centred there
    metric.update({"conv": torch.zeros(1, 18, 2, 2)}, objects(instances))
    assert table(metric)["conv", "small"].count == 1


def test_centres_follow_the_resizing_of_the_image():
    metric = metric_for(conv=THREE._replace(stride=16))
    instances = torch.zeros(1, 96, 96, dtype=torch.int64)
    instances[0, 49, 1] = 1  # pixel (16, 0) of the network's 32x32 is centred on (49, 1) of 96x96
    metric.update({"conv": torch.zeros(1, 18, 2, 2)}, objects(instances, network_size=(32, 32)))
    assert table(metric)["conv", "small"].count == 1


def test_a_map_whose_size_does_not_fit_the_stride_is_refused():
    metric = metric_for(conv=THREE._replace(stride=16))
    with pytest.raises(ValueError, match="has 3x2 filters, but a stride of 16 on 33x33 pixels gives 3x3"):
        metric.update({"conv": torch.zeros(1, 18, 3, 2)}, objects(torch.zeros(1, 33, 33, dtype=torch.int64)))


def test_size_is_the_area_of_the_bounding_box_of_the_whole_mask():
    instances = torch.zeros(1, 40, 40, dtype=torch.int64)
    instances[0, 0, 0] = instances[0, 19, 29] = 5  # two pixels whose box is 20x30
    metric = metric_for()
    metric.update({"conv": torch.zeros(1, 18, 40, 40)}, objects(instances))
    assert table(metric)["conv", "large"].count == 2


def test_objects_exactly_at_a_threshold_are_medium():
    instances = torch.zeros(1, 40, 40, dtype=torch.int64)
    instances[0, :10, :10] = 1
    instances[0, 20:40, 20:40] = 2
    metric = metric_for()
    metric.update({"conv": torch.zeros(1, 18, 40, 40)}, objects(instances))
    assert table(metric)["conv", "medium"].count == 500


def test_the_mask_decides_if_boxes_overlap():
    instances = torch.zeros(1, 40, 40, dtype=torch.int64)
    instances[0, :30, :30] = 1
    instances[0, 10:15, 10:15] = 2
    metric = metric_for()
    metric.update({"conv": torch.zeros(1, 18, 40, 40)}, objects(instances))
    assert table(metric)["conv", "small"].count == 25
    assert table(metric)["conv", "large"].count == 900 - 25


def test_filters_centred_on_an_ignored_pixel_do_not_count():
    instances = scene()
    label = torch.zeros(1, 40, 40, dtype=torch.int64)
    label[0, 15:35, 5:35] = 255
    label[0, 39] = 255
    metric = metric_for()
    metric.update({"conv": torch.zeros(1, 18, 40, 40)}, objects(instances, label))
    assert [row.count for row in rows_of(metric)] == [36, 200, 0, 1600 - 836 - 40]


def test_an_image_of_ignored_pixels_only_has_neither_records_nor_positions():
    instances = scene().repeat(3, 1, 1)
    label = torch.zeros_like(instances)
    label[1] = 255
    metric = metric_for()
    metric.update({"conv": torch.zeros(3, 18, 40, 40)}, objects(instances, label))
    records, (positions,) = metric.compute()
    assert sorted(positions.images.tolist()) == records.images
    assert len(positions.map_size) == len(records.images) == 2
    effect = size_effects([positions], records, metric.rule).contrast("large", "background")
    assert effect.images == 2


def test_the_same_id_in_two_images_means_two_objects():
    instances = torch.zeros(2, 40, 40, dtype=torch.int64)
    instances[0, :5, :5] = 1
    instances[1, :30, :30] = 1
    metric = metric_for()
    metric.update({"conv": torch.zeros(2, 18, 40, 40)}, objects(instances))
    assert table(metric)["conv", "small"].count == 25
    assert table(metric)["conv", "large"].count == 900


def test_offset_groups_are_averaged_and_also_recorded_separately():
    metric = metric_for(conv=LayerGeometry((3, 3), (2, 2), stride=1, deform_groups=2))
    metric.update({"conv": torch.cat([stretched(1.0), stretched(2.0)], dim=1)}, objects(scene()))
    assert {(row.mean, row.std, row.count) for row in rows_of(metric)} >= {(3, 0, 36)}
    records = metric.compute().records
    per_group = records.sums["all"].group_total.sum((0, 1)) / records.sums["all"].filters.sum()
    assert per_group.tolist() == [2, 4]
    assert (records.sums["all"].group_squares.sum((0, 1)) / records.sums["all"].filters.sum()).tolist() == [
        4,
        16,
    ]


def test_modulated_layers_also_have_a_mean_weighted_by_modulation():
    metric = metric_for(conv=LayerGeometry((3, 3), (2, 2), stride=1, modulated=True))
    offset, modulation = torch.zeros(1, 18, 40, 40), torch.ones(1, 9, 40, 40)
    offset[:, 16:], modulation[:, 8] = 100, 0
    metric.update({"conv": offset}, objects(scene()), modulation={"conv": modulation})
    records = metric.compute().records
    assert (records.sums["all"].weighted == 2 * records.sums["all"].filters).all()
    assert (records.sums["all"].total > records.sums["all"].weighted).any()
    with pytest.raises(ValueError, match="modulation lacks the layer conv"):
        metric.update({"conv": offset}, objects(scene()))


def test_rows_are_ordered_by_layer_and_size():
    metric = metric_for(b=THREE._replace(stride=4), a=THREE)
    metric.update({"a": stretched(1.0), "b": stretched(2.0, (10, 10))}, objects(scene()))
    rows = rows_of(metric)
    assert [(row.layer, row.size) for row in rows] == [
        (layer, size) for layer in "ba" for size in ("small", "medium", "large", "background")
    ]
    assert (rows[3].mean, rows[7].mean) == (4, 2)


def test_a_size_that_never_occurred_has_no_mean():
    metric = metric_for(conv=THREE._replace(stride=10))
    metric.update({"conv": torch.zeros(1, 18, 4, 4)}, objects(torch.zeros(1, 40, 40, dtype=torch.int64)))
    row = table(metric)["conv", "small"]
    assert row.count == 0
    assert math.isnan(row.mean)
    assert math.isnan(row.std)


@pytest.mark.parametrize("thresholds", [(100,), (400, 100), (0, 100), (math.nan, 100), "halves"])
def test_bad_thresholds_are_refused(thresholds):
    message = r"object_sizes \(thresholds\) must be two areas with 0 < first <= second, or thirds, got "
    with pytest.raises(ConfigError, match=message):
        EffectiveDilation({"conv": THREE}, thresholds)


def test_a_bad_assignment_is_refused():
    with pytest.raises(ValueError, match="assignment must be mask or box, got 'hull'"):
        EffectiveDilation({"conv": THREE}, assignment="hull")


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


def metrics_of(parts, images=5):
    """Both metrics after updating with the images of each part, a list of lists of images."""
    offsets, modulation, instances, label, prediction, names = random_images(images)
    geometry = LayerGeometry((3, 3), (2, 2), stride=16, deform_groups=2)
    dilation = EffectiveDilation({"a": geometry, "b": geometry._replace(modulated=True)}, (100, 300))
    scores = ObjectScores()
    for part in parts:
        found = find_objects(instances[part], label[part], [names[i] for i in part], (128, 160))
        dilation.update(
            {name: values[part] for name, values in offsets.items()},
            found,
            {name: values[part] for name, values in modulation.items()},
        )
        scores.update(found, prediction[part])
    return dilation, scores


def measured(*metrics):
    """All arrays of the records and positions that the metrics give."""
    dilation, scores = metrics
    measurement = dilation.compute()
    records = join_scores(measurement.records, scores.compute())
    arrays = {name: column for name, column in records._asdict().items() if name != "sums"}
    for region in REGIONS:
        arrays |= {f"{region} {name}": part for name, part in records.sums[region]._asdict().items()}
    for positions in measurement.positions:
        arrays |= {f"{positions.layer} {name}": column for name, column in positions._asdict().items()}
    return arrays


def assert_equal(ours, expected):
    assert ours.keys() == expected.keys()
    for name, array in expected.items():
        same = np.array_equal(np.asarray(ours[name]), np.asarray(array), equal_nan="weighted" in name)
        assert same, name


def test_images_one_by_one_and_eight_at_a_time_give_the_same_to_the_last_bit():
    together = measured(*metrics_of([list(range(8))], 8))
    assert together["interior filters"].any(axis=0).all()
    assert len(together["a dilation"])
    assert_equal(measured(*metrics_of([[i] for i in range(8)], 8)), together)
    assert_equal(measured(*metrics_of([[7, 2], [0, 1, 3], [6], [5, 4]], 8)), together)


def test_states_of_several_processes_give_the_same_to_the_last_bit():
    first, second = metrics_of([[4, 0]]), metrics_of([[1], [3, 2]])
    for ours, others in zip(first, second, strict=True):
        ours.merge_state(others)
    assert_equal(measured(*first), measured(*metrics_of([[0, 1, 2, 3, 4]])))


@pytest.mark.filterwarnings("ignore:The ``compute`` method")
def test_reset_metrics_start_anew():
    for metric in metrics_of([[0], [1, 2]]):
        metric.reset()
        measurement = metric.compute()
        records = measurement if isinstance(metric, ObjectScores) else measurement.records
        assert len(records.image) == 0


def test_objects_have_their_class_areas_and_scale():
    instances = scene()
    label = torch.zeros_like(instances)
    label[instances == 7] = 2
    label[0, 1, 12:32] = 1  # a row of the medium object is of another class
    label[instances == 26001] = 1
    metric = metric_for()
    metric.update({"conv": torch.zeros(1, 18, 20, 20)}, objects(instances, label, network_size=(20, 20)))
    records = metric.compute().records
    assert records.object.tolist() == [0, 3, 7, 26001]
    assert records.label.tolist() == [0, 0, 2, 1]
    assert records.box_area.tolist() == [0, 600, 200, 36]
    assert records.mask_area.tolist() == [0, 600, 200, 36]
    assert set(records.scale.tolist()) == {0.25}
    assert not records.scored


def test_filters_on_objects_that_are_not_separated_do_not_count():
    instances = scene()
    instances[instances == 3] = -1
    metric = metric_for()
    metric.update({"conv": torch.zeros(1, 18, 40, 40)}, objects(instances))
    assert [row.count for row in rows_of(metric)] == [36, 200, 0, 1600 - 836]


def test_by_box_a_filter_belongs_to_the_smallest_box_that_contains_it():
    instances = torch.zeros(1, 40, 40, dtype=torch.int64)
    instances[0, 0, 0] = instances[0, 29, 29] = 5  # two pixels whose box is 30x30
    instances[0, 10:15, 10:15] = 2
    instances[0, 12, 12] = 0  # a hole
    label = torch.zeros_like(instances)
    label[0, :5] = 255
    metric = EffectiveDilation({"conv": THREE}, (100, 400), assignment="box")
    metric.update({"conv": torch.zeros(1, 18, 40, 40)}, objects(instances, label))
    counts = {row.size: row.count for row in rows_of(metric)}
    # Without the first five rows the large object is one pixel.
    assert counts == {"small": 25 + 1, "medium": 0, "large": 0, "background": 40 * 35 - 26}
    metric = EffectiveDilation({"conv": THREE}, (100, 400), assignment="box")
    metric.update({"conv": torch.zeros(1, 18, 40, 40)}, objects(instances))
    counts = {row.size: row.count for row in rows_of(metric)}
    assert counts == {"small": 25, "medium": 0, "large": 900 - 25, "background": 1600 - 900}


def test_sizes_in_pixels_of_the_network_and_of_masks():
    for options, seen, counts in (
        ({"pixels": "network"}, 20, [9 + 50, 150, 0]),
        ({"area": "mask"}, 40, [36, 200, 600]),
        ({"thresholds": "thirds"}, 40, [36, 200, 600]),
    ):
        metric = EffectiveDilation({"conv": THREE}, **{"thresholds": (100, 400), **options})
        metric.update({"conv": torch.zeros(1, 18, seen, seen)}, objects(scene(), network_size=(seen, seen)))
        assert [row.count for row in rows_of(metric)][:3] == counts


def filters_of(metric):
    """Positions, effective dilations and objects of the only layer that is compared by position."""
    (positions,) = metric.compute().positions
    return positions


def test_interior_filters_are_recorded_individually():
    instances = scene()
    stretch = torch.rand(40, 40, generator=torch.Generator().manual_seed(0)) + 0.5
    label = torch.zeros_like(instances)
    label[instances == 3] = 2
    label[0, 20, 20:30] = 255
    metric = metric_for(conv=THREE._replace(dilation=(4, 4)))  # 5 rings are not interior
    metric.update({"conv": 2 * stretched(stretch)}, objects(instances, label))
    filters = filters_of(metric)
    # 30 x 30 interior filters are at most 1,024; those on ignored pixels are left out.
    row, column = np.divmod(filters.position, 40)
    assert len(row) == 900 - 10
    assert (row.min(), row.max(), column.min(), column.max()) == (5, 34, 5, 34)
    assert filters.map_size.tolist() == [[40, 40]]
    assert filters.dilation.dtype == np.float32
    assert filters.dilation == pytest.approx(4 * stretch[row, column].numpy())
    assert filters.object.tolist() == instances[0, row, column].tolist()
    assert filters.label.tolist() == label[0, row, column].tolist()


def test_the_individual_filters_add_up_to_the_sums_of_the_interior():
    dilation, _ = metrics_of([[0, 1, 2, 3, 4]])
    records, positions = dilation.compute()
    for i, filters in enumerate(positions):
        for image, object_ in zip(filters.image[:50], filters.object[:50], strict=True):
            here = (filters.image == image) & (filters.object == object_)
            rows = (records.image == filters.images[image]) & (records.object == object_)
            assert here.sum() == records.sums["interior"].filters[rows, i].sum()
            total = records.sums["interior"].total[rows, i].sum()
            assert filters.dilation[here].sum(dtype=float) == pytest.approx(total, rel=1e-6)


def test_filters_of_large_maps_are_recorded_on_a_regular_grid():
    metric = metric_for()
    metric.update({"conv": torch.zeros(1, 18, 96, 192)}, objects(torch.zeros(1, 96, 192, dtype=torch.int64)))
    row, column = np.divmod(filters_of(metric).position, 192)
    # 90 x 186 interior filters; every fifth row and column leaves 18 x 38, every fourth 23 x 47 = 1,081.
    assert np.unique(row).tolist() == list(range(5, 93, 5))
    assert np.unique(column).tolist() == list(range(3, 189, 5))
    assert len(row) == 18 * 38


def test_maps_of_different_sizes_are_recorded_separately():
    metric = metric_for()
    for name, size in (("a", 12), ("b", 16), ("c", 12)):
        found = find_objects(torch.ones(1, size, size, dtype=torch.int64), None, [name])
        metric.update({"conv": torch.zeros(1, 18, size, size)}, found)
    measurement = metric.compute().named({str(image_key(name)): name for name in "abc"})
    (filters,) = measurement.positions
    assert filters.images.tolist() == ["a", "b", "c"]
    assert filters.map_size.tolist() == [[12, 12], [16, 16], [12, 12]]
    assert np.bincount(filters.image).tolist() == [36, 100, 36]
    assert measurement.records.image.tolist() == ["a", "b", "c"]
    assert set(filters.label.tolist()) == {-1}


def test_only_deformable_layers_are_compared_by_position():
    metric = metric_for(atrous=THREE._replace(deformable=False), conv=THREE)
    metric.update(dict.fromkeys(("atrous", "conv"), torch.zeros(1, 18, 40, 40)), objects(scene()))
    assert [positions.layer for positions in metric.compute().positions] == ["conv"]
    assert metric.compute().records.layers == ("atrous", "conv")


def test_filters_are_assigned_to_boxes_if_there_are_no_masks():
    # The large box has the small one inside it; a box contains the pixels whose centres it contains.
    boxes = torch.tensor([[5.0, 15.0, 35.0, 35.0], [10.4, 20.6, 15.6, 24.4]])
    metric = EffectiveDilation({"conv": THREE}, (100, 400), assignment="box")
    found = objects_from_boxes(boxes, torch.tensor([2, 1]), "a", (40, 40))
    metric.update({"conv": torch.zeros(1, 18, 40, 40)}, [found])
    counts = {row.size: row.count for row in rows_of(metric)}
    assert counts == {"small": 6 * 3, "medium": 0, "large": 600 - 18, "background": 1600 - 600}
    records = metric.compute().records
    assert records.label.tolist() == [-1, 2, 1]
    assert records.box_area.tolist() == [0, 600, 18]


def test_boxes_are_not_used_as_masks():
    found = objects_from_boxes(torch.zeros(0, 4), None, "a", (40, 40))
    with pytest.raises(ValueError, match="image a has only boxes; set both assignment and area to box"):
        metric_for().update({"conv": torch.zeros(1, 18, 40, 40)}, [found])
    with pytest.raises(ValueError, match="image a: scores of objects need masks and classes"):
        ObjectScores().update([found], torch.zeros(1, 40, 40, dtype=torch.int64))


def test_scores_are_joined_with_the_rows_of_filters():
    instances = scene()
    label = torch.zeros_like(instances)
    label[instances == 3] = 1
    label[0, 39, 39] = 2  # no filter of the strided layer is centred there
    prediction = torch.zeros_like(label)
    prediction[0, 15:35, 5:15] = 1
    prediction[0, 39, 38] = 2
    found = objects(instances, label)
    dilation, scores = metric_for(conv=THREE._replace(stride=4)), ObjectScores()
    dilation.update({"conv": torch.zeros(1, 18, 10, 10)}, found)
    scores.update(found, prediction)
    records = join_scores(dilation.compute().records, scores.compute())
    assert records.scored
    rows = list(zip(records.object.tolist(), records.label.tolist(), strict=True))
    assert rows == [(0, 0), (0, 2), (3, 1), (7, 0), (26001, 0)]
    assert records.pixels.tolist() == [1600 - 836 - 1, 1, 600, 200, 36]
    assert records.hits.tolist() == [1600 - 836 - 2, 0, 200, 200, 36]
    # 400 pixels of the large object and one of class 2 were taken for class 0.
    assert records.false_positives[:3].tolist() == [401, 1, 0]
    assert records.sums["all"].filters.sum() == 100
    assert records.sums["all"].filters[1, 0] == 0
    assert np.isnan(records.sums["all"].weighted).all()


@pytest.mark.parametrize(
    ("offsets", "message"),
    [
        ({"other": (1, 18, 4, 4)}, "offsets lacks the layer conv; it has other"),
        ({"conv": (2, 18, 4, 4)}, r"offsets\['conv'\] has 2 images, but objects has 1"),
        ({"conv": (1, 8, 4, 4)}, "offset must be"),
        ({"conv": (1, 36, 4, 4)}, r"has 2 offset groups, but layers\['conv'\] has 1"),
    ],
)
def test_maps_that_do_not_fit_are_named(offsets, message):
    with pytest.raises(ValueError, match=message):
        metric_for().update(
            {name: torch.zeros(shape) for name, shape in offsets.items()},
            objects(torch.zeros(1, 8, 8, dtype=torch.int64)),
        )


@pytest.mark.parametrize(
    ("instances", "label", "message"),
    [
        ((8, 8), None, r"must both be \(N, H, W\), got \(8, 8\)"),
        ((1, 8, 8), (1, 8, 9), r"\(N, H, W\), got \(1, 8, 8\) and \(1, 8, 9\)"),
        ((2, 8, 8), None, "names has 1 names, but instances has 2 images"),
    ],
)
def test_instances_that_do_not_fit_are_named(instances, label, message):
    label = None if label is None else torch.zeros(label, dtype=torch.int64)
    with pytest.raises(ValueError, match=message):
        find_objects(torch.zeros(instances, dtype=torch.int64), label, ["a"])


def test_predictions_that_do_not_fit_are_named():
    found = objects(scene(), torch.zeros(1, 40, 40, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"must be \(40, 40\) like the label map, got \(40, 41\)"):
        ObjectScores().update(found, torch.zeros(1, 40, 41, dtype=torch.int64))
    with pytest.raises(ValueError, match="prediction has 2 images, but objects has 1"):
        ObjectScores().update(found, torch.zeros(2, 40, 40, dtype=torch.int64))
