"""What no analysis of curves can detect, a sentence each: the end of the report's method box."""

from __future__ import annotations

from crossover.analysis.arm_labels import arm_label
from crossover.analysis.upper_bounds import upper_bound_arm
from crossover.report.evidence_words import the, unseen_share
from crossover.report.report_data import ReportContext

_SHARED = "What all seeds share, such as one evaluation set or one machine, shifts every pair alike and is not seen."
_PAIRS = (
    "That runs with one seed share data order and initial weights is taken as declared: unpaired seeds declared as "
    "pairs cannot be told from pairs."
)
_BOUND = (
    "'s loss is taken as an upper bound (NELBO) unless its metric is declared exact; Monte Carlo error that is not "
    "given (column stderr) counts as 0, and intervals are then too narrow."
)
_SCHEDULES = (
    "If the learning rate decays, the points of a run are not budgets: a run that ends there would have decayed by "
    "then; schedules, and budgets of decay that differ between arms, are not seen."
)


def method_limits(context: ReportContext) -> tuple[str, ...]:
    """The sentences, for the runs of this report; of curves that were given there are more."""
    pairs = min(cell.analysis.headline.pairs for cell in context.cells)
    rare = (
        f"Rare bad runs: what happens to fewer than {100 * unseen_share(pairs):.0f} % of the runs of an arm can be "
        f"missing from all {pairs} of them, with a probability above 5 %."
        if pairs
        else ""
    )
    if context.measured_here:
        return (_SHARED, rare) if rare else (_SHARED,)
    plan = context.cells[0].analysis.plan
    bounds = dict.fromkeys(arm for metric in plan.metrics if (arm := upper_bound_arm(metric, plan)))
    labels = (the(arm_label(arm)) for arm in bounds)
    said = (_SHARED, _PAIRS, rare, *(f"{label[:1].upper()}{label[1:]}{_BOUND}" for label in labels), _SCHEDULES)
    return tuple(sentence for sentence in said if sentence)
