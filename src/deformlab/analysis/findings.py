"""The papers' findings, judged on these runs (Deformable Convolutional Networks, section 3 and table 3).

Those about effective dilation are judged on the controlled effect: the difference between object sizes at the
same place of the feature map, which `deformlab.records.same_place` estimates. The raw difference also
contains where objects of a size are.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise, zip_longest

from deformlab.analysis.by_object import ObjectComparison, TrialEffect
from deformlab.analysis.comparability import descriptions, unequal_terms
from deformlab.analysis.estimate import Estimate
from deformlab.analysis.trial_set import TrialSet
from deformlab.analysis.trials import Trial, best, best_deformable
from deformlab.analysis.verdicts import (
    FAILS,
    HOLDS,
    MIN_FILTERS,
    MIN_IMAGES,
    TOO_SMALL,
    UNMEASURED,
    UNTOLD,
    Finding,
    agreement,
    both,
    chance_remark,
    effect_verdict,
    seed_verdict,
)
from deformlab.run_folder import SCORES

SMALLEST_EFFECT = 0.1
AGAIN = "Validate the run again."
WITHIN = "within the spread over seeds"
BEYOND = "beyond the spread over seeds"
ONE_SEED = "With one seed there is no spread to compare the difference with, so it is no verdict."
# Shares of the raw difference that position explains, as words.
MOSTLY, LITTLE = 0.5, 0.2


def judge(trials: TrialSet, smallest_effect: float = SMALLEST_EFFECT) -> list[Finding]:
    """Judges each of the papers' findings that the trials can say something about.

    Args:
        trials: The trials.
        smallest_effect: Differences in effective dilation up to this are too small to matter, in cells, >= 0.
    """
    comparison = trials.by_object
    findings = [
        deformable_beats_atrous(trials.trials),
        atrous_has_best_rate(trials.trials),
        dilation_grows_with_size(trials.trials, comparison, smallest_effect),
        background_between(trials.trials, comparison, smallest_effect),
        looks_further_and_gains(comparison, smallest_effect),
    ]
    return [_with_terms(finding, trials) for finding in findings if finding is not None]


def _with_terms(finding: Finding, trials: TrialSet) -> Finding:
    """The finding, with a line for each way in which its trials differ in more than their variant."""
    lines = [f"Not on equal terms: {line}." for line in unequal_terms(trials, finding.trials)]
    return replace(finding, evidence=(*finding.evidence, *lines))


def dilation_grows_with_size(
    trials: Sequence[Trial], comparison: ObjectComparison, smallest_effect: float = SMALLEST_EFFECT
) -> Finding:
    """Large minus small in the last layer of the best deformable trial, at the same place."""
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
        evidence.append(f"Medium minus small at the same place: {medium.controlled} cells.")
    return _judge_effects(
        Finding(key, claim, UNTOLD, sentence, details=details, trials=(trial.name,)),
        trial,
        comparison,
        [effect],
        smallest_effect,
        evidence,
    )


def background_between(
    trials: Sequence[Trial], comparison: ObjectComparison, smallest_effect: float = SMALLEST_EFFECT
) -> Finding:
    """Background minus medium and large minus background at the same place: both must hold."""
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
    sentence = f"At the same place: {'; '.join(parts)}." if parts else ""
    finding = Finding(key, claim, UNTOLD, sentence, trials=(trial.name,))
    return _judge_effects(finding, trial, comparison, effects, smallest_effect)


def looks_further_and_gains(
    comparison: ObjectComparison, smallest_effect: float = SMALLEST_EFFECT
) -> Finding | None:
    """Large minus small at the same place, and the IoU of large objects gained over the best atrous trial.

    None if no deformable trial recorded objects.
    """
    key, claim = (
        "looks_further_and_gains",
        "The network looks further where objects are larger, and gains there",
    )
    trial = best_deformable(comparison.trials)
    if trial is None:
        return None
    names = (trial.name,) if comparison.baseline is None else (trial.name, comparison.baseline.name)
    effect = comparison.effect(trial, "large", "small")
    gains = {size: row.gain for size, row in comparison.last_layer(trial, "all").items()}
    listed = ", ".join(f"{size} {'undefined' if gain is None else gain}" for size, gain in gains.items())
    parts = []
    if effect is not None and effect.controlled is not None:
        parts.append(effect_sentence(effect))
    if comparison.baseline is not None:
        parts.append(f"IoU gained over {comparison.baseline.name}, in points: {listed}.")
    finding = Finding(key, claim, UNTOLD, " ".join(parts), trials=names)
    if comparison.baseline is None:
        reason = "There is no atrous trial to gain over."
        return replace(finding, sentence=f"{finding.sentence} {reason}".strip())
    gain = gains.get("large")
    if gain is None:
        return replace(finding, sentence=f"{finding.sentence} There are too few large objects.")
    return _judge_effects(finding, trial, comparison, [effect], smallest_effect, gain=gain)


def effect_sentence(effect: TrialEffect) -> str:
    """The controlled effect with its interval, and what the raw difference owes to the place.

    `At the same place, filters on large objects look 0.02 [0.00, 0.03] cells further than on small ones; the
    raw difference of 0.10 is mostly place.`
    """
    if effect.controlled is None:
        return "At the same place, the data do not tell object sizes from positions."
    value, direction = effect.controlled.value, "further than"
    low, high = effect.controlled.interval or (math.nan, math.nan)
    if value < 0:
        value, low, high, direction = -value, -high, -low, "less far than"
    interval = "" if math.isnan(low) else f" [{low:.2f}, {high:.2f}]"
    words = (
        f"At the same place, filters on {effect.size} objects look {value:.2f}{interval} cells {direction} "
        f"on {effect.reference} ones"
    )
    return f"{words}; {_raw_words(effect)}."


def _raw_words(effect: TrialEffect) -> str:
    assert effect.controlled is not None
    if effect.raw is None:
        return "the raw difference is undefined"
    raw = f"{effect.raw.value:.2f}"
    if abs(effect.raw.value) < 0.005:
        return "the raw difference is 0.00"
    if effect.raw.value * effect.controlled.value < 0 and abs(effect.controlled.value) >= 0.005:
        return f"the raw difference of {raw} has the other sign, because of place"
    share = 1 - effect.controlled.value / effect.raw.value
    if share > MOSTLY:
        return f"the raw difference of {raw} is mostly place"
    if share > LITTLE:
        return f"the raw difference of {raw} is partly place"
    if share < -LITTLE:
        return f"the raw difference of {raw} is smaller, because of place"
    return f"the raw difference of {raw} owes little to place"


def _judge_effects(
    finding: Finding,
    trial: Trial,
    comparison: ObjectComparison,
    effects: Sequence[TrialEffect | None],
    smallest_effect: float,
    evidence: Sequence[str] = (),
    gain: Estimate | None = None,
) -> Finding:
    """The finding with the verdict on the effects, and on the gain if there is one, which both must hold."""
    place = _where(trial, comparison.trials)
    if not comparison.effects(trial):
        reason = f"The effect at the same place was not recorded for every seed. {AGAIN}"
        return replace(
            finding,
            verdict=UNMEASURED,
            sentence=" ".join(filter(None, (place, finding.sentence, reason))),
            short=AGAIN,
        )
    finding = replace(finding, sentence=f"{place} {finding.sentence}")
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
    if verdict == UNTOLD:
        why = _why_untold(together, smallest_effect, gain)
        finding = replace(finding, sentence=f"{finding.sentence} {why}")
    if verdict == TOO_SMALL:
        finding = replace(
            finding,
            sentence=f"{finding.sentence} Effects up to {smallest_effect:g} cells are too small to matter.",
        )
    certainty = ", ".join(part for part in ("95 % over images", certainty) if part)
    return replace(finding, verdict=verdict, certainty=certainty, holding=holding)


def _unjudgeable(trial: Trial, effects: Sequence[TrialEffect | None]) -> str:
    """Why the effects give no verdict; empty if they do."""
    if remark := chance_remark([trial]):
        return remark
    for effect in effects:
        if effect is not None and effect.raw is None:
            return f"Of {effect.size} and {effect.reference}, at least one has no interior filters here."
        if effect is None or effect.controlled is None:
            return "Positions and object sizes cannot be told apart in these images."
        if effect.filters < MIN_FILTERS:
            return f"Too few filters on {effect.size} and {effect.reference} (under {MIN_FILTERS})."
        if effect.images < MIN_IMAGES:
            return f"Too few images (under {MIN_IMAGES}) for an interval."
    return ""


def _why_untold(verdicts: Sequence[str], smallest_effect: float, gain: Estimate | None) -> str:
    """Why verdicts of which the last is the gain's, if there is one, tell nothing together."""
    if UNTOLD not in verdicts:
        return "Not every seed can be judged alone."
    effects = verdicts if gain is None else verdicts[:-1]
    if UNTOLD not in effects:
        assert gain is not None
        return "The gain has no interval." if gain.interval is None else "The gain's interval contains 0."
    bounds = f"{smallest_effect:g} or -{smallest_effect:g} cells" if smallest_effect else "0"
    return f"An interval is too wide: it contains {bounds}."


def _short(effects: Sequence[TrialEffect], trial: Trial, gain: Estimate | None) -> str:
    parts = [
        f"{effect.size} − {effect.reference} {replace(effect.controlled, std=None)} cells"
        for effect in effects
        if effect.controlled is not None
    ]
    if not parts:
        return ""
    if gain is not None:
        parts.append(f"IoU gained on large objects {replace(gain, std=None)} points")
    seeds = "1 seed" if len(trial.runs) == 1 else f"{len(trial.runs)} seeds"
    filters, images = min(e.filters for e in effects), min(e.images for e in effects)
    return f"{'; '.join(parts)} (n = {filters:,} filters, {images:,} images, {seeds})."


def _by_seed(trial: Trial, effects: Sequence[TrialEffect], gain: Estimate | None) -> list[str]:
    if len(trial.runs) < 2:
        return []
    named = [
        (f"{effect.size} − {effect.reference}", effect.controlled, "+.2f")
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
    """Means by size over interior filters, which also contain where objects of a size are."""
    rows = comparison.last_layer(trial, "interior").values()
    listed = ", ".join(f"{row.size} {row.dilation}" for row in rows if row.dilation is not None)
    return [f"Means of interior filters, place not considered: {listed} cells."] if listed else []


def _layer_line(trial: Trial, row: TrialEffect, smallest_effect: float) -> str:
    start = f"{trial.name}, {row.layer}"
    if row.controlled is None:
        return f"{start}: {UNTOLD}"
    alone = [seed_verdict(value, smallest_effect) for value in row.controlled.seeds]
    verdict, _, holding = agreement(effect_verdict(row.controlled, smallest_effect), alone)
    if _unjudgeable(trial, [row]):
        verdict = UNTOLD
    words = Finding("", "", verdict, "", holding=holding).words
    return f"{start}: {words}: {row.controlled} cells at the same place, raw {row.raw or '–'}"


def _where(trial: Trial, trials: Sequence[Trial]) -> str:
    return f"{trial.layers[0]} of {trial.name} ({descriptions(trials)[trial.name]})."


def _without_objects(key: str, claim: str, trials: Sequence[Trial]) -> Finding:
    if any(trial.deformable for trial in trials):
        return Finding(key, claim, UNMEASURED, f"No deformable trial was measured by object. {AGAIN}", AGAIN)
    return Finding(key, claim, UNTOLD, "There is no deformable trial.")


def deformable_beats_atrous(trials: Sequence[Trial]) -> Finding:
    """Best mean score of a deformable trial >= best of an atrous trial, and so in every seed of both.

    The spread is the larger of the two trials' standard deviations over seeds.
    """
    key, claim = "deformable_beats_atrous", "Deformable is at least as good as the best atrous rate"
    best_atrous = best([trial for trial in trials if not trial.deformable])
    deformable = [trial for trial in trials if trial.deformable]
    ours = best(deformable)
    if best_atrous is None or ours is None:
        absent = "atrous" if best_atrous is None else "deformable"
        return Finding(key, claim, UNTOLD, f"There is no {absent} trial to compare with.")
    compared = _Scores((ours, best_atrous))
    difference = ours.score.value - best_atrous.score.value
    details = tuple(
        f"{_score(trial)}: {trial.score.value - best_atrous.score.value:+.2f}" for trial in deformable
    )
    sentence = (
        f"Best deformable {_score(ours)}; best atrous {_score(best_atrous)}; difference {difference:+.2f} "
        "points."
    )
    seeds = {seed: pair[0] - pair[1] for seed, pair in compared.by_seed.items()}
    listed = ", ".join(f"seed {seed}: {value:+.2f}" for seed, value in seeds.items())
    finding = Finding(
        key,
        claim,
        UNTOLD,
        sentence,
        short=f"{compared.label} {difference:+.1f} points over {best_atrous.name} ({_n(ours, best_atrous)}).",
        evidence=(f"Difference by seed: {listed} points.",) if len(seeds) > 1 else (),
        details=details,
        trials=(ours.name, best_atrous.name),
    )
    sign = compared.sign
    alone = [HOLDS if sign * value >= 0 else FAILS for value in seeds.values()]
    return _judge_scores(finding, compared, HOLDS if sign * difference >= 0 else FAILS, alone)


def atrous_has_best_rate(trials: Sequence[Trial]) -> Finding:
    """Over three atrous rates or more, the score rises up to a rate above the smallest and falls after it.

    Of several trials with the same rate the best counts. Rising up to the largest rate holds too, with the
    remark that the best may lie beyond. The spread is that of the best rate and the smallest one, or the next
    one if it is the smallest itself.
    """
    key, claim = "atrous_has_best_rate", "Atrous convolution improves with larger rates up to a best one"
    by_rate: dict[int, Trial] = {}
    for trial in trials:
        rate = trial.dilation
        if not trial.deformable and (rate not in by_rate or trial.rank > by_rate[rate].rank):
            by_rate[rate] = trial
    rates = sorted(by_rate)
    if not rates:
        return Finding(key, claim, UNTOLD, "There is no atrous trial.")
    atrous = [by_rate[rate] for rate in rates]
    every = _Scores(atrous)
    ranks = [trial.rank for trial in atrous]
    peak = _peak(ranks)
    listing = ", ".join(f"d = {rate}: {_percent(by_rate[rate])}" for rate in rates)
    sentence = f"{listing}. The best rate is {rates[peak]}."
    if len(rates) < 3:
        return Finding(key, claim, UNTOLD, f"{sentence} At least three rates are needed.")
    if peak == 0:
        sentence += " It is the smallest rate of these runs: larger ones are worse."
    elif not _rises_and_falls(ranks):
        sentence += f" But {every.label} does not rise steadily up to it and fall after it."
    elif peak == len(rates) - 1:
        sentence += " It is the largest rate of these runs: the best may lie beyond."
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
        sentence += f" Within the spread over seeds of the best: {', '.join(rivals)}."
    finding = Finding(
        key,
        claim,
        UNTOLD,
        sentence,
        short=f"Best rate {rates[peak]}: {_percent(best_one)} {every.label} ({_n(best_one, other)}).",
        evidence=(f"Best rate by seed: {bests}.",) if len(every.by_seed) > 1 else (),
        trials=(best_one.name, other.name),
    )
    alone = [_shape([every.sign * score for score in scores]) for scores in every.by_seed.values()]
    return _judge_scores(finding, compared, _shape(ranks), alone)


@dataclass(frozen=True)
class _Scores:
    """The scores of trials that are compared; of two, whether their difference is within the spread."""

    trials: Sequence[Trial]

    @property
    def label(self) -> str:
        return SCORES[self.trials[0].first.result.score.name].label

    @property
    def sign(self) -> int:
        """1 if more is better, else -1."""
        return 1 if self.trials[0].first.result.score.mode == "max" else -1

    @property
    def by_seed(self) -> dict[int, list[float]]:
        """Score in percent of each trial, for the seeds that all of them have."""
        scores = [
            {run.seed: run.score for run in trial.runs if run.seed is not None} for trial in self.trials
        ]
        seeds = sorted(set(scores[0]).intersection(*scores[1:]))
        return {seed: [score[seed] for score in scores] for seed in seeds}

    @property
    def spread(self) -> float | None:
        """The larger standard deviation over seeds of two trials; None unless both have one."""
        known = [trial.score.std for trial in self.trials if trial.score.std is not None]
        return max(known) if len(known) == 2 else None

    @property
    def within(self) -> bool:
        """Whether the difference of two trials is within their spread."""
        one, other = self.trials
        return self.spread is not None and abs(one.score.value - other.score.value) <= self.spread


def _judge_scores(finding: Finding, compared: _Scores, together: str, alone: Sequence[str]) -> Finding:
    """The finding with the verdict on mean scores and on those of each seed that all trials have."""
    if chance := chance_remark(compared.trials):
        return replace(finding, sentence=f"{finding.sentence} {chance}")
    if compared.spread is None:
        return replace(finding, sentence=f"{finding.sentence} {ONE_SEED}", certainty="one seed", evidence=())
    within = compared.within
    verdict, certainty, holding = agreement(together, alone)
    if len(alone) < 2:  # one common seed, or none
        verdict, certainty = (UNTOLD if within else together), ""
    sentence = finding.sentence
    if within:
        agree = verdict == together and bool(certainty)
        end = ", but each seed says the same." if agree else ": these runs cannot tell the two apart."
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
