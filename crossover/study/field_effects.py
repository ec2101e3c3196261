"""What each field of a study decides, and thus what an edited study makes anew.

The test of this module changes every field and compares the digests; docs/reuse.md holds the table.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

Effect = Literal["", "new", "all"]
"""Nothing; artifacts are added and the others are reused; all of that kind that the field decides are made anew."""


class Effects(NamedTuple):
    """What a change of a field does to each kind of artifact."""

    dataset: Effect = ""
    tasks: Effect = ""
    runs: Effect = ""
    evaluations: Effect = ""
    analysis: Effect = ""


_NOTHING = Effects()
_ANALYSIS = Effects(analysis="all")
_CORPUS = Effects("all", "new", "all", "all", "all")  # only the domain cloze task is made from the corpus
_TOKENS = Effects("all", "all", "all", "all", "all")
_RUNS = Effects(runs="all", evaluations="all", analysis="all")
_GRID = Effects(runs="new", evaluations="new", analysis="all")
_EVALUATION = Effects(evaluations="new", analysis="all")

FIELD_EFFECTS: dict[str, Effects] = {
    "name": _NOTHING,
    "question": _NOTHING,
    "data.source": _CORPUS,
    "data.sources": _CORPUS,
    "data.text_field": _CORPUS,
    "data.separator": _CORPUS,
    "data.bad_documents": _CORPUS,
    "data.longest_document": _CORPUS,
    "data.tokenizer": _TOKENS,
    "data.sequence_length": _TOKENS,
    "data.packing": _CORPUS,
    "data.attention": _CORPUS,
    "data.resample": _CORPUS,
    "data.validation_fraction": _CORPUS,
    "data.validation_tokens": Effects(dataset="all", evaluations="new", analysis="all"),
    **dict.fromkeys(
        (
            "data.cleaning.repair_encoding",
            "data.cleaning.control_characters",
            "data.cleaning.secrets",
            "data.cleaning.personal_data",
            "data.cleaning.minimum_characters",
            "data.cleaning.maximum_characters",
            "data.cleaning.code_files",
            "data.cleaning.languages",
            "data.cleaning.gopher_quality",
            "data.cleaning.minimum_words",
            "data.cleaning.maximum_words",
            "data.cleaning.gopher_repetition",
            "data.deduplication.exact",
            "data.deduplication.minimum_characters",
            "data.quality.scorer",
            "data.quality.column",
            "data.quality.order",
            "data.quality.tier",
            *(f"data.deduplication.{field}" for field in ("near", "similarity", "unit", "shingle", "hashes", "bands")),
            *(f"data.contamination.{field}" for field in ("mode", "ngram", "overlap", "tasks")),
        ),
        _CORPUS,
    ),
    "grid.unique_tokens": Effects("all", "", "new", "new", "all"),
    "grid.quality": Effects("all", "", "all", "all", "all"),  # runs have a tier; a further tier keeps those of others
    "grid.models": _GRID,
    "arms": _GRID,
    "recipes": Effects(runs="new", evaluations="new", analysis="all"),
    "seeds": _GRID,
    **dict.fromkeys(
        (
            "training.epochs",
            "training.batch_size",
            "training.microbatch_size",
            "training.optimizer",
            "training.learning_rate",
            "training.warmup_steps",
            "training.schedule",
            "training.decay_fraction",
            "training.decay_steps",
            "training.decay_shape",
            "training.final_rate",
            "training.random_lengths",
            "training.beta1",
            "training.beta2",
            "training.ema",
            "training.gradient_clip",
            "training.router_balance",
            "training.router_z",
            "training.on_divergence",
            "training.spike_factor",
            "training.precision",
            "training.compile",
            "training.activation_checkpointing",
            "training.data_parallel",
            "training.expert_parallel",
            "training.deterministic",
            "training.device",
            "evaluation.points",
            "evaluation.first_epoch",
        ),
        _RUNS,
    ),
    "tuning.learning_rates": _NOTHING,
    "tuning.weight_decays": _NOTHING,
    "tuning.seeds": _NOTHING,
    "tuning.results": _GRID,  # of the arms that were tuned
    "training.weight_decay": _GRID,  # arms with a decay of their own keep their runs
    "evaluation.nelbo_draws": _EVALUATION,
    "evaluation.nelbo_stderr": _EVALUATION,
    "evaluation.chain_rule_examples": _EVALUATION,
    "evaluation.chain_rule_points": _EVALUATION,
    "evaluation.tasks": Effects(tasks="new", evaluations="new", analysis="all"),
    "evaluation.cloze_items": Effects(tasks="new", evaluations="new", analysis="all"),
    "evaluation.cloze_draws": _EVALUATION,
    "evaluation.task_items": Effects(tasks="new", evaluations="new", analysis="all"),
    "evaluation.task_draws": _EVALUATION,
    "evaluation.writing_points": _EVALUATION,
    "evaluation.samples": _EVALUATION,
    "evaluation.scorer": _EVALUATION,
    "evaluation.passages": _EVALUATION,
    **dict.fromkeys(
        (
            "analysis.metrics",
            "analysis.axes",
            "analysis.comparisons",
            "analysis.baseline",
            "analysis.candidate",
            "analysis.tuned",
            "analysis.multiplicity",
            "analysis.looks",
            "analysis.spending",
            "analysis.early_window",
            "analysis.late_window",
            "analysis.alpha",
            "analysis.minimum_pairs",
        ),
        _ANALYSIS,
    ),
}


def effects_table() -> str:
    """The table in Markdown, a row for each field."""
    header = ["field", *Effects._fields]
    rows = [[f"`{field}`", *effects] for field, effects in FIELD_EFFECTS.items()]
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


if __name__ == "__main__":
    print(effects_table(), end="")
