"""What must not matter does not matter: which arm is called what, units of x and y, the order of rows, seed numbers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossover.analysis import AnalysisPlan, analyse
from crossover.analysis.analysis_result import Verdict
from crossover.analysis.best_checkpoints import running_best
from crossover.analysis.curves import Curve
from tests.crossover.analysis.analysis_curves import LOSS, PLAN, Table, noisy, table

few = settings(max_examples=25, deadline=None)
shapes = st.tuples(
    st.floats(-0.1, 0.1), st.floats(-0.2, 0.2), st.integers(0, 1000), st.sampled_from([0.005, 0.02, 0.05])
)
SWAPPED = {
    "baseline": "candidate",
    "candidate": "baseline",
    "baseline→candidate": "candidate→baseline",
    "candidate→baseline": "baseline→candidate",
}
Shape = tuple[float, float, int, float]


def drawn(shape: Shape, pairs: int = 6) -> Table:
    level, slope, seed, sd = shape
    return table(noisy(lambda u: level + slope * (0.5 - u), sd=sd, seed=seed), seeds=range(pairs))


def verdict_of(curves: Table, plan: AnalysisPlan = PLAN) -> Verdict:
    return analyse(curves, plan).headline


def same_crossing(one: Verdict, other: Verdict, factor: float = 1.0) -> None:
    assert (one.crossing is None) == (other.crossing is None)
    if one.crossing is None or other.crossing is None:
        return
    assert other.crossing.at == pytest.approx(one.crossing.at * factor)
    for a, b in ((one.crossing.low, other.crossing.low), (one.crossing.high, other.crossing.high)):
        assert b == (None if a is None else pytest.approx(a * factor))


@few
@given(shapes)
def test_swapping_the_arms_swaps_the_answer(shape: Shape) -> None:
    curves = drawn(shape)
    one = verdict_of(curves)
    other = verdict_of(curves, PLAN.model_copy(update={"baseline": "dlm", "candidate": "ar"}))
    assert other.outcome == SWAPPED.get(one.outcome, one.outcome)
    assert other.p_crossover == one.p_crossover
    same_crossing(one, other)
    if one.crossing is not None and other.crossing is not None:
        assert other.crossing.direction == SWAPPED[one.crossing.direction]


@few
@given(shapes)
def test_rescaling_x_moves_only_the_place(shape: Shape) -> None:
    curves = drawn(shape)
    one = verdict_of(curves)
    other = verdict_of({**curves, "tokens": [10 * t for t in curves["tokens"]]})
    assert (other.outcome, other.sign_changes) == (one.outcome, one.sign_changes)
    assert other.p_crossover == pytest.approx(one.p_crossover)
    same_crossing(one, other, 10.0)


@few
@given(shapes, st.sampled_from([1e-6, 0.7, 1e5]))
def test_rescaling_y_with_delta_changes_no_word(shape: Shape, factor: float) -> None:
    curves = drawn(shape)
    one = verdict_of(curves)
    metric = LOSS.model_copy(update={"delta": LOSS.delta * factor})
    scaled = {**curves, "value": [v * factor for v in curves["value"]]}
    other = verdict_of(scaled, PLAN.model_copy(update={"metrics": (metric,)}))
    assert (other.outcome, other.sign_changes) == (one.outcome, one.sign_changes)
    assert other.p_crossover == pytest.approx(one.p_crossover)
    same_crossing(one, other)


@few
@given(shapes, st.randoms(use_true_random=False))
def test_the_order_of_rows_changes_no_byte(shape: Shape, random: np.random.Generator) -> None:
    curves = drawn(shape)
    order = list(range(len(curves["arm"])))
    random.shuffle(order)
    shuffled = {name: [column[i] for i in order] for name, column in curves.items()}
    assert analyse(shuffled, PLAN).model_dump_json() == analyse(curves, PLAN).model_dump_json()


@few
@given(shapes, st.permutations(range(6)))
def test_which_seed_has_which_number_is_of_no_account(shape: Shape, numbers: list[int]) -> None:
    curves = drawn(shape)
    one = verdict_of(curves)
    other = verdict_of({**curves, "seed": [numbers[s] for s in curves["seed"]]})
    assert other.outcome == one.outcome
    assert other.p_crossover == pytest.approx(one.p_crossover)
    same_crossing(one, other)


points = st.tuples(
    st.sampled_from(["ar", "dlm"]),
    st.integers(0, 6),
    st.sampled_from([0, 1, 3, 10, 100, 10**15, 10**15 + 1]),
    st.one_of(st.floats(), st.sampled_from([0.0, 1.0, -1.0, 1e99, 5e-324])),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(points, max_size=90, unique_by=lambda p: p[:3]))
def test_any_numbers_get_an_answer_that_is_json(rows: list[tuple[str, int, int, float]]) -> None:
    rows += [(arm, 9, 7, 1.0) for arm in ("ar", "dlm")]
    names = ("arm", "seed", "tokens", "value")
    curves = {name: list(column) for name, column in zip(names, zip(*rows, strict=True), strict=True)}
    curves |= {"metric": ["loss"] * len(rows), "flops": [2 * t for t in curves["tokens"]]}
    plan = PLAN.model_copy(update={"axes": ("tokens", "flops"), "comparisons": ("matched", "best-so-far")})
    analysis = analyse(curves, plan)
    text = analysis.model_dump_json()
    assert type(analysis).model_validate_json(text) == analysis
    assert all(v.reason.endswith(".") for v in analysis.verdicts)
    if len(analysis.seeds) < 5:
        assert {v.outcome for v in analysis.verdicts} == {"insufficient evidence"}


@few
@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=30), st.sampled_from(["lower", "higher"]))
def test_best_so_far_never_un_improves(values: list[float], direction: str) -> None:
    value_P = np.array(values)
    curve = Curve(np.arange(1.0, value_P.size + 1), value_P, np.arange(value_P.size, dtype=float))
    best = running_best(curve, LOSS.model_copy(update={"direction": direction}))
    step_P = np.diff(best.value_P)
    assert np.all(step_P <= 0 if direction == "lower" else step_P >= 0)
    assert best.value_P[-1] == (value_P.min() if direction == "lower" else value_P.max())
    assert np.array_equal(value_P[best.stderr_P.astype(int)], best.value_P)
