"""Verdicts as text: one statement, its evidence, and what would change it."""

from __future__ import annotations

from crossover.analysis.across.choice_by_verdicts import VerdictChoice, choice_by_verdicts
from crossover.analysis.across.cross_cell_result import Choice
from crossover.analysis.analysis_plan import AnalysisPlan, Axis, Comparison
from crossover.analysis.analysis_result import Analysis, Verdict, Window
from crossover.analysis.arm_labels import arm_label, direction_label
from crossover.report import number_formats as fmt
from crossover.report.report_data import CellReport, ReportContext


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
        first, second = _order(verdict)
        return f"{second} overtakes {first} at {fmt.axis_place(verdict.axis, verdict.crossing.at)}"
    if verdict.outcome in {"baseline", "candidate"}:
        return f"{_winner(verdict)} is better, no crossing shown"
    if verdict.outcome == "crossover":
        return "The curves cross, at a place that cannot be located"
    if verdict.outcome == "insufficient evidence":
        return "Insufficient evidence"
    return f"No difference within {_delta(plan, verdict)}"


def delta(analysis: Analysis, verdict: Verdict) -> str:
    """The smallest difference that matters, with its unit."""
    return _delta(analysis.plan, verdict)


def _delta(plan: AnalysisPlan, verdict: Verdict) -> str:
    metric = fmt.metric_plan(plan, verdict.metric)
    return f"δ = {metric.delta:g} {metric.unit}".strip()


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
    """Each of several sign changes with its interval."""
    return "; ".join(
        f"{direction_label(t, head.baseline, head.candidate)} at {fmt.axis_place(head.axis, t.at)} "
        f"({fmt.axis_interval(head.axis, t.low, t.high)})"
        for t in head.turns
    )


def line(analysis: Analysis, verdict: Verdict) -> str:
    """The verdict on one line of plain text, words then figures."""
    metric = fmt.metric_plan(analysis.plan, verdict.metric)
    parts = [
        _word_and_figures(analysis, verdict),
        _lower_first(metric.title),
        fmt.comparison_words(verdict.comparison, verdict.axis),
        fmt.pairs(verdict.pairs),
    ]
    text = ", ".join(parts)
    if verdict.outcome == "insufficient evidence" and verdict.further_pairs:
        text += f"; about {verdict.further_pairs} more would settle it"
    if verdict.turns:
        text += f"; {len(verdict.turns)} sign changes"
    return text


def headline(context: ReportContext) -> list[str]:
    """Lines for a terminal: what to choose, the verdict, best so far, then each further metric; once per cell.

    Args:
        context: what the report is made of.

    Returns:
        Plain text lines without line ends.
    """
    lines: list[str] = []
    for cell in context.cells:
        prefix = f"[{cell.cell}] " if len(context.cells) > 1 else ""
        lines += [prefix + text for text in _cell_lines(cell.analysis)]
    for movement in context.overview.movements[:1]:
        lines += [f"MOVES: the log of the crossing by {s.estimate:+.2f} with {s.predictor}" for s in movement.slopes]
    return lines


def choice(analysis: Analysis) -> str:
    """What to choose with early stopping and without, as one sentence; empty where only one of them was planned."""
    head = analysis.headline
    stopped = choice_by_verdicts(analysis, head.metric, head.axis, "best-so-far")
    trained_on = choice_by_verdicts(analysis, head.metric, head.axis, "matched")
    if stopped is None or trained_on is None:
        return ""
    early, late = _chosen(stopped), _chosen(trained_on)
    crossing = trained_on.verdict.crossing
    when = "If you train to the end"
    if crossing is not None and early != late:
        when = f"If you train on past {fmt.axis_place(head.axis, crossing.at)}"
        late = chosen_label(trained_on.choose, trained_on.verdict.baseline, trained_on.verdict.candidate)
    return both_halves(early, late, when)


def both_halves(early: str, late: str, when: str = "If you train to the end") -> str:
    """What to choose with early stopping and without, as a sentence."""
    if early == late:
        return f"With early stopping or without: {early}."
    return f"If you stop early and keep a run's best checkpoint: {early}. {when}: {late}."


def chosen_label(choose: Choice, baseline: str, candidate: str) -> str:
    """A choice by the arm's name, inside of a sentence."""
    arms = {"baseline": arm_label(baseline), "candidate": arm_label(candidate)}
    return ({"either": "either", "cannot say": "not known yet"} | arms)[choose]


def _chosen(choice: VerdictChoice) -> str:
    """The arm to choose by a verdict, and from where on."""
    verdict = choice.verdict
    label = chosen_label(choice.choose, verdict.baseline, verdict.candidate)
    if verdict.crossing is None:
        return label
    return f"{label}, from {fmt.axis_place(verdict.axis, verdict.crossing.at)} on"


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
    """In words, the one thing in which a verdict on the same metric differs from the headline; empty otherwise."""
    if verdict.metric != head.metric or verdict.candidate != head.candidate:
        return ""
    words = {
        "axis": f"when counted in {fmt.axis_word(verdict.axis)}",
        "comparison": "with early stopping (best so far)"
        if verdict.comparison == "best-so-far"
        else "at matched tokens",
        "baseline": f"against {arm_label(verdict.baseline)}",
    }
    differs = [text for key, text in words.items() if getattr(verdict, key) != getattr(head, key)]
    return differs[0] if len(differs) == 1 else ""


def _lower_first(text: str) -> str:
    return text if text[:2].isupper() else text[:1].lower() + text[1:]


def _evidence(analysis: Analysis, head: Verdict) -> list[str]:
    if head.outcome == "insufficient evidence" and head.further_pairs:
        return [f"About {head.further_pairs} further seed pairs would settle it, at the variance seen."]
    if head.outcome == "insufficient evidence":
        return ["More seed pairs; how many cannot be said from the variance seen."]
    if head.crossing is not None and (head.crossing.low is None or head.crossing.high is None):
        return ["The interval is unbounded: longer runs or more seed pairs would close it."]
    if head.outcome == "equivalent":
        return [f"A stricter reading: differences below {delta(analysis, head)} were declared not to matter."]
    return []


def _cell_lines(analysis: Analysis) -> list[str]:
    head = analysis.headline
    lines = [f"CHOOSE: {text}"] if (text := choice(analysis)) else []
    lines.append(f"VERDICT: {line(analysis, head)}")
    best = find(analysis, head.metric, head.axis, "best-so-far")
    if best is not None and best is not head:
        lines.append(f"BEST SO FAR: {line(analysis, best)}")
    tuned = against_tuned(analysis, head)
    if tuned is not None:
        lines.append(f"AGAINST {arm_label(tuned.baseline).upper()}: {line(analysis, tuned)}")
    for metric in analysis.plan.metrics:
        verdict = find(analysis, metric.name, head.axis, head.comparison)
        if metric.name != head.metric and verdict is not None:
            lines.append(f"FURTHER METRIC: {line(analysis, verdict)}")
    return lines


def _word_and_figures(analysis: Analysis, verdict: Verdict) -> str:
    if verdict.crossing is not None:
        first, second = _order(verdict)
        place = fmt.axis_place(verdict.axis, verdict.crossing.at)
        return f"crossover {first}→{second} at {place} ({interval(analysis, verdict)})"
    if verdict.outcome in {"baseline", "candidate"} and verdict.late is not None:
        pair = f"{arm_label(verdict.candidate)} − {arm_label(verdict.baseline)}"
        return f"{_winner(verdict)} is better (late window, {pair}: {window_words(verdict.late)})"
    if verdict.outcome == "equivalent":
        return f"no difference within {delta(analysis, verdict)}"
    return verdict.outcome


def _winner(verdict: Verdict) -> str:
    return arm_label(verdict.baseline if verdict.outcome == "baseline" else verdict.candidate)


def _order(verdict: Verdict) -> tuple[str, str]:
    baseline, candidate = arm_label(verdict.baseline), arm_label(verdict.candidate)
    forward = verdict.crossing is None or verdict.crossing.direction == "baseline→candidate"
    return (baseline, candidate) if forward else (candidate, baseline)
