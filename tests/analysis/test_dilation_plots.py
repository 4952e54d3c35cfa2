from deformlab.analysis import effective_dilation_by_size, read_runs


def trials(sweep):
    return read_runs(sweep.folder).trials


def test_effective_dilation_leaves_out_sizes_without_filters(sweep):
    sweep.deformable(counts=(0, 500, 500, 500))
    (axes,) = effective_dilation_by_size(trials(sweep)).axes
    shown = {line.get_label(): list(line.get_ydata()) for line in axes.get_lines()}
    assert shown["layer4.1.conv2"] == [2.9, 4.2]


def test_effective_dilation_has_a_panel_per_deformable_trial(sweep):
    sweep.atrous(2)
    for i in range(4):
        sweep.deformable(trial=f"d{i}")
    assert len(effective_dilation_by_size(trials(sweep)).axes) == 4


def test_thick_bars_are_over_seeds_and_thin_ones_over_filters(sweep):
    for seed, small in enumerate((2.0, 2.4)):
        sweep.deformable(seed=seed, means=(small, 2.9, 4.2, 3.1))
    (axes,) = effective_dilation_by_size(trials(sweep)).axes
    lengths = {
        round(float(bar[1, 1] - bar[0, 1]) / 2, 3): width
        for container in axes.containers
        for bars in container.lines[2]
        for bar, width in zip(bars.get_segments(), bars.get_linewidths(), strict=True)
        if bar[:, 1].mean() == 2.2
    }
    over_seeds, over_filters = sorted(lengths)
    assert (over_seeds, over_filters) == (0.283, 1.02)
    assert lengths[over_seeds] > lengths[over_filters]
