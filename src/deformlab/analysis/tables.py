"""The tables of a report, built from what the runs recorded.

Tables 1 to 3 follow those of Deformable Convolutional Networks. `definitions` explains terms and symbols that
several tables share, so that a report explains them once.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import groupby

from deformlab.analysis.by_object import ObjectComparison, TrialSizeRow
from deformlab.analysis.comparability import descriptions, evaluation_scores, total_epochs
from deformlab.analysis.estimate import Estimate, over_seeds
from deformlab.analysis.export import PUBLISHED, Cell, Table, area_text
from deformlab.analysis.published import columns, published, table1_scores, table3_scores, table5_scores
from deformlab.analysis.trial_set import TrialSet
from deformlab.analysis.trials import Run, Trial, best_deformable, natural
from deformlab.records import ALL, SIZES
from deformlab.run_folder import SCORES

DILATION = {"all": "All filters (cells)", "interior": "Interior filters (cells)"}
FILTERS = {"all": "Filters", "interior": "Interior filters"}
WEIGHTED = "Weighted by modulation (cells)"
# Symbols that several tables share: a report explains them in its definitions, see `Table.symbols`.
OVER_SEEDS = "Mean ± standard deviation over seeds; no ± for a single seed."
OVER_IMAGES = "± standard deviation over seeds; [ ] 95 % interval over images, all seeds together."


def build_tables(trials: TrialSet) -> list[Table]:
    """Every table that the runs have data for, in the order of the report."""
    comparison = trials.by_object
    best = best_deformable(comparison.trials)
    tables: list[Table | None] = [
        scores(trials.trials),
        detection_scores(trials.trials),
        scores_on_other_data(trials.trials),
        same_position_effect(comparison),
        dilation_and_iou_by_size(comparison) if comparison.trials else None,
        effective_dilation(comparison),
        dilation_by_layer(comparison) if best else None,
        dilation_by_distance(comparison),
        correlation(comparison) if best else None,
        correlation_by_class(comparison, best) if best else None,
        dilation_and_iou_by_class(comparison, best) if best else None,
        deformable_layers(trials.trials),
        class_scores(trials.trials),
        published_effective_dilation(trials.trials[0].first),
        cost(trials.trials, trials.pretraining),
        provenance(trials.trials, trials.pretraining),
    ]
    return [table for table in tables if table is not None]


def definitions(trials: TrialSet) -> list[tuple[str, str]]:
    """Terms and symbols that several tables share, each with its explanation."""
    found = [
        (
            "±",
            "Sample standard deviation over seeds, unless a table says that it is over filters. A single "
            "seed has none.",
        ),
        (f"{trials.score_label}", "Score after the last epoch, on the validation images."),
    ]
    comparison = trials.by_object
    if not comparison.trials:
        return found
    found += [
        (
            "[ ]",
            "95 % interval from resampling images, all seeds together. It does not include the variation "
            "between seeds.",
        ),
        (
            "Effective dilation",
            "Mean distance between adjacent sampling locations of a filter, in cells of the layer's input "
            "feature map. A filter is the kernel at one position. In an atrous layer, the value is its "
            "dilation.",
        ),
        ("Object size", size_note(comparison)),
        (
            "Interior filters",
            "Neither the undeformed filter nor the offset convolution reads the zero padding. Zero padding "
            "by itself changes effective dilation, and the share of filters that read it differs between "
            "object sizes, so they are left out.",
        ),
        (
            "At the same position",
            "Difference between two object sizes after adjusting for position in the feature map, by least "
            "squares with one constant for each position and one for each object size. The raw difference is "
            "that of the plain means over the same filters.",
        ),
        _of_detectors()
        if trials.trials[0].first.detector is not None
        else (
            "Recall and IoU of objects",
            "Recall is the share of an object's pixels that were predicted as its class. IoU counts false "
            "positives within the object's bounding box enlarged to twice its height and width. Pixels are "
            "summed over all objects of one size. Classes without objects are listed under background with "
            "their ordinary IoU. Values for all classes are means over classes.",
        ),
    ]
    if comparison.baseline is not None:
        what = "IoU" if trials.trials[0].first.detector is None else "recall"
        found.append(
            (
                "Gain",
                f"{what} minus the {what} of {comparison.baseline.name}, the best atrous trial, in points; "
                "both are resampled with the same images.",
            )
        )
    return found


def _of_detectors() -> tuple[str, str]:
    return (
        "Recall and IoU of objects",
        "Recall is the share of the objects that a detection of their class with a score above 0.5 covers "
        "with an IoU of at least 0.5. IoU is the mean over objects of the largest IoU with such a detection. "
        "Difficult objects and crowds are left out. Values for all classes are means over classes.",
    )


def size_note(comparison: ObjectComparison) -> str:
    """Define small, medium and large objects in a sentence."""
    thresholds = comparison.thresholds
    if thresholds is None:
        return "The images have no objects."
    small, large = map(area_text, thresholds)
    what = "its bounding box" if comparison.rule.area == "box" else "its mask"
    return f"By the area of {what}: small below {small} pixels, large above {large}, medium in between."


def scores(trials: Sequence[Trial]) -> Table:
    """Table 3: atrous rates against deformable variants."""
    described = descriptions(trials)
    names = _papers_scores(trials)
    labels = _labels(names)
    table = Table(
        "table3_atrous_against_deformable",
        "Atrous rates against deformable convolution",
        f"{', '.join(labels)} in percent after the last epoch, on the validation images.",
        ("Variant", "Trial", *(f"{label} (%)" for label in labels), "Seeds"),
        tuple(
            (described[trial.name], trial.name, *map(trial.score_named, names), len(trial.runs))
            for trial in trials
        ),
        row_sources=tuple(trial.name for trial in trials),
        symbols=OVER_SEEDS,
    )
    return _beside_published(table, trials[0].first, 3, [table3_scores(trial.first) for trial in trials])


def detection_scores(trials: Sequence[Trial]) -> Table | None:
    """Table 5: AP at several thresholds and by object size; None for networks that detect nothing."""
    if trials[0].first.detector is None:
        return None
    names = [name for name in SCORES if any(trial.score_named(name) is not None for trial in trials)]
    table = Table(
        "table5_detection",
        "Average precision",
        "Average precision in percent, mean over classes. AP is the mean over the IoU thresholds 0.50 to "
        "0.95, AP50 is at 0.50, and so on. Object sizes are those of COCO: small below 32² pixels, large "
        "above 96².",
        ("Trial", *(f"{label} (%)" for label in _labels(names)), "Seeds"),
        tuple((trial.name, *map(trial.score_named, names), len(trial.runs)) for trial in trials),
        row_sources=tuple(trial.name for trial in trials),
        symbols=OVER_SEEDS,
    )
    reproduced = [table5_scores(trial.first) for trial in trials]
    known = [name for name in names if any(name in row for row in reproduced)]
    return _with_published_columns(table, "table 5, COCO test-dev, ResNet-101", known, reproduced)


def _papers_scores(trials: Sequence[Trial]) -> list[str]:
    """The scores of tables 1 and 3: the main one, and for detectors also AP at 0.5 and at 0.7."""
    first = trials[0].first
    main = first.result.score.name
    if first.detector is None:
        return [main]
    wanted = [main, *(name for name in ("ap50", "ap70") if name != main)]
    return [name for name in wanted if any(trial.score_named(name) is not None for trial in trials)]


def _labels(names: Sequence[str]) -> list[str]:
    return [SCORES[name].label for name in names]


def deformable_layers(trials: Sequence[Trial]) -> Table | None:
    """Table 1: the score by number of deformable layers, with the atrous network of the same dilation.

    None without deformable trials.
    """
    dilations = {trial.dilation for trial in trials if trial.deformable}
    chosen = [trial for trial in trials if trial.dilation in dilations]
    if not chosen:
        return None
    names = _papers_scores(trials)
    labels = _labels(names)
    chosen = sorted(chosen, key=lambda trial: (trial.dilation, trial.order))
    rows: list[tuple[Cell, ...]] = []
    for trial in chosen:
        first = trial.first
        kind = (str(first.deformable_layers or "none"), first.kind, first.dilation, trial.name)
        rows.append((*kind, *map(trial.score_named, names), len(trial.runs), first.result.parameters))
    table = Table(
        "table1_deformable_layers",
        "Number of deformable layers",
        f"{', '.join(labels)} in percent. Deformable layers are the last ones of the backbone; all: every "
        "3x3 convolution of conv3 to conv5.",
        (
            *("Deformable layers", "Kind", "Dilation", "Trial"),
            *(f"{label} (%)" for label in labels),
            *("Seeds", "Parameters"),
        ),
        tuple(rows),
        row_sources=tuple(trial.name for trial in chosen),
        symbols=OVER_SEEDS,
    )
    return _beside_published(table, trials[0].first, 1, [table1_scores(trial.first) for trial in chosen])


def _beside_published(table: Table, run: Run, number: int, values: Sequence[Mapping[str, float]]) -> Table:
    """Add columns with the values of the paper's table of that number, if it has this network and data."""
    network = {"class_aware_rpn": "class-aware RPN", "faster_rcnn": "Faster R-CNN", "rfcn": "R-FCN"}
    name = network.get(run.detector or "", "DeepLab")
    # The paper calls the mIoU of DeepLab mIoU@V on VOC and mIoU@C on Cityscapes.
    at = {"voc": "@V", "cityscapes": "@C"}.get(run.result.dataset, "") if run.detector is None else ""
    source = f"table {number}, {name} with ResNet-101"
    return _with_published_columns(table, source, list(columns(run)), values, at)


def _with_published_columns(
    table: Table, source: str, names: Sequence[str], values: Sequence[Mapping[str, float]], at: str = ""
) -> Table:
    """Add a column for each of the named scores, with the published values of each row."""
    if not names:
        return table
    return replace(
        table,
        note=f"{table.note} Published: Deformable Convolutional Networks, {source}.",
        header=(*table.header, *(f"Published {label}{at} (%)" for label in _labels(names))),
        rows=tuple((*row, *map(found.get, names)) for row, found in zip(table.rows, values, strict=True)),
        column_sources=(*(None,) * len(table.header), *(PUBLISHED,) * len(names)),
    )


def scores_on_other_data(trials: Sequence[Trial]) -> Table | None:
    """The score of each evaluation on other data, and its drop from the validation score.

    None if no trial was evaluated on other data.
    """
    evaluations, _ = evaluation_scores(trials)
    if not evaluations:
        return None
    label = SCORES[trials[0].first.result.score.name].label
    rows: list[tuple[Cell, ...]] = []
    for trial in trials:
        row: list[Cell] = [trial.name, replace(trial.score, count=len(trial.runs))]
        for pairs in evaluations.values():
            ours = [(run.score, 100 * value) for run, value in pairs if run.trial == trial.name]
            row.append(_counted([value for _, value in ours]))
            row.append(_counted([score - value for score, value in ours]))
        rows.append(tuple(row))
    header = ["Trial", f"Validation {label} (%)"]
    for name in evaluations:
        header += [f"{name}: {label} (%)", f"{name}: drop (points)"]
    return Table(
        "evaluations",
        "Scores on other data",
        f"{label} in percent of the trained networks on other data or with other options; mean ± standard "
        "deviation over the n evaluated seeds. Drop: validation score minus this score, seed by seed; "
        "negative if the score is higher on the other data.",
        tuple(header),
        tuple(rows),
        row_sources=tuple(trial.name for trial in trials),
    )


def _counted(values: Sequence[float]) -> Estimate | None:
    estimate = over_seeds(values)
    return None if estimate is None else replace(estimate, count=len(values))


def class_scores(trials: Sequence[Trial]) -> Table:
    """The score of every class and trial in percent; a dash if a class does not occur."""
    first = trials[0].first.result
    labels = SCORES[first.score.name]
    rows: list[tuple[Cell, ...]] = []
    for name in first.classes:
        values = [[run.result.class_scores.values.get(name) for run in trial.runs] for trial in trials]
        rows.append((name, *(over_seeds([None if v is None else 100 * v for v in each]) for each in values)))
    rows.append(("mean", *(trial.score for trial in trials)))
    return Table(
        f"{labels.class_score}_per_class",
        f"{labels.class_label} per class",
        f"{labels.class_label} in percent after the last epoch. A dash: the class occurs neither in the "
        "labels nor in the predictions.",
        ("Class", *(trial.name for trial in trials)),
        tuple(rows),
        column_sources=(None, *(trial.name for trial in trials)),
        symbols=OVER_SEEDS,
    )


def same_position_effect(comparison: ObjectComparison) -> Table | None:
    """Effect of object size on effective dilation at the same position; None if it was not recorded."""
    shown = [
        row
        for trial in comparison.trials
        if trial.deformable
        for row in comparison.effects(trial)
        if row.raw is not None
    ]
    if not shown:
        return None
    return Table(
        "same_position_effect",
        "Effect of object size on effective dilation",
        "Interior filters, differences in cells. Explained by: share of the variance of effective dilation "
        "that is explained by position, and by the class at the filter's centre.",
        (
            "Trial",
            "Layer",
            "Contrast",
            "At the same position (cells)",
            "Raw difference (cells)",
            "Explained by position (%)",
            "Explained by class (%)",
            "Filters",
            "Images",
        ),
        tuple(
            (
                row.trial,
                row.layer,
                f"{row.size} minus {row.reference}",
                row.controlled,
                row.raw,
                None if row.position_share is None else 100 * row.position_share,
                None if row.class_share is None else 100 * row.class_share,
                row.filters,
                row.images,
            )
            for row in shown
        ),
        row_sources=tuple(row.trial for row in shown),
        symbols=OVER_IMAGES,
    )


def dilation_and_iou_by_size(comparison: ObjectComparison) -> Table:
    """Effective dilation of the last layer, recall and IoU by object size, for all classes together."""
    pairs = [
        pair
        for trial in comparison.trials
        for pair in _both_regions(comparison, trial)
        if (pair[0].layer, pair[0].label) == (trial.layers[0], ALL)
    ]
    return Table(
        "dilation_and_iou_by_size",
        "Effective dilation of the last layer, recall and IoU by object size",
        "Effective dilation in cells of the last layer's input.",
        ("Trial", "Size", *_size_header(comparison)),
        tuple((all_.trial, all_.size, *_size_cells(comparison, all_, interior)) for all_, interior in pairs),
        row_sources=tuple(all_.trial for all_, _ in pairs),
        column_sources=_gain_source(comparison, 2),
        symbols=OVER_IMAGES,
    )


def dilation_and_iou_by_class(comparison: ObjectComparison, trial: Trial) -> Table:
    """As `dilation_and_iou_by_size`, but for one trial, by layer and class."""
    pairs = [pair for pair in _both_regions(comparison, trial) if pair[0].label != ALL]
    return Table(
        "dilation_and_iou_by_class",
        f"Effective dilation, recall and IoU by object size and class: {trial.name}",
        "The best deformable trial.",
        ("Layer", "Class", "Size", *_size_header(comparison)),
        tuple(
            (all_.layer, all_.label, all_.size, *_size_cells(comparison, all_, interior))
            for all_, interior in pairs
        ),
        row_sources=(trial.name,) * len(pairs),
        column_sources=_gain_source(comparison, 3),
        symbols=OVER_IMAGES,
    )


def effective_dilation(comparison: ObjectComparison) -> Table | None:
    """Table 2: effective dilation by layer and object size, over filters; None if no run recorded it."""
    rows: list[tuple[Cell, ...]] = []
    for trial in comparison.trials:
        of_layers = [row for row in comparison.rows(trial, "all") if row.label == ALL]
        for layer in trial.layers:
            by_size = {row.size: row for row in of_layers if row.layer == layer}
            rows.append((trial.name, layer, *(_over_filters(by_size.get(size)) for size in SIZES)))
    if not rows:
        return None
    return Table(
        "table2_effective_dilation",
        "Effective dilation by object size",
        "In cells; mean ± standard deviation over the n filters of all seeds.",
        ("Trial", "Layer", *(size.capitalize() for size in SIZES)),
        tuple(rows),
        row_sources=tuple(str(row[0]) for row in rows),
        symbols=size_note(comparison),
    )


def _over_filters(row: TrialSizeRow | None) -> Estimate | None:
    if row is None or row.dilation is None:
        return None
    return Estimate(row.dilation.value, row.std, count=row.filters, digits=2)


def dilation_by_layer(comparison: ObjectComparison) -> Table:
    """Effective dilation of every layer by object size, with intervals, for deformable trials.

    Atrous trials are left out, because their effective dilation equals the dilation.
    """
    pairs = [
        pair
        for trial in comparison.trials
        if trial.deformable
        for pair in _both_regions(comparison, trial)
        if pair[0].label == ALL and pair[0].filters
    ]
    modulated = _modulated(comparison)
    return Table(
        "dilation_by_layer_and_size",
        "Effective dilation by layer and object size",
        "In cells of the layer's input.",
        (
            *("Trial", "Layer", "Size", DILATION["all"], DILATION["interior"]),
            *((WEIGHTED,) if modulated else ()),
            *(FILTERS["all"], FILTERS["interior"], "Objects with filters"),
        ),
        tuple(
            (
                *(all_.trial, all_.layer, all_.size, all_.dilation, interior.dilation),
                *((all_.weighted,) if modulated else ()),
                *(all_.filters, interior.filters, None if all_.size == "background" else all_.seen),
            )
            for all_, interior in pairs
        ),
        row_sources=tuple(all_.trial for all_, _ in pairs),
        symbols=OVER_IMAGES,
    )


def dilation_by_distance(comparison: ObjectComparison) -> Table | None:
    """Effective dilation by distance from the feature-map border; None if it was not recorded."""
    found = [
        (trial.name, layer, {(row.distance, row.interior): row for row in rows})
        for trial in comparison.trials
        if trial.deformable
        for layer, rows in groupby(comparison.rings(trial), key=lambda row: row.layer)
    ]
    if not found:
        return None
    last = max(distance for *_, rows in found for distance, interior in rows if not interior)
    cells: list[tuple[Cell, ...]] = []
    for trial, layer, rows in found:
        rings = [rows.get((distance, False)) for distance in range(last + 1)]
        interior = next((row for row in rows.values() if row.interior), None)
        dilations = (None if row is None else row.dilation for row in (*rings, interior))
        filters = sum(row.filters for row in rows.values()), interior.filters if interior else 0
        cells.append((trial, layer, *dilations, *filters))
    names = ("Outermost ring", *(f"{ring} {'cell' if ring == 1 else 'cells'}" for ring in range(1, last + 1)))
    return Table(
        "dilation_by_distance",
        "Effective dilation by distance from the feature-map border",
        "Both in cells; the distance is that of the filter from the outermost ring of the feature map.",
        ("Trial", "Layer", *names, DILATION["interior"], FILTERS["all"], FILTERS["interior"]),
        tuple(cells),
        row_sources=tuple(trial for trial, *_ in found),
        symbols=OVER_IMAGES,
    )


_COEFFICIENTS = ("Interior filters", "Objects", "All filters", "Objects with filters")
_SPEARMAN = (
    "Spearman's rank correlation between object area and mean effective dilation of the object's filters"
)


def correlation(comparison: ObjectComparison) -> Table:
    """Correlation between object size and effective dilation by layer, for deformable trials."""
    rows = [
        (trial.name, layer, *cells)
        for trial in comparison.trials
        if trial.deformable
        for layer, label, *cells in _coefficients(comparison, trial)
        if label == ALL
    ]
    return Table(
        "size_and_dilation",
        "Correlation between object size and effective dilation",
        f"{_SPEARMAN}; all seeds are averaged per object. A dash: effective dilation is constant, or there "
        "are fewer than three objects.",
        ("Trial", "Layer", *_COEFFICIENTS),
        tuple(rows),
        row_sources=tuple(str(row[0]) for row in rows),
        symbols=OVER_IMAGES,
    )


def correlation_by_class(comparison: ObjectComparison, trial: Trial) -> Table | None:
    """As `correlation`, but within each class of one trial; None if no class has enough objects."""
    rows = [row for row in _coefficients(comparison, trial) if row[1] != ALL]
    if not rows:
        return None
    return Table(
        "size_and_dilation_by_class",
        f"Correlation between object size and effective dilation within each class: {trial.name}",
        f"{_SPEARMAN}, within each class, for the best deformable trial.",
        ("Layer", "Class", *_COEFFICIENTS),
        tuple(rows),
        row_sources=(trial.name,) * len(rows),
        symbols=OVER_IMAGES,
    )


def _coefficients(comparison: ObjectComparison, trial: Trial) -> Iterable[tuple[Cell, ...]]:
    pairs = zip(
        comparison.correlations(trial, "interior"), comparison.correlations(trial, "all"), strict=True
    )
    for interior, all_ in pairs:
        yield all_.layer, all_.label, interior.spearman, interior.objects, all_.spearman, all_.objects


def _both_regions(comparison: ObjectComparison, trial: Trial) -> list[tuple[TrialSizeRow, TrialSizeRow]]:
    return list(zip(comparison.rows(trial, "all"), comparison.rows(trial, "interior"), strict=True))


def _size_header(comparison: ObjectComparison) -> tuple[str, ...]:
    gain = () if comparison.baseline is None else (f"Gain over {comparison.baseline.name} (points)",)
    weighted = (WEIGHTED,) if _modulated(comparison) else ()
    counts = (FILTERS["all"], FILTERS["interior"], "Objects", "Objects with filters")
    return (DILATION["all"], DILATION["interior"], *weighted, *counts, "Recall (%)", "IoU (%)", *gain)


def _size_cells(comparison: ObjectComparison, all_: TrialSizeRow, interior: TrialSizeRow) -> tuple[Cell, ...]:
    gain: tuple[Cell, ...] = () if comparison.baseline is None else (all_.gain,)
    objects = (None, None) if all_.size == "background" else (all_.objects, all_.seen)
    weighted: tuple[Cell, ...] = (all_.weighted,) if _modulated(comparison) else ()
    dilations = [all_.dilation, interior.dilation]
    if all_.std == 0:
        # The dilation of an atrous network is known exactly.
        dilations = [None if found is None else Estimate(found.value, digits=2) for found in dilations]
    counts = (all_.filters, interior.filters)
    return (*dilations, *weighted, *counts, *objects, all_.recall, all_.iou, *gain)


def _gain_source(comparison: ObjectComparison, before: int) -> tuple[str | None, ...]:
    """Sources of the columns: the gain also depends on the baseline's runs."""
    gain = () if comparison.baseline is None else (comparison.baseline.name,)
    return (*(None,) * (before + len(_size_header(comparison)) - len(gain)), *gain)


def _modulated(comparison: ObjectComparison) -> bool:
    return any(trial.first.kind == "modulated" for trial in comparison.trials)


def published_effective_dilation(run: Run) -> Table | None:
    """The paper's table 2, as a reference for runs on VOC; None for other data sets."""
    if run.result.dataset != "voc":
        return None
    comparable = (
        "" if run.detector == "rfcn" else " Only the order of the sizes is comparable with other networks."
    )
    values = published()["dcnv1_table2"]
    rows: list[tuple[Cell, ...]] = [
        (layer, *(Estimate(mean, std) for mean, std in zip(row["mean"], row["std"], strict=True)))
        for layer, row in values.items()
        if layer != "columns"
    ]
    return Table(
        "published_effective_dilation",
        "Published effective dilation (object detection)",
        "Deformable Convolutional Networks, table 2: R-FCN, an object detector, with ResNet-101 on VOC 2007 "
        f"test; ± standard deviation over filters.{comparable}",
        ("Layer", *(size.capitalize() for size in values["columns"])),
        tuple(rows),
        row_sources=(PUBLISHED,) * len(rows),
    )


def cost(trials: Sequence[Trial], pretraining: Sequence[Run]) -> Table:
    """The cost of each trial: parameters, epochs, training speed, time and memory."""
    rows: list[tuple[Cell, ...]] = []
    for trial in trials:
        results = [run.result for run in trial.runs]
        epochs, before = total_epochs(trial.first, pretraining)
        start = f"{'?' if before is None else before} + " if results[0].init_from else ""
        memory = [r.peak_memory_bytes / 2**20 for r in results if r.peak_memory_bytes]
        rows.append(
            (
                trial.name,
                results[0].parameters,
                start + str(epochs),
                over_seeds([result.images_per_second for result in results]),
                over_seeds([result.seconds / 60 for result in results if result.seconds is not None]),
                over_seeds(memory, digits=0),
            )
        )
    return Table(
        "cost",
        "Cost",
        "Training images per second, minutes and peak memory of one run. Epochs a + b: a of pretraining and "
        "b of the trial. Speeds are comparable only if measured on the same idle machine.",
        ("Trial", "Parameters", "Epochs", "Images/s", "Minutes", "Peak memory (MiB)"),
        tuple(rows),
        row_sources=tuple(trial.name for trial in trials),
        symbols=OVER_SEEDS,
    )


def provenance(trials: Sequence[Trial], pretraining: Sequence[Run]) -> Table:
    """The origin of every number: one row per run, pretraining last."""
    runs = [run for trial in trials for run in trial.runs]
    runs += sorted(pretraining, key=lambda run: (natural(run.trial), run.seed is None, run.seed or 0))
    label = SCORES[trials[0].first.result.score.name].label
    rows: list[tuple[Cell, ...]] = []
    for run in runs:
        result, config = run.result, run.folder / "config.yaml"
        versions = ", ".join(f"{name} {version}" for name, version in result.versions.items())
        rows.append(
            (
                *(run.trial, run.seed, run.score),
                None if result.score.best is None else 100 * result.score.best,
                result.git_revision or "unknown",
                f"{run.folder.name}/{config.name}" if config.is_file() else "missing",
                result.init_from or "–",
                versions or "unknown",
                *(
                    value or "unknown"
                    for value in (result.machine, result.operator_backend, result.precision)
                ),
            )
        )
    return Table(
        "runs",
        "Runs",
        "One row per run; `deformlab fit --config` with the run's configuration repeats the run. The best "
        "epoch is chosen on the validation images themselves, so no other table uses its score.",
        (
            *("Trial", "Seed", f"{label} (%)", "Best epoch (%)", "Revision", "Configuration"),
            *("Started from", "Versions", "Machine", "Operators", "Precision"),
        ),
        tuple(rows),
        row_sources=tuple(run.trial for run in runs),
    )
