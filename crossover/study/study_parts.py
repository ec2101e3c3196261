"""The sections of a study: grid, training and evaluation, with their limits and defaults."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, field_validator, model_validator

from crossover.field_faults import NAME_PATTERN, unknown_name
from crossover.model.model_presets import model_presets
from crossover.study.arms import Schedule
from crossover.study.study_part import StudyPart

DOMAIN_CLOZE = "domain-cloze"
GRID_TIERS = ("low", "medium", "high", "all")
"""Tiers of quality in the order in which cells have them; `all` is the documents of the three together."""
GridTier = Literal["low", "medium", "high", "all"]


def _known_model(name: str) -> str:
    if name not in model_presets():
        raise ValueError(unknown_name("model", name, model_presets()))
    return name


def _unset(value: object) -> bool:
    """Whether a field is left out of what is recorded and of digests, as before there was the field."""
    return not value


class GridConfig(StudyPart):
    """The cells: every unique-token budget with every tier of quality, if tiers are compared, and every model."""

    unique_tokens: Annotated[tuple[int, ...], Field(min_length=1)] = (10_000,)
    quality: tuple[GridTier, ...] = Field(
        default=(),
        description="Tiers of `data.quality` to compare: `low`, `medium`, `high`, and `all` for the three together; "
        "each has budgets of its own. Empty: cells have no tier.",
    )
    models: Annotated[tuple[Annotated[str, AfterValidator(_known_model)], ...], Field(min_length=1)] = ("nano",)

    @field_validator("unique_tokens")
    @classmethod
    def _positive_and_distinct(cls, budgets: tuple[int, ...]) -> tuple[int, ...]:
        if min(budgets) < 1 or len(set(budgets)) < len(budgets):
            raise ValueError(f"budgets must be positive and distinct, found {list(budgets)}")
        return tuple(sorted(budgets))

    @field_validator("quality")
    @classmethod
    def _tiers_are_distinct(cls, tiers: tuple[GridTier, ...]) -> tuple[GridTier, ...]:
        if len(set(tiers)) < len(tiers):
            raise ValueError(f"a tier stands twice in {list(tiers)}")
        return tuple(sorted(tiers, key=GRID_TIERS.index))


class TrainingConfig(StudyPart):
    """The same for every arm; an arm's recipe says what differs."""

    epochs: float = Field(default=100.0, gt=0, description="Passes over the unique tokens.")
    batch_size: int = Field(default=32, ge=1, description="Examples in a global batch.")
    microbatch_size: Annotated[int, Field(ge=1)] | Literal["auto"] | None = Field(
        default=None,
        description="Examples in one forward pass; empty: all that a process has of a batch. `auto`, or left out on "
        "`cuda`, is the most that fit the device's free memory by the plan.",
    )
    optimizer: Literal["adamw", "muon"] = Field(
        default="adamw", description="`muon` takes the blocks' matrices; the rest stays with AdamW."
    )
    learning_rate: float = Field(default=3e-3, gt=0, description="Peak rate.")
    warmup_steps: int = Field(default=10, ge=0, description="Steps of linear warm-up.")
    schedule: Schedule = Field(
        default="constant",
        description="`wsd` ends each measured point on its own decay branch; under `cosine` only the last is a budget.",
    )
    decay_fraction: float = Field(default=0.1, gt=0, lt=1, description="Share of a budget that its branch decays over.")
    decay_steps: int | None = Field(
        default=None, ge=1, exclude_if=_unset, description="Steps of every branch, in place of `decay_fraction`."
    )
    decay_shape: Literal["linear", "exponential"] = Field(
        default="linear",
        exclude_if=lambda shape: shape == "linear",
        description="Of a branch's rate; `exponential` needs a `final_rate` above 0.",
    )
    final_rate: float = Field(
        default=0.0, ge=0, lt=1, description="Rate at the end of a decay, as a share of the peak."
    )
    random_lengths: float = Field(
        default=0.01,
        ge=0,
        le=1,
        description="Share of the examples that are cut at random into two sequences, in all arms.",
    )
    weight_decay: float = Field(default=0.1, ge=0, description="Decoupled decay of matrices; norms have none.")
    beta1: float = Field(default=0.9, ge=0, lt=1)
    beta2: float = Field(default=0.95, ge=0, lt=1)
    ema: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="Measure and serve a moving average of the weights, with this decay a step, in all arms; 0: none.",
    )
    gradient_clip: float = Field(default=1.0, gt=0, description="Largest global gradient norm.")
    router_balance: float = Field(default=0.01, ge=0, description="Weight of a sparse model's load balance loss.")
    router_z: float = Field(default=0.001, ge=0, description="Weight of a sparse model's router z-loss.")
    on_divergence: Literal["stop", "roll-back"] = Field(
        default="stop", description="When a loss is not finite or spikes: stop, or go back and skip the batches."
    )
    spike_factor: float = Field(
        default=20.0, ge=0, description="Deviations above the running median that are a spike; 0 looks for none."
    )
    precision: Literal["auto", "fp32", "bf16"] = Field(
        default="auto",
        description="Of matrix products; weights, reductions, logits and loss are float32. `auto` is `bf16` on `cuda`, "
        "`fp32` on `cpu`.",
    )
    compile: bool = Field(
        default=False,
        description="Compile the blocks, which needs a C compiler. `auto`, or left out, is true on `cuda`.",
    )
    activation_checkpointing: bool = Field(default=False, description="Recompute each block in the backward pass.")
    data_parallel: Literal["replicate", "shard"] = Field(
        default="replicate", description="On several processes: whole copies with an exact sum, or FSDP2."
    )
    expert_parallel: int = Field(
        default=1,
        ge=1,
        exclude_if=lambda processes: processes == 1,
        description="Processes of a node that divide a sparse model's experts; needs `data_parallel: shard`.",
    )
    deterministic: bool = Field(
        default=False,
        exclude_if=_unset,
        description="On a GPU, the same bits from run to run by deterministic kernels, which are slower; a CPU's are.",
    )
    device: Literal["cpu", "cuda"] = "cpu"

    @field_validator("microbatch_size", mode="before")
    @classmethod
    def _a_number_or_auto(cls, size: object) -> object:
        is_number = isinstance(size, int) and not isinstance(size, bool) and size >= 1
        if size is None or size == "auto" or is_number:
            return size
        raise ValueError(f"is neither a whole number from 1 nor auto: {size!r}")

    @model_validator(mode="before")
    @classmethod
    def _auto_follows_the_device(cls, fields: Any) -> Any:  # noqa: ANN401 - whatever was given
        """Put values in place of `auto`, so that the study that a run is recorded with has what it was trained with.

        Not of `microbatch_size`, which depends on the card, and changes a run by rounding alone.
        """
        if not isinstance(fields, dict):
            return fields
        gpu = fields.get("device") == "cuda"
        chosen = {"precision": "bf16" if gpu else "fp32", "compile": gpu}
        fields = ({"microbatch_size": "auto"} if gpu else {}) | fields
        return fields | {name: value for name, value in chosen.items() if fields.get(name, "auto") == "auto"}

    @model_validator(mode="after")
    def _microbatches_fill_the_batch(self) -> Self:
        if isinstance(self.microbatch_size, int) and self.batch_size % self.microbatch_size:
            raise ValueError(
                f"microbatch_size and batch_size: {self.microbatch_size} does not divide {self.batch_size}"
            )
        return self

    @model_validator(mode="after")
    def _divided_experts_are_sharded(self) -> Self:
        if self.expert_parallel > 1 and self.data_parallel != "shard":
            raise ValueError(
                "expert_parallel and data_parallel: experts are divided under shard; set it, or leave the former out"
            )
        return self

    @model_validator(mode="after")
    def _an_exponential_never_reaches_zero(self) -> Self:
        if self.decay_shape == "exponential" and not self.final_rate:
            raise ValueError(
                "decay_shape and final_rate: exponential never reaches 0; give a final_rate above 0, such as 0.1"
            )
        return self

    def examples_at_once(self, processes: int) -> int:
        """Examples in one forward pass; `auto` counts as all that a process has of a batch."""
        size = self.microbatch_size
        return size if isinstance(size, int) else self.batch_size // processes


class EvaluationConfig(StudyPart):
    """When a run is measured, and how finely."""

    points: int = Field(default=16, ge=2, description="Checkpoints per run, log-spaced in steps.")
    first_epoch: float | None = Field(
        default=None,
        gt=0,
        description="Where the first of them stands; empty is 4, or an eighth of the epochs if that is earlier. Up to "
        "four epochs repeated data are as good as new (arXiv 2305.16264), and small models have learnt little.",
    )
    nelbo_draws: int = Field(default=32, ge=2, description="Frozen stratified masks per validation example (DLM).")
    chain_rule_examples: int = Field(default=32, ge=0, description="Validation examples for the DLM's chain rule.")
    chain_rule_points: int = Field(default=3, ge=0, description="How many of the checkpoints get it, last included.")
    nelbo_stderr: float = Field(
        default=0.0,
        ge=0,
        description="Draw rounds of `nelbo_draws` until this Monte Carlo error (nats a token); 0: one.",
    )
    tasks: tuple[Annotated[str, Field(pattern=NAME_PATTERN)], ...] = Field(
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
