"""Known answers: a crossing at a known place, each word, each degenerate case, determinism."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from crossover.analysis import Analysis, AnalysisPlan, MetricPlan, analyse
from crossover.analysis.analysis_result import Verdict
from tests.crossover.analysis.analysis_curves import (
    LOSS,
    PLAN,
    TOKENS,
    Table,
    crossing_value,
    joined,
    noisy,
    only,
    table,
)


def headline(curves: object, plan: AnalysisPlan = PLAN, unique_tokens: int | None = None) -> Verdict:
    return analyse(curves, plan, unique_tokens=unique_tokens).headline


def test_a_known_crossing_is_found_exactly_where_it_is() -> None:
    verdict = headline(table(crossing_value))
    assert verdict.outcome == "crossover"
    crossing = verdict.crossing
    assert crossing is not None
    assert crossing.direction == "baseline→candidate"
    middle = np.sqrt(TOKENS[0] * TOKENS[-1])
    assert crossing.at == pytest.approx(middle, rel=1e-4)
    assert crossing.low is not None
    assert crossing.high is not None
    assert 0.999 * TOKENS[7] <= crossing.low <= middle <= crossing.high <= 1.001 * TOKENS[9]
    assert crossing.per_seed == pytest.approx([middle] * 5, rel=1e-3)
    assert verdict.sign_changes == 1
    assert verdict.further_pairs is None
    assert verdict.early is not None
    assert verdict.early.p_baseline_better < 0.001


def test_matched_seconds_move_the_crossing_by_what_the_slower_arm_costs() -> None:
    lag = np.log(1.25) / np.log(100)  # the DLM's time per token, as a share of the log range
    crossing = headline(table(crossing_value), PLAN.model_copy(update={"axes": ("seconds",)})).crossing
    assert crossing is not None
    assert crossing.at == pytest.approx(100 ** (0.5 + lag + lag / 0.24), rel=0.01)


@pytest.mark.parametrize(("axis", "unit"), [("epochs", 1e4), ("flops", 1 / 6e6)])
def test_every_axis_locates_the_same_crossing(axis: str, unit: float) -> None:
    plan = PLAN.model_copy(update={"axes": (axis,)})
    crossing = headline(table(crossing_value), plan, unique_tokens=10_000).crossing
    assert crossing is not None
    expected = np.sqrt(TOKENS[0] * TOKENS[-1]) / unit
    assert crossing.at == pytest.approx(expected, rel=1e-3)


def test_higher_is_better_turns_the_direction() -> None:
    plan = AnalysisPlan(metrics=(LOSS.model_copy(update={"direction": "higher"}),), axes=("tokens",))
    crossing = headline(table(crossing_value), plan).crossing
    assert crossing is not None
    assert crossing.direction == "candidate→baseline"


@pytest.mark.parametrize(
    ("difference", "word"),
    [(0.1, "baseline"), (-0.1, "candidate"), (0.001, "equivalent"), (0.02, "baseline")],
)
def test_parallel_curves(difference: float, word: str) -> None:
    assert headline(table(noisy(lambda _: difference))).outcome == word


def test_a_small_but_significant_difference_is_said_to_be_small() -> None:
    verdict = headline(table(noisy(lambda _: 0.015, sd=0.002)))
    assert verdict.outcome == "baseline"
    assert "smaller than δ = 0.02 nats/token" in verdict.reason


def test_noise_that_decides_nothing_says_how_many_more() -> None:
    verdict = headline(table(noisy(lambda _: 0.0, sd=0.1)))
    assert verdict.outcome == "insufficient evidence"
    assert verdict.further_pairs is not None
    assert verdict.further_pairs > 0
    assert f"about {verdict.further_pairs} more" in verdict.reason


def test_a_reason_is_a_sentence_with_figures_and_units() -> None:
    plan = PLAN.model_copy(update={"axes": ("epochs",)})
    reason = headline(table(crossing_value), plan, unique_tokens=10_000).reason
    assert reason.startswith("AR is better early (mean difference +0.")
    for words in ("nats/token over epochs 1–", "and DLM late (−0.", "–100, p ", "5 seed pairs at matched tokens."):
        assert words in reason


def test_two_sign_changes_are_counted_and_told() -> None:
    verdict = headline(table(noisy(lambda u: 0.2 * np.cos(2.2 * np.pi * u))))
    assert verdict.sign_changes == 2
    assert "several crossings" in verdict.reason
    assert verdict.outcome != "crossover"


def test_three_sign_changes_locate_the_last() -> None:
    plan = PLAN.model_copy(update={"early_window": (0.0, 0.15)})
    verdict = headline(table(noisy(lambda u: 0.1 * np.cos(3 * np.pi * u))), plan)
    assert verdict.sign_changes == 3
    assert verdict.crossing is not None
    assert verdict.crossing.at == pytest.approx(TOKENS[0] * 100 ** (5 / 6), rel=0.1)
    assert verdict.crossing.bracket[0] > TOKENS[0] * 100**0.5


@pytest.mark.parametrize("pairs", [1, 2, 3, 4])
def test_below_five_pairs_there_is_never_a_verdict(pairs: int) -> None:
    verdict = headline(table(crossing_value, seeds=range(pairs)))
    assert verdict.outcome == "insufficient evidence"
    assert f"add {5 - pairs} more" in verdict.reason
    assert verdict.p_crossover is None
    assert verdict.crossing is None


def test_a_plan_may_ask_for_more_pairs() -> None:
    plan = PLAN.model_copy(update={"minimum_pairs": 7})
    assert "a verdict needs 7" in headline(table(crossing_value), plan).reason


def test_unpaired_seeds_give_a_reason() -> None:
    curves = joined(
        table(crossing_value, arms=["ar"], seeds=range(5)), table(crossing_value, arms=["dlm"], seeds=range(5, 10))
    )
    verdict = headline(curves)
    assert verdict.outcome == "insufficient evidence"
    assert "No seed was run in both arms (ar has 0, 1, 2, 3, 4; dlm has 5, 6, 7, 8, 9)" in verdict.reason


def test_a_seed_with_one_arm_is_left_out_and_noted() -> None:
    curves = joined(table(noisy(lambda _: 0.1)), table(noisy(lambda _: 0.1), arms=["ar"], seeds=[7]))
    analysis = analyse(curves, PLAN)
    assert analysis.seeds == (0, 1, 2, 3, 4)
    assert any("one arm only, not used: 7" in note for note in analysis.notes)


def test_no_common_range_gives_a_reason() -> None:
    curves = joined(
        table(crossing_value, arms=["ar"], tokens=TOKENS[:8]), table(crossing_value, arms=["dlm"], tokens=TOKENS[8:])
    )
    assert "share no range of tokens" in headline(curves).reason


def test_a_single_shared_point_gives_a_reason() -> None:
    curves = joined(
        table(crossing_value, arms=["ar"], tokens=TOKENS[:9]), table(crossing_value, arms=["dlm"], tokens=TOKENS[8:])
    )
    assert "share a single point" in headline(curves).reason


def test_a_run_cut_short_is_noted() -> None:
    curves = only(table(noisy(lambda _: 0.1)), lambda r: (r["arm"], r["seed"]) != ("dlm", 3) or r["tokens"] < 5e4)
    assert any("the first to end is dlm, seed 3" in note for note in analyse(curves, PLAN).notes)


def test_a_constant_metric_gives_a_reason() -> None:
    verdict = headline(table(lambda *_: 0.25))
    assert verdict.outcome == "insufficient evidence"
    assert "never changes in any run" in verdict.reason


def test_zero_variance_between_seeds_gives_a_reason() -> None:
    verdict = headline(table(lambda arm, _, u: 3 - u + 0.1 * (arm == "dlm")))
    assert verdict.outcome == "insufficient evidence"
    assert "zero variance" in verdict.reason
    assert verdict.early is None


def test_an_arm_without_values_gives_a_reason() -> None:
    verdict = headline(table(lambda arm, seed, u: float("nan") if arm == "dlm" else crossing_value(arm, seed, u)))
    assert verdict.outcome == "insufficient evidence"
    assert "Arm dlm has no usable point" in verdict.reason


def test_an_empty_window_gives_a_reason() -> None:
    plan = PLAN.model_copy(update={"early_window": (0.01, 0.02)})
    assert "No common point lies in the early window" in headline(table(crossing_value), plan).reason


def test_points_that_are_not_finite_are_dropped_and_counted() -> None:
    curves = table(noisy(lambda _: 0.1))
    curves["value"][3] = float("nan")
    curves["value"][4] = float("inf")
    curves["tokens"][0] = 0
    analysis = analyse(curves, PLAN)
    assert analysis.headline.outcome == "baseline"
    note = "Validation loss, arm ar: points left out: 2 not finite, 1 at zero, where a log axis has no place."
    assert note in analysis.notes


def test_holm_makes_a_second_metric_cost_something() -> None:
    second = MetricPlan(name="flat", direction="lower", delta=0.02)
    plan = PLAN.model_copy(update={"metrics": (LOSS, second)})
    curves = joined(table(crossing_value), table(noisy(lambda _: 0.0), metric="flat"))
    analysis = analyse(curves, plan)
    assert [v.metric for v in analysis.verdicts] == ["loss", "flat"]
    first = analysis.verdicts[0]
    assert first.p_crossover is not None
    assert first.p_adjusted == pytest.approx(2 * first.p_crossover)


def test_from_six_pairs_on_sign_flips_must_agree() -> None:
    flat = {0: 0.001, 1: 0.01, 2: 0.01, 3: 0.01, 4: 0.01, 5: 0.011}

    def value(arm: str, seed: int, u: float) -> float:
        late = -flat[seed] if seed else 0.004
        return 3 - u + (arm == "dlm") * (flat[seed] if u < 0.5 else late)

    verdict = headline(table(value, seeds=range(6)))
    assert verdict.p_adjusted is not None
    assert verdict.p_adjusted <= 0.05
    assert verdict.outcome != "crossover"
    assert "sign-flip" in verdict.reason


def test_best_so_far_can_turn_a_verdict() -> None:
    def overfits(arm: str, seed: int, u: float) -> float:
        wobble = 0.002 * np.sin(seed + 7 * u)
        return float(2 + (u - 0.4) ** 2 + wobble if arm == "ar" else 2.3 - 0.2 * u + 0.5 * wobble)

    plan = PLAN.model_copy(update={"comparisons": ("matched", "best-so-far")})
    matched, best = analyse(table(overfits), plan).verdicts
    assert matched.outcome == "crossover"
    assert best.outcome == "baseline"
    assert "best so far" in best.reason


def test_loud_monte_carlo_error_is_noted() -> None:
    loud, quiet = (analyse(table(noisy(lambda _: 0.1), stderr=s), PLAN) for s in (0.05, 0.0005))
    assert any("Monte Carlo" in note for note in loud.notes)
    assert not any("Monte Carlo" in note for note in quiet.notes)


def test_what_is_not_tested_is_named_and_drawn() -> None:
    curves = joined(table(crossing_value, arms=["ar", "dlm", "ar-dropout"]), table(crossing_value, metric="margin"))
    analysis = analyse(curves, PLAN, notes=["NELBO is an upper bound."])
    assert analysis.notes[0] == "NELBO is an upper bound."
    assert "Not tested, because the plan does not name it: arm ar-dropout." in analysis.notes
    assert "Not tested, because the plan does not name it: metric margin." in analysis.notes
    assert set(analysis.figures[0].arms) == {"ar", "ar-dropout", "dlm"}
    assert [row.arm for row in analysis.summaries] == ["ar", "ar-dropout", "dlm"]


def test_everything_asked_is_answered_in_order() -> None:
    second = MetricPlan(name="margin", direction="higher", delta=0.02)
    plan = AnalysisPlan(metrics=(LOSS, second))
    curves = joined(table(crossing_value), table(noisy(lambda _: 0.1), metric="margin"))
    analysis = analyse(curves, plan, unique_tokens=10_000)
    asked = [
        (m, a, c)
        for m in ("loss", "margin")
        for a in ("epochs", "flops", "seconds")
        for c in ("matched", "best-so-far")
    ]
    assert [(v.metric, v.axis, v.comparison) for v in analysis.verdicts] == asked
    assert [(f.metric, f.axis, f.comparison) for f in analysis.figures] == asked
    row = analysis.summaries[0]
    assert (row.arm, row.seeds, row.best_at_epoch, row.best_at_tokens) == ("ar", 5, 100.0, None)
    plan = AnalysisPlan(metrics=(LOSS,), axes=("tokens",))
    row = analyse(table(crossing_value), plan).summaries[0]
    assert (row.arm, row.seeds, row.best_at_epoch, row.best_at_tokens) == ("ar", 5, None, 1_000_000.0)


@pytest.mark.parametrize(
    "curves",
    [table(crossing_value), table(noisy(lambda _: 0.0)), table(crossing_value, seeds=[1]), table(lambda *_: 0.25)],
)
def test_the_same_input_gives_the_same_bytes_and_json_round_trips(curves: Table) -> None:
    first, again = (analyse(curves, PLAN).model_dump_json() for _ in range(2))
    frame = analyse(pd.DataFrame(curves), PLAN).model_dump_json()
    assert first == again == frame
    json.loads(first, parse_constant=_refuse)
    assert Analysis.model_validate_json(first).model_dump_json() == first


def _refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is not JSON")


def test_an_arrow_like_table_is_read_by_its_to_pydict() -> None:
    class Arrow:
        def to_pydict(self) -> Table:
            return table(crossing_value)

    assert headline(Arrow()) == headline(table(crossing_value))


@pytest.mark.parametrize("missing", [None, pd.NA, float("nan")])
def test_missing_values_of_any_kind_are_missing(missing: object) -> None:
    curves = table(noisy(lambda _: 0.1))
    curves["value"][0] = missing
    assert any("1 not finite" in note for note in analyse(curves, PLAN).notes)


def test_unused_columns_may_be_absent() -> None:
    curves = table(crossing_value)
    for name in ("flops", "seconds", "stderr"):
        del curves[name]
    assert headline(curves).outcome == "crossover"


def test_points_between_checkpoints_are_interpolated() -> None:
    later = [t + 137 for t in TOKENS]
    curves = joined(table(crossing_value, arms=["ar"]), table(crossing_value, arms=["dlm"], tokens=later))
    crossing = headline(curves).crossing
    assert crossing is not None
    assert crossing.at == pytest.approx(np.sqrt(TOKENS[0] * TOKENS[-1]), rel=0.01)
