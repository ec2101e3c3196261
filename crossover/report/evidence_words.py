"""What a verdict rests on, in words: range, runs left out, Monte Carlo error, single seeds, rare runs."""

from __future__ import annotations

import math

from crossover.analysis.analysis_plan import AnalysisPlan
from crossover.analysis.analysis_result import Analysis, LostRun, Verdict
from crossover.analysis.arm_labels import arm_label
from crossover.analysis.upper_bounds import upper_bound_arm
from crossover.report import number_formats as fmt

_MOST_RUNS, _MOST_SEEDS = 3, 16


def scope(analysis: Analysis, verdict: Verdict) -> list[str]:
    """What else the headline says of its evidence, as clauses: each only where there is something to say."""
    clauses = (compared(analysis, verdict), lost(verdict), monte_carlo(analysis.plan, verdict))
    return [clause for clause in clauses if clause]


def bound_arm(plan: AnalysisPlan, verdict: Verdict) -> str:
    """The arm whose values in this verdict are an upper bound of its loss; empty when both are exact."""
    return verdict.upper_bound or upper_bound_arm(fmt.metric_plan(plan, verdict.metric), plan)


def the(label: str) -> str:
    """An arm's label inside of a sentence, with its article: `the DLM`, `AR`."""
    return f"the {label}" if label.startswith("DLM") else label


def compared(analysis: Analysis, verdict: Verdict) -> str:
    """The stretch of the axis that the verdict speaks of, where more was measured; empty where it is all of it."""
    ends = [
        (curve.x[0], curve.x[-1])
        for figure in analysis.figures
        if (figure.metric, figure.axis, figure.comparison) == (verdict.metric, verdict.axis, verdict.comparison)
        for curve in figure.seeds
        if curve.arm in (analysis.plan.baseline, analysis.plan.candidate) and curve.x
    ]
    if verdict.compared is None or not ends:
        return ""
    spoken = fmt.axis_interval(verdict.axis, *verdict.compared)
    measured = fmt.axis_interval(verdict.axis, min(low for low, _ in ends), max(high for _, high in ends))
    if spoken == measured:
        return ""
    return f"compared over {fmt.axis_word(verdict.axis)} {spoken} of {measured} measured"


def lost(verdict: Verdict) -> str:
    """The runs left out with their pairs: `without DLM seed 3 (ends at 46k tokens)`."""
    if not verdict.lost:
        return ""
    named = ", ".join(map(_lost_run, verdict.lost[:_MOST_RUNS]))
    more = len(verdict.lost) - _MOST_RUNS
    return f"without {named}" + (f" and {more} more" if more > 0 else "")


def _lost_run(run: LostRun) -> str:
    return f"{arm_label(run.arm)} seed {run.seed} ({run.reason})"


def monte_carlo(plan: AnalysisPlan, verdict: Verdict) -> str:
    """That a bound came without its Monte Carlo error; empty where it is known, or nothing is a bound."""
    bound = bound_arm(plan, verdict)
    if verdict.monte_carlo_known or not bound:
        return ""
    return f"{the(arm_label(bound))}'s Monte Carlo error is not given and counted as 0: give a column stderr"


def seed_differences(analysis: Analysis, verdict: Verdict) -> str:
    """The late difference of each seed pair, and whether one of them decides; empty where no late window was tested."""
    late = verdict.late
    if late is None or not late.per_seed:
        return ""
    names = _pair_names(analysis, verdict)
    shown = [f"{name} {fmt.number(v, sign=True)}" for name, v in zip(names, late.per_seed, strict=True)]
    listed = ", ".join(shown[:_MOST_SEEDS])
    if len(shown) > _MOST_SEEDS:
        listed += f", and {len(shown) - _MOST_SEEDS} more"
    decides = deciding_seed(analysis, verdict)
    return f"{listed}; {decides}" if decides else listed


def deciding_seed(analysis: Analysis, verdict: Verdict) -> str:
    """That the late mean changes sign, or enters or leaves ±δ, without one seed pair; empty where none does so."""
    late = verdict.late
    if late is None or len(late.per_seed) < 3:
        return ""
    delta, total = fmt.metric_plan(analysis.plan, verdict.metric).delta, math.fsum(late.per_seed)
    mean = total / len(late.per_seed)
    rests = [(total - value) / (len(late.per_seed) - 1) for value in late.per_seed]
    index = max(range(len(rests)), key=lambda i: abs(rests[i] - mean))
    if _side(rests[index], delta) == _side(mean, delta):
        return ""
    name = _pair_names(analysis, verdict)[index]
    return (
        f"one seed decides: without {name} the mean is {fmt.number(rests[index], sign=True)}, "
        f"with it {fmt.number(mean, sign=True)}"
    )


def _side(mean: float, delta: float) -> int:
    """Below −δ, inside ±δ, above δ."""
    return 0 if abs(mean) < delta else int(math.copysign(1, mean))


def _pair_names(analysis: Analysis, verdict: Verdict) -> list[str]:
    """`seed 3`; `pair 4` where it is not known which seeds the values belong to."""
    values = verdict.late.per_seed if verdict.late else ()
    without = {run.seed for run in verdict.lost}
    seeds = [seed for seed in analysis.seeds if seed not in without]
    if len(seeds) != len(values):
        return [f"pair {i + 1}" for i in range(len(values))]
    return [f"seed {seed}" for seed in seeds]


def unseen_share(pairs: int) -> float:
    """The share of runs that an event can happen to, and still be missing in so many pairs with probability 5 %."""
    return 1 - math.pow(0.05, 1 / pairs)
