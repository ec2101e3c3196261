"""The catalogue of metrics: every value that Crossover records, with its unit, direction, label and default delta."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

Direction = Literal["lower", "higher", "none"]
MetricEstimator = Literal["likelihood", "chain rule", "none"]
MeasuredIn = Literal["training", "evaluation", "task", "writing"]


@dataclass(frozen=True)
class Metric:
    """What a recorded value means."""

    name: str
    """Name under which values are recorded; in `TASK_METRICS` the part after `<task>_`."""
    unit: str
    direction: Direction
    """Which side is better; `none` where neither is."""
    label: str
    """Name in figures and tables."""
    measured_in: MeasuredIn
    description: str
    estimator: MetricEstimator = "none"
    """`likelihood`: exact for AR, an upper bound for a DLM. `chain rule`: exact for one order of the tokens."""
    delta: float | None = None
    """Default of the smallest difference that matters, in `unit`; None: a plan that compares it must state its own."""

    @property
    def by_likelihood(self) -> bool:
        """Whether the value follows from likelihoods, so that a DLM's has Monte Carlo draws."""
        return self.estimator == "likelihood"


def _by_name(metrics: Iterable[Metric]) -> dict[str, Metric]:
    return {metric.name: metric for metric in metrics}


_TRAINING = (
    Metric(
        "training_loss",
        "nats/token",
        "lower",
        "Training loss",
        "training",
        "Loss of the step's batch: exact for AR, a single draw of the bound for a DLM, hence never compared.",
    ),
    Metric("gradient_norm", "1", "none", "Gradient norm", "training", "Global L2 norm before clipping."),
    Metric(
        "clipped_steps",
        "fraction",
        "none",
        "Clipped steps",
        "training",
        "Share of the steps so far whose gradient norm was above `training.gradient_clip`.",
    ),
    Metric("learning_rate", "1", "none", "Learning rate", "training", "Learning rate of the step."),
    Metric("tokens_per_second", "tokens/s", "higher", "Throughput", "training", "Training tokens per second."),
    Metric(
        "mfu",
        "fraction",
        "higher",
        "Model FLOP/s utilization",
        "training",
        "Model FLOP/s over the peak of all devices, where the peak is known.",
    ),
    Metric(
        "data_wait", "fraction", "lower", "Data wait", "training", "Fraction of the time spent on preparing batches."
    ),
    Metric(
        "peak_memory_gib",
        "GiB",
        "lower",
        "Peak memory",
        "training",
        "Peak memory of the GPU, or of the process on a CPU.",
    ),
    Metric(
        "energy_joules",
        "J",
        "lower",
        "Energy",
        "training",
        "Energy of all devices of the run since the attempt began, where the driver reports it.",
    ),
    Metric(
        "router_load",
        "1",
        "none",
        "Load of the busiest expert",
        "training",
        "Sparse models: tokens that the busiest expert of a block gets over the mean, by sequence; 1 is even.",
    ),
    Metric(
        "router_entropy",
        "nats",
        "none",
        "Router entropy",
        "training",
        "Sparse models: entropy of a token's scores over the experts, averaged over blocks.",
    ),
    Metric(
        "router_dropped",
        "fraction",
        "none",
        "Tokens without an expert",
        "training",
        "Sparse models: share of the tokens that no expert of a block takes; 0 but under expert choice.",
    ),
)

_LOSSES = (
    Metric(
        "validation_nll",
        "nats/token",
        "lower",
        "Validation NLL",
        "evaluation",
        "Negative log-likelihood of the held-out text: exact for AR, the NELBO for a DLM.",
        "likelihood",
        0.02,
    ),
    Metric(
        "validation_bpb",
        "bits/byte",
        "lower",
        "Validation loss",
        "evaluation",
        "`validation_nll` in bits per byte of text, independent of the tokenizer.",
        "likelihood",
        0.02,
    ),
    Metric(
        "chain_rule_bpb",
        "bits/byte",
        "lower",
        "Chain-rule loss",
        "evaluation",
        "A subset of the held-out text, revealed left to right by a DLM; AR on the same subset.",
        "chain rule",
        0.02,
    ),
    Metric(
        "chain_rule_reversed_bpb",
        "bits/byte",
        "lower",
        "Chain-rule loss, right to left",
        "evaluation",
        "The same subset revealed right to left; DLM only.",
        "chain rule",
    ),
    Metric(
        "chain_rule_confidence_bpb",
        "bits/byte",
        "lower",
        "Chain-rule loss, most confident first",
        "evaluation",
        "The same subset, the most confident position revealed first; DLM only.",
        "chain rule",
    ),
)


def _samples(prefix: str, label: str, texts: str, delta: float | None) -> tuple[Metric, ...]:
    """Statistics of generated texts, or of held-out texts of the same lengths, their control.

    Args:
        prefix: of the names.
        label: name of the texts in labels.
        texts: name of the texts in descriptions.
        delta: default delta of the fractions; None for the control.
    """
    return (
        Metric(
            f"{prefix}_entropy",
            "bits/token",
            "higher",
            f"{label} entropy",
            "writing",
            f"Unigram entropy of {texts}.",
        ),
        Metric(
            f"{prefix}_distinct_4",
            "fraction",
            "higher",
            f"{label} distinct 4-grams",
            "writing",
            f"Distinct 4-grams over all 4-grams of {texts}.",
            delta=delta,
        ),
        Metric(
            f"{prefix}_repetition",
            "fraction",
            "lower",
            f"{label} repetition",
            "writing",
            f"Fraction of the 8-grams of {texts} that occurred earlier in the same text.",
            delta=delta,
        ),
        Metric(
            f"{prefix}_collapsed",
            "fraction",
            "lower",
            f"{label} collapse",
            "writing",
            f"Fraction of {texts} in which a run of one token is longer than half the text.",
            delta=delta,
        ),
    )


def _extraction(prefix: str, label: str, passages: str, delta: float | None) -> tuple[Metric, ...]:
    """Extraction of training passages, or of held-out passages, their control."""
    return (
        Metric(
            f"{prefix}extraction_rate",
            "fraction",
            "lower",
            f"{label} rate",
            "writing",
            f"Fraction of {passages} whose second half greedy decoding reproduces exactly from the first half.",
            delta=delta,
        ),
        Metric(
            f"{prefix}extraction_tokens",
            "fraction",
            "lower",
            f"{label}, tokens",
            "writing",
            f"Fraction of the tokens of the second halves of {passages} that greedy decoding reproduces.",
            delta=delta,
        ),
    )


METRICS = _by_name(
    (
        *_TRAINING,
        *_LOSSES,
        *_extraction("", "Extraction", "training passages", 0.02),
        *_extraction("heldout_", "Held-out extraction", "held-out passages", None),
        *_samples("sample", "Sample", "samples", 0.02),
        *_samples("heldout", "Held-out text", "held-out texts of the samples' lengths", None),
        Metric(
            "sample_perplexity",
            "perplexity",
            "lower",
            "Sample perplexity",
            "writing",
            "Perplexity of the samples under the AR model `evaluation.scorer`.",
        ),
        Metric(
            "sample_bpb",
            "bits/byte",
            "lower",
            "Sample bits per byte",
            "writing",
            "Bits per byte of the samples under `evaluation.scorer`, where its tokenizer is not the study's.",
        ),
    )
)
"""Metrics by their full name."""

NUMBERED_METRICS = _by_name(
    (
        Metric(
            "sample_copied",
            "fraction",
            "lower",
            "Sample n-grams copied",
            "writing",
            "Fraction of the samples' n-grams that occur in the training examples; n is 32, less for short examples.",
            delta=0.02,
        ),
        Metric(
            "heldout_copied",
            "fraction",
            "lower",
            "Held-out n-grams copied",
            "writing",
            "The same fraction for held-out texts of the samples' lengths.",
        ),
    )
)
"""Metrics whose recorded name is `<name>_<n>`."""

TASK_METRICS = _by_name(
    (
        Metric(
            "accuracy",
            "fraction",
            "higher",
            "accuracy",
            "task",
            "Fraction of items whose most likely option, by its total NLL, is the right one; ties count in parts.",
            "likelihood",
            0.02,
        ),
        Metric(
            "accuracy_norm",
            "fraction",
            "higher",
            "normalized accuracy",
            "task",
            "The same by the NLL per character of the option.",
            "likelihood",
            0.02,
        ),
        Metric(
            "margin",
            "nats/token",
            "higher",
            "margin",
            "task",
            "Mean NLL of the wrong options minus NLL of the right one.",
            "likelihood",
            0.02,
        ),
        Metric(
            "gold_nll",
            "nats/token",
            "lower",
            "NLL of the right option",
            "task",
            "The right option's part of the margin, or the NLL of the expected text.",
            "likelihood",
            0.02,
        ),
        Metric(
            "distractor_nll",
            "nats/token",
            "higher",
            "NLL of the wrong options",
            "task",
            "The wrong options' part of the margin.",
            "likelihood",
            0.02,
        ),
        Metric(
            "exact_match",
            "fraction",
            "higher",
            "exact match",
            "task",
            "Fraction of items whose greedy completion is the expected text.",
            delta=0.02,
        ),
        Metric(
            "pass_at_1",
            "fraction",
            "higher",
            "pass@1",
            "task",
            "Fraction of items whose generated program passes its tests in the sandbox.",
            delta=0.02,
        ),
    )
)
"""Metrics whose recorded name is `<task>_<name>`."""


def metric_of(name: str) -> Metric:
    """The metric that is recorded under a name.

    Args:
        name: for example `validation_bpb`, `hellaswag_accuracy` or `sample_copied_32`.

    Raises:
        KeyError: no such metric.
    """
    if name in METRICS:
        return METRICS[name]
    stem, _, number = name.rpartition("_")
    if stem in NUMBERED_METRICS and number.isdecimal():
        return replace(NUMBERED_METRICS[stem], name=name)
    for suffix, metric in TASK_METRICS.items():
        task = name.removesuffix(f"_{suffix}")
        if task not in ("", name):
            label = f"{task.replace('-', ' ').capitalize()} {metric.label}"
            return replace(metric, name=name, label=label)
    raise KeyError(name)


def is_known(name: str) -> bool:
    """Whether the catalogue has a metric of that name."""
    try:
        metric_of(name)
    except KeyError:
        return False
    return True


def similar_names(name: str) -> list[str]:
    """The names that an unknown one may be a misspelling of: every metric, and those of the task named in it."""
    task, mark, _ = name.partition("_")
    return [*METRICS, *(f"{task}_{suffix}" for suffix in TASK_METRICS if mark)]
