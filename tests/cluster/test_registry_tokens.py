"""The registry asks a real API server whose a token is, with the rights that the chart gives its service account."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from crossover_services.registry.kubernetes_tokens import OWN_AUDIENCE, TokenReviewer

from crossover.errors import AccessError
from tests.cluster.kube import Kube
from tests.cluster.releases import Place, Release
from tests.cluster.stand_ins import kubelet

AUDIENCE = "crossover-registry"


@pytest.fixture
def reviewer(place: Place, tmp_path: Path) -> Iterator[Callable[..., TokenReviewer]]:
    """Makes what the registry's pod has, as the account of an installed chart or as another."""
    with kubelet(place.kube, place.namespace):
        Release(place.kube, place.namespace).install({})
    made: list[TokenReviewer] = []
    cluster = place.kube.api_client().configuration

    def make(audience: str, account: str = "trial-crossover-registry") -> TokenReviewer:
        shutil.copy(cluster.ssl_ca_cert, tmp_path / "ca.crt")
        (tmp_path / "token").write_text(place.kube.token(place.namespace, account))
        made.append(TokenReviewer(audience, api=cluster.host, account=tmp_path))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_whose_tokens_are_taken(
    place: Place, reviewer: Callable[..., TokenReviewer], service_account: Callable[..., Kube]
) -> None:
    service_account(place.namespace, "pipeline-runner")
    default = place.kube.token(place.namespace, "pipeline-runner")
    projected = place.kube.token(place.namespace, "pipeline-runner", AUDIENCE)
    runner = f"{place.namespace}:pipeline-runner"

    cluster = reviewer(OWN_AUDIENCE)
    assert [cluster.account_of(token) for token in (default, projected, "nobody's")] == [runner, None, None]
    own = reviewer(AUDIENCE)
    assert [own.account_of(token) for token in (default, projected, "nobody's")] == [None, runner, None]


def test_an_account_without_the_charts_rights_cannot_ask(place: Place, reviewer: Callable[..., TokenReviewer]) -> None:
    token = place.kube.token(place.namespace, "default")
    with pytest.raises(AccessError, match=r"system:auth-delegator"):
        reviewer(OWN_AUDIENCE, "default").account_of(token)
