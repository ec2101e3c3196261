"""A study being run: how far each run is, the losses so far, what is lost, and when the training will be over."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from crossover_services.registry import page_words
from crossover_services.registry.page_addresses import run_address
from crossover_services.registry.page_cache import BoundedCache
from pydantic import ValidationError

from crossover.analysis.analysis_plan import AnalysisPlan, Axis, MetricPlan
from crossover.analysis.arm_labels import arm_label
from crossover.registry import Registry
from crossover.registry.reads.read_filters import Namespaces
from crossover.registry.reads.study_results import RunRecord
from crossover.registry.reads.thin_curves import ThinCurve, thin_curves
from crossover.report import number_formats as fmt
from crossover.report.run_figures import LOOK, SMALL_LOOK, Line, draw_lines
from crossover.study.study_config import StudyConfig

_DRAWINGS: BoundedCache[str] = BoundedCache(128)
_GROUPS = 60


@dataclass(frozen=True)
class RunProgress:
    """How far one of the planned runs is."""

    cell: str
    arm: str
    seed: int
    status: str
    """As in `v_runs`; `waiting` of a run that was not started."""
    address: str
    tokens: int
    total_tokens: int | None
    seconds: float
    seconds_left: float | None
    """Of training; None where it is not known."""
    attempts: int
    heartbeat_at: datetime | None
    host: str

    @property
    def share(self) -> float | None:
        """Of the tokens, between 0 and 1."""
        return min(1.0, self.tokens / self.total_tokens) if self.total_tokens else None


@dataclass(frozen=True)
class LiveFigure:
    """Curves so far."""

    title: str
    drawing: str
    narrow: str
    caption: str


@dataclass(frozen=True)
class Live:
    """The state of a study that is not done."""

    runs: tuple[RunProgress, ...]
    seconds_left: float | None
    """Of training, with as many runs at once as now; None where it is not known."""
    pairs: int
    """Seed pairs with both arms done, of the cell that is shown."""
    pairs_needed: int
    figures: tuple[LiveFigure, ...]


def progress(config: Mapping[str, Any], records: Sequence[RunRecord]) -> tuple[RunProgress, ...]:
    """Every planned run and every other that the study has, by cell and seed, the arms of a pair together."""
    known = {(r.cell, r.arm, r.seed): r for r in records}
    names = list(dict.fromkeys([*page_words.planned_runs(config), *known]))
    cells = list(dict.fromkeys(cell for cell, _, _ in names))
    names.sort(key=lambda name: (cells.index(name[0]), name[2]))  # stable: arms stay in the study's order
    totals = _totals(config, records)
    return tuple(_progress(name, known.get(name), totals.get(name[0])) for name in names)


def _progress(name: tuple[str, str, int], record: RunRecord | None, total: int | None) -> RunProgress:
    cell, arm, seed = name
    if record is None:
        return RunProgress(cell, arm, seed, "waiting", "", 0, total, 0.0, None, 0, None, "")
    left = None
    if record.status == "done":
        left, total = 0.0, record.tokens
    elif total and record.tokens and record.seconds:
        left = record.seconds * max(0, total - record.tokens) / record.tokens
    return RunProgress(
        cell=cell,
        arm=arm,
        seed=seed,
        status=record.status,
        address=run_address(record.digest),
        tokens=record.tokens,
        total_tokens=total,
        seconds=record.seconds,
        seconds_left=left,
        attempts=record.attempts,
        heartbeat_at=record.heartbeat_at,
        host=record.host,
    )


def _totals(config: Mapping[str, Any], records: Sequence[RunRecord]) -> dict[str, int]:
    """Cell to the training tokens of each of its runs, where they can be known."""
    totals = {}
    try:
        study = StudyConfig.model_validate(config)
        tokens = study.training.batch_size * study.data.sequence_length
        totals = {cell.name: study.total_steps(cell) * tokens for cell in study.cells}
    except ValidationError:
        pass
    return totals | {r.cell: r.tokens for r in records if r.status == "done" and r.tokens}


def seconds_left(runs: Sequence[RunProgress]) -> float | None:
    """Training time until all runs are done, from what runs of the same cell and arm took; None where it is unknown."""
    running = [r for r in runs if r.status == "running"]
    if not running:
        return None
    lengths: dict[tuple[str, str], list[float]] = {}
    for r in runs:
        if r.share and r.seconds:
            lengths.setdefault((r.cell, r.arm), []).append(r.seconds / r.share)
    left = []
    for r in runs:
        usual = lengths.get((r.cell, r.arm))
        mean = sum(usual) / len(usual) if usual else None
        part = mean if r.seconds_left is None else r.seconds_left
        if part is None:
            return None
        left.append((part, r.status == "running"))
    return max(*(part for part, now in left if now), sum(part for part, _ in left) / len(running))


def live(
    registry: Registry,
    namespaces: Namespaces,
    plan: AnalysisPlan,
    config: Mapping[str, Any],
    records: Sequence[RunRecord],
    cell: str,
) -> Live:
    """The state of a study, with the curves of one of its cells."""
    runs = progress(config, records)
    own = [r for r in records if r.cell == cell]
    primary = plan.metrics[0]
    curves = thin_curves(
        registry,
        namespaces,
        [r.id for r in own],
        {primary.name, "training_loss"},
        most=_GROUPS,
        restarted=any(r.attempts > 1 for r in own),
    )
    done = {(r.arm, r.seed) for r in own if r.status == "done"}
    pairs = sum((plan.candidate, seed) in done for arm, seed in done if arm == plan.baseline)
    loss = MetricPlan(name="training_loss", direction="lower", delta=1e-9, label="Training loss", unit="nats/token")
    drawn = (_figure(metric, plan, curves, {r.id: r for r in own}) for metric in (primary, loss))
    figures = tuple(figure for figure in drawn if figure is not None)
    return Live(runs, seconds_left(runs), pairs, plan.minimum_pairs, figures)


def _figure(
    metric: MetricPlan, plan: AnalysisPlan, curves: Sequence[ThinCurve], runs: Mapping[int, RunRecord]
) -> LiveFigure | None:
    own = [c for c in curves if c.metric == metric.name]
    if metric.name == "training_loss":
        own = [c for c in own if c.points > 1]
    lines = [Line(arm_label(runs[c.run].arm), tuple(map(float, c.tokens)), c.values) for c in own]
    bounds = any(c.estimator == "upper bound" for c in own)
    subtitle = "so far, one line a run" + (f" · {arm_label(plan.candidate)}: upper bound (NELBO)" if bounds else "")
    means = " Each place is the mean of neighbouring points." if any(c.points > _GROUPS for c in own) else ""
    caption = f"{metric.title} against training tokens, {metric.direction} is better; no statistics yet.{means}"
    compared = (arm_label(plan.baseline), arm_label(plan.candidate))
    wide, narrow = (
        drawn(
            lines, axis="tokens", metric=metric, subtitle=subtitle, description=caption, small=small, compared=compared
        )
        for small in (False, True)
    )
    return LiveFigure(metric.title, wide, narrow, caption) if wide else None


def drawn(
    lines: Sequence[Line],
    *,
    axis: Axis,
    metric: MetricPlan,
    subtitle: str,
    description: str,
    small: bool,
    compared: tuple[str, str] = ("", ""),
    marks: Sequence[tuple[float, str]] = (),
) -> str:
    """Lines as an SVG element, drawn once for the same lines."""
    content = repr((lines, axis, metric, subtitle, description, small, compared, marks))
    key = f"l{hashlib.sha256(content.encode()).hexdigest()[:8]}{'n' if small else ''}"
    return _DRAWINGS.get(
        hashlib.sha256(content.encode()).hexdigest(),
        lambda: draw_lines(
            lines,
            axis=axis,
            metric=metric,
            subtitle=subtitle,
            key=key,
            description=description,
            look=SMALL_LOOK if small else LOOK,
            marks=marks,
            baseline=compared[0],
            candidate=compared[1],
        ),
    )


def left_words(seconds: float | None) -> str:
    """How long the training goes on, in words; empty where it is not known."""
    return "" if seconds is None else f"about {fmt.duration(seconds)} of training left"
