"""A study proposed for a corpus and a number of hours: a ladder of budgets, and the model that fits its top.

The model is the largest with at most four parameters for each token of the largest budget that it can be trained on: a
larger model reaches smaller budgets only. (arXiv 2511.03276 trains 1 to 8 parameters a unique token; arXiv 2510.03280
finds diffusion models of 4 a token best at 10 million unique tokens.)
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence

import torch
from pydantic import BaseModel, ConfigDict, Field

from crossover.data.corpus_survey import CorpusSurvey
from crossover.errors import StudyError
from crossover.model.model_presets import PRESETS, preset
from crossover.settings import Settings
from crossover.stages.run_selection import default_seeds_per_task, selected_runs
from crossover.stages.waiting_time import StageSeconds, contention, evaluation_seconds, stage_seconds, waiting_time
from crossover.study.load_study import parse_study
from crossover.study.study_config import StudyConfig
from crossover.tokenization.tokenizer import VOCAB_SIZE
from crossover.training.step_timing import measured_steps

LENGTHS = (128, 64)
KEPT = 0.9
"""Least share of the text that must lie in complete sequences for the longer length."""
SMALLEST_BUDGET = 10_000
RUNGS = 4
"""Budgets in a ladder; three crossings are the least for a forecast (docs/advice.md)."""
PARAMETERS_PER_TOKEN = 4
VALIDATION_TOKENS = 8_192
SUBWORD_TOKENS = 50_000_000
"""Bytes to train on from which the proposal mentions a subword tokenizer."""


class ProposedCell(BaseModel):
    """One cell of a proposal."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cell: str
    unique_tokens: int
    share: float = Field(description="Of the corpus' training tokens.")
    hours: float = Field(description="Of waiting, if the study had this cell only.")


class Proposal(BaseModel):
    """A study and how far its answer reaches."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    study: StudyConfig
    text: str = Field(description="The study as YAML with comments.")
    parameters: tuple[int, ...] = Field(description="Of each model.")
    available_tokens: int = Field(description="Training tokens of the corpus.")
    cells: tuple[ProposedCell, ...]
    hours: float = Field(description="Of waiting for the study.")
    full_hours: float = Field(description="Of waiting for one cell with all of the corpus.")


class _Designer:
    """Tries studies of one corpus and measures what they take, each model once."""

    def __init__(
        self,
        survey: CorpusSurvey,
        settings: Settings,
        *,
        name: str,
        epochs: float,
        seeds: int,
        on_run: Callable[[str], None],
    ) -> None:
        self.survey, self.settings, self.on_run = survey, settings, on_run
        self.name, self.epochs, self.seeds = name, epochs, seeds
        text = max(1, int(survey.train_lengths.sum()))
        self.length = next((n for n in LENGTHS if survey.train_tokens(n) >= KEPT * text), LENGTHS[-1])
        self.available = survey.train_tokens(self.length)
        self._seconds: StageSeconds | None = None

    def parameters(self, model: str) -> int:
        return preset(model, vocab_size=VOCAB_SIZE, max_length=self.length).parameters

    def text(self, models: Sequence[str], budgets: Sequence[int]) -> str:
        """The study as YAML."""
        survey, counts = self.survey, self.survey.counts
        data = {"source": survey.data.source, "text_field": survey.data.text_field, "separator": survey.data.separator}
        fields = [
            f"  {field}: {json.dumps(value, ensure_ascii=False)}"
            for field, value in data.items()
            if value not in ("", "text")
        ]
        if bad := counts.skipped.counts:
            kinds = ", ".join(f"{count:,} {fault}" for fault, count in bad.items())
            fields.append(f"  bad_documents: skip  # {kinds}")
        if self.available >= SUBWORD_TOKENS:
            fields.append("  # tokenizer: bpe:8192  # subwords in place of bytes; budgets then count these tokens")
        width = max(PRESETS[model]["hidden_size"] for model in models)
        held_out = min(VALIDATION_TOKENS, survey.held_out_tokens(self.length))
        return f"""\
# {survey.documents:,} documents with {self.available:,} tokens (bytes) to train on.
# `crossover plan` prices an edited study; whatever was trained and measured before the edit is reused.
name: {json.dumps(self.name, ensure_ascii=False)}
data:
{chr(10).join(fields)}
  sequence_length: {self.length}
  validation_tokens: {held_out}
grid:
  # The largest budget is {budgets[-1] / self.available:.2%} of the corpus. Smaller ones show how the crossing moves.
  unique_tokens: [{", ".join(map(str, budgets))}]
  models: [{", ".join(models)}]  # {" and ".join(f"{self.parameters(model):,}" for model in models)} parameters
seeds: {self.seeds}  # pairs of runs; fewer than 5 give no verdict
training:
  epochs: {self.epochs:g}  # passes over each budget
  batch_size: 32
  learning_rate: {min(3e-3, float(f"{3e-3 * math.sqrt(64 / width):.1g}")):g}
  device: {"cuda" if torch.cuda.is_available() else "cpu"}
evaluation:
  points: 16  # checkpoints of a run, from epoch {min(4, self.epochs / 8):g} on
  nelbo_draws: 16  # masks an example; more for a smaller Monte Carlo error of the DLM
  chain_rule_examples: 16
  chain_rule_points: 1
  cloze_items: 64
  cloze_draws: 4
"""

    def study(self, models: Sequence[str], budgets: Sequence[int]) -> StudyConfig:
        return parse_study(self.text(models, budgets))

    def hours(self, models: Sequence[str], budgets: Sequence[int]) -> float:
        """Of waiting for a study."""
        study = self.study(models, budgets)
        runs, parallel = selected_runs(study, ""), self.settings.local_parallelism
        seconds = self._measured(study)
        return waiting_time(study, seconds, runs, parallel, default_seeds_per_task(len(runs), parallel)).total / 60

    def _measured(self, study: StudyConfig) -> StageSeconds:
        """The times of a study, with models that were not measured before measured now."""
        known = self._seconds.step if self._seconds else {}
        step: dict[tuple[str, str], float] = {}
        for model in study.grid.models:
            if (model, study.arms[0]) not in known:
                step |= measured_steps(study, model, [study.arm(arm) for arm in study.arms], self.on_run)
        if self._seconds is None:
            self._seconds = stage_seconds(study, step, self.on_run)
        elif step:
            row = evaluation_seconds(study, step, self.on_run)
            self._seconds = self._seconds._replace(step={**known, **step}, row={**self._seconds.row, **row})
        return self._seconds

    def ladder(self, models: Sequence[str], hours: float) -> tuple[int, ...]:
        """The highest ladder that takes at most so many hours; empty if none does."""
        affordable: tuple[int, ...] = ()
        for rungs in _ladders(self.available):
            if self.hours(models, rungs) > hours:
                break
            affordable = rungs
        return affordable


def propose_study(
    survey: CorpusSurvey,
    settings: Settings,
    *,
    name: str,
    hours: float,
    epochs: float = 100,
    seeds: int = 5,
    models: Sequence[str] = (),
    on_run: Callable[[str], None] = lambda name: None,
) -> Proposal:
    """Propose a study of a corpus that takes at most so many hours on this machine.

    Args:
        survey: the corpus.
        settings: how many stages run at once.
        name: of the study.
        hours: of waiting.
        epochs: passes over each budget.
        seeds: pairs of runs in each cell.
        models: sizes to use; empty to choose one.
        on_run: called with the name of what is measured next.

    Raises:
        StudyError: not even the smallest study takes so few hours, or an argument is no value for a study.
    """
    if models:
        parse_study(json.dumps({"grid": {"models": list(models)}}))  # names are checked before they are looked up
    designer = _Designer(survey, settings, name=name, epochs=epochs, seeds=seeds, on_run=on_run)
    first = next(_ladders(designer.available))
    dense: list[tuple[str, ...]] = [(model,) for model, shape in PRESETS.items() if "num_experts" not in shape]
    candidates = [tuple(models)] if models else dense
    trial = designer.study(candidates[0], first)
    best: tuple[Sequence[str], tuple[int, ...]] | None = None
    with contention(trial, settings):
        for candidate in (
            [tuple(models)] if models else [(size,) for size, shape in PRESETS.items() if "num_experts" not in shape]
        ):
            ladder = designer.ladder(candidate, hours)
            large = ladder and designer.parameters(candidate[-1]) > PARAMETERS_PER_TOKEN * ladder[-1]
            if not ladder or (best and large):
                break
            best = candidate, ladder
        if best is None:
            least = designer.hours(candidates[0], first)
            raise StudyError(
                "init.too-few-hours",
                field="--hours",
                problem=f"{hours:g} hours do not suffice for {first[0]:,} unique tokens, which take {least:.2g}",
                remedy="give more hours, a smaller --model, or fewer --epochs",
            )
        chosen, budgets = best
        study = designer.study(chosen, budgets)
        return Proposal(
            study=study,
            text=designer.text(chosen, budgets),
            parameters=tuple(map(designer.parameters, chosen)),
            available_tokens=designer.available,
            cells=tuple(
                ProposedCell(
                    cell=cell.name,
                    unique_tokens=cell.unique_tokens,
                    share=cell.unique_tokens / designer.available,
                    hours=designer.hours((cell.model,), (cell.unique_tokens,)),
                )
                for cell in study.cells
            ),
            hours=designer.hours(chosen, budgets),
            full_hours=designer.hours(chosen, (designer.available,)),
        )


def _ladders(available: int) -> Iterator[tuple[int, ...]]:
    """Ladders of budgets with ascending tops: 10,000, 30,000, 100,000 and so on, at last all of the corpus."""
    rungs: list[int] = []
    while (rung := SMALLEST_BUDGET * 10 ** (len(rungs) // 2) * (1, 3)[len(rungs) % 2]) < available:
        rungs.append(rung)
    rungs = [rung for rung in rungs if rung * 1.5 < available] + [available]
    for top in range(1, len(rungs) + 1):
        yield tuple(rungs[max(0, top - RUNGS) : top])
