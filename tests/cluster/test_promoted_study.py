"""A promotion and a rollback with all that they touch: bucket, registry, endpoint."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from crossover_cluster.deployment_history import history
from crossover_cluster.endpoint_rollout import EndpointRollout
from crossover_cluster.kubernetes_api import Cluster
from crossover_cluster.promotion import promote_to_kserve, roll_back
from crossover_cluster.promotion_records import PromotionOptions

from crossover.errors import ClusterError
from crossover.settings import get_settings
from crossover.stages.promote_stage import promote_stage
from crossover.stages.stage_manifests import AnalysisRef, Candidate, CheckpointRef
from crossover.stages.study_context import StudyContext, open_study
from crossover.study.identity import RunId
from crossover.study.study_config import StudyConfig
from tests.cluster.kserve_stand_in import kserve
from tests.cluster.kube import Kube
from tests.cluster.stand_ins import kubelet
from tests.cluster.test_promotion import CANARY_RULE, RULES
from tests.conftest import tiny_model
from tests.seaweed import server
from tests.services.conftest import write_checkpoint


@pytest.fixture
def context(tiny_study: StudyConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StudyContext]:
    with server(tmp_path / "weed", "models") as address:
        for name, value in {
            "SCRATCH": str(tmp_path / "scratch"),
            "S3_ENDPOINT": address,
            "S3_SECURE": "false",
            "S3_ACCESS_KEY": "any",
            "S3_SECRET_KEY": "any",
        }.items():
            monkeypatch.setenv(f"CROSSOVER_{name}", value)
        get_settings.cache_clear()
        with open_study(tiny_study, "s3://models/tiny", f"sqlite:///{tmp_path}/registry.sqlite") as opened:
            yield opened
        get_settings.cache_clear()


def analysed(context: StudyContext, seed: int, decision: str = "promote") -> AnalysisRef:
    """An analysis whose winner is a published checkpoint of its own."""
    run, digest = RunId(context.study.cells[0].name, "ar", seed), f"sha256:run{seed}"
    context.registry.register_run(context.study.digest, run, digest, config={}, epoch_tokens=100)
    name = f"runs/{seed}/step-1"
    write_checkpoint(context.store.path(name), model=tiny_model(causal=True, vocab=259, length=32 + 8 * seed))
    checkpoint = CheckpointRef(step=1, uri=context.store.uri_of(name), digest=context.store.publish(name))
    winner = Candidate(run=run, run_digest=digest, checkpoint=checkpoint, metric="validation_bpb", value=1.0)
    return AnalysisRef(
        study=context.study.digest,
        uri="u",
        digest="d",
        report="r",
        decision=decision,
        reason=f"Seed {seed} is best.",
        winner=winner,
        winner_analysis=f"sha256:analysis{seed}",
        best={"ar": winner},
    )


def test_a_promotion_is_recorded_and_rolled_back(
    kube: Kube, namespace: str, context: StudyContext, service_account: Callable[..., Kube]
) -> None:
    user = service_account(namespace, "promoter", [*RULES, CANARY_RULE])
    references = [promote_stage(context, analysed(context, seed)) for seed in (0, 1)]
    digests = {reference.uri: reference.digest for reference in references}
    options = PromotionOptions(deadline_seconds=60)
    with kubelet(kube, namespace), kserve(kube, namespace, bad=frozenset(), digests=digests) as controller:

        def rollout() -> EndpointRollout:
            return EndpointRollout(Cluster(user.api_client(), namespace), "winner", options, controller.reach)

        with pytest.raises(ClusterError, match=r"does not exist in namespace"):
            roll_back(context.registry, "", "winner", options, rollout())
        for reference in (*references, references[1]):
            done = promote_to_kserve(context, reference, "winner", options, rollout())
        assert (done.digest, done.changed) == (references[1].digest, False)
        back = roll_back(context.registry, "", "winner", options, rollout())
    assert (back.digest, back.changed) == (references[0].digest, True)
    rows = [row for row in history(context.registry, context.study.name) if row.endpoint == f"{namespace}/winner"]
    assert [row.served.digest for row in rows] == [references[n].digest for n in (0, 1, 0)], "a retry adds no row"
    assert rows[0].reason.startswith("Rolled back from")
    assert rows[0].revision == back.revision
    assert [row.analysis_digest for row in rows[1:]] == ["sha256:analysis1", "sha256:analysis0"]


def test_a_checkpoint_that_differs_is_refused_before_the_cluster_is_asked(context: StudyContext) -> None:
    reference = promote_stage(context, analysed(context, 0))
    other = reference.model_copy(update={"digest": "sha256:other"})
    with pytest.raises(ClusterError, match=r"sha256:other was promoted.*copied anew") as refused:
        promote_to_kserve(context, other, "winner")
    assert refused.value.code == "promotion.digest-differs"
    local = reference.model_copy(update={"uri": "/home/x/serving/abc"})
    with pytest.raises(ClusterError, match=r"is not in an object store"):
        promote_to_kserve(context, local, "winner")
