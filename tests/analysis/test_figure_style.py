from deformlab.analysis import miou_over_dilation, read_runs, save_figure


def trials(sweep):
    return read_runs(sweep.folder).trials


def test_a_figure_is_saved_for_pages_and_for_papers_with_the_same_bytes_each_time(sweep, tmp_path):
    sweep.atrous(2)
    figure = miou_over_dilation(trials(sweep))
    png, pdf = save_figure(figure, tmp_path, "figure")
    before = pdf.read_bytes()
    save_figure(figure, tmp_path, "figure")
    assert png.read_bytes().startswith(b"\x89PNG")
    assert pdf.read_bytes() == before
