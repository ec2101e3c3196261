"""The answer: one sentence on what to choose, the same in terminal, report, decision and the registry's pages."""

from __future__ import annotations

from crossover.analysis.across.choice_by_verdicts import VerdictChoice, choice_by_verdicts, choice_of
from crossover.analysis.across.cross_cell_result import Choice
from crossover.analysis.analysis_plan import AnalysisPlan, Comparison
from crossover.analysis.analysis_result import Analysis
from crossover.analysis.arm_labels import arm_label
from crossover.report import evidence_words, verdict_lines
from crossover.report import number_formats as fmt

HALVES: tuple[Comparison, ...] = ("best-so-far", "matched")
"""With early stopping, and trained to the end."""
STOPPED, TRAINED = "if you may stop early", "if you train to the end"
_WHEN: dict[Comparison, str] = {"best-so-far": STOPPED, "matched": TRAINED}
_UNKNOWN = "not known yet"


def answer(analysis: Analysis) -> str:
    """What to choose by the verdicts on the primary metric and first axis, without a full stop.

    Where neither half of the answer was planned (a frontier over model sizes), the headline's statement.
    """
    plan, found = analysis.plan, halves(analysis)
    if not found:
        return verdict_lines.statement(analysis, analysis.headline)
    if all(choice.choose == "cannot say" for choice in found.values()):
        return _insufficient(found)
    names = {_label(choice) for choice in found.values()}
    if len(found) == 2 and len(names) == 1 and all(c.verdict.crossing is None for c in found.values()):
        text = same_in_both(names.pop())
        either = found["matched"].choose == "either"
        return f"{text}, with {verdict_lines.no_difference(plan, found['matched'].verdict)}" if either else text
    known = [_clause(plan, found, half) for half in found if found[half].choose != "cannot say"]
    unknown = [_unknown(half, choice) for half, choice in found.items() if choice.choose == "cannot say"]
    return f"Choose {'; '.join((*known, *unknown))}"


def halves(analysis: Analysis) -> dict[Comparison, VerdictChoice]:
    """The halves of the answer that were planned, each with the verdict that decides it."""
    head = analysis.headline
    found = {half: choice_by_verdicts(analysis, head.metric, head.axis, half) for half in HALVES}
    return {half: choice for half, choice in found.items() if choice is not None}


def deciding_half(analysis: Analysis) -> tuple[Comparison, VerdictChoice]:
    """The half that a promotion follows: with early stopping, where it was planned; of a frontier its headline."""
    head = analysis.headline
    return next(iter(halves(analysis).items()), (head.comparison, VerdictChoice(choice_of(analysis, head), head)))


def same_in_both(label: str) -> str:
    """Both halves of an answer that are the same."""
    return f"Choose {label}, whether you may stop early or train to the end"


def at_a_budget(early: Choice, late: Choice | None, baseline: str, candidate: str, late_baseline: str) -> str:
    """The same where a choice at a budget is all that is known.

    Args:
        early: with early stopping, or the only half.
        late: trained until there; None where it was not planned.
        baseline: the arm compared in the first half.
        candidate: the other arm.
        late_baseline: the arm compared in the second half.
    """
    if early == "cannot say" and late in (None, "cannot say"):
        return "Cannot say yet"
    one = chosen_label(early, baseline, candidate)
    if late is None:
        return f"Choose {one}"
    other = chosen_label(late, late_baseline, candidate)
    if one == other:
        return same_in_both(one)
    clauses = [(one, STOPPED), (other, TRAINED)]
    clauses.sort(key=lambda clause: clause[0] == _UNKNOWN)
    return f"Choose {'; '.join(f'{label} {when}' for label, when in clauses)}"


def chosen_label(choose: Choice, baseline: str, candidate: str) -> str:
    """A choice by the arm's name, inside of a sentence."""
    arms = {"baseline": arm_label(baseline), "candidate": arm_label(candidate)}
    return ({"either": "either", "cannot say": _UNKNOWN} | arms)[choose]


def _label(choice: VerdictChoice) -> str:
    return chosen_label(choice.choose, choice.verdict.baseline, choice.verdict.candidate)


def _insufficient(found: dict[Comparison, VerdictChoice]) -> str:
    """No half is known: what stands against it."""
    trained = found["matched"].verdict.obstacle if "matched" in found else ""
    stopped = found["best-so-far"].verdict.obstacle if "best-so-far" in found else ""
    text = f"Insufficient evidence: {trained}" if trained else "Insufficient evidence"
    return f"{text}; stopped early: {stopped}" if stopped and stopped != trained else text


def _clause(plan: AnalysisPlan, found: dict[Comparison, VerdictChoice], half: Comparison) -> str:
    """One half of the answer."""
    choice, when = found[half], _WHEN[half]
    verdict, label = choice.verdict, _label(choice)
    if choice.choose == "either":
        return f"{label} {when}, with {verdict_lines.no_difference(plan, verdict)}"
    if verdict.crossing is None:
        return f"{label} {when}"
    first = verdict_lines.order(verdict)[0]
    proven = evidence_words.bound_arm(plan, verdict) in ("", first)  # a gap to a bound from below proves nothing
    interval = fmt.axis_interval(verdict.axis, verdict.crossing.low, verdict.crossing.high)
    place = f"{fmt.axis_place(verdict.axis, verdict.crossing.at)} ({interval})"
    before = arm_label(first)
    if half == "best-so-far":
        return f"{label} from {place} on{f', {before} before,' if proven else ''} {when}"
    said = "best-so-far" in found and _label(found["best-so-far"]) == before
    return f"{label} if you train past {place}{f', {before} if not so far' if proven and not said else ''}"


def _unknown(half: Comparison, choice: VerdictChoice) -> str:
    obstacle = f" ({choice.verdict.obstacle})" if choice.verdict.obstacle else ""
    return f"{_UNKNOWN} {_WHEN[half]}{obstacle}"
