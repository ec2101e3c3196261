"""What is known of a prepared corpus without reading it: digests of its budgets, its held-out examples, its tasks.

Two small documents of the workspace, which `crossover plan` and the first table of `crossover run` are made from:
`corpora/<digest>.json`, by how the corpus is read and cut, and `tasks/<name>/<digest>.json`.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from crossover.data.dataset import VALIDATION, DatasetManifest
from crossover.data.dataset_digests import corpus_digest
from crossover.data.task_items import TaskManifest
from crossover.evaluation.measurement_plan import TaskInputs
from crossover.evaluation.tasks import FORMATS
from crossover.stages.tokenizer_record import recall_tokenizer
from crossover.storage import ANY, ArtifactStore
from crossover.study.study_config import Cell, StudyConfig
from crossover.study.study_digests import short


class CorpusRecord(BaseModel):
    """Digests of what a corpus gives when it is read and cut in one way."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    corpus: str
    """`study_digests.corpus_digest`."""
    content: str
    """Of the documents."""
    budgets: dict[int, str] = {}
    """Unique tokens to the digest of their training examples."""
    tiers: dict[str, dict[int, str]] = {}
    """The same by tier of quality."""
    validation: dict[int, str] = {}
    """Requested held-out tokens to the digest of the held-out examples."""

    def examples(self, cell: Cell) -> str:
        """Digest of the training examples of a cell's budget; empty where it is not known."""
        return (self.tiers.get(cell.quality, {}) if cell.quality else self.budgets).get(cell.unique_tokens, "")


def read_corpus_record(study: StudyConfig, store: ArtifactStore) -> CorpusRecord | None:
    """What is known of a study's corpus; None before it was prepared."""
    recall_tokenizer(study.data.tokenizer, store)
    document = store.read_document(_corpus_name(corpus_digest(study.data)))
    return CorpusRecord.model_validate(document.value) if document else None


def record_corpus(study: StudyConfig, store: ArtifactStore, manifest: DatasetManifest) -> None:
    """Add what a dataset tells of its corpus; what was known of other documents is dropped."""
    known = read_corpus_record(study, store)
    if known is None or known.content != manifest.content:
        known = CorpusRecord(corpus=manifest.corpus, content=manifest.content)
    record = known.model_copy(deep=True)
    for budget in manifest.budgets:
        budgets = record.tiers.setdefault(budget.quality, {}) if budget.quality else record.budgets
        budgets[budget.unique_tokens] = budget.digest
    record.validation[study.data.validation_tokens] = manifest.files[VALIDATION]
    store.write_document(_corpus_name(manifest.corpus), record.model_dump(mode="json"), replaces=ANY)


def read_task_inputs(store: ArtifactStore, artifact: str) -> TaskInputs | None:
    """What evaluation must know of a task's items; None before they were prepared."""
    document = store.read_document(f"{artifact}.json")
    return TaskInputs(**document.value) if document else None


def record_task_inputs(store: ArtifactStore, artifact: str, manifest: TaskManifest) -> None:
    """Keep what evaluation must know of a task's items."""
    store.write_document(f"{artifact}.json", task_inputs(manifest)._asdict(), replaces=ANY)


def task_inputs(manifest: TaskManifest) -> TaskInputs:
    """What evaluation must know of a task's items."""
    return TaskInputs(manifest.content, FORMATS[manifest.pack.format].generates)


def _corpus_name(digest: str) -> str:
    return f"corpora/{short(digest)}.json"
