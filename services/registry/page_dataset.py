"""The page of a prepared corpus: its data card, as the report and Kubeflow have it, and the studies that have it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from crossover_services.registry import page_words
from crossover_services.registry.page_addresses import study_address
from pydantic import ValidationError

from crossover.data.dataset import DatasetManifest
from crossover.registry import Registry
from crossover.registry.reads.data_and_deployments import DatasetDetail, dataset_detail
from crossover.registry.reads.read_filters import Namespaces
from crossover.report.data_card import DataCard, data_card
from crossover.study.study_config import StudyConfig
from crossover.study.study_digests import short


@dataclass(frozen=True)
class DatasetPage:
    """All that the page shows."""

    detail: DatasetDetail
    digest: str
    prepared: datetime | None
    studies: tuple[tuple[str, str, str], ...]
    """Name, revision, address."""
    card: DataCard | None
    """None where the manifest is of another version."""
    fields: tuple[tuple[str, str], ...]
    """Of a manifest without a card, as they are."""


def dataset_page(registry: Registry, namespaces: Namespaces, name: str) -> DatasetPage:
    """Gather the page of a prepared corpus.

    Args:
        registry: open.
        namespaces: to read.
        name: its digest, or the beginning of it.

    Raises:
        RegistryError: there is none.
    """
    detail = dataset_detail(registry, namespaces, name)
    card = _card(detail)
    return DatasetPage(
        detail=detail,
        digest=detail.dataset.digest,
        prepared=detail.dataset.created_at,
        studies=tuple(
            (u.study, u.study_digest, study_address(u.namespace, u.study, revision=short(u.study_digest)))
            for u in detail.users
        ),
        card=card,
        fields=() if card else tuple(page_words.flat(detail.dataset.manifest)),
    )


def as_data(page: DatasetPage) -> dict[str, Any]:
    """What the twin says."""
    studies = [{"study": name, "study_digest": digest, "address": address} for name, digest, address in page.studies]
    known = {"digest": page.digest, "prepared_at": page.prepared, "studies": studies}
    return known | {"manifest": page.detail.dataset.manifest, "card": page.card}


def _card(detail: DatasetDetail) -> DataCard | None:
    try:
        study = StudyConfig.model_validate(detail.config)
        return data_card(study, DatasetManifest.model_validate(detail.dataset.manifest))
    except ValidationError:
        return None
