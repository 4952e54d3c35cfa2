"""`DeformRoIPool` and `DeformPSRoIPool`: plain pooling at first, then bins shifted by predicted offsets."""

import copy
import io

import pytest
import torch
from torch import nn

from deformlab.layers import DeformPSRoIPool, DeformRoIPool, record_bins, record_offsets
from deformlab.ops import deform_roi_pool

SCALE = 1 / 4
ROIS = torch.tensor([[0.0, 3, 2, 30, 25], [1, 0, 0, 39, 35], [1, 10.5, 8, 22, 31]])


def faster(**options) -> DeformRoIPool:
    torch.manual_seed(0)
    return DeformRoIPool(4, 3, SCALE, **options)


def rfcn(**options) -> DeformPSRoIPool:
    torch.manual_seed(0)
    return DeformPSRoIPool(4, 3, SCALE, classes=2, **options)


def features(channels=4, seed=1):
    return torch.randn(2, channels, 9, 10, generator=torch.Generator().manual_seed(seed))


def arguments(layer):
    """Features and regions for a layer; score maps of 2 x 2 outputs before them if it needs any."""
    maps = [features(4 * 9, 2)] if isinstance(layer, DeformPSRoIPool) else []
    return [*maps, features(), ROIS]


def randomised(layer, std=0.3):
    """The layer with random weights in its last layers."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name in ("offset_fc", "mask_fc", "conv_offset"):
            for parameter in getattr(layer, name, nn.Identity()).parameters():
                parameter.normal_(std=std, generator=generator)
    return layer


LAYERS = {
    "v1": lambda: faster(),
    "v1 with hidden layers": lambda: faster(hidden_channels=8),
    "v2": lambda: faster(modulated=True, hidden_channels=8, samples_per_bin=2),
    "mmcv v2": lambda: faster(
        modulated=True, hidden_channels=8, mask_branch="separate", convention="aligned", samples_per_bin=0
    ),
    "separate mask without hidden layers": lambda: faster(modulated=True, mask_branch="separate"),
    "R-FCN": lambda: rfcn(),
    "R-FCN modulated": lambda: rfcn(modulated=True, samples_per_bin=2),
    "R-FCN aligned": lambda: rfcn(convention="aligned", gamma=0.3),
}


@pytest.fixture(params=LAYERS)
def layer(request):
    """Each variant in turn, as it is initially."""
    return LAYERS[request.param]()


def test_starts_as_plain_pooling_times_a_half_if_modulated(layer):
    maps, rois = arguments(layer)[0], ROIS
    plain = layer.sample(maps, rois, None, None)
    torch.testing.assert_close(layer(*arguments(layer)), plain * (0.5 if layer.modulated else 1))


def test_pools_with_the_offsets_and_masks_that_it_predicts(layer):
    randomised(layer)
    *maps, input, rois = arguments(layer)
    offset, mask = layer.predict_offsets(input, rois)
    assert (mask is not None) == layer.modulated
    sampler = layer.sampler
    expected = deform_roi_pool(
        (maps or [input])[0],
        rois,
        3,
        SCALE,
        offset,
        mask,
        group_size=3 if maps else 1,
        samples_per_bin=sampler.samples_per_bin,
        gamma=sampler.gamma,
        convention=sampler.convention,
    )
    output = layer(*arguments(layer))
    assert torch.equal(output, expected)
    assert (output - layer.sample(*(maps or [input]), rois, None, mask)).abs().max() > 0.01
    if mask is not None:
        assert 0 < mask.min() < mask.max() < 1


def test_the_offsets_of_faster_rcnn_are_a_linear_function_of_the_plainly_pooled_region():
    layer = randomised(faster())
    offset, _ = layer.predict_offsets(features(), ROIS)
    pooled = deform_roi_pool(features(), ROIS, 3, SCALE)
    expected = pooled.flatten(1) @ layer.offset_fc.weight.T + layer.offset_fc.bias
    assert offset.shape == (3, 2, 3, 3)
    torch.testing.assert_close(offset.flatten(1), expected)


def test_the_joint_branch_has_planes_of_x_y_and_mask():
    layer = faster(modulated=True)
    with torch.no_grad():
        layer.offset_fc.bias.copy_(torch.arange(27.0))
    offset, mask = layer.predict_offsets(features(), ROIS[:1])
    assert offset.flatten().tolist() == list(range(18))
    torch.testing.assert_close(mask.flatten(), torch.arange(18.0, 27).sigmoid())


def test_the_offsets_of_rfcn_are_pooled_position_sensitively_per_class():
    layer = rfcn()
    with torch.no_grad():  # constant maps: each bin gets the bias of its own channel
        layer.conv_offset.bias.copy_(torch.arange(36.0))
    offset, _ = layer.predict_offsets(features(), ROIS[:1])
    assert offset.shape == (1, 4, 3, 3)
    torch.testing.assert_close(offset.flatten(), torch.arange(36.0))


@pytest.mark.parametrize(
    ("channels", "bins", "options", "weights"),
    [
        pytest.param(256, 7, {}, 256 * 49 * 98 + 98, id="DCNv1: 12544 -> 98"),
        pytest.param(
            256,
            7,
            {"modulated": True, "hidden_channels": 1024},
            (256 * 49 + 1) * 1024 + 1025 * 1024 + 1025 * 147,
            id="DCNv2: 1024-1024-147",
        ),
        pytest.param(
            256,
            7,
            {"modulated": True, "hidden_channels": 1024, "mask_branch": "separate"},
            2 * (256 * 49 + 1) * 1024 + 1025 * 1024 + 1025 * 98 + 1025 * 49,
            id="mmcv: 1024-1024-98 and 1024-49",
        ),
    ],
)
def test_the_branches_have_the_sizes_of_the_papers(channels, bins, options, weights):
    layer = DeformRoIPool(channels, bins, 1 / 16, device="meta", **options)
    assert sum(parameter.numel() for parameter in layer.parameters()) == weights


def test_the_rfcn_layer_has_the_maps_of_the_paper():
    layer = DeformPSRoIPool(1024, 7, 1 / 16, classes=21, device="meta")
    assert layer.conv_offset.weight.shape == (2 * 49 * 21, 1024, 1, 1)


def test_only_the_last_layer_is_zero_and_hidden_weights_have_a_standard_deviation_of_a_hundredth():
    layer = faster(hidden_channels=64, modulated=True)
    assert all(parameter.count_nonzero() == 0 for parameter in layer.offset_fc.parameters())
    for hidden in (layer.offset_hidden[0], layer.offset_hidden[2]):
        assert 0.009 < hidden.weight.std() < 0.011
        assert hidden.bias.count_nonzero() == 0


def test_resetting_the_parameters_keeps_the_offsets_at_zero(layer):
    randomised(layer)
    for module in layer.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
    offset, _ = layer.predict_offsets(*arguments(layer)[-2:])
    assert offset.count_nonzero() == 0


def test_every_parameter_learns(layer):
    randomised(layer)
    (layer(*arguments(layer)).square().sum()).backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in layer.parameters())


def test_offsets_learn_from_the_start_in_faster_rcnn():
    layer = faster()
    layer(features(), ROIS).square().sum().backward()
    assert layer.offset_fc.weight.grad.abs().sum() > 0


def test_no_regions_give_an_empty_result_and_zero_gradients(layer):
    randomised(layer)
    *maps, _ = arguments(layer)
    output = layer(*maps, ROIS[:0])
    assert output.shape == (0, 4, 3, 3)
    output.sum().backward()
    assert all(p.grad is None or p.grad.count_nonzero() == 0 for p in layer.parameters())


def test_a_list_of_boxes_is_the_same_as_indexed_ones(layer):
    randomised(layer)
    *maps, rois = arguments(layer)
    boxes = [rois[rois[:, 0] == image, 1:] for image in range(2)]
    assert torch.equal(layer(*maps, boxes), layer(*maps, rois))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_runs_under_autocast_close_to_float32(layer, dtype):
    randomised(layer, 0.05)
    with torch.autocast("cpu", dtype):
        output = layer(*arguments(layer))
    assert output.dtype == dtype
    output.sum().backward()
    torch.testing.assert_close(output.float(), layer(*arguments(layer)), atol=0.15, rtol=0.1)


def test_compiles_as_one_graph(layer):
    torch.compiler.reset()  # all variants compile the same code, and their number is limited
    randomised(layer)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(*arguments(layer)), layer(*arguments(layer)))


def test_an_exported_layer_takes_any_number_of_regions(layer):
    randomised(layer)
    *maps, rois = arguments(layer)
    regions = {0: torch.export.Dim("regions", min=1)}
    exported = torch.export.export(
        layer, (*maps, rois), dynamic_shapes=(*((None,) * len(maps)), regions)
    ).module()
    more = torch.cat([rois, rois.flip(0)])
    torch.testing.assert_close(exported(*maps, more), layer(*maps, more))


def test_a_state_dict_carries_the_offsets(layer):
    randomised(layer)
    other = copy.deepcopy(layer)
    for parameter in other.parameters():
        nn.init.ones_(parameter)
    file = io.BytesIO()
    torch.save(layer.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file))
    assert torch.equal(other(*arguments(layer)), layer(*arguments(layer)))


class MmcvPack(nn.Module):
    """mmcv's ModulatedDeformRoIPoolPack: its modules, and its forward pass on our operator."""

    def __init__(self):
        super().__init__()
        self.offset_fc = nn.Sequential(
            nn.Linear(36, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 18)
        )
        self.mask_fc = nn.Sequential(nn.Linear(36, 8), nn.ReLU(), nn.Linear(8, 9), nn.Sigmoid())

    def forward(self, input, rois):
        options = {"samples_per_bin": 0, "convention": "aligned"}
        x = deform_roi_pool(input, rois, 3, SCALE, **options)
        offset = self.offset_fc(x.view(len(rois), -1)).view(-1, 2, 3, 3)
        mask = self.mask_fc(x.view(len(rois), -1)).view(-1, 1, 3, 3)
        return deform_roi_pool(input, rois, 3, SCALE, offset, **options) * mask


def test_mmcvs_checkpoints_load_and_compute_the_same():
    torch.manual_seed(0)
    theirs = nn.ModuleDict({"pool": MmcvPack()})
    ours = nn.ModuleDict({"pool": LAYERS["mmcv v2"]()})
    checkpoint = theirs.state_dict()
    names = list(checkpoint)
    ours.load_state_dict(checkpoint)
    assert list(checkpoint) == names  # it is not changed
    torch.testing.assert_close(ours["pool"](features(), ROIS), theirs["pool"](features(), ROIS))


def test_the_optimizers_can_tell_the_offsets_by_their_names():
    assert {name for name, _ in faster().named_parameters()} == {"offset_fc.weight", "offset_fc.bias"}
    assert {name for name, _ in rfcn().named_parameters()} == {"conv_offset.weight", "conv_offset.bias"}


def test_recorded_bins_of_the_authors_are_in_pixels_with_continuous_edges():
    layer = DeformRoIPool(4, 2, SCALE)
    with torch.no_grad():
        layer.offset_fc.bias[1] = 1.0  # x of the upper right bin
        layer.offset_fc.bias[6] = -2.0  # y of the lower left bin
    with record_bins({"pool": layer}) as bins:
        layer(features(), torch.tensor([[1, 4.5, 8, 23, 27]]))
    found = bins["pool"]
    assert found.size.tolist() == [[19, 20]]  # from pixel 5 to the last pixel 23; 8 to 27
    assert found.bins[0].tolist() == [
        [[5, 8, 14.5, 18], [14.5, 8, 24, 18]],
        [[5, 18, 14.5, 28], [14.5, 18, 24, 28]],
    ]
    torch.testing.assert_close(
        found.displacement[0, 0], torch.tensor([[[0, 0], [1.9, 0]], [[0.0, -4.0], [0, 0]]])
    )
    torch.testing.assert_close(found.shifted[0, 0, 0, 1], torch.tensor([16.4, 8, 25.9, 18]))
    torch.testing.assert_close(found.shifted[0, 0, 1, 0], torch.tensor([5.0, 14, 14.5, 24]))
    assert found.mask is None


def test_recorded_bins_of_odd_regions_have_the_authors_least_size_or_are_nan():
    layer = DeformRoIPool(4, 2, SCALE)
    inside_out = torch.tensor([[0, 20.0, 8, 10, 27], [0, float("nan"), 8, 10, 27]])
    with record_bins({"pool": layer}) as bins:
        layer(features(), inside_out)
    torch.testing.assert_close(bins["pool"].size[0], torch.tensor([0.1 / SCALE, 20]))
    assert bins["pool"].bins[1, ..., 0].isnan().all()
    assert bins["pool"].displacement[1, ..., 0].isnan().all()


def test_recorded_aligned_bins_divide_the_region_without_rounding():
    layer = DeformRoIPool(4, 2, SCALE, convention="aligned", gamma=0.5)
    with torch.no_grad():
        layer.offset_fc.bias[0] = 1.0
    with record_bins({"pool": layer}) as bins:
        layer(features(), torch.tensor([[1, 4.5, 8, 24.5, 28]]))
    assert bins["pool"].bins[0, 0].tolist() == [[4.5, 8, 14.5, 18], [14.5, 8, 24.5, 18]]
    assert bins["pool"].displacement[0, 0, 0, 0].tolist() == [10, 0]


@pytest.mark.parametrize("convention", ["authors", "aligned"])
def test_a_recorded_bin_is_where_the_layer_reads(convention):
    """Pooling the shifted bin as a region of its own gives the same mean on a map that is linear."""
    ramp = torch.arange(40.0).expand(1, 4, 40, 40).contiguous()
    layer = DeformRoIPool(4, 3, 1.0, convention=convention, samples_per_bin=4)
    with torch.no_grad():
        layer.offset_fc.bias.uniform_(-1, 1, generator=torch.Generator().manual_seed(0))
    with record_bins({"pool": layer}) as bins:
        pooled = layer(ramp, torch.tensor([[0.0, 10, 11, 24, 25]]))[0, 0]
    x1, _, x2, _ = bins["pool"].shifted[0, 0].unbind(-1)
    # Pixel edges to cell centres: minus a half. The authors' samples start at the left edge.
    first_to_last = (x2 - x1) / 4
    centre = (x1 + x2) / 2 - 0.5 - (first_to_last / 2 if convention == "authors" else 0)
    torch.testing.assert_close(pooled, centre, atol=1e-4, rtol=0)


def test_recorded_bins_have_every_class_and_the_mask(layer):
    randomised(layer)
    classes = 2 if isinstance(layer, DeformPSRoIPool) else 1
    with record_bins({"pool": layer}) as bins:
        layer(*arguments(layer))
    found = bins["pool"]
    offset, mask = layer.predict_offsets(*arguments(layer)[-2:])
    assert found.displacement.shape == (3, classes, 3, 3, 2)
    expected = layer.sampler.gamma * offset.view(3, classes, 2, 3, 3) * found.size[:, None, :, None, None]
    torch.testing.assert_close(found.displacement.permute(0, 1, 4, 2, 3), expected.detach())
    assert torch.equal(found.rois, ROIS)
    assert not found.displacement.requires_grad
    assert (found.mask is None) == (mask is None)
    if mask is not None:
        assert torch.equal(found.mask, mask)
        assert not found.mask.requires_grad


def test_bins_of_a_list_of_boxes_are_recorded_with_the_index_of_their_image():
    layer = faster()
    boxes = [ROIS[:1, 1:], ROIS[1:, 1:]]
    with record_bins({"pool": layer}) as bins:
        layer(features(), boxes)
    assert torch.equal(bins["pool"].rois, ROIS)


def test_bins_without_offsets_are_recorded_as_not_shifted():
    layer = faster()
    with record_bins({"pool": layer}) as bins:
        layer.sample(features(), ROIS, None, None)
    assert bins["pool"].displacement.shape == (3, 1, 3, 3, 2)
    assert bins["pool"].displacement.count_nonzero() == 0


def test_bins_are_recorded_in_a_network_that_is_compiled_inside_the_block():
    layer = randomised(faster())
    compiled = torch.compile(layer, backend="eager", fullgraph=True)
    with record_bins({"pool": layer}) as bins:
        compiled(features(), ROIS)
    with record_bins({"pool": layer}) as expected:
        layer(features(), ROIS)
    torch.testing.assert_close(bins["pool"].displacement, expected["pool"].displacement)


def test_nothing_is_recorded_after_the_block():
    layer = faster()
    with record_bins({"pool": layer}) as bins:
        pass
    layer(features(), ROIS)
    assert bins == {}


def test_only_deformable_pooling_has_bins_to_record():
    with pytest.raises(TypeError, match="layer 'x' is not a DeformRoIPool"), record_bins({"x": nn.ReLU()}):
        pass
    with pytest.raises(TypeError, match="layer 'x' is not a convolution"), record_offsets({"x": faster()}):
        pass


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"in_channels": 0}, "in_channels must be an integer >= 1, got 0"),
        ({"output_size": 0}, "output_size must be an integer from 1 to 4096, got 0"),
        ({"output_size": (7, 7)}, r"output_size must be .*, got \(7, 7\)"),
        ({"spatial_scale": 0.0}, "spatial_scale must be > 0 and finite, got 0.0"),
        ({"gamma": float("nan")}, "gamma must be > 0 and finite, got nan"),
        ({"samples_per_bin": 0}, "samples_per_bin must be an integer >= 1, got 0"),
        ({"samples_per_bin": -1, "convention": "aligned"}, "samples_per_bin must be an integer >= 0, got -1"),
        ({"convention": "mmcv"}, "convention must be 'authors' or 'aligned', got 'mmcv'"),
        ({"hidden_channels": 0}, "hidden_channels must be an integer >= 1, got 0"),
        ({"mask_branch": "own"}, "mask_branch must be 'joint' or 'separate', got 'own'"),
    ],
)
def test_a_bad_argument_is_named(options, message):
    with pytest.raises(ValueError, match=message):
        DeformRoIPool(**({"in_channels": 4, "output_size": 3, "spatial_scale": 0.25} | options))


def test_a_bad_number_of_classes_is_named():
    with pytest.raises(ValueError, match="classes must be an integer >= 1, got 0"):
        DeformPSRoIPool(4, 3, SCALE, classes=0)


@pytest.mark.parametrize("make", [faster, rfcn])
def test_features_of_a_wrong_shape_are_named(make):
    layer = make()
    maps = [features(36)] if isinstance(layer, DeformPSRoIPool) else []
    with pytest.raises(ValueError, match=r"features must be \(N, 4, H, W\), got .* \(2, 5, 9, 10\)"):
        layer(*maps, features(5), ROIS)


def test_score_maps_that_do_not_fit_the_classes_are_named():
    with pytest.raises(ValueError, match="the number of classes must divide the 3 output channels"):
        rfcn()(features(27), features(), ROIS)


def test_its_repr_has_the_options():
    text = repr(faster(modulated=True, gamma=0.2))
    assert "modulated=True, mask_branch='joint'" in text
    assert "gamma=0.2" in text
    assert "classes=2" in repr(rfcn())
