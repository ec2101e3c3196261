"""Names on the Hugging Face Hub: from the cache, of one commit, without the network where that is asked for."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from huggingface_hub import constants
from huggingface_hub.errors import RemoteEntryNotFoundError

from crossover.errors import DataError
from crossover.tokenization import tokenizer_hub
from crossover.tokenization.subword_tokenizer import SubwordTokenizer
from crossover.tokenization.tokenizer_file import facts_of_file
from tests.crossover.tokenization.hub_cache import COMMIT, cache_tokenizer
from tests.crossover.tokenization.sentencepiece_files import VALUE, sentencepiece_file

NAME = "hf:somebody/words"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


def test_the_settings_of_the_hub_are_honoured(tmp_path: Path) -> None:
    cache_tokenizer(tmp_path / "home" / "hub", "somebody/words", sentencepiece_file(tmp_path))
    program = (
        "from crossover.tokenization.subword_tokenizer import SubwordTokenizer\n"
        f"own = SubwordTokenizer.of_file({NAME!r})\n"
        "print(own.vocab_size, own.revision)"
    )
    settings = os.environ | {"HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1"}
    settings.pop("HF_HUB_CACHE", None)
    done = subprocess.run([sys.executable, "-c", program], env=settings, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(len(VALUE["model"]["vocab"]) + 1), COMMIT]


def test_both_files_are_of_the_commit_that_is_recorded(cache: Path, tmp_path: Path) -> None:
    file = sentencepiece_file(tmp_path)
    cache_tokenizer(cache, "somebody/words", file, config='{"eos_token": "</s>"}')
    before = facts_of_file(NAME)
    assert (before.revision, before.rows) == (COMMIT, len(VALUE["model"]["vocab"]) + 1)
    cache_tokenizer(cache, "somebody/words", file, config='{"eos_token": "<unk>"}', commit="f" * 40)
    after = facts_of_file(NAME)
    assert after.revision == "f" * 40
    assert after.identity != before.identity, "EOS is another one"
    assert SubwordTokenizer.of_file(NAME).eos == 0


def test_a_name_without_a_configuration_has_the_usual_tokens(cache: Path, tmp_path: Path) -> None:
    cache_tokenizer(cache, "somebody/words", sentencepiece_file(tmp_path), config="")
    own = SubwordTokenizer.of_file(NAME)
    assert (own.bos, own.eos) == (1, 2)


def test_half_of_what_is_needed_in_the_cache_is_no_tokenizer(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache_tokenizer(cache, "somebody/words", sentencepiece_file(tmp_path), config=None)
    for name, words in ((NAME, "cached without tokenizer_config.json"), ("hf:somebody/other", "cannot be fetched")):
        with pytest.raises(DataError, match=words) as caught:
            facts_of_file(name)
        assert (caught.value.field, caught.value.code) == ("data.tokenizer", "data.no-tokenizer")
    asked = []

    def download(name: str, file: str, revision: str | None) -> str:
        asked.append((name, file, revision))
        raise RemoteEntryNotFoundError("404", response=SimpleNamespace(headers={}, request=None))  # type: ignore[arg-type]  # of httpx

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    assert facts_of_file(NAME).revision == COMMIT, "the Hub has no configuration"
    assert asked == [("somebody/words", "tokenizer_config.json", COMMIT)]
    with pytest.raises(DataError, match=r"has no tokenizer\.json on the Hugging Face Hub"):
        tokenizer_hub.from_hub("somebody/other")
