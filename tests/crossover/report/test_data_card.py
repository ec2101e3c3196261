"""The data card says what the manifest counted, in Markdown and as a page, and escapes what it shows."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from crossover.data.dataset import Dataset
from crossover.data.prepare_dataset import prepare_dataset
from crossover.data.split_corpus import read_corpus
from crossover.files import digest_of, read_json
from crossover.report.data_card import DataCard, card_html, card_markdown, cleaning_lines, data_card
from crossover.report.report_page import render_html
from crossover.settings import get_settings
from crossover.study.study_config import StudyConfig
from tests.crossover.data.cleaning.planted import PERSONAL, gibberish, prose
from tests.crossover.report.report_samples import context

LINE = "A line that stands in every one of these documents."


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> tuple[StudyConfig, Dataset]:
    folder = tmp_path_factory.mktemp("card")
    texts = [f"{prose(seed)}\n{LINE}" for seed in range(40)] + [prose(3) + "\n" + LINE, " ", gibberish(0), "short"]
    texts[0] += "\n" + PERSONAL["e-mail address"][0]
    lines = "\n".join(json.dumps({"text": text}) for text in texts)
    (folder / "<b>a|b.jsonl").write_text(lines)
    fields = {
        "name": "card",
        "data": {
            "source": f"jsonl:{folder}/*.jsonl",
            "cleaning": {"personal_data": True, "gopher_quality": True},
            "deduplication": {"exact": "line"},
            "quality": {"scorer": "perplexity", "tier": "high"},
            "validation_tokens": 64,
        },
        "grid": {"unique_tokens": [1024]},
    }
    study = StudyConfig.model_validate(fields)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CROSSOVER_SCRATCH", str(folder / "scratch"))
        get_settings.cache_clear()
        with read_corpus(study.data, folder / "scratch") as corpus:
            prepare_dataset(study, corpus, folder / "dataset")
    get_settings.cache_clear()
    return study, Dataset.open(folder / "dataset")


@pytest.fixture(scope="module")
def card(prepared: tuple[StudyConfig, Dataset]) -> DataCard:
    study, dataset = prepared
    return data_card(study, dataset.manifest)


def test_every_document_that_was_read_is_accounted_for(card: DataCard, prepared: tuple[StudyConfig, Dataset]) -> None:
    fates = {bar.label: bar.value for bar in card.charts[0].bars}
    assert sum(fates.values()) == 44
    assert fates["kept"] == prepared[1].manifest.documents
    assert fates["Gopher quality: too few words"] == 1
    assert fates["Gopher quality: too few stop words"] == 1
    assert (fates["exact duplicate"], fates["empty"]) == (1, 1)
    assert fates["tier low"] + fates["tier medium"] > 10


def test_histograms_add_up(card: DataCard, prepared: tuple[StudyConfig, Dataset]) -> None:
    charts = {chart.title: chart for chart in card.charts}
    manifest = prepared[1].manifest
    assert sum(bar.value for bar in charts["Length in bytes"].bars) == manifest.documents
    assert sum(bar.value for bar in charts["Length in tokens"].bars) == manifest.documents
    assert [bar.label for bar in charts["Tiers of the training documents"].bars] == ["high", "medium", "low"]
    assert "Languages" not in charts


def test_the_terminal_has_a_line_for_what_a_step_did(prepared: tuple[StudyConfig, Dataset]) -> None:
    lines = list(cleaning_lines(prepared[1].manifest.cleaning))
    assert "personal data: 1 e-mail address replaced or removed" in lines
    assert "Gopher quality: 2 of 43 documents left out (1 too few stop words, 1 too few words)" in lines
    assert any(re.fullmatch(r"repeats: 39 of [\d,]+ dropped, 1,989 bytes", line) for line in lines)


def test_names_of_files_are_text(card: DataCard) -> None:
    card = card.model_copy(update={"facts": (("Source", "jsonl:<b>a|b`.jsonl"),)})
    assert "jsonl:&lt;b>a&#124;b&#96;.jsonl" in card_markdown(card)
    page = card_html(card)
    assert "jsonl:&lt;b&gt;a|b`.jsonl" in page
    assert "<script" not in page
    assert "http" not in page.replace("http-equiv", "")


def test_a_manifest_is_the_same_after_it_was_read(prepared: tuple[StudyConfig, Dataset]) -> None:
    dataset = prepared[1]
    assert digest_of(read_json(Path(dataset.folder) / "manifest.json")) == dataset.manifest.digest
    assert [step.name for step in dataset.manifest.cleaning.steps] == ["personal data", "Gopher quality"]


def test_the_report_holds_the_card(card: DataCard) -> None:
    made = context()
    assert made.corpus is not None
    assert "<summary>The data card" not in render_html(made)
    page = render_html(made.model_copy(update={"corpus": made.corpus.model_copy(update={"card": card})}))
    assert "<summary>The data card" in page
    empty = sum(bar.value == 0 for chart in card.charts for bar in chart.bars)
    assert page.count('<td class="fill"></td>') == empty > 0, "nothing is drawn for 0"
    assert "Gopher quality: too few stop words" in page
