"""`data.cleaning` is a preset, fields, or a preset with fields changed; what cannot be is refused by its field."""

from __future__ import annotations

import pytest

from crossover.errors import StudyError
from crossover.study.cleaning_config import PRESETS, CleaningConfig
from crossover.study.data_config import DataConfig
from crossover.study.load_study import parse_study


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_a_name_is_a_preset(preset: str) -> None:
    study = parse_study(f"data: {{cleaning: {preset}}}")
    assert study.data.cleaning == CleaningConfig(**PRESETS[preset])


def test_fields_beside_a_preset_win() -> None:
    cleaning = parse_study("data: {cleaning: {preset: web, secrets: false, languages: en}}").data.cleaning
    assert cleaning == CleaningConfig(**PRESETS["web"] | {"secrets": False, "languages": ("en",)})


def test_a_preset_is_the_fields_that_it_stands_for() -> None:
    named = parse_study("data: {cleaning: prose}")
    written = parse_study(f"data: {{cleaning: {named.data.cleaning.model_dump_json()}}}")
    assert named.digest == written.digest


def test_without_the_section_nothing_is_cleaned() -> None:
    assert DataConfig().cleaning == CleaningConfig() == CleaningConfig(**PRESETS["none"])


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ("cleaning: wbe", "did you mean web"),
        ("cleaning: {preset: web, secret: true}", "secret"),
        ("cleaning: {minimum_characters: 10, maximum_characters: 5}", "every document goes"),
        ("cleaning: {maximum_words: 20}", "every document goes"),
        ("cleaning: {languages: [en, english]}", "'english' is no ISO 639-1 code"),
        ("deduplication: {exact: sentence}", "exact"),
        ("quality: {tier: high}", "needs a scorer"),
        ("source: 'jsonl:x', quality: {scorer: column}", "needs the name of the column"),
        ("quality: {scorer: perplexity, column: a}", "leave them out"),
        ("quality: {scorer: perplexity, order: lower}", "leave them out"),
        ("quality: {scorer: column, column: a}", "'stdlib:' has no columns"),
        ("source: 'text:x', quality: {scorer: column, column: a}", "'text:x' has no columns"),
        ("sources: [{source: 'tree:x', share: 1}], quality: {scorer: column, column: a}", "'tree:x' has no columns"),
    ],
)
def test_what_cannot_be_is_refused(section: str, message: str) -> None:
    with pytest.raises(StudyError, match=message) as raised:
        parse_study(f"data: {{{section}}}")
    assert raised.value.field.startswith("data")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("grid: {quality: [high]}", "grid.quality and data.quality.scorer: tiers need a scorer"),
        (
            "{data: {quality: {scorer: perplexity, tier: low}}, grid: {quality: [high]}}",
            "grid.quality and data.quality.tier: .low. excludes the former",
        ),
        ("{data: {quality: {scorer: perplexity}}, grid: {quality: [high, high]}}", "a tier stands twice"),
        ("{data: {quality: {scorer: perplexity}}, grid: {quality: [best]}}", "best"),
    ],
)
def test_tiers_that_cannot_be_compared_are_refused(text: str, message: str) -> None:
    with pytest.raises(StudyError, match=message) as raised:
        parse_study(text)
    assert raised.value.field.startswith("grid.quality")


def test_cells_have_tiers_in_their_names_and_in_a_fixed_order() -> None:
    fields = "data: {quality: {scorer: perplexity}}\ngrid: {unique_tokens: [2000, 1000], models: [nano, pico]"
    names = [cell.name for cell in parse_study(f"{fields}, quality: [all, high, low]}}").cells]
    assert names[:4] == ["u1000-low-nano", "u1000-low-pico", "u1000-high-nano", "u1000-high-pico"]
    assert names[-1] == "u2000-all-pico"
    assert [cell.name for cell in parse_study(f"{fields}}}").cells][:2] == ["u1000-nano", "u1000-pico"]
