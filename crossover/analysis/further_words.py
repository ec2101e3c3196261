"""What to say of more seed pairs: how many, with which chance, and how the next test is declared so that it holds."""

from __future__ import annotations

from crossover.analysis.analysis_plan import AnalysisPlan
from crossover.analysis.inference.alpha_spending import next_level
from crossover.analysis.inference.further_evidence import MOST_FURTHER_PAIRS, POWER


def further_words(
    pairs: int, further: int | None, plan: AnalysisPlan, span: tuple[int, int | None] | None = None
) -> str:
    """How many more pairs would settle an open verdict, as a clause without its full stop.

    Args:
        pairs: complete seed pairs now.
        further: `Verdict.further_pairs`; None where no number that was tried is enough.
        plan: of the analysis.
        span: `Verdict.further_pairs_range`.

    Returns:
        For example `about 9 more (3 to 40) would settle it with 80 % power; the test at 5 has used up α = 0.05: declare
        looks: [5, 14] with spending: added first, and the test at 14 is at 0.0064`.
    """
    if further is None and looks_used_up(plan, pairs):
        return (
            "the plan's looks are used up, and α with them: more pairs of this study would be tested at no level that "
            "is left, and a study of other seeds starts anew"
        )
    if further is None:
        planned = ", ".join(str(look) for look in plan.looks if look > pairs)
        none = f"none of the looks ahead ({planned})" if planned else f"none of up to {MOST_FURTHER_PAIRS} more pairs"
        return f"{none} is expected to settle it"
    settled = f"about {further} more{_span(span)} would settle it with {100 * POWER:g} % power"
    return settled + level_words(pairs, further, plan)


def level_words(pairs: int, further: int, plan: AnalysisPlan) -> str:
    """What has to be declared before they are added, and the level then; empty where a planned look or none is met."""
    looks = added_looks(pairs, further, plan)
    if not looks:
        return ""
    level = next_level(plan, pairs, looks[-1])
    return (
        f"; the test at {pairs} has used up α = {plan.alpha:g}: declare looks: {list(looks)} with spending: added "
        f"first, and the test at {looks[-1]} is at {level:.2g}"
    )


def added_looks(pairs: int, further: int, plan: AnalysisPlan) -> tuple[int, ...]:
    """The looks to declare before so many pairs are added to a study that was judged; empty where none are needed."""
    then = pairs + further
    if pairs < plan.minimum_pairs or then in plan.looks or (plan.looks and plan.spending != "added"):
        return ()
    return (*(look for look in plan.looks if look < pairs), pairs, then)


def looks_used_up(plan: AnalysisPlan, pairs: int) -> bool:
    """Whether the last of the looks that were planned is reached."""
    return bool(plan.looks) and plan.spending != "added" and pairs >= plan.looks[-1]


def looks_edit(pairs: int, further: int, plan: AnalysisPlan) -> str:
    """The edit of the study that adds the pairs, as YAML, a line for each field."""
    looks = added_looks(pairs, further, plan)
    declared = f"\nanalysis: {{looks: {list(looks)}, spending: added}}" if looks else ""
    return f"seeds: {pairs + further}{declared}"


def _span(span: tuple[int, int | None] | None) -> str:
    if span is None:
        return ""
    low, high = span
    return f" ({low} or far more)" if high is None else f" ({low} to {high})" * (low < high)
