"""Verdicts as text: one statement, its evidence, and what would change it."""

from __future__ import annotations

from crossover.analysis.analysis_plan import AnalysisPlan, Axis, Comparison
from crossover.analysis.analysis_result import Analysis, Verdict, Window
from crossover.analysis.arm_labels import arm_label, direction_label, outcome_label
from crossover.analysis.upper_bounds import CHAIN_RULE
from crossover.report import evidence_words
from crossover.report import number_formats as fmt
from crossover.report.evidence_words import bound_arm, the
from crossover.report.report_data import CellReport


def find(analysis: Analysis, metric: str, axis: Axis, comparison: Comparison) -> Verdict | None:
    """The verdict of the planned two arms for a metric, an axis and a comparison."""
    plan = analysis.plan
    wanted = (metric, axis, comparison, plan.baseline, plan.candidate)
    return next(
        (v for v in analysis.verdicts if (v.metric, v.axis, v.comparison, v.baseline, v.candidate) == wanted), None
    )


def statement(analysis: Analysis, verdict: Verdict) -> str:
    """The verdict as one short sentence without a full stop."""
    return planned_statement(analysis.plan, verdict)


def planned_statement(plan: AnalysisPlan, verdict: Verdict) -> str:
    """The same, where only the plan is at hand."""
    if verdict.crossing is not None:
        place = fmt.axis_place(verdict.axis, verdict.crossing.at)
        if by_bound := _crossing_of_bound(plan, verdict, place):
            return _upper_first(by_bound)
        first, second = map(arm_label, order(verdict))
        return f"{second} overtakes {first} at {place}"
    if verdict.outcome in {"baseline", "candidate"}:
        by_bound = _below_bound(plan, verdict)
        return _upper_first(by_bound) if by_bound else f"{_winner(verdict)} is better, no crossing shown"
    if verdict.outcome == "crossover":
        return "The curves cross, at a place that cannot be located"
    if verdict.outcome == "insufficient evidence":
        return f"Insufficient evidence: {verdict.obstacle}" if verdict.obstacle else "Insufficient evidence"
    return _upper_first(no_difference(plan, verdict))


def outcome_words(plan: AnalysisPlan, verdict: Verdict) -> str:
    """The outcome in a few words, for tables."""
    if _below_bound(plan, verdict):
        return f"{_winner(verdict)} below {the(arm_label(bound_arm(plan, verdict)))}'s bound"
    return outcome_label(verdict.outcome, verdict.baseline, verdict.candidate)


def no_difference(plan: AnalysisPlan, verdict: Verdict) -> str:
    """The outcome `equivalent`: `no difference that matters (δ = 0.02 bits/byte)`."""
    return f"no difference that matters ({delta(plan, verdict)})"


def delta(plan: AnalysisPlan, verdict: Verdict) -> str:
    """The smallest difference that matters, with its unit."""
    metric = fmt.metric_plan(plan, verdict.metric)
    return f"δ = {metric.delta:g} {metric.unit}".strip()


def order(verdict: Verdict) -> tuple[str, str]:
    """The arm that is better before the crossing, and the one that is after it."""
    forward = verdict.crossing is None or verdict.crossing.direction == "baseline→candidate"
    return (verdict.baseline, verdict.candidate) if forward else (verdict.candidate, verdict.baseline)


def _below_bound(plan: AnalysisPlan, verdict: Verdict) -> str:
    """What is known of a winner over a bound; empty where the winner's own values are the bound, or all are exact."""
    bound, winner = bound_arm(plan, verdict), winning_arm(verdict)
    if verdict.outcome not in ("baseline", "candidate") or not bound or bound == winner:
        return ""
    text = f"{the(arm_label(winner))}'s loss is below {the(arm_label(bound))}'s upper bound"
    confirmed = verdict.metric != CHAIN_RULE and any(m.name == CHAIN_RULE for m in plan.metrics)
    return f"{text}, and the chain-rule loss confirms it" if confirmed else text


def winning_arm(verdict: Verdict) -> str:
    """The arm that an outcome names."""
    return verdict.baseline if verdict.outcome == "baseline" else verdict.candidate


def _crossing_of_bound(plan: AnalysisPlan, verdict: Verdict, place: str) -> str:
    """A crossing where one curve is a bound; empty where both are exact."""
    bound, (first, second) = bound_arm(plan, verdict), order(verdict)
    if not bound:
        return ""
    other = the(arm_label(first if bound == second else second))
    falls, when = ("falls below", "no later") if bound == second else ("rises above", "no earlier, if at all")
    return f"{the(arm_label(bound))}'s upper bound {falls} {other}'s loss at {place}; its loss does so {when}"


def interval(analysis: Analysis, verdict: Verdict) -> str:
    """The crossing's interval with its confidence, or an empty string without a crossing."""
    if verdict.crossing is None:
        return ""
    text = fmt.axis_interval(verdict.axis, verdict.crossing.low, verdict.crossing.high)
    return f"{fmt.percent(analysis.plan.alpha)} interval {text}"


def window_words(window: Window | None) -> str:
    """A window's mean difference with its interval, or `not tested`."""
    return "not tested" if window is None else mean_words(window.mean, window.interval)


def mean_words(mean: float, interval: tuple[float, float] | None) -> str:
    """A mean with its interval: `+0.48 (+0.44 … +0.52)`."""
    text = fmt.number(mean, sign=True)
    if interval is None:
        return text
    low, high = (fmt.number(end, sign=True) for end in interval)
    return f"{text} ({low} … {high})"


def against_tuned(analysis: Analysis, head: Verdict) -> Verdict | None:
    """The headline's contrast against the best tuned arm, if the plan names tuned arms."""
    wanted = (head.metric, head.axis, head.comparison, analysis.plan.tuned_name)
    return next((v for v in analysis.verdicts if (v.metric, v.axis, v.comparison, v.baseline) == wanted), None)


def on_other_axes(analysis: Analysis, head: Verdict) -> list[Verdict]:
    """The headline's contrast on the plan's other axes, where the curves cross there too."""
    verdicts = (find(analysis, head.metric, axis, head.comparison) for axis in analysis.plan.axes if axis != head.axis)
    return [verdict for verdict in verdicts if verdict is not None and verdict.crossing is not None]


def other_methods(head: Verdict) -> str:
    """The crossing by methods that share none of the assumptions: `interpolated epoch 27.9, isotonic epoch 28.1`."""
    if head.crossing is None:
        return ""
    places = head.crossing.sensitivity.items()
    return ", ".join(f"{name} {'none' if x is None else fmt.axis_number(head.axis, x)}" for name, x in places)


def turn_words(head: Verdict) -> str:
    """Each of several sign changes with its interval; none of them is tested."""
    return "; ".join(
        f"{direction_label(t, head.baseline, head.candidate)} at {fmt.axis_place(head.axis, t.at)} "
        f"({fmt.axis_interval(head.axis, t.low, t.high)})"
        for t in head.turns
    )


def line(analysis: Analysis, verdict: Verdict) -> str:
    """The verdict on one line of plain text: words with figures, metric and δ, then what it speaks of."""
    title = _lower_first(fmt.metric_plan(analysis.plan, verdict.metric).title)
    if verdict.outcome != "equivalent":
        title += f" ({delta(analysis.plan, verdict)})"
    parts = [
        _word_and_figures(analysis, verdict),
        title,
        fmt.comparison_words(verdict.comparison, verdict.axis),
        fmt.pairs(verdict.pairs),
        *evidence_words.scope(analysis, verdict),
    ]
    text = ", ".join(parts)
    if verdict.outcome == "insufficient evidence" and verdict.further_pairs:
        text += f"; about {further_words(verdict)} more would settle it with 80 % power"
    if verdict.turns:
        text += f"; {len(verdict.turns)} sign changes, not tested: {turn_words(verdict)}"
    return text


def further_words(verdict: Verdict) -> str:
    """The seed pairs to add, with the ends of their range where it is known: `4 (2 to 11)`."""
    if verdict.further_pairs_range is None:
        return str(verdict.further_pairs)
    low, high = verdict.further_pairs_range
    return f"{verdict.further_pairs} ({low} to {'beyond reach' if high is None else high})"


def what_would_change_it(cell: CellReport) -> tuple[str, ...]:
    """What is known to alter the headline's answer, and what was not tested."""
    analysis, head = cell.analysis, cell.analysis.headline
    sentences = _evidence(analysis, head)
    same: list[str] = []
    for verdict in analysis.verdicts:
        name = _differs_in(verdict, head)
        if name and verdict.outcome == head.outcome:
            same.append(name)
        elif name:
            sentences.append(f"{name[0].upper()}{name[1:]}: {_lower_first(statement(analysis, verdict))}.")
    if same:
        sentences.append(f"The same answer {', '.join(same)}.")
    sentences.append("Not tested: other corpora, and other numbers of unique tokens and parameters than the study's.")
    return tuple(sentences)


def _differs_in(verdict: Verdict, head: Verdict) -> str:
    """In words, the axis or baseline in which a verdict on the same metric differs; empty where more, or less, does."""
    if (verdict.metric, verdict.candidate, verdict.comparison) != (head.metric, head.candidate, head.comparison):
        return ""
    words = {
        "axis": f"when counted in {fmt.axis_word(verdict.axis)}",
        "baseline": f"against {arm_label(verdict.baseline)}",
    }
    differs = [text for key, text in words.items() if getattr(verdict, key) != getattr(head, key)]
    return differs[0] if len(differs) == 1 else ""


def _lower_first(text: str) -> str:
    return text if text[:2].isupper() else text[:1].lower() + text[1:]


def _evidence(analysis: Analysis, head: Verdict) -> list[str]:
    if head.outcome == "insufficient evidence":
        return [_more_pairs(analysis.plan, head)]
    if head.crossing is not None and (head.crossing.low is None or head.crossing.high is None):
        return ["The interval is unbounded: longer runs or more seed pairs would close it."]
    if head.outcome == "equivalent":
        return [f"A stricter reading: differences below {delta(analysis.plan, head)} were declared not to matter."]
    return []


def _more_pairs(plan: AnalysisPlan, head: Verdict) -> str:
    """What further seed pairs would do to an open verdict."""
    if head.further_pairs:
        return f"About {further_words(head)} further seed pairs would settle it with 80 % power, at the variance seen."
    if head.drawn_pairs:
        return f"About {head.drawn_pairs} further seed pairs with many more masks would settle it with 80 % power."
    if head.late is None or head.obstacle:
        return "More seed pairs; how many cannot be said from the variance seen."
    from crossover.analysis.further_words import further_words as settling_words  # imports scipy

    return f"{_upper_first(settling_words(head.pairs, None, plan))}."


def _word_and_figures(analysis: Analysis, verdict: Verdict) -> str:
    plan = analysis.plan
    if verdict.crossing is not None:
        place = f"{fmt.axis_place(verdict.axis, verdict.crossing.at)} ({interval(analysis, verdict)})"
        first, second = map(arm_label, order(verdict))
        return _crossing_of_bound(plan, verdict, place) or f"crossover {first}→{second} at {place}"
    if verdict.outcome in {"baseline", "candidate"}:
        text = _below_bound(plan, verdict) or f"{_winner(verdict)} is better"
        if verdict.late is None:
            return text
        pair = f"{arm_label(verdict.candidate)} − {arm_label(verdict.baseline)}"
        return f"{text} (late window, {pair}: {window_words(verdict.late)})"
    return _lower_first(planned_statement(plan, verdict))


def _winner(verdict: Verdict) -> str:
    return arm_label(winning_arm(verdict))


def _upper_first(text: str) -> str:
    return text[:1].upper() + text[1:]
