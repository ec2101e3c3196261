"""What a study says as a whole: what to choose, the crossover map, frontiers over model sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from crossover_services.registry import page_figures, page_report
from crossover_services.registry.page_addresses import carried, figure_address
from crossover_services.registry.page_cache import BoundedCache
from markupsafe import Markup
from pydantic import ValidationError

from crossover.analysis.across.cross_cell_result import Advice, Movement
from crossover.analysis.analysis_plan import AnalysisPlan
from crossover.analysis.analysis_result import Analysis
from crossover.errors import RegistryError
from crossover.registry import Registry
from crossover.registry.reads.data_and_deployments import DatasetRecord
from crossover.registry.reads.read_filters import Namespaces
from crossover.registry.reads.study_results import AnalysisHead, RunRecord, analysis_result, require_analysis
from crossover.registry.reads.study_revisions import Revision
from crossover.report import answer, overview_view, svg_rendering
from crossover.report.report_data import ReportContext
from crossover.report.report_view import FigureView
from crossover.report.study_record import OVERVIEW, FrontierName, StudyRecord

_RECORDS: BoundedCache[StudyRecord | None] = BoundedCache(64)
_MAPS: BoundedCache[FigureView | None] = BoundedCache(64)


@dataclass(frozen=True)
class Analysed:
    """What of a revision has been analysed: its cells, its frontiers, the study as a whole."""

    heads: tuple[AnalysisHead, ...]
    """Of the cells, then of the frontiers."""
    thin: Mapping[str, page_figures.ThinCell]
    """By the name of a cell or frontier."""
    overview: AnalysisHead | None
    record: StudyRecord | None
    """None where there is none, or it is of another version."""

    @property
    def frontiers(self) -> tuple[str, ...]:
        """Names of the frontiers."""
        return tuple(f.name for f in self.record.frontiers if f.name in self.thin) if self.record else ()

    @property
    def cells(self) -> dict[str, Analysis]:
        """The cells' analyses that this version can read."""
        readable = {name: thin.analysis for name, thin in self.thin.items() if name not in self.frontiers}
        return {name: analysis for name, analysis in readable.items() if analysis is not None}


@dataclass(frozen=True)
class FrontierLink:
    """A frontier over model sizes: its verdict, a picture, and where the rest of it is."""

    name: str
    title: str
    cells: str
    verdict: str
    reason: str
    picture: str
    """Address of its headline's figure; empty where there is none."""


@dataclass(frozen=True)
class WholeStudy:
    """The parts of a page that are of the whole study; empty parts are not shown."""

    record: StudyRecord
    view: overview_view.StudyView
    frontiers: tuple[FrontierLink, ...]

    @property
    def parts(self) -> tuple[tuple[str, str], ...]:
        """Title and id of the parts that are not empty."""
        view = self.view
        all_parts = (
            ("how the crossing moves", "map", view.maps or view.unfitted),
            ("quality for compute", "frontiers", self.frontiers),
            ("where the gap comes from", "factors", view.factors.rows),
            ("scaling laws", "laws", view.laws.rows),
            ("what to run next", "next", view.next_runs.rows),
        )
        return tuple((title, name) for title, name, content in all_parts if content)


def analysed(registry: Registry, namespaces: Namespaces, heads: Sequence[AnalysisHead]) -> Analysed:
    """Read what has been analysed of a revision.

    Args:
        registry: open.
        namespaces: to read.
        heads: the newest analyses of the revision.
    """
    overview = next((head for head in heads if head.cell == OVERVIEW), None)
    record = study_record(registry, namespaces, overview.digest) if overview else None
    named = {f.name for f in record.frontiers} if record else set()
    kept = sorted((head for head in heads if head is not overview), key=lambda head: head.cell in named)
    thin = {head.cell: page_figures.thin_cell(registry, namespaces, head.digest) for head in kept}
    return Analysed(tuple(kept), thin, overview, record)


def study_record(registry: Registry, namespaces: Namespaces, digest: str) -> StudyRecord | None:
    """What is recorded of a study as a whole; None when this version cannot read it.

    Raises:
        RegistryError: `registry.unknown-analysis`.
    """
    require_analysis(registry, namespaces, digest)
    return _RECORDS.get(digest, lambda: _read(analysis_result(registry, namespaces, digest)))


def _read(result: Mapping[str, object]) -> StudyRecord | None:
    try:
        return StudyRecord.model_validate(result)
    except ValidationError:
        return None


def report(
    found: Analysed, revision: Revision, runs: Sequence[RunRecord], dataset: DatasetRecord | None, question: str
) -> ReportContext | None:
    """All cells of a study as what a report is made of; None where no analysis can be read."""
    record = found.record
    health = {(h.cell, h.arm, h.seed): h.health for h in record.health} if record else {}
    cells = [page_report.cell_report(name, analysis, runs, health) for name, analysis in found.cells.items()]
    if not cells:
        return None
    made = page_report.report_context(revision, cells, dataset, question)
    parts = {"overview": record.overview, "references": record.references} if record else {}
    return made.model_copy(update=parts)


def whole_study(found: Analysed, context: ReportContext, cell: str) -> WholeStudy | None:
    """The parts of the whole study, with the advice for one cell; None where none were recorded.

    Args:
        found: what has been analysed.
        context: all cells, of `report`.
        cell: whose advice to show.
    """
    record, head = found.record, found.overview
    if record is None or head is None:
        return None
    overview = context.overview.model_copy(update={"advice": tuple(filter(None, [advice_for(context, cell)]))})
    return WholeStudy(
        record=record,
        view=overview_view.build(context.model_copy(update={"overview": overview}), partial(_map, head.digest)),
        frontiers=tuple(_frontier(found.thin[f.name], f) for f in record.frontiers if f.name in found.thin),
    )


def advice_for(context: ReportContext, cell: str) -> Advice | None:
    """The advice for a cell's unique tokens, parameters and tier of quality."""
    facts = next((f for f in context.overview.cells if f.cell == cell), None)
    own = facts and (facts.unique_tokens, facts.parameters, facts.quality)
    return next((a for a in context.overview.advice if (a.unique_tokens, a.parameters, a.quality) == own), None)


def _map(digest: str, movement: Movement, key: str, plan: AnalysisPlan) -> FigureView | None:
    def picture(spec: object, *, key: str, title: str, description: str) -> str:
        del spec, description
        return map_picture(digest, movement, title, small=key.endswith("n"))

    return overview_view.map_view(movement, key, plan, picture)


def map_picture(digest: str, movement: Movement, title: str, *, small: bool) -> str:
    """A map as an element that refers to its picture, which is drawn when it is asked for."""
    chosen = {"metric": movement.metric, "axis": movement.axis, "comparison": movement.comparison}
    address = figure_address(digest, **chosen, size="small" if small else "")
    width, height = (477, 404) if small else (935, 434)
    picture = Markup('<img src="{}" alt="{}" loading="lazy" width="{}" height="{}">')
    return picture.format(address, title, width, height)


def picture(
    registry: Registry, namespaces: Namespaces, digest: str, *, metric: str, axis: str, comparison: str, small: bool
) -> str:
    """A figure of an analysis, or a map of a study's record, as an SVG file in the reader's theme.

    Raises:
        RegistryError: `registry.unknown-analysis`, `registry.unknown-figure`.
    """
    cell = page_figures.thin_cell(registry, namespaces, digest)
    record = study_record(registry, namespaces, digest) if cell.analysis is None else None
    if record is None:
        drawing = page_figures.drawing(cell, metric=metric, axis=axis, comparison=comparison, small=small)
    else:
        view = draw_map(record, digest, metric=metric, axis=axis, comparison=comparison)
        drawing = None if view is None else view.narrow if small else view.drawing
    if drawing is None:
        raise RegistryError(
            "registry.unknown-figure",
            field="figure",
            problem=f"the analysis {digest} has no figure of {metric or 'its headline'} with points",
            remedy="choose a metric, axis and comparison on the page of the study",
        )
    return svg_rendering.standalone(drawing, carried().get("theme", ""))


def draw_map(record: StudyRecord, digest: str, *, metric: str, axis: str, comparison: str) -> FigureView | None:
    """The map of a metric, axis and comparison, else the first; None where no cell crosses."""
    wanted = (metric, axis, comparison)
    movements = overview_view.mapped(record.overview)
    chosen = next((m for m in movements if (m.metric, m.axis, m.comparison) == wanted), next(iter(movements), None))
    if chosen is None:
        return None
    key = (digest, chosen.metric, chosen.axis, chosen.comparison)
    return _MAPS.get(key, lambda: overview_view.map_view(chosen, "map", record.plan))


def _frontier(thin: page_figures.ThinCell, named: FrontierName) -> FrontierLink:
    analysis = thin.analysis
    return FrontierLink(
        name=named.name,
        title=overview_view.frontier_title(named.unique_tokens, named.quality),
        cells=", ".join(named.cells),
        verdict="" if analysis is None else answer(analysis),
        reason="" if analysis is None else analysis.headline.reason,
        picture=figure_address(thin.digest, size="small") if analysis is not None and analysis.figures else "",
    )
