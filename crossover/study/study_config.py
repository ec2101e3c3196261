"""A study: one question, as validated fields.

A study is a corpus, a grid of cells (unique tokens x tier of quality x model), the arms, the seeds, the evaluation plan
and the analysis plan. What each field decides, and thus what an edit makes anew, is in `crossover.study.study_digests`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product
from typing import Annotated, Any, Self, cast

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from crossover.analysis.analysis_plan import AnalysisPlan
from crossover.field_faults import NAME_PATTERN, did_you_mean
from crossover.files import digest_of
from crossover.metric_catalogue import METRICS, TASK_METRICS, is_known, metric_of, similar_names
from crossover.model.model_presets import PRESETS
from crossover.study.arms import Arm, Recipe, resolve_arm
from crossover.study.data_config import DataConfig
from crossover.study.study_part import StudyPart
from crossover.study.study_parts import DOMAIN_CLOZE, EvaluationConfig, GridConfig, TrainingConfig
from crossover.study.tuning_config import TuningConfig

DEFAULT_METRICS = ("validation_bpb", f"{DOMAIN_CLOZE}_accuracy", f"{DOMAIN_CLOZE}_margin")
"""What arms are compared on when a study names no metric; the first is the primary one."""

FIRST_EPOCH = 4.0
"""Where the first checkpoint stands if the study does not say, or at an eighth of the epochs if that is earlier."""


def metric_fields(metric: object) -> object:
    """A metric of the plan with what it leaves out taken from the catalogue: direction, delta, label and unit.

    Args:
        metric: a metric's name, or its fields; anything else, and names that the catalogue lacks, are returned as they
            are, for the plan to refuse or to take.
    """
    fields: Any = {"name": metric} if isinstance(metric, str) else metric
    if not isinstance(fields, dict):
        return metric
    try:
        known = metric_of(str(fields.get("name")))
    except KeyError:
        return fields
    defaults = {"direction": known.direction, "delta": known.delta, "label": known.label, "unit": known.unit}
    return {name: value for name, value in defaults.items() if value not in (None, "none")} | fields


def _task_of(metric: str) -> str | None:
    """The task in the name of a task's metric, such as `hellaswag` of `hellaswag_accuracy`; None for other names."""
    endings = (f"_{name}" for name in TASK_METRICS if metric not in METRICS)
    return next((metric.removesuffix(ending) for ending in endings if metric.endswith(ending)), None)


def _unmeasured(name: str, evaluation: EvaluationConfig) -> str:
    """Why evaluations of a study will not record a metric, with the remedy; empty where they will."""
    task = _task_of(name)
    if task is not None and task not in evaluation.tasks:
        meant = did_you_mean(task, evaluation.tasks)
        return f"is of a task that evaluation.tasks lacks{meant or f'; add {task}, or leave the metric out'}"
    if not is_known(name):
        return f"is recorded by no task or stage{did_you_mean(name, similar_names(name)) or '; leave it out'}"
    metric = metric_of(name)
    if metric.measured_in == "training":
        return "is recorded while training, and arms are compared on what checkpoints are measured on; leave it out"
    needed: tuple[str, ...] = ()
    if metric.estimator == "chain rule":
        needed = ("chain_rule_points", "chain_rule_examples")
    elif metric.measured_in == "writing":
        needed = ("writing_points", "passages" if "extraction" in name else "samples")
    if name in ("sample_perplexity", "sample_bpb"):
        needed = (*needed, "scorer")
    lacking = next((field for field in needed if not getattr(evaluation, field)), "")
    return f"is not measured without evaluation.{lacking}; set it, or leave the metric out" if lacking else ""


def _with_metrics(analysis: dict[str, Any], tasks: Sequence[str]) -> dict[str, Any]:
    """The fields of a plan with its metrics completed from the catalogue; by default those that are measured."""
    metrics = analysis.get("metrics", [name for name in DEFAULT_METRICS if _task_of(name) in (None, *tasks)])
    if not isinstance(metrics, list | tuple):
        return analysis
    return analysis | {"metrics": [metric_fields(metric) for metric in metrics]}


def _seeds(seeds: object) -> object:
    """The seeds 0..n-1 of a whole number n; anything else as it is."""
    if isinstance(seeds, bool) or not isinstance(seeds, int | float) or seeds != seeds // 1:
        return seeds
    return tuple(range(int(seeds)))


def _known_arm(name: str, info: ValidationInfo) -> str:
    """An arm's name; the recipes were validated before it."""
    if "recipes" in info.data:
        resolve_arm(name, info.data["recipes"].get(name))
    return name


class Cell(StudyPart):
    """One point of the grid."""

    unique_tokens: int
    model: str
    quality: str = ""
    """Tier of the training documents; empty in a study that does not compare tiers."""

    @property
    def name(self) -> str:
        """For example `u10000-nano` or `u10000-high-nano`: folder name, registry key, column value."""
        return "-".join(filter(None, (f"u{self.unique_tokens}", self.quality, self.model)))


class StudyConfig(StudyPart):
    """A study. Its fields, and nothing else, decide the numbers; `field_effects` lists which decides what."""

    name: str = Field(default="study", pattern=NAME_PATTERN)
    question: str = Field(default="", max_length=500)
    data: DataConfig = DataConfig()
    grid: GridConfig = GridConfig()
    recipes: dict[str, Recipe] = Field(default_factory=dict, description="Ratios of arms, or new arms by name.")
    arms: tuple[Annotated[str, AfterValidator(_known_arm)], ...] = Field(default=("ar", "dlm"), validate_default=True)
    seeds: Annotated[tuple[int, ...], BeforeValidator(_seeds)] = Field(
        default=(0, 1, 2, 3, 4), description="A number n means 0..n-1."
    )
    training: TrainingConfig = TrainingConfig()
    tuning: TuningConfig = TuningConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    analysis: AnalysisPlan = Field(default_factory=lambda: cast("AnalysisPlan", {}), validate_default=True)

    @field_validator("seeds")
    @classmethod
    def _seeds_are_distinct(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if not seeds:
            raise ValueError("no seed trains nothing; give 1 to explore, and 5 or more for a verdict")
        if min(seeds) < 0 or len(set(seeds)) < len(seeds):
            raise ValueError(f"seeds must be distinct and not negative, found {list(seeds)}")
        return seeds

    @field_validator("arms")
    @classmethod
    def _arms_are_distinct(cls, arms: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if len(set(arms)) < len(arms):
            raise ValueError(f"an arm stands twice in {list(arms)}")
        for name in info.data.get("recipes", ()):
            if name not in arms:
                raise ValueError(
                    f"the recipe {name!r} is for none of the arms {', '.join(arms)}{did_you_mean(name, arms)}"
                )
        return arms

    @field_validator("analysis", mode="before")
    @classmethod
    def _metrics_are_completed(cls, analysis: object, info: ValidationInfo) -> object:
        tasks = info.data.get("evaluation", EvaluationConfig()).tasks
        return _with_metrics(analysis, tasks) if isinstance(analysis, dict) else analysis

    @field_validator("analysis")
    @classmethod
    def _metrics_are_measured(cls, analysis: AnalysisPlan, info: ValidationInfo) -> AnalysisPlan:
        for metric in analysis.metrics if "evaluation" in info.data else ():
            if reason := _unmeasured(metric.name, info.data["evaluation"]):
                raise ValueError(f"metrics: {metric.name!r} {reason}")
        return analysis

    @field_validator("analysis")
    @classmethod
    def _compared_arms_are_known(cls, analysis: AnalysisPlan, info: ValidationInfo) -> AnalysisPlan:
        if "arms" not in info.data or "recipes" not in info.data:
            return analysis
        families = {name: resolve_arm(name, info.data["recipes"].get(name)).family for name in info.data["arms"]}
        for field in ("baseline", "candidate"):
            if (arm := getattr(analysis, field)) not in families:
                meant = did_you_mean(arm, tuple(families))
                raise ValueError(f"{field}: {arm!r} is none of the arms {', '.join(families)}{meant}")
        for arm in analysis.tuned:
            if families.get(arm) != families[analysis.baseline]:
                text = f"tuned: {arm!r} is not an arm of this study of the baseline's family"
                raise ValueError(f"{text}; the arms are {', '.join(families)}")
        return analysis

    @model_validator(mode="after")
    def _tuning_fits(self) -> Self:
        shared = set(self.tuning.seeds) & set(self.seeds)
        if self.tuning.learning_rates and shared:
            raise ValueError(f"tuning.seeds and seeds: both have {min(shared)}, whose verdict the sweep would flatter")
        tuned = {"learning_rate": self.tuning.learning_rates, "weight_decay": self.tuning.weight_decays}
        known = {result.arm for result in self.tuning.results}
        for arm in known or self.tuned_arms:
            for field, values in tuned.items():
                if values and getattr(self.recipes.get(arm), field, None) is not None:
                    raise ValueError(
                        f"recipes.{arm}.{field} and tuning.{field}s: exclude each other; leave one of them out"
                    )
        if unknown := sorted(known - set(self.arms)):
            raise ValueError(f"tuning.results and arms: the study has no arm {', '.join(unknown)}; tune again")
        return self

    @model_validator(mode="after")
    def _experts_can_choose(self) -> Self:
        sparse = any(PRESETS[model].get("num_experts") for model in self.grid.models)
        for name in self.arms:
            if self.arm(name).expert_choice and not sparse:
                raise ValueError(f"recipes.{name}.expert_choice and grid.models: no model of the grid has experts")
        return self

    @model_validator(mode="after")
    def _experts_divide(self) -> Self:
        fields, processes = "training.expert_parallel and grid.models", self.training.expert_parallel
        for model in self.grid.models:
            experts = PRESETS[model].get("num_experts", 0)
            if processes > 1 and not experts:
                raise ValueError(f"{fields}: {model} has no experts to divide; leave the former out")
            if experts % processes:
                raise ValueError(
                    f"{fields}: {processes} processes cannot divide the {experts} experts of {model} "
                    "evenly; give a divisor of that number"
                )
        return self

    @model_validator(mode="after")
    def _tiers_can_be_compared(self) -> Self:
        if self.grid.quality and self.data.quality.scorer == "none":
            raise ValueError("grid.quality and data.quality.scorer: tiers need a scorer; set it")
        if self.grid.quality and self.data.quality.tier != "all":
            raise ValueError(
                f"grid.quality and data.quality.tier: {self.data.quality.tier!r} excludes the former; leave one out"
            )
        return self

    @model_validator(mode="after")
    def _parts_agree(self) -> Self:
        if "frontier" in self.analysis.comparisons and len(self.grid.models) < 2:
            raise ValueError("analysis.comparisons and grid.models: 'frontier' compares model sizes; give at least two")
        length = self.data.sequence_length
        if min(self.grid.unique_tokens) < length:
            raise ValueError(
                f"grid.unique_tokens and data.sequence_length: {min(self.grid.unique_tokens)} is less than one example "
                f"of {length} tokens"
            )
        if self.data.validation_tokens < length:
            raise ValueError(
                f"data.validation_tokens and data.sequence_length: {self.data.validation_tokens} is less than one "
                f"example of {length} tokens"
            )
        if (self.training.decay_steps or self.training.decay_shape != "linear") and not any(
            (self.arm(arm).schedule or self.training.schedule) == "wsd" for arm in self.arms
        ):
            raise ValueError(
                "training.decay_steps, training.decay_shape and training.schedule: the former are of wsd, which no arm "
                "has; set it, or leave them out"
            )
        for arm in self.arms:
            try:
                self.training_of(arm)
            except ValidationError as error:
                problem = error.errors(include_url=False)[0]["msg"].removeprefix("Value error, ")
                raise ValueError(f"recipes.{arm} and training: {problem}") from error
            for cell in self.cells:
                if len(self.evaluation_steps(cell, arm)) < 2:
                    raise ValueError(
                        f"training.epochs, training.batch_size and evaluation.first_epoch: {self.training.epochs:g} "
                        f"epochs of {cell.name} leave {arm} fewer than two steps to measure; raise the epochs, or "
                        "lower its batch size or the first epoch"
                    )
        return self

    @property
    def digest(self) -> str:
        """SHA-256 over all fields: names one revision of the study, not what was computed for it."""
        return digest_of(self.model_dump(mode="json"))

    @property
    def plan_digest(self) -> str:
        """SHA-256 over the analysis plan."""
        return digest_of(self.analysis.model_dump(mode="json"))

    @property
    def cells(self) -> tuple[Cell, ...]:
        """The grid: budgets ascending, tiers from low to high and then all, models in the order given."""
        grid = self.grid
        cells = product(grid.unique_tokens, grid.quality or ("",), grid.models)
        return tuple(Cell(unique_tokens=u, quality=q, model=m) for u, q, m in cells)

    def arm(self, name: str) -> Arm:
        """The arm of that name: a built-in one, or what its recipe and the sweep make of it."""
        recipe = self.recipes.get(name)
        if chosen := self.tuning.chosen(name):
            recipe = (recipe or Recipe()).model_copy(update=chosen)
        return resolve_arm(name, recipe)

    @property
    def tuned_arms(self) -> tuple[str, ...]:
        """The arms that a sweep is for: those that are compared, if there is a sweep."""
        plan = self.analysis
        return tuple(dict.fromkeys((plan.baseline, plan.candidate, *plan.tuned))) if self.tuning.learning_rates else ()

    def cell(self, name: str) -> Cell:
        """The cell with that name."""
        return next(cell for cell in self.cells if cell.name == name)

    def examples(self, cell: Cell) -> int:
        """Training examples of a cell: whole sequences that fit into the budget."""
        return cell.unique_tokens // self.data.sequence_length

    def training_of(self, arm: str) -> TrainingConfig:
        """The training settings of an arm: the study's, but for what its recipe sets.

        Raises:
            ValidationError: its microbatches do not fill its batch.
        """
        own = self.arm(arm).own_training
        return TrainingConfig.model_validate(self.training.model_dump() | own) if own else self.training

    def tokens_per_step(self, arm: str) -> int:
        """Tokens in a global batch of an arm."""
        return self.training_of(arm).batch_size * self.data.sequence_length

    def total_steps(self, cell: Cell, arm: str = "") -> int:
        """Optimizer steps of a run; see `evaluation_steps`."""
        return self.evaluation_steps(cell, arm)[-1]

    def evaluation_steps(self, cell: Cell, arm: str = "") -> tuple[int, ...]:
        """Steps at which a run is saved and measured: log-spaced, the last step included.

        An arm with a batch of its own is measured after the same tokens as the others, to the nearest of its steps; its
        last step is the first one that is not before their end.

        Args:
            cell: of the run.
            arm: of the run; empty for one with the study's batch.
        """
        steps = self._study_steps(cell)
        own = self.arm(arm).batch_size if arm else None
        if own is None:
            return steps
        batch = self.training.batch_size
        last = -(-steps[-1] * batch // own)
        return tuple(sorted({min(last, max(1, round(step * batch / own))) for step in steps[:-1]} | {last}))

    def _study_steps(self, cell: Cell) -> tuple[int, ...]:
        total = max(1, math.ceil(self.training.epochs * self.examples(cell) / self.training.batch_size))
        epoch = self.evaluation.first_epoch or min(FIRST_EPOCH, self.training.epochs / 8)
        first = max(1, math.ceil(epoch * self.examples(cell) / self.training.batch_size))
        if first >= total:
            return (total,)
        ratio = (total / first) ** (1 / (self.evaluation.points - 1))
        return tuple(sorted({round(first * ratio**i) for i in range(self.evaluation.points)} | {total}))
