"""Learning rates, and the walk along a trunk and its branches."""

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from crossover.study.study_config import StudyConfig
from crossover.study.study_parts import TrainingConfig
from crossover.training.run_schedule import learning_rate, run_schedule

MILESTONES = st.lists(st.integers(1, 400), min_size=1, max_size=8, unique=True).map(lambda steps: tuple(sorted(steps)))


def training(schedule: str, **changes: object) -> TrainingConfig:
    return TrainingConfig.model_validate({"schedule": schedule, "learning_rate": 2.0, "warmup_steps": 5} | changes)


@pytest.mark.parametrize("schedule", ["constant", "wsd", "cosine"])
def test_warm_up_rises_in_equal_steps_to_the_peak(schedule: str) -> None:
    rates = [learning_rate(training(schedule), step, 100) for step in range(5)]
    assert rates == pytest.approx([0.4, 0.8, 1.2, 1.6, 2.0])
    assert learning_rate(training(schedule, warmup_steps=0), 0, 10_000) == pytest.approx(2.0)


@pytest.mark.parametrize("schedule", ["constant", "wsd"])
def test_constant_and_a_trunk_stay_at_the_peak(schedule: str) -> None:
    assert {learning_rate(training(schedule), step, 100) for step in range(4, 100)} == {2.0}


@pytest.mark.parametrize("final", [0.0, 0.1, 0.5])
def test_cosine_falls_to_the_final_rate_by_half_a_wave(final: float) -> None:
    config = training("cosine", final_rate=final)
    rates = [learning_rate(config, step, 105) for step in range(105)]
    assert rates[-1] == pytest.approx(2.0 * final)
    assert rates[54] == pytest.approx(2.0 * (1 + final) / 2)  # half way after the warm-up
    assert all(before > after for before, after in pairwise(rates[4:]))


@given(MILESTONES, st.floats(0.01, 0.9), st.floats(0, 0.9))
def test_every_milestone_ends_its_own_branch_at_the_final_rate(
    milestones: tuple[int, ...], fraction: float, final: float
) -> None:
    config = training("wsd", decay_fraction=fraction, final_rate=final, warmup_steps=0)
    path = run_schedule(config, milestones)
    assert tuple(path.branch_starts) == path.milestones == milestones
    for end, start in path.branch_starts.items():
        assert 0 <= start < end
        assert end - start == max(1, math.ceil(fraction * end))
        rates = [learning_rate(config, step, milestones[-1], (start, end)) for step in range(start, end)]
        assert rates[-1] == pytest.approx(2.0 * final, abs=1e-12)
        falls = [before - after for before, after in pairwise([2.0, *rates])]
        assert falls == pytest.approx([2.0 * (1 - final) / (end - start)] * len(rates))


@given(MILESTONES, st.integers(1, 60), st.floats(0.01, 0.9))
def test_an_exponential_branch_of_so_many_steps_falls_by_equal_factors(
    milestones: tuple[int, ...], steps: int, final: float
) -> None:
    changes = {"decay_steps": steps, "decay_shape": "exponential", "final_rate": final, "warmup_steps": 0}
    config = training("wsd", **changes)
    path = run_schedule(config, milestones)
    for end, start in path.branch_starts.items():
        assert end - start == min(steps, end)
        rates = [learning_rate(config, step, milestones[-1], (start, end)) for step in range(start, end)]
        assert rates[-1] == pytest.approx(2.0 * final)
        factors = [after / before for before, after in pairwise([2.0, *rates])]
        assert factors == pytest.approx([final ** (1 / (end - start))] * len(rates))


def test_an_exponential_decay_to_zero_is_refused() -> None:
    with pytest.raises(ValidationError, match="give a final_rate above 0"):
        training("wsd", decay_shape="exponential")
    assert not {"decay_steps", "decay_shape"} & set(training("wsd").model_dump())  # recorded as before


def test_a_branch_within_the_warm_up_goes_on_rising_before_it_falls() -> None:
    config = training("wsd", warmup_steps=100)
    rates = [learning_rate(config, step, 100, (10, 20)) for step in range(10, 20)]
    assert rates == pytest.approx([2.0 * (step + 1) / 100 * (1 - (step - 9) / 10) for step in range(10, 20)])
    assert rates[-1] == pytest.approx(0.0)


@given(MILESTONES, st.floats(0.01, 0.9))
def test_steps_are_counted_as_they_are_walked(milestones: tuple[int, ...], fraction: float) -> None:
    path = run_schedule(training("wsd", decay_fraction=fraction), milestones)
    done, ended = 0, []
    for step in range(path.trunk_steps + 1):
        assert path.steps_before(step) == done
        for end in path.branches_at(step):
            done += end - step
            ended.append(end)
        done += step < path.trunk_steps
    assert (done, sorted(ended)) == (path.steps, list(milestones))


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_other_schedules_have_no_branches(schedule: str) -> None:
    path = run_schedule(training(schedule), (3, 9, 40))
    assert (path.steps, path.trunk_steps, path.branch_starts, path.milestones) == (40, 40, {}, (3, 9, 40))
    assert [path.steps_before(step) for step in (0, 3, 40)] == [0, 3, 40]
    assert path.branches_at(3) == ()


def test_a_decay_without_wsd_is_refused(tiny_study: StudyConfig) -> None:
    fields = tiny_study.model_dump()
    fields["training"] |= {"decay_steps": 5, "schedule": "constant"}
    with pytest.raises(ValidationError, match=r"training\.schedule: the former are of wsd"):
        StudyConfig.model_validate(fields)
    arm = {"ar": {"schedule": "wsd"}}
    assert StudyConfig.model_validate(fields | {"recipes": arm}).training_of("ar").decay_steps == 5
