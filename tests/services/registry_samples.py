"""A registry as a team has it: a study with two revisions, one being run with a lost run, hostile names."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from crossover.analysis.analysis_result import Analysis
from crossover.data.cleaning.cleaning_counts import CleaningCounts, Histogram, StepCounts, TierCounts
from crossover.data.dataset import Budget, DatasetManifest, TokenCounts
from crossover.data.overlap_counts import HELD_OUT, NearCounts, OverlapCounts
from crossover.files import digest_of_content
from crossover.registry import MetricDef, Point, Registry
from crossover.registry.process_identity import ProcessIdentity
from crossover.registry.sql_attempt import SqlAttempt
from crossover.study.identity import RunId
from crossover.study.load_study import parse_study
from tests.crossover.report import report_samples as samples

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
HOSTILE = "<script>alert('x')</script>&\"/é"
CELL = "u10000-nano"
LOSS = MetricDef("training_loss", "nats/token", "lower", "none")
BPB = {
    "ar": MetricDef("validation_bpb", "bits/byte", "lower", "exact", 1),
    "dlm": MetricDef("validation_bpb", "bits/byte", "lower", "upper bound", 8),
}


class Clock:
    """A time that is set."""

    def __init__(self, at: datetime = NOW) -> None:
        self.at = at

    def __call__(self) -> datetime:
        return self.at

    def pass_seconds(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)


def config(name: str, *, seeds: int = 5, question: str = "AR or DLM on 10,000 bytes of Python?") -> dict[str, Any]:
    """The fields of a study."""
    text = (
        f"name: {name}\nseeds: {seeds}\ngrid: {{unique_tokens: [10000], models: [nano]}}\ndata: {{sequence_length: 64}}"
    )
    return parse_study(text).model_dump(mode="json") | {"name": name, "question": question}


def digest(text: str) -> str:
    """Looks like one, and is the same for the same text."""
    return digest_of_content(text.encode())


def analysis(*, outcome: str = "crossover") -> Analysis:
    """The analysis of the report's tests."""
    made = samples.analysis()
    if outcome == "crossover":
        return made
    head = samples.verdict(samples.LOSS.name, outcome="insufficient evidence", further_pairs=4)
    return made.model_copy(update={"verdicts": (head, *made.verdicts[1:])})


def points(steps: Iterable[int], arm: str, seed: int, *, noise: float = 0.02) -> list[Point]:
    """A loss that falls, more slowly for the DLM."""
    random = np.random.default_rng([seed, len(arm)])
    steps = [int(step) for step in steps]
    x = np.log(np.asarray(steps, dtype=float))
    values = (8.5 - 0.8 * x + 0.08 * x**2 if arm == "ar" else 8.2 - 0.45 * x) + noise * random.normal(size=len(x))
    return [
        Point(int(s), int(s) * 2048, float(s) * 1.5e9, float(s) * 0.05, float(v), 0.01)
        for s, v in zip(steps, values, strict=True)
    ]


def begin(registry: Registry, run: str, *, step: int = 0, host: str = "node-1") -> SqlAttempt:
    """An attempt of a process of its own."""
    process = ProcessIdentity(host=host, pid=1000 + step, holder=f"{host}:{run}")
    return registry.begin_attempt(run, step, process)


def train(
    registry: Registry, study: str, name: str, arm: str, seed: int, steps: Iterable[int], *, last: int = 640
) -> str:
    """Register and train a run of 640 steps to its end; returns its digest."""
    last = 640
    run = digest(f"{registry.namespace} {name} {arm} {seed}")
    run_config = {
        "unique_tokens": 10000,
        "parameters": 133_888,
        "model": {"num_layers": 2, "hidden_size": 64, "num_heads": 4},
    }
    registry.register_run(study, RunId(CELL, arm, seed), run, config=run_config, epoch_tokens=9984)
    attempt = begin(registry, run)
    attempt.record(LOSS, points(steps, arm, seed, noise=0.1))
    attempt.record(BPB[arm], points(np.unique(np.geomspace(10, last, 11).astype(int)), arm, seed))
    for step in (last // 2, last):
        registry.record_checkpoint(
            run, step, step * 2048, f"s3://runs/{arm}/{seed}/{step}", digest(f"{run[-9:]}{step}")
        )
    attempt.finish("done")
    return run


def manifest(name: str) -> DatasetManifest:
    """Of a corpus with near-duplicates, contamination, tiers and a step of the cleaning."""
    overlap = OverlapCounts(
        target=HELD_OUT,
        ngram=13,
        texts=26,
        short_texts=1,
        ngrams=4000,
        common_ngrams=9,
        ngrams_in_training=70,
        texts_in_training=3,
        contaminated=6,
        dropped=0,
        examples=((f"a {name}", "b.py"),),
    )
    return DatasetManifest(
        request=digest("request"),
        corpus=digest("corpus"),
        content=digest("content"),
        source=f"stdlib: {name}",
        tokenizer="bytes",
        sequence_length=64,
        files_read=560,
        documents=534,
        duplicates_dropped=2,
        empty_dropped=24,
        undecodable_dropped=0,
        near=NearCounts(
            mode="count", clusters=4, near_duplicates=5, held_out_in_training=1, examples=((name, "c.py"),)
        ),
        contamination=(overlap,),
        train_documents=508,
        validation_documents=26,
        train_bytes=8_661_363,
        validation_bytes=86_613,
        bytes_per_token=1.0,
        tokens=TokenCounts(digest=digest("tokenizer"), vocab_size=259, dtype="<u2", fertility=6.0),
        tail_tokens_dropped=17,
        available_tokens=8_646_400,
        joined_tokens=10_240,
        train_examples=156,
        validation_examples=100,
        document_end=None,
        resampled=False,
        cleaning=CleaningCounts(
            steps=[StepCounts("length", 560, 536, 9_000_000, 8_800_000, {"too short": 24})],
            tiers={"high": TierCounts(170, 2_900_000, 1.5, 2.0)},
            bytes_kept=Histogram.of([900, 3000]),
        ),
        budgets=(Budget(unique_tokens=10_000, examples=156, tokens=9984, digest=digest("budget")),),
        files={},
    )


def finished(registry: Registry, clock: Clock, name: str = "demo", *, long: int = 200) -> str:
    """A study that is done, in two revisions, with changed verdicts and deployments; returns the newer one's digest."""
    first, second = digest(f"first {name}"), digest(f"second {name}")
    judged = {"name": name, "analysis": samples.plan().model_dump(mode="json")}
    question = f"What suits {name}?" if name == HOSTILE else "AR or DLM on 10,000 bytes of Python?"
    for study, seeds in ((first, 3), (second, 5)):
        registry.register_study(name=name, digest=study, config=config("demo", seeds=seeds, question=question) | judged)
        registry.register_dataset(study, digest("dataset"), manifest(name).model_dump(mode="json"))
        runs = [
            train(registry, study, name, arm, seed, range(1, long + 1))
            for seed in range(seeds)
            for arm in ("ar", "dlm")
        ]
        clock.pass_seconds(60)
        found = analysis(outcome="open" if study == first else "crossover").model_dump(mode="json")
        stored = registry.record_analysis(study, CELL, found)
        clock.pass_seconds(60)
    registry.record_items(
        runs[0], 640, "domain-cloze", {"ids": ["a", "b"], "margins": [0.5, float("nan")], "clusters": [name, "x"]}
    )
    for reason in ("the first", f"AR is better early: {name}"):
        registry.record_deployment(
            second,
            runs[0],
            step=640,
            uri="s3://serving/1",
            digest=digest(reason),
            analysis_digest=stored,
            reason=reason,
            endpoint="kubeflow/winner",
            revision=3,
            traffic=100,
        )
    return second


def being_run(registry: Registry, clock: Clock, name: str = "live") -> str:
    """A study with runs done, running, lost and not started; returns its digest."""
    study = digest(f"being run {name}")
    registry.register_study(name=name, digest=study, config=config(name, question="Is the DLM worth it here?"))
    for arm in ("ar", "dlm"):
        train(registry, study, name, arm, 0, range(1, 641, 3))
    lost = digest(f"{registry.namespace} lost")
    registry.register_run(study, RunId(CELL, "ar", 1), lost, config={}, epoch_tokens=9984)
    begin(registry, lost, host="node-7").record(LOSS, points(range(1, 200, 3), "ar", 1, noise=0.1))
    clock.pass_seconds(600)
    half = digest(f"{registry.namespace} half")
    registry.register_run(study, RunId(CELL, "dlm", 1), half, config={}, epoch_tokens=9984)
    begin(registry, half).record(LOSS, points(range(1, 300, 3), "dlm", 1, noise=0.1))
    again = begin(registry, half, step=150)
    again.record(LOSS, points(range(151, 380, 3), "dlm", 1, noise=0.1))
    again.record(BPB["dlm"], points([10, 40, 160, 320], "dlm", 1))
    return study
