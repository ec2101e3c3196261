"""Where a comparison is read, it says that an arm took no part in the sweep, and in which cell the sweep was made."""

from __future__ import annotations

import pytest

from crossover.analysis import analyse
from crossover.analysis.across.cross_cell_result import Overview
from crossover.analysis.across.study_overview import CellInput, overview
from crossover.analysis.analysis_plan import AnalysisPlan
from crossover.report.quality_lines import quality_lines
from crossover.stages.sweep_warnings import warned_of_sweep, warned_overview
from crossover.study.load_study import parse_study
from crossover.study.study_config import StudyConfig
from crossover.study.sweep_study import with_results
from tests.crossover.analysis_across.cells import PLAN
from tests.crossover.analysis_across.test_quality_shift import tiered
from tests.crossover.stages.test_tuning import changed, measured, with_tuning

UNTUNED = "Warning: the sweep chose the settings of ar, and dlm took no part in it"


def test_a_tuned_arm_against_one_that_is_not_is_a_warning_in_the_reason(tiny_study: StudyConfig) -> None:
    pending = changed(with_tuning(tiny_study), arms=("ar", "dlm", "ar-decay"))
    study = with_results(pending, measured(pending))
    metric = study.analysis.metrics[0].name
    curves: dict[str, list[object]] = {name: [] for name in ("arm", "seed", "tokens", "metric", "value")}
    for arm in study.arms:
        for seed in range(5):
            for tokens in range(100, 2000, 100):
                for name, value in zip(curves, (arm, seed, tokens, metric, 3 + 0.01 * seed), strict=True):
                    curves[name].append(value)
    plan = {"metrics": study.analysis.metrics[:1], "axes": ("tokens",)}
    cells = [study.cells[0].name]
    for change, warned in (({}, []), ({"candidate": "ar-decay"}, [True]), ({"tuned": ("ar-decay",)}, [False, True])):
        judged = analyse(curves, study.analysis.model_copy(update=plan | change))
        reasons = [verdict.reason for verdict in warned_of_sweep(study, judged, cells).verdicts]
        found = ["Warning: the sweep chose the settings of ar" in reason for reason in reasons]
        assert list(dict.fromkeys(found)) == (warned or [False])
        assert [reason.partition(" Warning")[0] for reason in reasons] == [v.reason for v in judged.verdicts]
        assert warned_of_sweep(tiny_study, judged, cells) == judged
        of_others = warned_of_sweep(study, judged, [study.cells[1].name]).verdicts
        said = f"In {study.cells[1].name} other settings may be better: the sweep chose the settings of ar"
        assert all(said in verdict.reason for verdict in of_others)
        assert all(verdict.reason.endswith(f"in {cells[0]}.") for verdict in of_others)


@pytest.fixture
def plan() -> AnalysisPlan:
    return PLAN.model_copy(update={"axes": ("epochs",), "comparisons": ("matched", "frontier")})


@pytest.fixture
def study() -> StudyConfig:
    """Two tiers and two models, without results of its sweep."""
    return parse_study(
        "{data: {quality: {scorer: perplexity}}, grid: {unique_tokens: [10000], quality: [low, high], "
        "models: [pico, nano]}, tuning: {learning_rates: [0.00001, 0.01]}}"
    )


@pytest.fixture
def found(study: StudyConfig, plan: AnalysisPlan) -> Overview:
    cells = []
    for cell in study.cells:
        made = tiered(cell.quality, [10.0] * 5, plan=plan, parameters=1_000_000 if cell.model == "pico" else 2_000_000)
        facts = made.facts.model_copy(update={"cell": cell.name})
        cells.append(CellInput(facts, made.curves, made.analysis, made.tokens))
    return overview(cells, plan)


def test_frontiers_maps_and_tiers_name_the_cell_of_the_sweep(
    study: StudyConfig, plan: AnalysisPlan, found: Overview
) -> None:
    assert warned_overview(study, plan, found) == found
    first = study.cells[0].name
    warned = warned_overview(with_results(study, measured(study)), plan, found)
    said = f"the sweep chose the settings of ar and dlm in {first}."
    of_low, of_high = (f.analysis.verdicts[0].reason for f in warned.frontiers)
    other = next(cell.name for cell in study.cells[1:] if cell.quality == "low")
    assert of_low.endswith(f"In {other} other settings may be better: {said}")
    assert of_high.endswith(f"In 2 other cells of this comparison other settings may be better: {said}")
    of_map = f"In 3 other cells of this comparison other settings may be better: {said}"
    assert all(movement.reason.endswith(of_map) for movement in warned.movements)
    assert all(line.endswith(said) for line in quality_lines(warned)) and len(warned.quality) == 2
    assert not any("took no part" in text for text in (of_low, of_high, *(a.because for a in warned.advice)))


def test_frontiers_maps_and_advice_name_an_arm_that_was_not_tuned(
    study: StudyConfig, plan: AnalysisPlan, found: Overview
) -> None:
    only_ar = [result for result in measured(study) if result.arm == "ar"]
    warned = warned_overview(with_results(study, only_ar), plan, found)
    texts = [frontier.analysis.verdicts[0].reason for frontier in warned.frontiers]
    texts += [m.reason for m in warned.movements] + [a.because for a in warned.advice] + list(quality_lines(warned))
    assert len(texts) > 6 and all(UNTUNED in text for text in texts)
