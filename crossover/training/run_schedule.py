"""Learning rates, and the path of a run: one trunk, and where the schedule asks for it, decay branches.

`constant`: linear warm-up, then constant; every point is a budget of its own. `wsd` (warm-up, stable, decay; Hu et al.
2024, arXiv 2404.06395): the trunk is constant, and each evaluated point is the end of its own branch, which leaves the
trunk early and decays linearly, so that every budget's model is fairly annealed. `cosine`: one decay over the whole
run; its earlier points are not budgets.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from crossover.study.study_parts import TrainingConfig


@dataclass(frozen=True)
class RunSchedule:
    """Where a run goes.

    Args:
        trunk_steps: steps of the trunk.
        branch_starts: for each milestone, the trunk's step at which its branch leaves; empty without branches.
        milestones: steps at which a checkpoint is saved, ascending.
    """

    trunk_steps: int
    branch_starts: dict[int, int]
    milestones: tuple[int, ...]

    @property
    def steps(self) -> int:
        """Optimizer steps in all, branches included."""
        return self.trunk_steps + sum(end - start for end, start in self.branch_starts.items())

    def steps_before(self, step: int) -> int:
        """Optimizer steps done when the trunk has got to this step, branches included."""
        return step + sum(end - start for end, start in self.branch_starts.items() if start < step)

    def branches_at(self, step: int) -> tuple[int, ...]:
        """Milestones whose branch leaves the trunk at this step."""
        return tuple(end for end, start in self.branch_starts.items() if start == step)


def run_schedule(config: TrainingConfig, milestones: tuple[int, ...]) -> RunSchedule:
    """The path through a run's milestones, the last of which is its end."""
    if config.schedule != "wsd":
        return RunSchedule(milestones[-1], {}, milestones)
    starts = {end: end - max(1, math.ceil(config.decay_fraction * end)) for end in milestones}
    return RunSchedule(max(starts.values()), starts, milestones)


def learning_rate(config: TrainingConfig, step: int, total: int, branch: tuple[int, int] | None = None) -> float:
    """Rate of a step, counted from 0.

    Args:
        config: the schedule.
        step: the step.
        total: steps of the run.
        branch: where the decay branch that this step is on starts and ends; None on the trunk.
    """
    peak = config.learning_rate * min(1.0, (step + 1) / max(1, config.warmup_steps))
    if branch is not None:
        start, end = branch
        share = (step + 1 - start) / (end - start)
        return peak * (1.0 - (1.0 - config.final_rate) * share)
    if config.schedule == "cosine" and step >= config.warmup_steps:
        share = (step + 1 - config.warmup_steps) / max(1, total - config.warmup_steps)
        return peak * (config.final_rate + (1.0 - config.final_rate) * 0.5 * (1.0 + math.cos(math.pi * share)))
    return peak
