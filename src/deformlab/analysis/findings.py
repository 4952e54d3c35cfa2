"""The papers' findings, judged on the runs of a report (DCNv1, section 3 and table 3).

Findings about effective dilation are judged on the controlled effect: the difference between object sizes at
the same position of the feature map (`deformlab.records.same_position`). The raw difference also depends on
where in the image objects of each size are.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise, zip_longest

from deformlab.analysis.by_object import ObjectComparison, TrialEffect
from deformlab.analysis.comparability import descriptions, unequal_terms
from deformlab.analysis.detection_findings import large_objects_gain_most, pooling_gains_at_high_iou
from deformlab.analysis.estimate import Estimate
from deformlab.analysis.trial_set import TrialSet
from deformlab.analysis.trials import Trial, best, best_deformable
from deformlab.analysis.verdicts import (
    FAILS,
    HOLDS,
    INCONCLUSIVE,
    MIN_FILTERS,
    MIN_IMAGES,
    TOO_SMALL,
    UNMEASURED,
    Finding,
    agreement,
    both,
    chance_remark,
    effect_verdict,
    seed_verdict,
)
from deformlab.errors import ConfigError
from deformlab.run_folder import SCORES

SMALLEST_EFFECT = 0.1
AGAIN = "Validate the run again."
NOT_SEPARABLE = "Object size and position cannot be separated in these images."
WITHIN = "within the spread over seeds"
BEYOND = "beyond the spread over seeds"
ONE_SEED = "With a single seed the spread over seeds is unknown, so the difference allows no verdict."
# Position explains "most" or "part" of the raw difference above these shares.
MOSTLY, LITTLE = 0.5, 0.2


def check_smallest_effect(smallest_effect: float) -> None:
    """Refuse a smallest effect of interest that is negative or not finite.

    Raises:
        ConfigError: It is negative or not finite.
    """
    if not 0 <= smallest_effect < math.inf:
        raise ConfigError(f"smallest_effect must be a finite number of cells >= 0, got {smallest_effect}")


def judge(trials: TrialSet, smallest_effect: float = SMALLEST_EFFECT) -> list[Finding]:
    """Judge the papers' findings on the trials of a report.

    Args:
        trials: The trials.
        smallest_effect: Differences in effective dilation up to this count as too small to matter, in cells,
            >= 0.

    Returns:
        The findings in the order of the report. Findings that the trials cannot address are left out.

    Raises:
        ConfigError: `smallest_effect` is negative or not finite.
    """
    check_smallest_effect(smallest_effect)
    comparison = trials.by_object
    findings = [
        deformable_beats_atrous(trials.trials),
        atrous_has_best_rate(trials.trials),
        dilation_grows_with_size(trials.trials, comparison, smallest_effect),
        background_between(trials.trials, comparison, smallest_effect),
        looks_further_and_gains(comparison, smallest_effect),
        pooling_gains_at_high_iou(trials.trials),
        large_objects_gain_most(trials.trials),
    ]
    return [_with_terms(finding, trials) for finding in findings if finding is not None]


def _with_terms(finding: Finding, trials: TrialSet) -> Finding:
    """Add to the finding one line for each difference between its trials beyond their variant."""
    lines = [f"Unequal conditions: {line}." for line in unequal_terms(trials, finding.trials)]
    return replace(finding, evidence=(*finding.evidence, *lines))


def dilation_grows_with_size(
    trials: Sequence[Trial], comparison: ObjectComparison, smallest_effect: float = SMALLEST_EFFECT
) -> Finding:
    """Judge large minus small at the same position, in the last layer of the best deformable trial."""
    key, claim = "dilation_grows_with_size", "Effective dilation grows with object size"
    trial = best_deformable(comparison.trials)
    if trial is None:
        return _without_objects(key, claim, trials)
    effect = comparison.effect(trial, "large", "small")
    details = tuple(
        _layer_line(trial, row, smallest_effect)
        for trial in comparison.trials
        if trial.deformable
        for row in comparison.effects(trial)
        if (row.size, row.reference) == ("large", "small")
    )
    medium = comparison.effect(trial, "medium", "small")
    sentence = effect_sentence(effect) if effect is not None else ""
    evidence = []
    if medium is not None and medium.controlled is not None:
        evidence.append(f"Medium minus small at the same position: {medium.controlled} cells.")
    return _judge_effects(
        Finding(key, claim, INCONCLUSIVE, sentence, details=details, trials=(trial.name,)),
        trial,
        comparison,
        [effect],
        smallest_effect,
        evidence,
    )


def background_between(
    trials: Sequence[Trial], comparison: ObjectComparison, smallest_effect: float = SMALLEST_EFFECT
) -> Finding:
    """Judge background minus medium and large minus background at the same position; both must hold."""
    key, claim = "background_between", "Background lies between medium and large objects"
    trial = best_deformable(comparison.trials)
    if trial is None:
        return _without_objects(key, claim, trials)
    effects = [
        comparison.effect(trial, "background", "medium"),
        comparison.effect(trial, "large", "background"),
    ]
    parts = [
        f"{effect.size} minus {effect.reference} {effect.controlled} cells"
        for effect in effects
        if effect is not None and effect.controlled is not None
    ]
    sentence = f"At the same position: {'; '.join(parts)}." if parts else ""
    finding = Finding(key, claim, INCONCLUSIVE, sentence, trials=(trial.name,))
    return _judge_effects(finding, trial, comparison, effects, smallest_effect)


def looks_further_and_gains(
    comparison: ObjectComparison, smallest_effect: float = SMALLEST_EFFECT
) -> Finding | None:
    """Judge large minus small at the same position together with the IoU gain of large objects.

    The gain is over the best atrous trial. None if no deformable trial recorded objects, and for detectors,
    which have no IoU of pixels; see `large_objects_gain_most`.
    """
    key, claim = (
        "looks_further_and_gains",
        "Large objects have larger effective dilation and gain IoU",
    )
    trial = best_deformable(comparison.trials)
    if trial is None or trial.first.detector is not None:
        return None
    names = (trial.name,) if comparison.baseline is None else (trial.name, comparison.baseline.name)
    effect = comparison.effect(trial, "large", "small")
    gains = {size: row.gain for size, row in comparison.last_layer(trial, "all").items()}
    listed = ", ".join(f"{size} {'undefined' if gain is None else gain}" for size, gain in gains.items())
    parts = []
    if effect is not None and effect.controlled is not None:
        parts.append(effect_sentence(effect))
    if comparison.baseline is not None:
        parts.append(f"IoU gain over {comparison.baseline.name} in points: {listed}.")
    finding = Finding(key, claim, INCONCLUSIVE, " ".join(parts), trials=names)
    if comparison.baseline is None:
        reason = "These runs include no atrous trial to compute the gain over."
        return replace(finding, sentence=f"{finding.sentence} {reason}".strip())
    gain = gains.get("large")
    if gain is None:
        return replace(finding, sentence=f"{finding.sentence} The images have too few large objects.")
    return _judge_effects(finding, trial, comparison, [effect], smallest_effect, gain=gain)


def effect_sentence(effect: TrialEffect) -> str:
    """Describe the controlled effect, and how much of the raw difference position explains.

    For example: `At the same position, effective dilation is 0.02 [0.00, 0.03] cells larger on large objects
    than on small ones; position explains most of the raw difference of 0.10.`
    """
    if effect.controlled is None:
        return NOT_SEPARABLE
    value, direction = effect.controlled.value, "larger"
    low, high = effect.controlled.interval or (math.nan, math.nan)
    if value < 0:
        value, low, high, direction = -value, -high, -low, "smaller"
    interval = "" if math.isnan(low) else f" [{low:.2f}, {high:.2f}]"
    controlled = (
        f"At the same position, effective dilation is {value:.2f}{interval} cells {direction} on "
        f"{effect.size} objects than on {effect.reference} ones"
    )
    return f"{controlled}; {_raw_text(effect)}."


def _raw_text(effect: TrialEffect) -> str:
    assert effect.controlled is not None
    if effect.raw is None:
        return "the raw difference is undefined"
    raw = f"{effect.raw.value:.2f}"
    if abs(effect.raw.value) < 0.005:
        return "the raw difference is 0.00"
    if effect.raw.value * effect.controlled.value < 0 and abs(effect.controlled.value) >= 0.005:
        return f"the raw difference of {raw} has the opposite sign because of position"
    share = 1 - effect.controlled.value / effect.raw.value
    if share > MOSTLY:
        return f"position explains most of the raw difference of {raw}"
    if share > LITTLE:
        return f"position explains part of the raw difference of {raw}"
    if share < -LITTLE:
        return f"the raw difference of {raw} is smaller because of position"
    return f"position explains little of the raw difference of {raw}"


def _judge_effects(
    finding: Finding,
    trial: Trial,
    comparison: ObjectComparison,
    effects: Sequence[TrialEffect | None],
    smallest_effect: float,
    evidence: Sequence[str] = (),
    gain: Estimate | None = None,
) -> Finding:
    """The finding with its verdict: all effects must hold, and also the gain if it is given."""
    where = _where(trial, comparison.trials)
    if not comparison.effects(trial):
        reason = f"The effect at the same position was not recorded for every seed. {AGAIN}"
        return replace(
            finding,
            verdict=UNMEASURED,
            sentence=" ".join(filter(None, (where, finding.sentence, reason))),
            short=AGAIN,
        )
    finding = replace(finding, sentence=f"{where} {finding.sentence}")
    reason = _unjudgeable(trial, effects)
    known = [e for e in effects if e is not None and e.controlled is not None]
    estimates = [e.controlled for e in known if e.controlled is not None]
    short = _short(known, trial, gain)
    lines = [*evidence, *_by_seed(trial, known, gain), *_raw_means(trial, comparison)]
    finding = replace(finding, short=short, evidence=tuple(lines))
    if reason:
        return replace(finding, sentence=f"{finding.sentence} {reason}")
    together = [effect_verdict(estimate, smallest_effect) for estimate in estimates]
    seeds: list[list[str]] = [
        [seed_verdict(value, smallest_effect) for value in estimate.seeds] for estimate in estimates
    ]
    if gain is not None:
        together.append(effect_verdict(gain, 0.0))
        seeds.append([seed_verdict(value, 0.0) for value in gain.seeds])
    verdict, alone = together[0], seeds[0]
    for other, others in zip(together[1:], seeds[1:], strict=True):
        verdict = both(verdict, other)
        alone = [both(*pair) for pair in zip(alone, others, strict=True)]
    verdict, certainty, holding = agreement(verdict, alone)
    if verdict == INCONCLUSIVE:
        why = _why_inconclusive(together, smallest_effect, gain)
        finding = replace(finding, sentence=f"{finding.sentence} {why}")
    if verdict == TOO_SMALL:
        finding = replace(
            finding,
            sentence=f"{finding.sentence} Effects up to {smallest_effect:g} cells count as too small.",
        )
    certainty = ", ".join(part for part in ("95 % interval over images", certainty) if part)
    return replace(finding, verdict=verdict, certainty=certainty, holding=holding)


def _unjudgeable(trial: Trial, effects: Sequence[TrialEffect | None]) -> str:
    """Why the effects allow no verdict; empty if they allow one."""
    if remark := chance_remark([trial]):
        return remark
    for effect in effects:
        if effect is not None and effect.raw is None:
            return f"No interior filters on {effect.size}, on {effect.reference}, or on both."
        if effect is None or effect.controlled is None:
            return NOT_SEPARABLE
        if effect.filters < MIN_FILTERS:
            return (
                f"Too few filters on {effect.size} and {effect.reference} for an interval: {effect.filters}; "
                f"at least {MIN_FILTERS} are needed."
            )
        if effect.images < MIN_IMAGES:
            return f"Too few images for an interval: {effect.images}; at least {MIN_IMAGES} are needed."
    return ""


def _why_inconclusive(verdicts: Sequence[str], smallest_effect: float, gain: Estimate | None) -> str:
    """Why the verdicts together are inconclusive; the last verdict is that of the gain, if it is given."""
    if INCONCLUSIVE not in verdicts:
        return "At least one seed alone is inconclusive."
    effects = verdicts if gain is None else verdicts[:-1]
    if INCONCLUSIVE not in effects:
        assert gain is not None
        return (
            "The gain has no interval." if gain.interval is None else "The interval of the gain contains 0."
        )
    bounds = f"{smallest_effect:g} or -{smallest_effect:g} cells" if smallest_effect else "0"
    return f"An interval is too wide: it contains {bounds}."


def _short(effects: Sequence[TrialEffect], trial: Trial, gain: Estimate | None) -> str:
    parts = [
        f"{effect.size} minus {effect.reference}: {replace(effect.controlled, std=None)} cells"
        for effect in effects
        if effect.controlled is not None
    ]
    if not parts:
        return ""
    if gain is not None:
        parts.append(f"IoU gain on large objects: {replace(gain, std=None)} points")
    seeds = "1 seed" if len(trial.runs) == 1 else f"{len(trial.runs)} seeds"
    filters, images = min(e.filters for e in effects), min(e.images for e in effects)
    listed = "; ".join(parts)
    return f"{listed[0].upper()}{listed[1:]} (n = {filters:,} filters, {images:,} images, {seeds})."


def _by_seed(trial: Trial, effects: Sequence[TrialEffect], gain: Estimate | None) -> list[str]:
    if len(trial.runs) < 2:
        return []
    named = [
        (f"{effect.size} minus {effect.reference}", effect.controlled, "+.2f")
        for effect in effects
        if effect.controlled is not None
    ]
    if gain is not None:
        named.append(("gain on large objects", gain, "+.1f"))
    lines = []
    for name, estimate, digits in named:
        values = zip_longest(trial.runs, estimate.seeds)
        listed = ", ".join(
            f"seed {run.seed}: {'–' if value is None else format(value, digits)}"
            for run, value in values
            if run is not None
        )
        lines.append(f"By seed, {name}: {listed}.")
    return lines


def _raw_means(trial: Trial, comparison: ObjectComparison) -> list[str]:
    """Plain means by size over interior filters, which also depend on where objects of each size are."""
    rows = comparison.last_layer(trial, "interior").values()
    listed = ", ".join(f"{row.size} {row.dilation}" for row in rows if row.dilation is not None)
    return [f"Plain means over interior filters, at all positions: {listed} cells."] if listed else []


def _layer_line(trial: Trial, row: TrialEffect, smallest_effect: float) -> str:
    start = f"{trial.name}, {row.layer}"
    if row.controlled is None:
        return f"{start}: {INCONCLUSIVE}"
    alone = [seed_verdict(value, smallest_effect) for value in row.controlled.seeds]
    verdict, _, holding = agreement(effect_verdict(row.controlled, smallest_effect), alone)
    if _unjudgeable(trial, [row]):
        verdict = INCONCLUSIVE
    shown = Finding("", "", verdict, "", holding=holding).words
    return f"{start}: {shown}: {row.controlled} cells at the same position, raw {row.raw or '–'}"


def _where(trial: Trial, trials: Sequence[Trial]) -> str:
    return f"Measured in {trial.layers[0]} of {trial.name} ({descriptions(trials)[trial.name]})."


def _without_objects(key: str, claim: str, trials: Sequence[Trial]) -> Finding:
    if any(trial.deformable for trial in trials):
        return Finding(key, claim, UNMEASURED, f"No deformable trial has object measurements. {AGAIN}", AGAIN)
    return Finding(key, claim, INCONCLUSIVE, "These runs include no deformable trial.")


def deformable_beats_atrous(trials: Sequence[Trial]) -> Finding:
    """Judge whether the best deformable trial scores at least as well as the best atrous trial.

    The mean scores are compared, and the scores of every seed that both trials have. The spread is the larger
    of the two trials' standard deviations over seeds.
    """
    key, claim = (
        "deformable_beats_atrous",
        "Deformable convolution is at least as good as the best atrous rate",
    )
    trials = _of_one_pooling(trials)
    best_atrous = best([trial for trial in trials if not trial.deformable])
    deformable = [trial for trial in trials if trial.deformable]
    ours = best(deformable)
    if best_atrous is None or ours is None:
        absent = "atrous" if best_atrous is None else "deformable"
        return Finding(key, claim, INCONCLUSIVE, f"These runs include no {absent} trial to compare with.")
    compared = _Scores((ours, best_atrous))
    difference = ours.score.value - best_atrous.score.value
    details = tuple(
        f"{_score(trial)}: {trial.score.value - best_atrous.score.value:+.2f}" for trial in deformable
    )
    sentence = (
        f"Best deformable trial: {_score(ours)}; best atrous trial: {_score(best_atrous)}; difference: "
        f"{difference:+.2f} points."
    )
    seeds = {seed: pair[0] - pair[1] for seed, pair in compared.by_seed.items()}
    listed = ", ".join(f"seed {seed}: {value:+.2f}" for seed, value in seeds.items())
    finding = Finding(
        key,
        claim,
        INCONCLUSIVE,
        sentence,
        short=f"{compared.label} of {ours.name} minus {best_atrous.name}: {difference:+.1f} points "
        f"({_n(ours, best_atrous)}).",
        evidence=(f"Difference by seed: {listed} points.",) if len(seeds) > 1 else (),
        details=details,
        trials=(ours.name, best_atrous.name),
    )
    sign = compared.sign
    alone = [HOLDS if sign * value >= 0 else FAILS for value in seeds.values()]
    return _judge_scores(finding, compared, HOLDS if sign * difference >= 0 else FAILS, alone)


def _of_one_pooling(trials: Sequence[Trial]) -> Sequence[Trial]:
    """The trials with plain RoI pooling if there are any, so that only the convolutions differ."""
    plain = [trial for trial in trials if trial.first.roi_pooling in (None, "plain")]
    return plain or trials


def atrous_has_best_rate(trials: Sequence[Trial]) -> Finding:
    """Judge whether the score rises with the atrous rate up to a best rate and falls after it.

    At least three rates are needed. If several trials have the same rate, the best one counts. The claim also
    holds if the score rises up to the largest rate; the sentence then says that a larger rate may be better.
    The best rate is compared with the smallest rate, or with the next one if it is the smallest itself.
    """
    key, claim = "atrous_has_best_rate", "Larger atrous rates improve the score up to a best rate"
    by_rate: dict[int, Trial] = {}
    for trial in _of_one_pooling(trials):
        rate = trial.dilation
        if not trial.deformable and (rate not in by_rate or trial.rank > by_rate[rate].rank):
            by_rate[rate] = trial
    rates = sorted(by_rate)
    if not rates:
        return Finding(key, claim, INCONCLUSIVE, "These runs include no atrous trial.")
    atrous = [by_rate[rate] for rate in rates]
    every = _Scores(atrous)
    ranks = [trial.rank for trial in atrous]
    peak = _peak(ranks)
    listing = ", ".join(f"d = {rate}: {_percent(by_rate[rate])}" for rate in rates)
    sentence = f"{listing}. The best rate is {rates[peak]}."
    if len(rates) < 3:
        return Finding(key, claim, INCONCLUSIVE, f"{sentence} At least three rates are needed.")
    if peak == 0:
        sentence += " It is the smallest rate of these runs; larger rates are worse."
    elif not _rises_and_falls(ranks):
        sentence += f" However, {every.label} does not rise steadily up to it and fall steadily after it."
    elif peak == len(rates) - 1:
        sentence += " It is the largest rate of these runs; an even larger rate may be better."
    bests = ", ".join(
        f"seed {seed}: {rates[_peak([every.sign * score for score in alone])]}"
        for seed, alone in every.by_seed.items()
    )
    best_one, other = atrous[peak], atrous[0 if peak > 0 else 1]
    compared = _Scores((best_one, other))
    rivals = [
        f"d = {trial.dilation}"
        for trial in atrous
        if trial not in (best_one, other) and _Scores((best_one, trial)).within
    ]
    if rivals:
        sentence += f" Rates within the spread over seeds of the best rate: {', '.join(rivals)}."
    finding = Finding(
        key,
        claim,
        INCONCLUSIVE,
        sentence,
        short=f"Best rate {rates[peak]}: {_percent(best_one)} {every.label} ({_n(best_one, other)}).",
        evidence=(f"Best rate by seed: {bests}.",) if len(every.by_seed) > 1 else (),
        trials=(best_one.name, other.name),
    )
    alone = [_shape([every.sign * score for score in scores]) for scores in every.by_seed.values()]
    return _judge_scores(finding, compared, _shape(ranks), alone)


@dataclass(frozen=True)
class _Scores:
    """The scores of the compared trials; `spread` and `within` are for two trials."""

    trials: Sequence[Trial]

    @property
    def label(self) -> str:
        return SCORES[self.trials[0].first.result.score.name].label

    @property
    def sign(self) -> int:
        """1 if a higher score is better, else -1."""
        return 1 if self.trials[0].first.result.score.mode == "max" else -1

    @property
    def by_seed(self) -> dict[int, list[float]]:
        """Scores of the trials in percent, for each seed that all trials have."""
        scores = [
            {run.seed: run.score for run in trial.runs if run.seed is not None} for trial in self.trials
        ]
        seeds = sorted(set(scores[0]).intersection(*scores[1:]))
        return {seed: [score[seed] for score in scores] for seed in seeds}

    @property
    def spread(self) -> float | None:
        """The larger of the two trials' standard deviations over seeds; None unless both have one."""
        known = [trial.score.std for trial in self.trials if trial.score.std is not None]
        return max(known) if len(known) == 2 else None

    @property
    def within(self) -> bool:
        """Whether the difference between the two trials is within their spread."""
        one, other = self.trials
        return self.spread is not None and abs(one.score.value - other.score.value) <= self.spread


def _judge_scores(finding: Finding, compared: _Scores, together: str, alone: Sequence[str]) -> Finding:
    """The finding with its verdict, from the mean scores and from each seed that all trials have."""
    if chance := chance_remark(compared.trials):
        return replace(finding, sentence=f"{finding.sentence} {chance}")
    if compared.spread is None:
        return replace(finding, sentence=f"{finding.sentence} {ONE_SEED}", certainty="one seed", evidence=())
    within = compared.within
    verdict, certainty, holding = agreement(together, alone)
    if len(alone) < 2:  # one common seed, or none
        verdict, certainty = (INCONCLUSIVE if within else together), ""
    sentence = finding.sentence
    if within:
        agree = verdict == together and bool(certainty)
        end = ", but every seed agrees." if agree else ": these runs do not show which is better."
        sentence += f" The difference is within the spread over seeds (± {compared.spread:.2f}){end}"
    certainty = ", ".join(part for part in (certainty, WITHIN if within else BEYOND) if part)
    return replace(finding, verdict=verdict, sentence=sentence, certainty=certainty, holding=holding)


def _peak(ranks: Sequence[float]) -> int:
    return max(range(len(ranks)), key=ranks.__getitem__)


def _rises_and_falls(ranks: Sequence[float]) -> bool:
    peak = _peak(ranks)
    rising = all(a <= b for a, b in pairwise(ranks[: peak + 1]))
    return rising and all(a >= b for a, b in pairwise(ranks[peak:]))


def _shape(ranks: Sequence[float]) -> str:
    return HOLDS if _peak(ranks) > 0 and _rises_and_falls(ranks) else FAILS


def _percent(trial: Trial) -> str:
    spread = "" if trial.score.std is None else f" ± {trial.score.std:.1f}"
    return f"{trial.score.value:.1f}{spread} %"


def _score(trial: Trial) -> str:
    seeds = "one seed" if len(trial.runs) == 1 else f"{len(trial.runs)} seeds"
    return f"{trial.name} {_percent(trial)} ({seeds})"


def _n(*trials: Trial) -> str:
    seeds = min(len(trial.runs) for trial in trials)
    return f"n = {seeds} seed{'' if seeds == 1 else 's'}"
