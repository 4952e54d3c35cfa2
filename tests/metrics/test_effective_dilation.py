"""Effective dilation: the mean distance of neighbouring taps, and its table by object size."""

import math

import pytest
import torch

from deformlab.metrics import EffectiveDilation, LayerGeometry, effective_dilation

THREE = LayerGeometry((3, 3), (2, 2))


def offsets_of(taps):
    """Offsets (1, 2·K, 1, 1) from a list of (dy, dx)."""
    return torch.tensor(taps, dtype=torch.float32).reshape(1, -1, 1, 1)


@pytest.mark.parametrize("dilation", [1, 2, 3, 4, 6, 7, 8, 12, 18, 24])
@pytest.mark.parametrize("kernel_size", [2, 3, 5, (1, 3), (3, 1), (3, 5), (7, 7)])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_an_undeformed_filter_has_exactly_its_dilation(dilation, kernel_size, dtype):
    kernel_h, kernel_w = kernel_size if isinstance(kernel_size, tuple) else (kernel_size, kernel_size)
    offset = torch.zeros(2, 2 * kernel_h * kernel_w, 3, 4, dtype=dtype)
    assert (effective_dilation(offset, kernel_size, dilation) == dilation).all()


def test_a_translated_filter_is_not_deformed():
    assert effective_dilation(offsets_of([(0.5, -1.25)] * 9), 3, 2).item() == 2


def test_by_hand():
    # Taps of a 2x2 kernel at (0, 0), (0, 1), (1, 0), (1, 1); the last moves to (4, 5): its distance to
    # (0, 1) becomes sqrt(16 + 16), to (1, 0) sqrt(9 + 25); two pairs stay at 1.
    offset = offsets_of([(0, 0), (0, 0), (0, 0), (3, 4)])
    expected = (1 + 1 + math.sqrt(32) + math.sqrt(34)) / 4
    assert effective_dilation(offset, 2, 1).item() == pytest.approx(expected, rel=1e-6)


def test_a_filter_stretched_by_two_has_twice_the_dilation():
    taps = [(2 * (row - 1), 2 * (column - 1)) for row in range(3) for column in range(3)]
    assert effective_dilation(offsets_of(taps), 3, 2).item() == 4


def test_dy_comes_before_dx():
    # Rows pushed apart by 1, columns untouched: 6 vertical pairs of 2, 6 horizontal pairs of 1.
    taps = [(row - 1, 0) for row in range(3) for _ in range(3)]
    assert effective_dilation(offsets_of(taps), 3, (1, 1)).item() == 1.5
    assert effective_dilation(offsets_of(taps[:3] + taps[3:6]), (2, 3), 1).item() == pytest.approx(10 / 7)


def test_a_dilation_per_direction_is_weighted_by_its_pairs():
    assert effective_dilation(torch.zeros(1, 18, 1, 1), 3, (2, 6)).item() == 4
    assert effective_dilation(torch.zeros(1, 6, 1, 1), (1, 3), (2, 6)).item() == 6


def test_equals_the_definition_for_random_offsets():
    torch.manual_seed(0)
    kernel_h, kernel_w, dilation = 3, 4, (2, 3)
    offset = torch.randn(2, 2 * 2 * 12, 2, 3, dtype=torch.float64)
    result = effective_dilation(offset, (kernel_h, kernel_w), dilation)
    assert result.shape == (2, 2, 2, 3)
    for n, g, y, x in torch.cartesian_prod(*(torch.arange(s) for s in result.shape)).tolist():
        place = {}
        for i in range(kernel_h):
            for j in range(kernel_w):
                channel = 2 * (g * 12 + i * kernel_w + j)
                dy, dx = offset[n, channel : channel + 2, y, x].tolist()
                place[i, j] = (i * dilation[0] + dy, j * dilation[1] + dx)
        distances = [
            math.dist(place[a], place[b])
            for a in place
            for b in ((a[0] + 1, a[1]), (a[0], a[1] + 1))
            if b in place
        ]
        assert result[n, g, y, x].item() == pytest.approx(sum(distances) / len(distances), abs=1e-12)


@pytest.mark.parametrize(
    ("shape", "kernel_size", "dilation", "message"),
    [
        ((1, 2, 4, 4), 1, 1, r"kernel_size must have two taps or more, got \(1, 1\)"),
        ((1, 18, 4, 4), 3, 0, r"dilation must be >= 1, got \(0, 0\)"),
        ((1, 17, 4, 4), 3, 1, r"offset must be \(N, 18·G, H, W\) for a 3x3 kernel, got \(1, 17, 4, 4\)"),
        ((1, 0, 4, 4), 3, 1, "offset must be"),
        ((18, 4, 4), 3, 1, "offset must be"),
    ],
)
def test_a_bad_argument_is_named(shape, kernel_size, dilation, message):
    with pytest.raises(ValueError, match=message):
        effective_dilation(torch.zeros(shape), kernel_size, dilation)


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
    return {(row.layer, row.size): row for row in metric.compute()}


def stretched(factor, size=(40, 40)):
    """Offsets that stretch every filter of dilation 2 by a factor (scalar or one per cell)."""
    grid = torch.tensor([(2.0 * (i - 1), 2.0 * (j - 1)) for i in range(3) for j in range(3)]).flatten()
    return (grid[:, None, None] * (torch.as_tensor(factor).expand(size) - 1)).unsqueeze(0)


def test_every_filter_belongs_to_the_object_under_its_centre():
    metric = metric_for()
    metric.update({"conv": torch.zeros(1, 18, 40, 40)}, scene())
    assert [(row.size, row.count) for row in metric.compute()] == [
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
    metric = metric_for(conv=LayerGeometry((3, 3), (7, 7)))
    metric.update({"conv": torch.zeros(()).expand(1, 18, 13, 17)}, scene())
    assert {(row.mean, row.std) for row in metric.compute()} == {(7, 0)}


def test_centres_of_a_coarser_map_lie_in_the_middle_of_its_cells():
    instances = torch.zeros(1, 40, 40, dtype=torch.int64)
    instances[0, 8, 24] = 1  # the centre of cell (0, 1) in a map of cells of 16 pixels: row 8, column 24
    metric = metric_for()
    metric.update({"conv": torch.zeros(1, 18, 2, 2)}, instances[:, :32, :32])
    assert table(metric)["conv", "small"].count == 1
    instances = instances.roll(1, 1)
    metric.update({"conv": torch.zeros(1, 18, 2, 2)}, instances[:, :32, :32])
    assert table(metric)["conv", "small"].count == 1


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
    assert [row.count for row in metric.compute()] == [36, 200, 0, 1600 - 836 - 40]


def test_an_id_means_another_object_in_every_image():
    instances = torch.zeros(2, 40, 40, dtype=torch.int64)
    instances[0, :5, :5] = 1
    instances[1, :30, :30] = 1
    metric = metric_for()
    metric.update({"conv": torch.zeros(2, 18, 40, 40)}, instances)
    assert table(metric)["conv", "small"].count == 25
    assert table(metric)["conv", "large"].count == 900


def test_deform_groups_are_averaged():
    metric = metric_for()
    metric.update({"conv": torch.cat([stretched(1.0), stretched(2.0)], dim=1)}, scene())
    assert {(row.mean, row.count) for row in metric.compute()} >= {(3, 36)}


def test_rows_come_by_layer_in_order_and_by_size():
    metric = metric_for(b=THREE, a=THREE)
    metric.update({"a": stretched(1.0), "b": stretched(2.0, (10, 10))[..., :5]}, scene())
    rows = metric.compute()
    assert [(row.layer, row.size) for row in rows] == [
        (layer, size) for layer in "ba" for size in ("small", "medium", "large", "background")
    ]
    assert (rows[3].mean, rows[7].mean) == (4, 2)


def test_a_size_that_never_occurred_has_no_mean():
    metric = metric_for()
    metric.update({"conv": torch.zeros(1, 18, 4, 4)}, torch.zeros(1, 40, 40, dtype=torch.int64))
    row = table(metric)["conv", "small"]
    assert row.count == 0
    assert math.isnan(row.mean)
    assert math.isnan(row.std)


def test_batches_and_processes_add_up():
    torch.manual_seed(0)
    offset, instances = torch.randn(4, 18, 10, 10), scene().expand(4, -1, -1)
    whole, first, second = metric_for(), metric_for(), metric_for()
    whole.update({"conv": offset}, instances)
    first.update({"conv": offset[:1]}, instances[:1])
    first.update({"conv": offset[1:2]}, instances[1:2])
    second.update({"conv": offset[2:]}, instances[2:])
    first.merge_state(second)
    for ours, expected in zip(first.compute(), whole.compute(), strict=True):
        assert ours.count == expected.count
        assert ours.mean == pytest.approx(expected.mean, rel=1e-12)
        assert ours.std == pytest.approx(expected.std, rel=1e-9)


@pytest.mark.parametrize("thresholds", [(100,), (400, 100), (100, 100), (0, 100), (math.nan, 100)])
def test_bad_thresholds_are_refused(thresholds):
    with pytest.raises(ValueError, match="thresholds must be two increasing areas > 0"):
        EffectiveDilation({"conv": THREE}, thresholds)


def test_a_layer_without_neighbouring_taps_is_refused():
    with pytest.raises(ValueError, match="conv is 1x1"):
        EffectiveDilation({"conv": LayerGeometry((1, 1), (1, 1))})


@pytest.mark.parametrize(
    ("offsets", "instances", "label", "message"),
    [
        ({"other": (1, 18, 4, 4)}, (1, 8, 8), None, "offsets has no layer conv, only other"),
        ({"conv": (2, 18, 4, 4)}, (1, 8, 8), None, r"offsets\['conv'\] has 2 images, instances 1"),
        ({"conv": (1, 18, 4, 4)}, (8, 8), None, r"must both be \(N, H, W\), got \(8, 8\)"),
        ({"conv": (1, 18, 4, 4)}, (1, 8, 8), (1, 8, 9), r"\(N, H, W\), got \(1, 8, 8\) and \(1, 8, 9\)"),
        ({"conv": (1, 8, 4, 4)}, (1, 8, 8), None, "offset must be"),
    ],
)
def test_maps_that_do_not_fit_are_named(offsets, instances, label, message):
    with pytest.raises(ValueError, match=message):
        metric_for().update(
            {name: torch.zeros(shape) for name, shape in offsets.items()},
            torch.zeros(instances, dtype=torch.int64),
            None if label is None else torch.zeros(label, dtype=torch.int64),
        )
