"""Near-duplicates between the sides of the split are counted, kept together, or dropped (case 14)."""

import json
from pathlib import Path

import numpy as np
import pytest

from crossover.data.dataset import Dataset
from crossover.data.overlap_counts import HELD_OUT
from crossover.data.prepare_dataset import prepare_dataset
from crossover.data.split_corpus import read_corpus
from crossover.study.study_config import StudyConfig
from crossover.tokenization.tokenizer import BYTES

WORDS = "data batch loss step model token list seed path file graph node tree value index key alpha beta gamma".split()


def notices(folder: Path) -> Path:
    """Forty texts of 120 words, each under four years: the input of case 14."""
    draw = np.random.default_rng(14)
    bodies = [" ".join(draw.choice(WORDS, 120)) for _ in range(40)]
    texts = [f"Copyright {year}\n{body}" for body in bodies for year in range(2021, 2025)]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "notices.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return path


def prepare(folder: Path, budget: int = 16384, **data: dict[str, object]) -> Dataset:
    raw = {"source": f"jsonl:{notices(folder)}", "validation_fraction": 0.2, "validation_tokens": 4096, **data}
    study = StudyConfig.model_validate(
        {"name": "nd", "data": raw, "grid": {"unique_tokens": [budget], "models": ["pico"]}}
    )
    with read_corpus(study.data, folder / "scratch") as corpus:
        return prepare_dataset(study, corpus, folder / "dataset")


def held_out_rows_in_training(dataset: Dataset, budget: int = 16384) -> int:
    trained = "\n".join(BYTES.decode(row) for row in dataset.train(budget))
    return sum(BYTES.decode(row)[:40] in trained for row in dataset.validation())


def test_held_out_text_in_training_is_counted_by_default(tmp_path: Path) -> None:
    manifest = prepare(tmp_path).manifest
    assert held_out_rows_in_training(prepare(tmp_path)) > 10
    assert manifest.near.held_out_in_training > 0.8 * manifest.validation_documents
    assert manifest.near.clusters == 40 and manifest.near.near_duplicates == 120 and manifest.near.dropped == 0
    [overlap] = manifest.contamination
    assert overlap.target == HELD_OUT
    assert overlap.ngrams_in_training > 0.8 * overlap.ngrams > 0
    assert any("have one in the training documents" in line for line in manifest.overlap)
    assert len(manifest.warnings) == 2


@pytest.mark.parametrize(("mode", "documents"), [("split", 160), ("drop", 40)])
def test_no_cluster_is_on_both_sides(tmp_path: Path, mode: str, documents: int) -> None:
    dataset = prepare(tmp_path, deduplication={"near": mode})
    manifest = dataset.manifest
    assert manifest.documents == documents
    assert manifest.near.held_out_in_training == 0
    assert manifest.contamination[0].ngrams_in_training == 0
    assert manifest.warnings == ()
    assert held_out_rows_in_training(dataset) == 0


def test_contaminated_training_documents_are_dropped(tmp_path: Path) -> None:
    dataset = prepare(tmp_path, contamination={"mode": "drop"})
    [overlap] = dataset.manifest.contamination
    assert overlap.dropped == overlap.contaminated > 30
    assert overlap.ngrams_in_training == 0
    assert held_out_rows_in_training(dataset) == 0


def test_counting_changes_no_example(tmp_path: Path) -> None:
    counted = prepare(tmp_path / "a").manifest
    silent = prepare(tmp_path / "b", deduplication={"near": "off"}, contamination={"mode": "off"}).manifest
    assert counted.files == silent.files
    assert silent.overlap == () and silent.warnings == ()
