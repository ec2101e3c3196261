"""A workspace keeps what its tokenizer was: later stages do not read the file, and prepare says that it changed."""

from __future__ import annotations

from pathlib import Path

import pytest
from huggingface_hub import constants

from crossover.data.dataset import Dataset
from crossover.errors import DataError
from crossover.report.data_card import card_markdown, data_card
from crossover.stages.prepare_stage import prepare_stage
from crossover.stages.reuse import plan_reuse
from crossover.stages.study_context import open_study
from crossover.stages.tune_stage import plan_sweep
from crossover.stages.workspace import Workspace
from crossover.study.study_config import StudyConfig
from crossover.tokenization import tokenizer_file
from crossover.tokenization.tokenizer_file import know_tokenizer, known_tokenizer
from crossover.training.run_spec import cell_model
from tests.crossover.stages.trained_study import edited, run_stages
from tests.crossover.tokenization.hub_cache import COMMIT, cache_tokenizer
from tests.crossover.tokenization.sentencepiece_files import VALUE, sentencepiece_file

ROWS = len(VALUE["model"]["vocab"]) + 1


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


def with_name(study: StudyConfig, name: str) -> StudyConfig:
    return edited(study, lambda raw: raw["data"].update(tokenizer=name) or raw["grid"].update(unique_tokens=[512]))


def prepare(study: StudyConfig, workspace: Path) -> Dataset:
    know_tokenizer(study.data.tokenizer, None)  # as in a process of its own
    with open_study(study, str(workspace)) as context:
        reference = prepare_stage(context)
        return Dataset.open(context.store.fetch(context.store.name_of(reference.uri)))


def test_nothing_is_read_again_once_the_dataset_is_prepared(
    cache: Path, tiny_study: StudyConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = cache_tokenizer(cache, "somebody/words", sentencepiece_file(tmp_path / "file"))
    study = with_name(tiny_study, "hf:somebody/words")
    dataset = prepare(study, tmp_path / "ws")
    assert dataset.manifest.tokens.revision == COMMIT
    assert f"hf:somebody/words at commit {COMMIT} of the Hub, {ROWS:,} rows" in card_markdown(
        data_card(study, dataset.manifest)
    )
    (snapshot / "tokenizer.json").unlink()
    know_tokenizer(study.data.tokenizer, None)

    def opened(name: str) -> None:
        raise AssertionError(f"{name} is read")

    assert plan_reuse(study, Workspace(str(tmp_path / "ws")).store).has_dataset
    assert prepare(study, tmp_path / "ws").manifest == dataset.manifest, "the file is gone, and the dataset is there"
    with monkeypatch.context() as patch:
        patch.setattr(tokenizer_file, "open_file", opened)
        patch.setattr("crossover.stages.prepare_stage.check_tokenizer", lambda study: None)
        know_tokenizer(study.data.tokenizer, None)
        run_stages(study, str(tmp_path / "ws"))
        with open_study(study, str(tmp_path / "ws")):
            assert cell_model(study, study.cells[0]).vocab_size == ROWS


def test_prepare_says_that_the_file_has_changed(tiny_study: StudyConfig, tmp_path: Path) -> None:
    path = sentencepiece_file(tmp_path / "file")
    study = with_name(tiny_study, f"hf:{path}")
    dataset = prepare(study, tmp_path / "ws")
    assert dataset.manifest.tokens.revision == ""
    assert "revision" not in dataset.manifest.model_dump(mode="json")["tokens"], "digests stay as they were"
    sentencepiece_file(tmp_path / "file", "words")
    with pytest.raises(DataError, match="another tokenizer than when this workspace was prepared") as caught:
        prepare(study, tmp_path / "ws")
    assert (caught.value.code, caught.value.field) == ("data.tokenizer-changed", "data.tokenizer")
    assert plan_reuse(study, Workspace(str(tmp_path / "ws")).store).has_dataset, "what was prepared stays"
    assert prepare(study, tmp_path / "other").tokenizer.digest != dataset.tokenizer.digest
    sentencepiece_file(tmp_path / "file")
    assert prepare(study, tmp_path / "ws").manifest == dataset.manifest


def test_a_sweep_takes_the_tokenizer_of_its_study(tiny_study: StudyConfig, tmp_path: Path) -> None:
    path = sentencepiece_file(tmp_path / "file")
    tuning = {"learning_rates": [0.001, 0.01], "seeds": [7]}
    study = edited(with_name(tiny_study, f"hf:{path}"), lambda raw: raw.update(tuning=tuning))
    prepare(study, tmp_path / "ws")
    path.unlink()
    with open_study(study, str(tmp_path / "ws")) as context:
        known = known_tokenizer(study.data.tokenizer)
        groups = plan_sweep(context, prepare_stage(context))
        assert len(groups) == 4
        assert known is not None and known_tokenizer(study.data.tokenizer) == known, "the sweep is another workspace"
    assert known_tokenizer(study.data.tokenizer) is None
