"""Findings about detectors: what deformable RoI pooling and convolution gain, and on which objects.

Source: DCNv1, tables 3 and 5, where deformable RoI pooling gains more at an IoU of 0.7 than at 0.5, and large
objects gain most.

Both findings are judged on differences between two trials, seed by seed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from deformlab.analysis.estimate import over_seeds
from deformlab.analysis.trials import Run, Trial, best
from deformlab.analysis.verdicts import FAILS, HOLDS, INCONCLUSIVE, Finding, agreement
from deformlab.run_folder import SCORES

__all__ = ["large_objects_gain_most", "pooling_gains_at_high_iou"]

SIZES = ("ap_small", "ap_medium", "ap_large")
ONE_SEED = "With a single common seed the spread over seeds is unknown, so this allows no verdict."


def pooling_gains_at_high_iou(trials: Sequence[Trial]) -> Finding | None:
    """Judge whether deformable RoI pooling gains more AP at an IoU of 0.7 than at 0.5.

    Trials are compared that differ in RoI pooling only. The best deformable trial counts, compared with the
    best trial with plain pooling, which may be RoIAlign; other pairs are listed. None without such a pair, or
    without these scores.
    """
    pairs = [
        (plain, pooled)
        for pooled in trials
        if pooled.first.roi_pooling in ("deformable", "modulated")
        for plain in trials
        if plain.first.roi_pooling == "plain" and _without_pooling(plain) == _without_pooling(pooled)
    ]
    found = [(pair, _gains(*pair, ("ap50", "ap70"))) for pair in pairs]
    found = [(pair, gains) for pair, gains in found if gains]
    if not found:
        return None
    chosen = best([pooled for (_, pooled), _ in found])
    (plain, pooled), gains = max(
        (item for item in found if item[0][1] is chosen), key=lambda item: item[0][0].rank
    )
    finding = Finding(
        "pooling_gains_at_high_iou",
        "Deformable RoI pooling gains more at an IoU of 0.7 than at 0.5",
        INCONCLUSIVE,
        f"{pooled.name} minus {plain.name}: {_listed(gains)}.",
        short=f"{_listed(gains)} ({_seeds(gains)}).",
        evidence=_by_seed(gains),
        details=tuple(
            f"{other.name} minus {base.name}: {_listed(values)} ({_seeds(values)})."
            for (base, other), values in found
            if (base, other) != (plain, pooled)
        ),
        trials=(pooled.name, plain.name),
    )
    return _judged(finding, [of_seed["ap70"] - of_seed["ap50"] for of_seed in gains.values()])


def large_objects_gain_most(trials: Sequence[Trial]) -> Finding | None:
    """Judge whether the AP of large objects gains most, in the best deformable trial over the best plain one.

    A plain detector has neither deformable layers nor deformable RoI pooling. None if there is no plain or no
    deformable detector, or if AP by size was not measured.
    """
    detectors = [trial for trial in trials if trial.first.detector is not None]
    plain = best([trial for trial in detectors if not _is_deformable(trial)])
    ours = best([trial for trial in detectors if _is_deformable(trial)])
    if plain is None or ours is None:
        return None
    gains = _gains(plain, ours, SIZES)
    if not gains:
        return None
    finding = Finding(
        "large_objects_gain_most",
        "Large objects gain most",
        INCONCLUSIVE,
        f"{ours.name} minus {plain.name}: {_listed(gains)}.",
        short=f"{_listed(gains)} ({_seeds(gains)}).",
        evidence=_by_seed(gains),
        trials=(ours.name, plain.name),
    )
    measured = next(iter(gains.values()))
    if "ap_large" not in measured or len(measured) < 2:
        sizes = ", ".join(SCORES[name].label for name in SIZES if name not in measured)
        return replace(finding, sentence=f"{finding.sentence} Not measured: {sizes}.")
    leads = [
        of_seed["ap_large"] - max(value for name, value in of_seed.items() if name != "ap_large")
        for of_seed in gains.values()
    ]
    return _judged(finding, leads)


def _without_pooling(trial: Trial) -> tuple[object, ...]:
    return trial.first.detector, trial.first.kind, trial.first.deformable_layers, trial.dilation


def _is_deformable(trial: Trial) -> bool:
    return trial.deformable or trial.first.roi_pooling in ("deformable", "modulated")


def _gains(plain: Trial, ours: Trial, names: Sequence[str]) -> dict[int | None, dict[str, float]]:
    """Differences in points by seed and score, for the seeds that both trials have and the scores of all."""
    runs: list[dict[int | None, Run]] = [{run.seed: run for run in trial.runs} for trial in (plain, ours)]
    common = [seed for seed in runs[1] if seed in runs[0]]
    pairs = {seed: (runs[0][seed], runs[1][seed]) for seed in common}
    gains: dict[int | None, dict[str, float]] = {seed: {} for seed in common}
    for name in names:
        values = {seed: [run.score_named(name) for run in pair] for seed, pair in pairs.items()}
        for seed, (before, after) in values.items():
            if all(None not in pair for pair in values.values()) and before is not None and after is not None:
                gains[seed][name] = after - before
    return gains if all(gains.values()) else {}


def _judged(finding: Finding, differences: Sequence[float]) -> Finding:
    """The finding with its verdict: whether the differences are above 0, beyond their spread over seeds."""
    estimate = over_seeds(list(differences))
    assert estimate is not None
    if estimate.std is None:
        return replace(finding, sentence=f"{finding.sentence} {ONE_SEED}", certainty="one seed", evidence=())
    alone = [HOLDS if value > 0 else FAILS for value in differences]
    together = HOLDS if estimate.value > 0 else FAILS
    verdict, certainty, holding = agreement(together, alone)
    within = abs(estimate.value) <= estimate.std
    if within and verdict == together:
        verdict = INCONCLUSIVE
    where = "within" if within else "beyond"
    certainty = ", ".join(part for part in (certainty, f"{where} the spread over seeds") if part)
    decisive = f"The difference that decides is {estimate.value:+.1f} ± {estimate.std:.1f} points."
    sentence = f"{finding.sentence} {decisive}"
    return replace(finding, verdict=verdict, sentence=sentence, certainty=certainty, holding=holding)


def _listed(gains: Mapping[int | None, Mapping[str, float]]) -> str:
    names = next(iter(gains.values()))
    parts = []
    for name in names:
        estimate = over_seeds([of_seed[name] for of_seed in gains.values()])
        assert estimate is not None
        spread = "" if estimate.std is None else f" ± {estimate.std:.1f}"
        parts.append(f"{SCORES[name].label} {estimate.value:+.1f}{spread}")
    return ", ".join(parts) + " points"


def _by_seed(gains: Mapping[int | None, Mapping[str, float]]) -> tuple[str, ...]:
    if len(gains) < 2:
        return ()
    return tuple(
        f"Seed {seed}: "
        + ", ".join(f"{SCORES[name].label} {value:+.1f}" for name, value in of_seed.items())
        + " points."
        for seed, of_seed in gains.items()
    )


def _seeds(gains: Mapping[int | None, object]) -> str:
    return f"n = {len(gains)} seed{'' if len(gains) == 1 else 's'}"
