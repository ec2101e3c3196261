"""The page of a run: any metric over its attempts, checkpoints, scores, and what it was trained with."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, cast, get_args

from crossover_services.registry import page_live, page_words
from crossover_services.registry.page_addresses import run_address, study_address

from crossover import metric_catalogue
from crossover.analysis.analysis_plan import Axis, MetricPlan
from crossover.analysis.arm_labels import arm_label
from crossover.registry import Registry
from crossover.registry.reads.data_and_deployments import DeploymentRecord, deployments
from crossover.registry.reads.read_filters import Namespaces
from crossover.registry.reads.run_detail import RunDetail, item_scores, run_detail
from crossover.registry.reads.thin_curves import ThinCurve, thin_curves
from crossover.report import number_formats as fmt
from crossover.report.run_figures import Line

_FIRST = ("validation_bpb", "validation_nll", "training_loss")
_ITEMS = 50
_GROUPS = 120
_PENS = (arm_label("ar"), arm_label("dlm"))


@dataclass(frozen=True)
class ItemTable:
    """The scores of a task's items at a step: the first rows, and how many there are."""

    task: str
    step: int
    names: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    total: int


@dataclass(frozen=True)
class RunPage:
    """All that the page shows."""

    detail: RunDetail
    title: str
    address: str
    metrics: tuple[tuple[str, str], ...]
    """Names of metrics with their titles."""
    metric: str
    axes: tuple[tuple[str, str], ...]
    axis: str
    curves: tuple[ThinCurve, ...]
    figure: page_live.LiveFigure | None
    tasks: tuple[tuple[str, str], ...]
    """Scored tasks with their addresses."""
    items: ItemTable | None
    studies: tuple[tuple[str, str, str], ...]
    """Name, revision, address."""
    served: tuple[DeploymentRecord, ...]
    config: tuple[tuple[str, str], ...]


def run_page(registry: Registry, namespaces: Namespaces, name: str, *, metric: str, axis: str, task: str) -> RunPage:
    """Gather the page of a run.

    Args:
        registry: open.
        namespaces: to read.
        name: digest, the beginning of one, or id.
        metric: to draw; one that it does not have, or none, is the first of the usual ones.
        axis: `tokens`, `epochs`, `flops` or `seconds`.
        task: whose items to list; empty lists none.

    Raises:
        RegistryError: there is no such run.
    """
    detail = run_detail(registry, namespaces, name)
    run = detail.run
    names = list(dict.fromkeys(series.name for series in detail.series))
    usual = next((m for m in _FIRST if m in names), next(iter(names), ""))
    metric = metric if metric in names else usual
    axes = [a for a in get_args(Axis) if a != "epochs" or run.epoch_tokens]
    axis = axis if axis in axes else "tokens"
    curves = thin_curves(registry, namespaces, [run.id], [metric], most=_GROUPS, restarted=len(detail.attempts) > 1)
    tasks = list(dict.fromkeys(name for name, _ in detail.scored))
    return RunPage(
        detail=detail,
        title=f"{arm_label(run.arm)}, seed {run.seed}",
        address=run_address(run.digest),
        metrics=tuple((m, _title(m)) for m in names),
        metric=metric,
        axes=tuple((a, fmt.axis_title(cast("Axis", a))) for a in axes),
        axis=axis,
        curves=curves,
        figure=_figure(detail, curves, cast("Axis", axis)),
        tasks=tuple((t, run_address(run.digest, task=t, metric=metric, axis=axis, fragment="items")) for t in tasks),
        items=_items(registry, namespaces, run.id, task) if task in tasks else None,
        studies=tuple(
            (u.name, u.digest, study_address(u.namespace, u.name, revision=u.digest.removeprefix("sha256:")[:12]))
            for u in detail.studies
        ),
        served=deployments(registry, namespaces, run=run.id)[0],
        config=tuple(page_words.flat(run.config)),
    )


def _title(metric: str) -> str:
    try:
        return metric_catalogue.metric_of(metric).label
    except KeyError:
        return metric


def _places(curve: ThinCurve, axis: Axis, epoch_tokens: int | None) -> tuple[float, ...]:
    if axis == "epochs":
        return tuple(t / (epoch_tokens or 1) for t in curve.tokens)
    return tuple(map(float, getattr(curve, axis)))


def _figure(detail: RunDetail, curves: Sequence[ThinCurve], axis: Axis) -> page_live.LiveFigure | None:
    if not curves:
        return None
    first = curves[0]
    several = len(curves) > 1
    lines = [
        Line(
            c.estimator if several else arm_label(detail.run.arm),
            _places(c, axis, detail.run.epoch_tokens),
            c.values,
            thick=True,
        )
        for c in curves
    ]
    metric = MetricPlan(
        name=first.metric,
        direction="higher" if first.direction == "higher" else "lower",
        delta=1e-9,
        label=_title(first.metric),
        unit=first.unit if first.unit != "1" else "",
    )
    marks = []
    for attempt in detail.attempts[1:]:
        at = bisect_left(first.steps, attempt.started_step)
        if at < len(first.steps):
            marks.append((lines[0].x[at], f"attempt {attempt.n}"))
    known = {"none": "measured"}
    how = ", ".join(
        known.get(c.estimator, c.estimator) + (f" of {c.draws} draws" if c.draws > 1 else "") for c in curves
    )
    attempts = " Vertical lines: where a later attempt began." if marks else ""
    thinned = " Each place is the mean of neighbouring points." if any(c.points > _GROUPS for c in curves) else ""
    caption = (
        f"{metric.title} against {fmt.axis_title(axis)}, {sum(c.points for c in curves):,} points.{attempts}{thinned}"
    )
    wide, narrow = (
        page_live.drawn(
            lines, axis=axis, metric=metric, subtitle=how, description=caption, small=small, marks=marks, compared=_PENS
        )
        for small in (False, True)
    )
    return page_live.LiveFigure(metric.title, wide, narrow, caption) if wide else None


def _items(registry: Registry, namespaces: Namespaces, run: int, task: str) -> ItemTable | None:
    step, items = item_scores(registry, namespaces, run, task)
    ids = items.get("ids")
    if not isinstance(ids, list):
        return None
    columns = [
        name
        for name, values in items.items()
        if name != "ids"
        and isinstance(values, list)
        and len(values) == len(ids)
        and not any(isinstance(v, list) for v in values[:1])
    ]
    rows = tuple((str(ids[i]), *(_cell(items[name][i]) for name in columns)) for i in range(min(len(ids), _ITEMS)))
    return ItemTable(task, step, ("item", *columns), rows, len(ids))


def _cell(value: object) -> str:
    return fmt.number(value) if isinstance(value, float) else str(value)


def as_data(page: RunPage) -> dict[str, Any]:
    """The JSON twin: the chosen metric's points thinned as drawn."""
    return {
        **asdict(page.detail),
        "address": page.address,
        "metrics": [name for name, _ in page.metrics],
        "metric": page.metric,
        "curves": [asdict(c) for c in page.curves],
        "items": page.items and asdict(page.items),
        "deployments": [asdict(d) for d in page.served],
    }
