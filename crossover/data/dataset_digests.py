"""What names a dataset: the study's settings, and the task packs whose items leave out training documents."""

from __future__ import annotations

from crossover.data.task_packs import CONTAMINATING, find_pack
from crossover.files import digest_of
from crossover.settings import get_settings
from crossover.study import study_digests
from crossover.study.data_config import DataConfig
from crossover.study.study_config import StudyConfig

_CONTENT = {"sha256", "hub", "subset", "split", "revision", "where"}
"""Fields of a pack that decide its documents."""


def corpus_digest(data: DataConfig) -> str:
    """`study_digests.corpus_digest`, with the packs of this machine.

    Raises:
        DataError: an unknown pack, or a bad one.
    """
    return study_digests.corpus_digest(data, _packs(data))


def dataset_digest(study: StudyConfig) -> str:
    """`study_digests.dataset_digest`, with the packs of this machine.

    Raises:
        DataError: an unknown pack, or a bad one.
    """
    return study_digests.dataset_digest(study, _packs(study.data))


def _packs(data: DataConfig) -> dict[str, str]:
    names = data.contamination.tasks if data.contamination.mode == "drop" else ()
    packs = (find_pack(name, get_settings().tasks, CONTAMINATING) for name in names)
    return {pack.name: digest_of(pack.model_dump(mode="json", include=_CONTENT)) for pack in packs}
