"""The time of an optimizer step on this machine, measured with an untrained model."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence

from crossover.model.model_config import ModelConfig
from crossover.study.arms import Arm
from crossover.study.study_config import StudyConfig
from crossover.training.batch_order import batch_at
from crossover.training.distributed import World
from crossover.training.run_spec import cell_model, pair_generator
from crossover.training.timed_examples import TimedExamples, whole_examples
from crossover.training.train_engine import TrainEngine

MEASURED_STEPS = 8
"""Steps that are timed of each arm."""
PASSES = 2
"""Times that every arm has its turn, so that other work on the machine slows all arms alike."""
WARM_STEPS = 2
MOST_SECONDS = 10.0
"""Of one turn of an arm, after which a step that is under way is the last."""


def measured_steps(
    study: StudyConfig,
    model: str,
    arms: Sequence[Arm],
    on_run: Callable[[str], None],
    examples: TimedExamples | None = None,
) -> dict[tuple[str, str], float]:
    """Time of an optimizer step of each arm with a model, on one process, in seconds, by (model, arm).

    It is the mean without the fastest and the slowest quarter: batches with an attention mask take longer than others,
    of which a median would count one kind alone.

    Args:
        study: the study.
        model: of the study's grid.
        arms: to measure, in turns.
        on_run: called with `<model>/<arm>` before each turn.
        examples: to train on; None for examples of one document each.

    Raises:
        StudyError: the device is missing, or the memory does not suffice.
    """
    cell = next(cell for cell in study.cells if cell.model == model)
    times: dict[tuple[str, str], list[float]] = {(model, arm.name): [] for arm in arms}
    for _ in range(PASSES):
        for arm in arms:
            on_run(f"{model}/{arm.name}")
            times[model, arm.name] += _turn(study, cell_model(study, cell), arm, examples)
    return {key: middle_mean(seconds) for key, seconds in times.items()}


def middle_mean(seconds: Sequence[float]) -> float:
    """Mean without the lowest and the highest quarter."""
    cut = len(seconds) // 4
    return statistics.fmean(sorted(seconds)[cut : len(seconds) - cut])


def _turn(study: StudyConfig, shape: ModelConfig, arm: Arm, examples: TimedExamples | None) -> list[float]:
    """Times of some steps after warm-up; of the first one, where even that takes too long."""
    steps = Stepper(study, shape, arm, examples)
    if steps.engine.config.compile:
        steps.time()  # it compiles
    began = time.perf_counter()
    times: list[float] = []
    while len(times) < WARM_STEPS + MEASURED_STEPS // PASSES and time.perf_counter() - began < MOST_SECONDS:
        times.append(steps.time())
    return times[min(WARM_STEPS, len(times) - 1) :]


class Stepper:
    """Trains with a learning rate of zero, on examples that are cut at random as often as the study's."""

    def __init__(self, study: StudyConfig, shape: ModelConfig, arm: Arm, examples: TimedExamples | None = None) -> None:
        training, length = study.training_of(arm.name), study.data.sequence_length
        self.batch_size = training.batch_size
        examples = examples or whole_examples(study)
        self.engine = TrainEngine(
            training, shape, arm, seed=0, length=length, world=World(), document_end=examples.document_end
        )
        self.engine.set_weights(self.engine.model.draws(pair_generator(0)))
        self.examples = examples.rows_NL
        self.step = 0

    def time(self) -> float:
        """Seconds of one step."""
        began = time.perf_counter()
        cut = self.engine.config.random_lengths
        batch = batch_at(0, self.step, batch_size=self.batch_size, examples=len(self.examples), random_lengths=cut)
        self.engine.gradients(self.step, batch, self.examples)
        self.engine.apply(0.0)
        self.step += 1
        return time.perf_counter() - began
