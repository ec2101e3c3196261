"""What to choose: by the verdicts, by the pairs at a budget, or by the forecast; never more than was tested."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from crossover.analysis import analyse
from crossover.analysis.across.budget_advice import advise, advise_all
from crossover.analysis.across.crossing_regression import AnalysedCell
from crossover.analysis.across.next_experiments import StudyRuns, without_edits
from crossover.errors import StudyError
from tests.crossover.analysis_across.cells import PLAN, cell, columns

CELLS = [cell(u, 10**6, 6.0 * (u / 1e6) ** 0.9) for u in (10**6, 2 * 10**6, 4 * 10**6, 8 * 10**6)]

SIZE: dict[str, Any] = {"unique_tokens": 10**6, "parameters": 10**6}


def flops(epochs: float, unique_tokens: int) -> float:
    return 6e6 * epochs * unique_tokens


def test_a_cell_that_was_run_answers_from_its_pairs() -> None:
    first = CELLS[:1]
    late = advise(first, unique_tokens=10**6, parameters=10**6)
    early = advise(first, unique_tokens=10**6, parameters=10**6, flops=flops(1.5, 10**6))
    assert (late.choose, early.choose) == ("candidate", "baseline")
    assert late.difference is not None
    assert late.difference == pytest.approx(-0.15 * 1.17, abs=0.03), "the mean over the late window"
    assert late.interval is not None
    assert late.interval[0] < late.difference < late.interval[1] < 0
    assert late.comparison == "best-so-far"
    assert "5 seed pairs" in late.because
    assert "tuned AR arm" in late.cheapest
    assert "FLOPs" in late.cheapest
    assert early.cheapest.startswith("Another recipe of DLM"), "longer runs change nothing at this budget"
    assert not early.alternatives
    assert [a.choose for a in advise_all(first)] == ["candidate"]


def test_what_was_not_measured_is_not_said() -> None:
    beyond = advise(CELLS[:1], unique_tokens=10**6, parameters=10**6, flops=flops(500, 10**6))
    assert beyond.choose == "cannot say"
    assert "was not tested" in beyond.because
    assert (
        beyond.cheapest == "Runs of 500 epochs, which AR needs for 3e+15 FLOPs, from zero: 5 seeds of both arms "
        "(`training: {epochs: 500}`), 3e+16 FLOPs."
    )
    before = advise(CELLS[:1], unique_tokens=10**6, parameters=10**6, flops=flops(0.5, 10**6))
    assert before.cheapest == (
        "Earlier checkpoints, for which every run of the study trains anew from zero "
        "(`evaluation: {first_epoch: 0.475}`), 6e+15 FLOPs."
    )
    few = advise([cell(10**6, 10**6, 6.0, pairs=3)], unique_tokens=10**6, parameters=10**6)
    assert few.choose == "cannot say"
    assert "a verdict needs 5" in few.because
    assert "more seed pairs" in few.cheapest
    lone = advise(CELLS[:1], unique_tokens=5 * 10**6, parameters=10**6, flops=1e15)
    assert lone.choose == "cannot say"
    assert lone.because == "This cell was not run, and a forecast needs three cells that cross; there is 1."
    assert (
        "no budget was given (--flops or --epochs)" in advise(CELLS, unique_tokens=5 * 10**6, parameters=10**6).because
    )


def test_a_small_difference_is_either_and_an_unclear_one_asks_for_more() -> None:
    at_crossing = flops(6.0, 10**6)
    same = advise([cell(10**6, 10**6, 6.0, sd=0.001)], unique_tokens=10**6, parameters=10**6, flops=at_crossing)
    assert same.choose == "either"
    noisy = advise([cell(10**6, 10**6, 60.0, sd=0.3)], unique_tokens=10**6, parameters=10**6)
    assert noisy.choose == "cannot say"
    assert "neither clear of zero" in noisy.because
    assert any("more seed pairs" in text for text in (noisy.cheapest, *noisy.alternatives))
    inside = advise([cell(10**6, 10**6, 6.0, sd=0.05)], unique_tokens=10**6, parameters=10**6, flops=at_crossing)
    assert "which holds zero" in inside.because
    assert inside.basis == "interval"


def test_a_cell_that_was_not_run_is_forecast() -> None:
    early, late, between = (
        advise(CELLS, unique_tokens=3 * 10**6, parameters=10**6, flops=flops(epochs, 3 * 10**6))
        for epochs in (1.0, 500.0, 6 * 3**0.9)
    )
    assert (early.choose, late.choose, between.choose) == ("baseline", "candidate", "cannot say")
    assert "was not run" in early.because
    assert "forecast at epoch" in early.because
    assert early.difference is None
    assert "Run this cell: 5 seeds of both arms, 100 epochs, which pass this budget (`grid: " in early.cheapest
    assert "smaller step" not in early.cheapest, "it is less than three times a cell that was run"


def test_an_experiment_has_its_hours_and_a_smaller_step() -> None:
    speed = 1e10  # FLOP/s

    def timed(one: AnalysedCell) -> AnalysedCell:
        facts, analysis = one
        figures = [
            figure.model_copy(
                update={
                    "axis": "seconds",
                    "seeds": [seed.model_copy(update={"x": [x / speed for x in seed.x]}) for seed in figure.seeds],
                }
            )
            for figure in analysis.figures
            if figure.axis == "flops"
        ]
        return facts, analysis.model_copy(update={"figures": (*analysis.figures, *figures)})

    requested: dict[str, Any] = {"unique_tokens": 10**9, "parameters": 10**6, "flops": flops(30, 10**9)}
    far = advise([timed(one) for one in CELLS], **requested)
    assert far.alternatives == (
        "Run this cell: 5 seeds of both arms, 100 epochs, which pass this budget "
        "(`grid: {unique_tokens: [1000000, 2000000, 4000000, 8000000, 1000000000]}`), "
        "6e+18 FLOPs, about 19 years of training at the speed of these runs.",
    )
    step = "24,000,000 unique tokens, 1,000,000 parameters, 100 epochs"
    assert far.cheapest.startswith(f"A smaller step towards it: {step} (`grid: {{unique_tokens: ")
    assert ", 1.44e+17 FLOPs, about 4,000 h" in far.cheapest
    small = advise([timed(one) for one in CELLS], **requested | {"flops": flops(2, 10**9)})
    assert small.experiments == far.experiments, "the edit trains as long as the other cells, whatever the budget"
    assert " h of training" not in advise(CELLS, **requested).cheapest, "these runs have no times"


@pytest.mark.parametrize(("gain", "choose"), [(0.0, "candidate"), (0.5, "baseline")])
def test_a_tuned_arm_must_be_beaten_too(gain: float, choose: str) -> None:
    table = columns(10**6, 10**6, 6.0)
    tuned = [i for i, arm in enumerate(table["arm"]) if arm == "ar"]
    for name, column in table.items():
        rows = [column[i] for i in tuned]
        if name == "value":
            rows = [float(str(value)) - gain + 0.001 * (i * 7 % 5 - 2) for i, value in enumerate(rows)]
        table[name] = column + (["ar-dropout"] * len(tuned) if name == "arm" else rows)
    plan = PLAN.model_copy(update={"tuned": ("ar-dropout",)})
    facts, _ = cell(10**6, 10**6, 6.0)
    (found,) = advise_all([(facts, analyse(table, plan, unique_tokens=10**6))])
    assert found.choose == choose
    assert found.baseline == "tuned-ar", "of equal choices the one against the tuned arm is named"
    early = advise(
        [(facts, analyse(table, plan, unique_tokens=10**6))],
        unique_tokens=10**6,
        parameters=10**6,
        flops=flops(50, 10**6),
    )
    assert early.choose == choose
    assert ("DLM − AR dropout" in early.because) == (choose == "baseline")
    assert not any("tuned AR arm" in text for text in (found.cheapest, *found.alternatives))


def undecided(comparison: str, **update: object) -> AnalysedCell:
    """The first cell, whose pairs are clear at the end of the runs, with one verdict that finds no evidence."""
    facts, analysis = CELLS[0]
    update |= {"outcome": "insufficient evidence", "reason": "It is open.", "crossing": None}
    verdicts = tuple(v.model_copy(update=update) if v.comparison == comparison else v for v in analysis.verdicts)
    return facts, analysis.model_copy(update={"verdicts": verdicts})


@pytest.mark.parametrize("share", [None, 1.0, 1.0 - 1e-3, 1.0 + 1e-3])
def test_at_the_end_of_the_runs_the_verdict_decides(share: float | None) -> None:
    end = flops(100, 10**6)
    asked = None if share is None else share * end
    found = advise([undecided("best-so-far", further_pairs=7)], unique_tokens=10**6, parameters=10**6, flops=asked)
    assert (found.choose, found.basis) == ("cannot say", "verdict")
    assert found.flops == pytest.approx(end)
    assert found.trained_to_end is not None
    assert found.trained_to_end.choose == "candidate"
    assert "Stopped early, insufficient evidence: It is open." in found.because
    assert "Trained to the end, crossover: AR is better early" in found.because
    assert ("within 0.1 % of the end" in found.because) == (share not in (None, 1.0))
    assert "the curves cross at epoch 6.19 (4.22 to 7.5) and 3.72e+13 FLOPs (2.53e+13 to 4.5e+13)." in found.because
    texts = (found.cheapest, *found.alternatives)
    assert [text.split(":")[0].split(",")[0] for text in texts] == [
        "A tuned AR arm (weight decay",
        "About 7 more seed pairs",
        "Longer runs of 200 epochs",
    ]
    assert all(" FLOPs" in text for text in texts), "each has its price"


def test_before_the_end_both_halves_are_read_off_the_pairs_there() -> None:
    found = advise([undecided("best-so-far")], unique_tokens=10**6, parameters=10**6, flops=flops(50, 10**6))
    assert (found.choose, found.basis) == ("candidate", "interval")
    assert found.trained_to_end is not None
    assert found.trained_to_end.choose == "candidate"
    assert found.trained_to_end.interval is not None
    assert (
        "At 3e+14 FLOPs (epoch 50), with 5 seed pairs by Validation loss, in intervals for all budgets" in found.because
    )
    assert "stopped early, DLM − AR is −0.1" in found.because
    assert "trained until there, DLM − AR is −0.1" in found.because


def test_where_a_half_is_open_inside_the_range_more_seeds_are_the_remedy() -> None:
    noisy = cell(10**6, 10**6, 8.0, sd=0.05)
    found = advise([noisy], unique_tokens=10**6, parameters=10**6, flops=flops(12, 10**6))
    assert found.trained_to_end is not None
    assert "cannot say" in (found.choose, found.trained_to_end.choose)
    assert any("more seed pairs, for the answer" in text for text in (found.cheapest, *found.alternatives))


def test_longer_runs_go_where_the_trend_says() -> None:
    found = advise([undecided("matched", further_reach=250.0)], unique_tokens=10**6, parameters=10**6)
    longer = next(text for text in (found.cheapest, *found.alternatives) if text.startswith("Longer"))
    assert longer.startswith("Longer runs of 250 epochs, from zero (to epoch 250 by the trend): 5 seeds of both arms (")
    assert longer.endswith("1.5e+16 FLOPs.")


@pytest.mark.parametrize("off", [0.01, 0.3, 2.4])
def test_beyond_the_end_runs_are_longer_than_they_were(off: float) -> None:
    found = advise(CELLS[:1], unique_tokens=10**6, parameters=10**6, flops=(1 + off) * flops(100, 10**6))
    assert (found.choose, found.basis) == ("cannot say", "not tested")
    assert f"Runs of {100 + round(100 * off)} epochs" in found.cheapest
    assert ("% beyond the end" in found.because) == (off < 1)


def test_arms_of_unequal_cost_are_told_apart() -> None:
    table = columns(10**6, 10**6, 6.0)
    table["flops"] = [
        float(str(value)) * (1.1 if arm == "dlm" else 1.0)
        for arm, value in zip(table["arm"], table["flops"], strict=True)
    ]
    uneven = [(CELLS[0][0], analyse(table, PLAN, unique_tokens=10**6))]
    requested: dict[str, Any] = {"unique_tokens": 10**6, "parameters": 10**6}
    end = advise(uneven, **requested)
    assert end.flops == pytest.approx(6e14), "where the cheaper arm ends"
    assert end.cheapest.endswith(
        "5 seeds (`arms: [ar, dlm, ar-decay]` and `analysis: {tuned: [ar-decay]}`), 3e+15 FLOPs."
    )
    early = advise(uneven, **requested, flops=1.2e13)
    assert "At 1.2e+13 FLOPs (epoch 2 of AR, 1.82 of DLM), " in early.because
    assert early.cheapest == (
        "Another recipe of DLM than those compared (its weight decay, say): 5 seeds "
        "(`recipes: {dlm: {weight_decay: 1.0}}`), 3.3e+15 FLOPs."
    )
    epoch = advise(uneven, **requested, epochs=2.0)
    assert "At epoch 2 (1.2e+13 FLOPs of AR, 1.32e+13 of DLM), " in epoch.because
    assert epoch.flops == pytest.approx(1.32e13)
    between = advise(uneven, **requested, flops=6.3e14)
    assert "6.3e+14 FLOPs (epoch 105 of AR, 95.5 of DLM), 5 % beyond the end, was not tested" in between.because
    assert between.cheapest.startswith("Runs of 105 epochs, which AR needs for 6.3e+14 FLOPs, from zero: ")
    assert between.cheapest.endswith(" 6.62e+15 FLOPs."), "five runs of 105 epochs in each arm"


def test_a_budget_in_epochs() -> None:
    requested: dict[str, Any] = {"unique_tokens": 10**6, "parameters": 10**6}
    found = advise(CELLS[:1], **requested, epochs=50.0)
    same = advise(CELLS[:1], **requested, flops=flops(50, 10**6))
    assert found.epochs == 50.0
    assert found.flops == pytest.approx(same.flops)
    assert found.difference == pytest.approx(same.difference)
    assert found.because.startswith("At epoch 50 (3e+14 FLOPs), ")
    beyond = advise(CELLS[:1], **requested, epochs=129_400.5)
    assert "epoch 129,400 (" in beyond.because
    assert "Runs of 129,401 epochs, from zero" in beyond.cheapest
    elsewhere = advise(CELLS, unique_tokens=3 * 10**6, parameters=10**6, epochs=500.0)
    assert elsewhere.choose == "candidate"
    assert elsewhere.flops == pytest.approx(flops(500, 3 * 10**6))


def test_less_than_a_step_or_an_epoch_is_no_budget() -> None:
    study = StudyRuns(10, 6e15, 3600.0, {CELLS[0][0].cell: 1000})
    step = flops(0.1, 10**6)
    none = advise(CELLS[:1], unique_tokens=10**6, parameters=10**6, flops=0.9 * step, study=study)
    assert none.basis == "no budget"
    assert none.because == "5.4e+11 FLOPs is less than one optimizer step, 6e+11 FLOPs."
    early = advise(CELLS[:1], unique_tokens=10**6, parameters=10**6, flops=1.1 * step, study=study)
    assert (
        "trains anew from zero: 10 runs (`evaluation: {first_epoch: 0.05}`), 6e+15 FLOPs, about 60 min"
        in early.cheapest
    )
    with pytest.raises(StudyError, match="less than one epoch") as error:
        advise(CELLS, unique_tokens=3 * 10**6, parameters=10**6, flops=flops(0.9, 3 * 10**6))
    assert "1.8e+13 FLOPs or more" in str(error.value)


def test_a_cell_near_one_that_was_run_names_it() -> None:
    near = advise(CELLS, unique_tokens=1_050_000, parameters=10**6, flops=flops(5, 10**6))
    assert "near it, 1,000,000 unique tokens with 1,000,000 parameters were" in near.because
    assert "near it" not in advise(CELLS, unique_tokens=1_500_000, parameters=10**6, flops=1e14).because


def test_a_plan_without_the_axis_of_the_budget_says_so() -> None:
    facts, analysis = CELLS[0]
    plan = analysis.plan.model_copy(update={"axes": ("epochs",)})
    with pytest.raises(StudyError, match="no axis flops"):
        advise([(facts, analysis.model_copy(update={"plan": plan}))], unique_tokens=10**6, parameters=10**6, flops=1e14)


def test_an_answer_that_another_axis_gives_differently_is_named() -> None:
    facts, analysis = CELLS[0]
    verdicts = tuple(
        v.model_copy(update={"outcome": "insufficient evidence", "crossing": None}) if v.axis == "flops" else v
        for v in analysis.verdicts
    )
    (found,) = advise_all([(facts, analysis.model_copy(update={"verdicts": verdicts}))])
    assert "Counted in FLOPs, stopped early: not known yet." in found.because


def looked(pairs: int, *, monte_carlo: float, sd: float = 0.01, looks: tuple[int, ...] = ()) -> AnalysedCell:
    """A cell that crosses late, measured with a Monte Carlo error that all seeds share."""
    table = columns(10**6, 10**6, 60.0, sd=sd, pairs=pairs)
    table["stderr"] = [monte_carlo if arm == "dlm" else 0.0 for arm in table["arm"]]
    plan = PLAN.model_copy(update={"looks": looks})
    return CELLS[0][0], analyse(table, plan, unique_tokens=10**6)


@pytest.mark.parametrize(("looks", "total"), [((), 6), ((5, 8), 8)])
@pytest.mark.parametrize("budget", [None, 97.0])
def test_where_pairs_alone_would_not_do_more_masks_go_with_them(
    looks: tuple[int, ...], total: int, budget: float | None
) -> None:
    found = advise([looked(5, monte_carlo=0.05, sd=0.01, looks=looks)], **SIZE, epochs=budget, draws=8)
    assert "cannot say" in (found.choose, found.trained_to_end.choose if found.trained_to_end else "")
    texts = (found.cheapest, *found.alternatives)
    assert not any("200" in text for text in texts if "Longer" not in text)
    masks = next(e for e in found.experiments if e.what.startswith("More masks (evaluation.nelbo_draws) and about "))
    draws, seeds, *declared = masks.edit.splitlines()
    assert draws == "evaluation: {nelbo_draws: 64}"
    assert bool(declared) == (not looks), "without planned looks they are declared first"
    assert int(seeds.removeprefix("seeds: ")) >= total
    assert ("up to the planned look at 8" in masks.what) == bool(looks)
    assert masks.flops is not None
    assert "evaluates every checkpoint anew" in masks.text
    if budget is None and looks:
        assert found.because.endswith("A planned look is still to come, at 8 seed pairs.")
    if budget is None:
        assert "pairs alone would not settle it" in found.because, "the reason says the same"


def test_every_experiment_says_how_and_is_an_object_too() -> None:
    for found in (
        advise(CELLS[:1], **SIZE),
        advise([cell(10**6, 10**6, 60.0, sd=0.3)], **SIZE),
        advise(CELLS[:1], **SIZE, epochs=1.5),
        advise(CELLS[:1], **SIZE, epochs=300.0),
        advise(CELLS[:1], **SIZE, epochs=0.5),
        advise(CELLS[:1], unique_tokens=5 * 10**6, parameters=10**6),
    ):
        assert [e.text for e in found.experiments] == [found.cheapest, *found.alternatives]
        for e in found.experiments:
            assert f"`{e.edit.splitlines()[0]}`" in e.text
            assert all(isinstance(yaml.safe_load(line), dict) for line in e.edit.splitlines())
            assert e.text.startswith(e.what)
        bare = without_edits(found)
        assert not any("`" in text for text in (bare.cheapest, *bare.alternatives)), "curves have no study to edit"


def test_a_smaller_step_is_offered_where_one_more_crossing_makes_a_forecast() -> None:
    asked: dict[str, Any] = {"unique_tokens": 10**9, "parameters": 10**6}
    one, two = (advise(CELLS[:number], **asked) for number in (1, 2))
    assert one.because == (
        "This cell was not run, no budget was given (--flops or --epochs), and a forecast needs three cells "
        "that cross; there is 1."
    )
    assert one.cheapest.startswith("Run this cell: ")
    assert not one.alternatives
    assert "there are 2" in two.because
    assert two.cheapest.startswith("A smaller step towards it: 6,000,000 unique tokens")


def test_a_budget_in_epochs_is_refused_in_epochs() -> None:
    with pytest.raises(StudyError, match="less than one epoch") as error:
        advise(CELLS, unique_tokens=3 * 10**6, parameters=10**6, epochs=0.5)
    assert error.value.field == "epochs"
    assert error.value.remedy == "give a budget of 1 epoch or more"
    one = advise(CELLS, unique_tokens=3 * 10**6, parameters=10**6, epochs=1.0)
    assert "are about 1 epoch;" in one.because


def test_an_interval_clear_of_zero_that_adjustment_takes_back_says_so() -> None:
    verdict = cell(10**6, 10**6, 1.0, sd=0.2)[1].headline
    assert verdict.outcome == "insufficient evidence"
    assert verdict.late is not None
    assert verdict.late.interval is not None
    assert verdict.late.interval[1] < 0
    assert "not clear of zero after adjustment for 2 tests, nor shown to be inside" in verdict.reason
    assert "neither clear of zero" not in verdict.reason


def test_another_model_is_trained_in_a_study_of_its_own() -> None:
    """Added to the grid it would be trained at every budget of the study."""
    other = advise(CELLS, unique_tokens=10**6, parameters=5 * 10**6)
    assert "in a study of its own, with a model of 5,000,000 parameters under grid.models" in other.cheapest
    assert other.experiments[0].edit == "grid: {unique_tokens: [1000000]}"
