"""Learning-rate schedules, and the steps of a run: a trunk and, under `wsd`, decay branches.

`constant`: linear warm-up, then constant; every checkpoint is a training budget. `wsd` (warm-up, stable, decay; Hu et
al. 2024, arXiv 2404.06395): the trunk's rate is constant, and every evaluated checkpoint is the end of its own branch,
which leaves the trunk earlier and decays linearly or exponentially, so that every budget's model is annealed.
`cosine`: one decay over the full run; only its last checkpoint is a training budget.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from crossover.study.study_parts import TrainingConfig


@dataclass(frozen=True)
class RunSchedule:
    """The optimizer steps of a run.

    Args:
        trunk_steps: steps of the trunk.
        branch_starts: for each milestone, the trunk step at which its branch starts; empty without branches.
        milestones: steps whose checkpoint is evaluated, ascending.
    """

    trunk_steps: int
    branch_starts: dict[int, int]
    milestones: tuple[int, ...]

    @property
    def steps(self) -> int:
        """Total optimizer steps, including branches."""
        return self.trunk_steps + sum(end - start for end, start in self.branch_starts.items())

    def steps_before(self, step: int) -> int:
        """Optimizer steps done when the trunk reaches this step, including branches."""
        return step + sum(end - start for end, start in self.branch_starts.items() if start < step)

    def leaves_trunk(self, milestone: int) -> int:
        """Step of the trunk from which a milestone is trained: its branch's start, or the step that ends in it."""
        return self.branch_starts.get(milestone, milestone - 1)

    def branches_at(self, step: int) -> tuple[int, ...]:
        """Milestones whose branch starts at this step of the trunk."""
        return tuple(end for end, start in self.branch_starts.items() if start == step)


def run_schedule(config: TrainingConfig, milestones: tuple[int, ...]) -> RunSchedule:
    """The schedule of a run with these milestones; the last one is its end."""
    if config.schedule != "wsd":
        return RunSchedule(milestones[-1], {}, milestones)
    starts = {end: end - min(end, config.decay_steps or math.ceil(config.decay_fraction * end)) for end in milestones}
    return RunSchedule(max(starts.values()), starts, milestones)


def learning_rate(config: TrainingConfig, step: int, total: int, branch: tuple[int, int] | None = None) -> float:
    """Learning rate of an optimizer step.

    Args:
        config: schedule and peak rate.
        step: optimizer step, from 0.
        total: steps of the run.
        branch: first and last step of the decay branch of this step; None on the trunk.
    """
    peak = config.learning_rate * min(1.0, (step + 1) / max(1, config.warmup_steps))
    if branch is not None:
        start, end = branch
        progress = (step + 1 - start) / (end - start)
        if config.decay_shape == "exponential":
            return float(peak * config.final_rate**progress)
        return peak * (1.0 - (1.0 - config.final_rate) * progress)
    if config.schedule == "cosine" and step >= config.warmup_steps:
        progress = (step + 1 - config.warmup_steps) / max(1, total - config.warmup_steps)
        return peak * (config.final_rate + (1.0 - config.final_rate) * 0.5 * (1.0 + math.cos(math.pi * progress)))
    return peak
