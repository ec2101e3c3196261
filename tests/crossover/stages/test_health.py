"""Health of runs: spikes that stand out, restarts and medians as the registry has them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from crossover.registry import MetricDef, Point, Registry
from crossover.stages.run_health import health_of, loss_spikes
from crossover.stages.study_context import StudyContext
from crossover.stages.workspace import Workspace
from crossover.study.identity import RunId
from crossover.study.study_config import StudyConfig

PLAIN = np.linspace(4, 3, 60) + 0.01 * np.random.default_rng(0).normal(size=60)


def test_a_smooth_loss_has_no_spikes_and_planted_ones_are_counted() -> None:
    assert loss_spikes(PLAIN) == 0
    for places in ((30,), (10, 40), (10, 25, 50)):
        spiked = PLAIN.copy()
        spiked[list(places)] += 1.0
        assert loss_spikes(spiked) == len(places)


def test_short_or_constant_losses_have_none() -> None:
    assert loss_spikes(np.array([3.0, 9.0, 3.0])) == 0
    assert loss_spikes(np.full(50, 2.0)) == 0
    assert loss_spikes(np.array([np.nan] * 20)) == 0


def test_the_registry_says_how_a_run_went(tmp_path: Path) -> None:
    study = StudyConfig(name="s")
    with Registry.open(f"sqlite:///{tmp_path}/r.sqlite") as registry:
        registry.register_study(name="s", digest=study.digest, config=study.model_dump(mode="json"))
        context = StudyContext(study, Workspace(str(tmp_path / "ws")), registry)
        cell = study.cells[0].name
        registry.register_run(study.digest, RunId(cell, "ar", 0), "sha256:run", config={}, epoch_tokens=None)
        registry.start_attempt("sha256:run", started_step=0).finish("interrupted")
        attempt = registry.start_attempt("sha256:run", started_step=0)
        columns = {"training_loss": [*PLAIN[:-1], float("nan")], "gradient_norm": [0.5] * 59 + [9.0]}
        columns["tokens_per_second"] = [1000.0] * 60
        columns["clipped_steps"] = [1.0] * 30 + [0.5] * 30
        for name, values in columns.items():
            points = [
                Point(step=i + 1, tokens=10 * i, flops=1.0 * i, seconds=0.1 * i, value=float(v))
                for i, v in enumerate(values)
            ]
            attempt.record(MetricDef(name, "", "none", "none"), points)
        attempt.finish("done")
        found = health_of(context, cell)
    (health,) = found.values()
    assert list(found) == [("ar", 0)]
    assert (health.attempts, health.loss_spikes, health.not_finite) == (2, 0, 1)
    assert (health.tokens_per_second, health.mfu) == (1000.0, None)
    assert (health.gradient_norm, health.largest_gradient_norm) == (0.5, 9.0)
    assert health.clipped_steps == 0.5
