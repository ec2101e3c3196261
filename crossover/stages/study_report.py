"""The report of a study: gathers what it says beyond the analysis."""

from __future__ import annotations

import gzip
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean

import numpy as np

import crossover
from crossover.analysis.across.cross_cell_result import Overview
from crossover.analysis.analysis_result import Analysis
from crossover.data.dataset import Dataset
from crossover.evaluation.sample_quality import quality
from crossover.files import read_json
from crossover.report.data_card import data_card
from crossover.report.number_formats import duration, number
from crossover.report.report_data import CellReport, CorpusFacts, Fact, Reference, ReportContext, RunRow, Sample
from crossover.settings import get_settings
from crossover.stages.evaluated_runs import EvaluatedRun
from crossover.stages.run_health import health_of
from crossover.stages.serving_record import serving_of
from crossover.stages.study_context import StudyContext
from crossover.study.study_config import StudyConfig
from crossover.training.run_spec import cell_model


def study_report(
    context: StudyContext,
    dataset: Dataset,
    runs: Sequence[EvaluatedRun],
    overview: Overview,
    analyses: Mapping[str, Analysis],
    samples: Mapping[str, tuple[Sample, ...]],
) -> ReportContext:
    """All that the report of a study says."""
    study, manifest = context.study, dataset.manifest
    return ReportContext(
        study=study.name,
        study_digest=study.digest,
        question=study.question,
        cells=tuple(_cell(context, name, analysis, runs) for name, analysis in analyses.items()),
        overview=overview,
        corpus=CorpusFacts(
            source=manifest.source,
            documents=manifest.documents,
            bytes=manifest.train_bytes + manifest.validation_bytes,
            train_tokens=manifest.available_tokens,
            validation_tokens=manifest.validation_examples * manifest.sequence_length,
            duplicates_dropped=manifest.duplicates_dropped,
            overlap=manifest.overlap,
            digest=manifest.digest,
            card=data_card(study, manifest),
        ),
        notes=manifest.warnings,
        training=(*_training_facts(study), *_spent(runs)),
        references=tuple(_references(study, dataset, runs)),
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        version=crossover.__version__,
        samples=dict(samples),
        serving=serving_of(context.store, runs),
        sql='crossover registry query "SELECT * FROM v_verdicts"',
    )


def _cell(context: StudyContext, name: str, analysis: Analysis, runs: Sequence[EvaluatedRun]) -> CellReport:
    cell = context.study.cell(name)
    model = cell_model(context.study, cell)
    layers = f"{model.num_layers} layer{'s' if model.num_layers > 1 else ''}"
    health = health_of(context, name)
    return CellReport(
        cell=name,
        unique_tokens=cell.unique_tokens,
        model=f"{cell.model}: {layers}, width {model.hidden_size}, {model.num_heads} heads",
        parameters=model.parameters,
        quality=cell.quality,
        analysis=analysis,
        runs=tuple(
            RunRow(
                arm=run.id.arm,
                seed=run.id.seed,
                run_key=run.id.key,
                steps=results[-1].step,
                tokens=results[-1].tokens,
                flops=results[-1].flops,
                seconds=results[-1].seconds,
                checkpoint_digest=results[-1].checkpoint,
                health=health.get((run.id.arm, run.id.seed)),
            )
            for run, results in runs
            if run.id.cell == name
        ),
    )


def _training_facts(study: StudyConfig) -> list[Fact]:
    """How the runs were trained and measured."""
    training, evaluation = study.training, study.evaluation
    families = {study.arm(name).family for name in study.arms}
    optimizer = f"AdamW ({training.beta1:g}, {training.beta2:g})"
    if training.optimizer == "muon":
        optimizer = f"Muon (momentum {training.beta2:g}) for the matrices of the blocks, {optimizer} for the rest"
    decay = f"decay to {100 * training.final_rate:g} %"
    schedule = {
        "constant": f"constant after {training.warmup_steps} steps",
        "wsd": f"constant after {training.warmup_steps} steps, with a linear {decay} over the last "
        f"{100 * training.decay_fraction:g} % of each budget",
        "cosine": f"after {training.warmup_steps} steps, then a cosine {decay} over the run",
    }[training.schedule]
    facts = [
        Fact(label="Arms", value=", ".join(study.arms)),
        Fact(label="Seeds (pairs share data order and initial weights)", value=", ".join(map(str, study.seeds))),
        Fact(label="Data of the seeds", value=_SEEDS_DATA[study.data.resample]),
        Fact(
            label="Examples",
            value=f"packed by {study.data.packing}, attention within the {study.data.attention}; "
            f"{100 * training.random_lengths:g} % cut in two",
        ),
        Fact(label="Epochs", value=f"{training.epochs:g}"),
        Fact(label="Batch", value=f"{training.batch_size} × {study.data.sequence_length} tokens"),
        Fact(
            label="Optimizer",
            value=f"{optimizer}, rate {training.learning_rate:g} {schedule}, "
            f"weight decay {training.weight_decay:g}, clip {training.gradient_clip:g}",
        ),
    ]
    own = {name: study.arm(name).own_training for name in study.arms}
    if any(own.values()):
        listed = {
            name: ", ".join(f"{field.replace('_', ' ')} {value}" for field, value in settings.items())
            for name, settings in own.items()
        }
        text = "; ".join(f"{name}: {settings}" for name, settings in listed.items() if settings)
        facts.append(Fact(label="Settings of single arms", value=text))
    if study.tuning.results:
        untuned = [arm for arm in study.arms if not study.tuning.chosen(arm)]
        left = f"; not tuned: {', '.join(untuned)}" if untuned else ""
        facts.append(Fact(label="Tuned arms", value=f"{study.tuning.choices}{left}"))
    if training.ema:
        facts.append(Fact(label="Weights that are measured", value=f"moving average, decay {training.ema:g}, all arms"))
    if "DLM" in families:
        masks = f"{evaluation.nelbo_draws} frozen stratified masks an example"
        facts += [
            Fact(label="DLM loss in training", value="exact-count masks, stratified over the batch, weight L/k"),
            Fact(label="DLM loss in evaluation", value=f"NELBO (upper bound), {masks}"),
        ]
    if "AR" in families:
        facts.append(Fact(label="AR loss in evaluation", value="exact, first token included (BOS)"))
    return facts


_SEEDS_DATA = {
    False: "one subset of the corpus for all seeds: intervals do not hold which data one happened to have",
    True: "each seed has its own sample of the corpus: intervals hold which data one happened to have",
}


def _spent(runs: Sequence[EvaluatedRun]) -> list[Fact]:
    """Wall time of all runs, and what it costs at the setting's price."""
    seconds = sum(results[-1].seconds for _, results in runs)
    price = get_settings().price_per_gpu_hour
    cost = f", {price * seconds / 3600:,.2f} at {price:g} an hour" if price else ""
    return [Fact(label="Training time of all runs", value=f"{duration(seconds)}{cost}")]


def _references(study: StudyConfig, dataset: Dataset, runs: Sequence[EvaluatedRun]) -> Iterator[Reference]:
    """What needs no training: byte frequencies and gzip on the held-out examples, and guessing."""
    tokenizer, tokens = dataset.tokenizer, dataset.validation().ravel()
    text = b"".join(map(tokenizer.token_bytes, tokens[~tokenizer.is_special(tokens)].tolist()))
    compressed = 8 * len(gzip.compress(text)) / len(text)
    unigram = quality([np.frombuffer(text, dtype=np.uint8)]).entropy
    per_byte = tuple(m.name for m in study.analysis.metrics if m.unit == "bits/byte")
    for label, name, level in (
        ("Held-out bytes by their frequencies (unigram entropy)", "unigram", unigram),
        ("Held-out bytes by gzip", "gzip", compressed),
    ):
        yield Reference(label=label, value=f"{number(level)} bits/byte", name=name, level=level, metrics=per_byte)
    for task, chance in _chances(runs).items():
        label = f"{task.replace('-', ' ').capitalize()} accuracy by guessing"
        metrics = (f"{task}_accuracy", f"{task}_accuracy_norm")
        yield Reference(label=label, value=f"{chance:.3g}", name="chance", level=chance, metrics=metrics)


def _chances(runs: Sequence[EvaluatedRun]) -> dict[str, float]:
    """Task to the accuracy of guessing, from the options of its items; of multiple choice only."""
    last = {items.task: items for _, results in runs for result in results for items in result.items}
    return {
        task: fmean(1 / len(options) for options in items.option_nll)
        for task, items in last.items()
        if items.margins and items.option_nll and all(map(len, items.option_nll))
    }


def read_analyses(path: Path) -> dict[str, Analysis]:
    """The analyses by cell that a step wrote to analysis.json."""
    return {cell: Analysis.model_validate(record) for cell, record in read_json(path).items()}
