"""The tables of a report, as text: every verdict, every number behind a figure, every run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from crossover.analysis.analysis_plan import AnalysisPlan, Axis
from crossover.analysis.analysis_result import Analysis, Band, Figure, SeedCurve, Verdict
from crossover.analysis.arm_labels import arm_label
from crossover.analysis.upper_bounds import upper_bound_arm
from crossover.report import figure_scales, reference_levels, verdict_lines
from crossover.report import number_formats as fmt
from crossover.report.answer import answer
from crossover.report.report_data import CellReport, CorpusFacts, ReportContext

Row = tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """A table of text; the first cell of each row is its heading.

    Cells from `figures_from` on are numbers, but for one that is strong and one that is prose.
    """

    caption: str
    head: Row
    rows: tuple[Row, ...]
    figures_from: int = 1
    strong: int | None = None
    prose: int | None = None
    places: tuple[float, ...] = ()
    """Of a table behind a figure: each row's place on the axis."""


def all_verdicts(analysis: Analysis) -> Table:
    """Every verdict on a line: metric, axis, comparison, against which arm, the outcome, the crossing."""
    rows = tuple(
        (
            *_question(analysis, v),
            verdict_lines.outcome_words(analysis.plan, v),
            fmt.axis_number(v.axis, v.crossing.at) if v.crossing else "–",
            fmt.axis_interval(v.axis, v.crossing.low, v.crossing.high) if v.crossing else "–",
            fmt.p_value(v.p_adjusted),
            str(v.pairs),
        )
        for v in analysis.verdicts
    )
    level = fmt.percent(analysis.plan.alpha)
    head = (*_QUESTION, "Verdict", "Crosses at", f"{level} interval", "Crossover p (Holm)", "Seed pairs")
    caption = f"All verdicts on {arm_label(analysis.plan.candidate)}"
    return Table(caption, head, rows, figures_from=5, strong=4)


def evidence(analysis: Analysis) -> Table:
    """What each verdict rests on: both windows, p, sign changes, and the reason in words."""
    rows = tuple(
        (
            *_question(analysis, v),
            verdict_lines.window_words(v.early),
            verdict_lines.window_words(v.late),
            fmt.p_value(v.p_crossover),
            str(v.sign_changes),
            "–" if v.further_pairs is None else str(v.further_pairs),
            "–" if v.further_reach is None else fmt.axis_number(v.axis, v.further_reach),
            v.reason,
        )
        for v in analysis.verdicts
    )
    differ = f"{arm_label(analysis.plan.candidate)} − baseline"
    head = (
        *_QUESTION,
        f"Early: {differ}",
        f"Late: {differ}",
        "Crossover p",
        "Sign changes (not tested)",
        "Pairs to add",
        "Or runs up to",
        "Why",
    )
    level = fmt.percent(analysis.plan.alpha)
    return Table(f"Evidence: window means with {level} intervals", head, rows, figures_from=4, prose=10)


_QUESTION = ("Metric", "Axis", "Comparison", "Baseline")


def _question(analysis: Analysis, verdict: Verdict) -> Row:
    return (
        fmt.metric_plan(analysis.plan, verdict.metric).title,
        fmt.axis_word(verdict.axis),
        fmt.comparison_words(verdict.comparison, verdict.axis),
        arm_label(verdict.baseline),
    )


def summary(context: ReportContext, analysis: Analysis) -> Table:
    """One row per metric and arm: best, at which epoch or token, final with its deviation, what needs no training."""
    in_tokens = any(s.best_at_tokens is not None for s in analysis.summaries)
    beside = {s.metric: reference_levels.words(context, s.metric) for s in analysis.summaries}
    levels = any(beside.values())
    rows = tuple(
        (
            fmt.metric_title(fmt.metric_plan(analysis.plan, s.metric)),
            _arm(analysis.plan, s.arm, s.metric),
            str(s.seeds),
            fmt.number(s.best_mean),
            _place("tokens", s.best_at_tokens) if in_tokens else _place("epochs", s.best_at_epoch),
            fmt.with_error(s.final_mean, s.final_sd, s.seeds),
            *[beside[s.metric] or "–"] * levels,
        )
        for s in analysis.summaries
    )
    place = f"Best at {'tokens' if in_tokens else 'epoch'} (median)"
    head: Row = ("Metric", "Arm", "Seeds", "Best (mean over seeds)", place, "Final ± sd over seeds")
    head += ("Without training",) * levels
    return Table("Each arm by itself", head, rows, figures_from=2)


def references(context: ReportContext) -> Table:
    """Values that need no training: a model that stays there has learnt nothing of the kind."""
    rows = tuple((fact.label, fact.value) for fact in context.references)
    return Table("Values without any training, to read the results by", ("Reference", "Value"), rows)


def means(plan: AnalysisPlan, figure: Figure) -> Table:
    """The means, simultaneous bands and difference that a figure draws."""
    columns: list[tuple[str, Band]] = [(_arm(plan, arm, figure.metric), band) for arm, band in figure.arms.items()]
    if figure.difference is not None:
        pair = f"{arm_label(plan.candidate)} − {arm_label(plan.baseline)}"
        columns.append((pair, figure.difference))
    places = sorted({x for _, band in columns for x in band.x})
    by_place = [{x: i for i, x in enumerate(band.x)} for _, band in columns]
    rows = []
    for x in places:
        row = [fmt.axis_number(figure.axis, x)]
        for (_, band), index in zip(columns, by_place, strict=True):
            i = index.get(x)
            row += ["", "", ""] if i is None else [fmt.number(v[i]) for v in (band.mean, band.low, band.high)]
        rows.append(tuple(row))
    head = (fmt.axis_word(figure.axis), *(f"{name} {part}" for name, _ in columns for part in _PARTS))
    return Table("Means over seeds with simultaneous bands", head, tuple(rows), places=tuple(places))


_PARTS = ("mean", "low", "high")


def seed_values(figure: Figure, *, most: int) -> Table:
    """What each run measured; runs with places of their own get a column for them.

    Args:
        figure: the figure.
        most: at most so many points of each run.
    """
    curves = [figure_scales.thin_seed(curve, most) for curve in figure.seeds]
    names = [f"{arm_label(c.arm)} seed {c.seed}" for c in curves]
    axis = fmt.axis_word(figure.axis)
    if len({c.x for c in curves}) <= 1:
        head: Row = (axis, *names)
        places = curves[0].x if curves else ()
        rows = [
            (fmt.axis_number(figure.axis, x), *(fmt.number(c.value[i]) for c in curves)) for i, x in enumerate(places)
        ]
    else:
        head = ("point", *(text for name in names for text in (f"{name}: {axis}", f"{name}: value")))
        longest = max(len(c.x) for c in curves)
        rows = [(str(i + 1), *_points(figure, curves, i)) for i in range(longest)]
    return Table("Each run as measured", head, tuple(rows))


def runs(cell: CellReport) -> Table:
    """The runs with keys and digests."""
    rows = tuple(
        (
            r.run_key,
            arm_label(r.arm),
            str(r.seed),
            fmt.short(r.checkpoint_digest) or "–",
            f"{r.steps:,}",
            fmt.count(r.tokens),
            fmt.axis_number("flops", r.flops),
            fmt.duration(r.seconds),
        )
        for r in cell.runs
    )
    head = ("Run", "Arm", "Seed", "Checkpoint", "Steps", "Tokens", "FLOPs", "Time")
    return Table("The runs behind the curves", head, rows, figures_from=4)


def corpus(facts: CorpusFacts | None) -> tuple[Row, ...]:
    """The corpus as rows of label and value; none when only curves were given."""
    if facts is None:
        return ()
    return (
        ("Source", facts.source),
        ("Documents", f"{facts.documents:,}"),
        ("Bytes", f"{facts.bytes:,}"),
        ("Training tokens", f"{facts.train_tokens:,}"),
        ("Validation tokens", f"{facts.validation_tokens:,}"),
        ("Duplicates dropped", f"{facts.duplicates_dropped:,}"),
        *(("Overlap with held-out text", line) for line in facts.overlap),
        ("Digest", facts.digest),
    )


def cells(context: ReportContext) -> Table:
    """The headline of every cell, for a study of several."""
    rows = []
    for cell in context.cells:
        head = cell.analysis.headline
        rows.append(
            (
                cell.cell,
                "–" if cell.unique_tokens is None else fmt.count(cell.unique_tokens),
                "–" if cell.parameters is None else fmt.count(cell.parameters),
                answer(cell.analysis),
                verdict_lines.interval(cell.analysis, head) or "–",
                str(head.pairs),
            )
        )
    titles = ("Cell", "Unique tokens", "Parameters", "Answer", "Interval of the crossing", "Seed pairs")
    return Table("The answer in each cell", titles, tuple(rows), strong=3)


def _arm(plan: AnalysisPlan, arm: str, metric: str) -> str:
    bound = upper_bound_arm(fmt.metric_plan(plan, metric), plan)
    return f"{arm_label(arm)} (upper bound)" if bound and arm.startswith(bound) else arm_label(arm)


def _place(axis: Axis, place: float | None) -> str:
    return "unknown" if place is None else fmt.axis_number(axis, place)


def _points(figure: Figure, curves: list[SeedCurve], i: int) -> Iterable[str]:
    for curve in curves:
        inside = i < len(curve.x)
        yield fmt.axis_number(figure.axis, curve.x[i]) if inside else ""
        yield fmt.number(curve.value[i]) if inside else ""


def plan_facts(cells: Sequence[CellReport]) -> tuple[Row, ...]:
    """The analysis plan, which all cells share, and the seeds that each cell was judged on."""
    analysis = cells[0].analysis
    plan = analysis.plan
    seeds = {cell.cell: ", ".join(map(str, cell.analysis.seeds)) or "none" for cell in cells}
    listed = seeds.values() if len(set(seeds.values())) == 1 else (f"{cell}: {text}" for cell, text in seeds.items())
    metrics = "; ".join(
        f"{fmt.metric_title(m)} ({m.name}): {m.direction} is better, δ = {m.delta:g}" for m in plan.metrics
    )
    return (
        ("Method", analysis.method),
        ("Metrics, the first is primary", metrics),
        ("Axes", ", ".join(fmt.axis_title(axis) for axis in plan.axes)),
        ("Comparisons", ", ".join(plan.comparisons)),
        ("Arms compared", f"{plan.candidate} (candidate) minus {plan.baseline} (baseline)"),
        ("Early window", _window(plan.early_window)),
        ("Late window", _window(plan.late_window)),
        ("α", f"{plan.alpha:g}"),
        ("Adjusted over (Holm)", plan.multiplicity),
        ("Looks while it grows", _looks(plan)),
        ("Tuned arms of the baseline", ", ".join(plan.tuned) or "none: not tested"),
        ("Seed pairs needed", str(plan.minimum_pairs)),
        ("Seeds with both arms complete", "; ".join(dict.fromkeys(listed))),
    )


def _looks(plan: AnalysisPlan) -> str:
    return f"at {', '.join(map(str, plan.looks))} seed pairs ({plan.spending})" if plan.looks else "none: judged once"


def _window(fractions: tuple[float, float]) -> str:
    return f"{100 * fractions[0]:g} % – {100 * fractions[1]:g} % of the common range of the axis, on a log scale"
