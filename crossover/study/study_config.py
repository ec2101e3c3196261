"""What is asked: a study, as a YAML file or a named preset.

A study is one question: a corpus, a grid of cells (unique tokens x model), the arms, the seeds, the evaluation plan and
the analysis plan. Its digest names it: a folder or registry row belongs to the study with that digest and to no other.
"""

from __future__ import annotations

import math
from importlib import resources
from pathlib import Path
from typing import Annotated, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from crossover.analysis.analysis_plan import AnalysisPlan, MetricPlan
from crossover.errors import StudyError
from crossover.files import digest_of
from crossover.model.config import ModelConfig
from crossover.model.presets import PRESETS, model_presets, preset
from crossover.study.arms import Arm, Recipe, resolve_arm

DOMAIN_CLOZE = "domain-cloze"
SOURCES = ("stdlib:", "text:", "jsonl:")


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DataConfig(_Part):
    """The corpus and how it becomes tokens."""

    source: str = Field(
        default="stdlib:",
        description="`stdlib:` is the running interpreter's standard library; `text:GLOB` one document a file; "
        "`jsonl:GLOB` one document a line. `.gz` and `.xz` are read as they are.",
    )
    text_field: str = Field(default="text", description="The field of a JSON line that holds the document.")
    separator: str = Field(default="", description="Cut each text file into documents at this string.")
    undecodable: Literal["refuse", "skip"] = Field(
        default="refuse", description="What to do with a file that is not UTF-8; skipped ones are counted."
    )
    tokenizer: Literal["bytes"] = Field(default="bytes", description="Byte level: 256 bytes, BOS, EOS and MASK.")
    sequence_length: int = Field(default=64, ge=8, le=8192, description="Tokens in one training example.")
    validation_fraction: float = Field(default=0.1, gt=0, lt=0.9, description="Share of documents held out.")
    validation_tokens: int = Field(default=8192, ge=64, description="Held-out tokens that the loss is measured on.")

    @field_validator("source")
    @classmethod
    def _scheme_is_known(cls, source: str) -> str:
        if not source.startswith(SOURCES):
            raise ValueError(f"unknown source {source!r}; start it with one of {', '.join(SOURCES)}")
        if source in ("text:", "jsonl:"):
            raise ValueError(f"{source!r} names no file; write for example {source}corpus/*.txt")
        return source


class GridConfig(_Part):
    """The cells: every unique-token budget with every model."""

    unique_tokens: Annotated[tuple[int, ...], Field(min_length=1)] = (10_000,)
    models: Annotated[tuple[str, ...], Field(min_length=1)] = ("nano",)

    @field_validator("unique_tokens")
    @classmethod
    def _positive_and_distinct(cls, budgets: tuple[int, ...]) -> tuple[int, ...]:
        if min(budgets) < 1 or len(set(budgets)) < len(budgets):
            raise ValueError(f"budgets must be positive and distinct, found {list(budgets)}")
        return tuple(sorted(budgets))

    @field_validator("models")
    @classmethod
    def _models_are_known(cls, models: tuple[str, ...]) -> tuple[str, ...]:
        for name in models:
            if name not in model_presets():
                raise ValueError(f"unknown model {name!r}; choose from {', '.join(model_presets())}")
        return models


class TrainingConfig(_Part):
    """The same for every arm; an arm's recipe says what differs."""

    epochs: float = Field(default=100.0, gt=0, description="Passes over the unique tokens.")
    batch_size: int = Field(default=32, ge=1, description="Examples in a global batch.")
    microbatch_size: int | None = Field(
        default=None, ge=1, description="Examples in one forward pass; default: all that a process has of a batch."
    )
    optimizer: Literal["adamw", "muon"] = Field(
        default="adamw", description="`muon` takes the blocks' matrices; the rest stays with AdamW."
    )
    learning_rate: float = Field(default=3e-3, gt=0, description="Peak rate.")
    warmup_steps: int = Field(default=10, ge=0, description="Steps of linear warm-up.")
    schedule: Literal["constant", "wsd", "cosine"] = Field(
        default="constant",
        description="`wsd` ends each measured point on its own decay branch; under `cosine` only the last is a budget.",
    )
    decay_fraction: float = Field(default=0.1, gt=0, lt=1, description="Share of a budget that its branch decays over.")
    final_rate: float = Field(
        default=0.0, ge=0, lt=1, description="Rate at the end of a decay, as a share of the peak."
    )
    weight_decay: float = Field(default=0.1, ge=0, description="Decoupled decay of matrices; norms have none.")
    beta1: float = Field(default=0.9, ge=0, lt=1)
    beta2: float = Field(default=0.95, ge=0, lt=1)
    gradient_clip: float = Field(default=1.0, gt=0, description="Largest global gradient norm.")
    router_balance: float = Field(default=0.01, ge=0, description="Weight of a sparse model's load balance loss.")
    router_z: float = Field(default=0.001, ge=0, description="Weight of a sparse model's router z-loss.")
    on_divergence: Literal["stop", "roll-back"] = Field(
        default="stop", description="When a loss is not finite or spikes: stop, or go back and skip the batches."
    )
    spike_factor: float = Field(
        default=20.0, ge=0, description="Deviations above the running median that are a spike; 0 looks for none."
    )
    precision: Literal["fp32", "bf16"] = Field(
        default="fp32", description="Of matrix products; weights, reductions, logits and loss are float32."
    )
    compile: bool = Field(default=False, description="Compile the blocks (needs a C++ compiler on CPU).")
    activation_checkpointing: bool = Field(default=False, description="Recompute each block in the backward pass.")
    data_parallel: Literal["replicate", "shard"] = Field(
        default="replicate", description="On several processes: whole copies with an exact sum, or FSDP2."
    )
    device: Literal["cpu", "cuda"] = "cpu"

    @model_validator(mode="after")
    def _microbatches_fill_the_batch(self) -> Self:
        if self.microbatch_size and self.batch_size % self.microbatch_size:
            raise ValueError(f"microbatch_size {self.microbatch_size} does not divide batch_size {self.batch_size}")
        return self


class EvaluationConfig(_Part):
    """When a run is measured, and how finely."""

    points: int = Field(default=16, ge=2, description="Checkpoints per run, log-spaced in steps.")
    first_epoch: float = Field(default=1.0, gt=0, description="Where the first of them stands.")
    nelbo_draws: int = Field(default=32, ge=2, description="Frozen stratified masks per validation example (DLM).")
    chain_rule_examples: int = Field(default=32, ge=0, description="Validation examples for the DLM's chain rule.")
    chain_rule_points: int = Field(default=3, ge=0, description="How many of the checkpoints get it, last included.")
    nelbo_stderr: float = Field(
        default=0.0,
        ge=0,
        description="Draw rounds of `nelbo_draws` until this Monte Carlo error (nats a token); 0: one.",
    )
    tasks: tuple[Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")], ...] = Field(
        default=(DOMAIN_CLOZE,), description="`domain-cloze`, made from the corpus, and packs by name."
    )
    cloze_items: int = Field(default=128, ge=4, description="Items of the domain cloze task.")
    cloze_draws: int = Field(default=8, ge=1, description="Masks per option (DLM); shared by all options.")
    task_items: int = Field(default=500, ge=0, description="Items of each pack, evenly spaced over it; 0 takes all.")
    task_draws: int = Field(default=16, ge=1, description="Masks per option of a pack's items (DLM).")
    writing_points: int = Field(
        default=1, ge=0, description="Checkpoints at which models write (generating tasks, samples), last included."
    )
    samples: int = Field(default=16, ge=0, description="Texts written at such a checkpoint, to judge and to compare.")
    scorer: str = Field(default="", description="Folder of another study's AR checkpoint that judges the samples.")
    passages: int = Field(default=32, ge=0, description="Training passages that it is asked to continue by heart.")

    @field_validator("tasks")
    @classmethod
    def _tasks_are_distinct(cls, tasks: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(tasks)) < len(tasks):
            raise ValueError(f"a task stands twice in {list(tasks)}")
        return tasks


def default_plan() -> AnalysisPlan:
    """Bits per byte first, then the cloze task's accuracy and margin."""
    return AnalysisPlan(
        metrics=(
            MetricPlan(
                name="validation_bpb",
                direction="lower",
                delta=0.02,
                label="Validation loss",
                unit="bits/byte",
            ),
            MetricPlan(
                name="domain-cloze_accuracy",
                direction="higher",
                delta=0.02,
                label="Domain cloze accuracy",
                unit="fraction",
            ),
            MetricPlan(
                name="domain-cloze_margin",
                direction="higher",
                delta=0.02,
                label="Domain cloze margin",
                unit="nats/token",
            ),
        )
    )


class Cell(_Part):
    """One point of the grid."""

    unique_tokens: int
    model: str

    @property
    def name(self) -> str:
        """For example `u10000-nano`: folder name, registry key, column value."""
        return f"u{self.unique_tokens}-{self.model}"


class StudyConfig(_Part):
    """The whole question. Everything here, and nothing else, decides the numbers."""

    name: str = Field(default="study", pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")
    question: str = Field(default="", max_length=500)
    data: DataConfig = DataConfig()
    grid: GridConfig = GridConfig()
    arms: tuple[str, ...] = ("ar", "dlm")
    recipes: dict[str, Recipe] = Field(default_factory=dict, description="Ratios of arms, or new arms by name.")
    seeds: tuple[int, ...] = Field(default=(0, 1, 2, 3, 4), description="A number n means 0..n-1.")
    training: TrainingConfig = TrainingConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    analysis: AnalysisPlan = Field(default_factory=default_plan)

    @field_validator("seeds", mode="before")
    @classmethod
    def _number_of_seeds(cls, seeds: object) -> object:
        return tuple(range(seeds)) if isinstance(seeds, int) and not isinstance(seeds, bool) else seeds

    @field_validator("seeds")
    @classmethod
    def _at_least_two_seeds(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if len(seeds) < 2:
            raise ValueError(
                f"{len(seeds)} seed says nothing about spread; give at least 2, and 5 or more for a verdict"
            )
        if min(seeds) < 0 or len(set(seeds)) < len(seeds):
            raise ValueError(f"seeds must be distinct and not negative, found {list(seeds)}")
        return seeds

    @field_validator("arms")
    @classmethod
    def _arms_are_distinct(cls, arms: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(arms)) < len(arms):
            raise ValueError(f"an arm stands twice in {list(arms)}")
        return arms

    @field_validator("analysis", mode="before")
    @classmethod
    def _default_metrics(cls, analysis: object) -> object:
        return {"metrics": default_plan().metrics, **analysis} if isinstance(analysis, dict) else analysis

    @model_validator(mode="after")
    def _arms_are_known(self) -> Self:
        for name in self.recipes:
            if name not in self.arms:
                raise ValueError(f"recipes: {name!r} is not among the arms {list(self.arms)}")
        sparse = any(PRESETS[model].get("num_experts") for model in self.grid.models)
        for name in self.arms:
            if self.arm(name).expert_choice and not sparse:
                raise ValueError(f"recipes: {name!r} sets expert_choice, and no model of the grid has experts")
        return self

    @model_validator(mode="after")
    def _parts_agree(self) -> Self:
        for arm in (self.analysis.baseline, self.analysis.candidate):
            if arm not in self.arms:
                raise ValueError(f"arms: the analysis compares {arm!r}, which is not among {list(self.arms)}")
        for arm in self.analysis.tuned:
            if arm not in self.arms or self.arm(arm).family != self.arm(self.analysis.baseline).family:
                raise ValueError(
                    f"analysis.tuned: {arm!r} is not an arm of this study of the baseline's family; "
                    f"the arms are {list(self.arms)}"
                )
        if "frontier" in self.analysis.comparisons and len(self.grid.models) < 2:
            raise ValueError("analysis.comparisons: 'frontier' compares model sizes; give grid.models at least two")
        length = self.data.sequence_length
        if min(self.grid.unique_tokens) < length:
            raise ValueError(
                f"grid.unique_tokens: {min(self.grid.unique_tokens)} is less than one example of {length} tokens"
            )
        if self.data.validation_tokens < length:
            raise ValueError(
                f"data.validation_tokens: {self.data.validation_tokens} is less than one example of {length} tokens"
            )
        for cell in self.cells:
            if len(self.evaluation_steps(cell)) < 2:
                raise ValueError(
                    f"training.epochs: {self.training.epochs:g} epochs of {cell.name} leave fewer than two steps to "
                    "measure; raise training.epochs or lower training.batch_size"
                )
        return self

    @property
    def digest(self) -> str:
        """SHA-256 over all that decides the numbers."""
        return digest_of(self.model_dump(mode="json"))

    @property
    def cells(self) -> tuple[Cell, ...]:
        """The grid, budgets ascending, models in the order given."""
        return tuple(Cell(unique_tokens=u, model=m) for u in self.grid.unique_tokens for m in self.grid.models)

    def arm(self, name: str) -> Arm:
        """The arm of that name: a built-in one, or what the recipe makes of it."""
        return resolve_arm(name, self.recipes.get(name))

    def cell(self, name: str) -> Cell:
        """The cell with that name."""
        return next(cell for cell in self.cells if cell.name == name)

    def examples(self, cell: Cell) -> int:
        """Training examples of a cell: whole sequences that fit into the budget."""
        return cell.unique_tokens // self.data.sequence_length

    def total_steps(self, cell: Cell) -> int:
        """Optimizer steps that make up the asked epochs, at least one."""
        return max(1, math.ceil(self.training.epochs * self.examples(cell) / self.training.batch_size))

    def evaluation_steps(self, cell: Cell) -> tuple[int, ...]:
        """Steps at which a run is saved and measured: log-spaced, the last step included."""
        total = self.total_steps(cell)
        first = max(1, math.ceil(self.evaluation.first_epoch * self.examples(cell) / self.training.batch_size))
        if first >= total:
            return (total,)
        ratio = (total / first) ** (1 / (self.evaluation.points - 1))
        return tuple(sorted({round(first * ratio**i) for i in range(self.evaluation.points)} | {total}))

    def model_config_of(self, cell: Cell) -> ModelConfig:
        """The transformer of a cell; the same for every arm."""
        from crossover.data.tokenizer import VOCAB_SIZE

        return preset(cell.model, vocab_size=VOCAB_SIZE, max_length=self.data.sequence_length)


def study_presets() -> tuple[str, ...]:
    """Names that `load_study` accepts in place of a file."""
    folder = resources.files("crossover.study.presets")
    return tuple(sorted(f.name.removesuffix(".yaml") for f in folder.iterdir() if f.name.endswith(".yaml")))


def load_study(file_or_preset: str) -> StudyConfig:
    """Read a study from a YAML file, or take a named preset.

    Raises:
        StudyError: no such file or preset, not YAML, or a field is wrong; names the field.
    """
    path = Path(file_or_preset)
    if path.suffix not in (".yaml", ".yml", ".json") and file_or_preset in study_presets():
        return parse_study(
            resources.files("crossover.study.presets").joinpath(f"{file_or_preset}.yaml").read_text("utf-8")
        )
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise StudyError(
            "study.not-found",
            field="STUDY",
            problem=f"{file_or_preset!r} is neither a preset nor a readable file",
            remedy=f"give a YAML file or one of the presets {', '.join(study_presets())}",
        ) from error
    return parse_study(text)


def parse_study(text: str) -> StudyConfig:
    """A study from YAML (or JSON) text.

    Raises:
        StudyError: with the first wrong field.
    """
    try:
        raw = yaml.safe_load(text)
    except yaml.YAMLError as error:
        place = str(error).replace("\n", " ")
        raise StudyError(
            "study.not-yaml", field="STUDY", problem=f"not YAML: {place}", remedy="mend the syntax"
        ) from error
    if not isinstance(raw, dict):
        raise StudyError(
            "study.not-a-mapping",
            field="STUDY",
            problem="the file is not a mapping of fields",
            remedy="start from `crossover run demo --print-study`",
        )
    try:
        return StudyConfig.model_validate(raw)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(str(part) for part in first["loc"]) or "study"
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        raise StudyError(
            "study.invalid",
            field=field,
            problem=first["msg"].removeprefix("Value error, ") + more,
            remedy=f"correct {field} in the study",
        ) from error
