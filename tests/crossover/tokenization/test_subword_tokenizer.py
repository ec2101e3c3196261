"""Subword tokenizers: lossless on any text, never a special token from text, the same whatever the threads."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossover.data.dataset import Dataset
from crossover.data.dataset_digests import corpus_digest, dataset_digest
from crossover.data.prepare_dataset import prepare_dataset
from crossover.data.split_corpus import read_corpus
from crossover.errors import DataError
from crossover.files import write_json, write_text
from crossover.study.data_config import DataConfig
from crossover.study.study_config import StudyConfig
from crossover.tokenization.subword_tokenizer import SubwordTokenizer
from crossover.tokenization.tokenizer import BYTES, TOKENIZER, TOKENIZER_CONFIG, Tokenizer
from crossover.tokenization.tokenizer_file import vocabulary_rows
from crossover.tokenization.tokenizer_lookup import read_tokenizer

TEXTS = [f"the {word} and the {word}s of {n} grünen 😀 hills\n" for n in range(40) for word in ("old", "green", "sea")]
BPE = SubwordTokenizer.train(300, TEXTS)
SPELLED = "<|bos|><|eos|> <|mask|><|endoftext|><s></s>"
PARTS = [*SPELLED.split("<"), "<", "\0", "\r\n", "\ufeff", "é😀"]


def write_files(tokenizer: Tokenizer, folder: Path) -> Path:
    write_text(folder / TOKENIZER, tokenizer.json_text)
    write_json(folder / TOKENIZER_CONFIG, tokenizer.hugging_face_config(64))
    return folder


def foreign(folder: Path, special: dict[str, bool], **changes: object) -> Path:
    """A tokenizer.json as others publish it: our merges, with their added tokens in the order of their ids."""
    value = BPE.hugging_face_json()
    entry = value["added_tokens"][0]
    first = len(value["model"]["vocab"])
    added = [entry | {"id": first + n, "content": text, "special": s} for n, (text, s) in enumerate(special.items())]
    write_json(folder / TOKENIZER, value | {"added_tokens": added, "post_processor": None} | changes)
    return folder / TOKENIZER


@settings(max_examples=200, deadline=None)
@given(text=st.text() | st.lists(st.sampled_from(PARTS)).map("".join))
def test_every_text_comes_back_and_is_never_special(text: str) -> None:
    for tokenizer in (BPE, BYTES):
        ids = tokenizer.encode(text)
        assert tokenizer.decode(ids) == text
        assert not tokenizer.is_special(ids).any()
        assert tokenizer.count_bytes(ids) == len(text.encode())
        assert np.array_equal(tokenizer.encode_batch([text, "x"])[0], ids)


def test_special_tokens_that_a_text_spells_are_text(tmp_path: Path) -> None:
    own = SubwordTokenizer.of_file(f"hf:{foreign(tmp_path, {'<|endoftext|>': True, '<tool>': False})}")
    for tokenizer in (BPE, own, BYTES):
        ids = tokenizer.encode(f"a{SPELLED}b")
        assert not tokenizer.is_special(ids).any()
        assert tokenizer.decode(ids) == f"a{SPELLED}b"
    assert own.decode([own.bos, *own.encode("a<tool>b").tolist(), own.eos, own.mask]) == "a<tool>b"
    assert len(own.encode("a<tool>b")) == 3, "an added token that is not special is a token of the text"
    assert own.bos == own.eos == 297, "as GPT-2 has it"
    assert (own.mask, own.vocab_size, vocabulary_rows(own.name)) == (299, 300, 300)


def test_a_file_without_bos_and_eos_gets_them(tmp_path: Path) -> None:
    own = SubwordTokenizer.of_file(f"hf:{foreign(tmp_path, {})}")
    assert (own.bos, own.eos, own.mask, own.vocab_size) == (297, 298, 299, 300)
    clash = SubwordTokenizer.of_file(f"hf:{foreign(tmp_path, {'<|mask|>': True})}")
    assert clash.mask == 300
    assert clash.special[297] == "<|mask|>" != clash.special[clash.mask]


def test_files_bring_the_same_tokenizer_back(tmp_path: Path) -> None:
    own = SubwordTokenizer.of_file(f"hf:{foreign(tmp_path, {'<|endoftext|>': True})}")
    for number, tokenizer in enumerate((BPE, own, BYTES)):
        again = read_tokenizer(write_files(tokenizer, tmp_path / str(number)))
        assert (again.digest, again.vocab_size, again.name) == (tokenizer.digest, tokenizer.vocab_size, tokenizer.name)
        assert (again.bos, again.eos, again.mask) == (tokenizer.bos, tokenizer.eos, tokenizer.mask)
        assert np.array_equal(again.encode(SPELLED), tokenizer.encode(SPELLED))


def test_training_gives_the_same_file_whatever_the_threads() -> None:
    program = (
        "from tests.crossover.tokenization.test_subword_tokenizer import TEXTS\n"
        "from crossover.tokenization.subword_tokenizer import SubwordTokenizer\n"
        "print(SubwordTokenizer.train(300, TEXTS).digest)"
    )
    digests = set()
    for threads in ("1", "3"):
        settings = os.environ | {"RAYON_NUM_THREADS": threads, "TOKENIZERS_PARALLELISM": "true"}
        done = subprocess.run([sys.executable, "-c", program], env=settings, capture_output=True, text=True, check=True)
        digests.add(done.stdout.strip())
    assert digests == {BPE.digest}
    assert SubwordTokenizer.train(300, TEXTS[:50]).digest != BPE.digest


def test_what_names_no_tokenizer_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        SubwordTokenizer.of_file(f"hf:{tmp_path}/none.json")
    with pytest.raises(DataError, match="training documents have") as caught:
        SubwordTokenizer.train(5000, TEXTS)
    assert "lower it to bpe:" in str(caught.value)
    for name in ("bpe", "bpe:259", "bpe:-1", "hf:", "gpt2"):
        with pytest.raises(ValueError, match=r"bpe|tokenizer"):
            DataConfig(tokenizer=name)


def test_a_file_counts_by_its_content_not_its_place(tmp_path: Path, tiny_study: StudyConfig) -> None:
    def digests(path: Path) -> tuple[str, str]:
        study = with_tokenizer(tiny_study, f"hf:{path}")
        return corpus_digest(study.data), dataset_digest(study)

    one, other = foreign(tmp_path / "a", {}), foreign(tmp_path / "b", {})
    assert digests(one) == digests(other) == digests(other.parent)
    foreign(tmp_path / "b", {"<s>": True})
    assert digests(one) != digests(other)


def with_tokenizer(study: StudyConfig, name: str) -> StudyConfig:
    raw = study.model_dump(mode="json")
    raw["data"]["tokenizer"] = name
    return StudyConfig.model_validate(raw)


def prepared(study: StudyConfig, folder: Path) -> Dataset:
    with read_corpus(study.data, folder.parent / "scratch") as corpus:
        return prepare_dataset(study, corpus, folder)


def test_a_dataset_holds_its_tokenizer_and_what_it_does(tiny_study: StudyConfig, tmp_path: Path) -> None:
    plain, subwords = (prepared(with_tokenizer(tiny_study, n), tmp_path / n[:3]) for n in ("bytes", "bpe:280"))
    found = Dataset.open(subwords.folder)
    assert found.tokenizer.digest == found.manifest.tokens.digest != plain.manifest.tokens.digest
    assert found.manifest.tokens.vocab_size == found.tokenizer.vocab_size == 280
    assert found.manifest.train_bytes == plain.manifest.train_bytes
    assert plain.manifest.bytes_per_token == 1.0 < found.manifest.bytes_per_token
    words = plain.manifest.train_bytes / plain.manifest.tokens.fertility
    tokens = found.manifest.train_bytes / found.manifest.bytes_per_token
    assert found.manifest.tokens.fertility == pytest.approx(tokens / words)
    text = found.tokenizer.decode(found.validation()[0])
    assert text.strip()
    assert found.validation().dtype == np.uint16


def test_more_than_65536_rows_are_written_in_four_bytes(tiny_study: StudyConfig, tmp_path: Path) -> None:
    value = BPE.hugging_face_json()
    unused = {f"\u0120unused{n}": 297 + n for n in range(66_000)}
    model = value["model"] | {"vocab": value["model"]["vocab"] | unused}
    path = foreign(tmp_path, {}, model=model)
    study = with_tokenizer(tiny_study, f"hf:{path}")
    found = Dataset.open(prepared(study, tmp_path / "large").folder)
    assert found.manifest.tokens.dtype == "<u4"
    assert found.train(max(study.grid.unique_tokens)).dtype == np.uint32
    assert found.tokenizer.eos > 65_536
    size = max(study.grid.unique_tokens) // study.data.sequence_length * study.data.sequence_length
    assert (found.folder / "train.bin").stat().st_size == 4 * size


def test_transformers_reads_the_files_alike(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    theirs = AutoTokenizer.from_pretrained(write_files(BPE, tmp_path))
    text = "the grünen 😀 hills\r\n  of 3"
    ids = theirs(text, add_special_tokens=False).input_ids
    assert ids == BPE.encode(text).tolist()
    assert theirs(text).input_ids == [BPE.bos, *ids]
    assert theirs.decode(ids) == text
    assert (theirs.mask_token_id, theirs.eos_token_id, len(theirs)) == (BPE.mask, BPE.eos, BPE.vocab_size)
    assert json.loads(BPE.json_text) == BPE.hugging_face_json()


def test_a_file_without_all_bytes_or_with_dropout_is_mended_or_refused(tmp_path: Path) -> None:
    value = BPE.hugging_face_json()
    fewer = {text: token for token, text in enumerate(text for text in value["model"]["vocab"] if text not in "zQ")}
    merges = [pair for pair in value["model"]["merges"] if not {"z", "Q"} & set("".join(pair))]
    lossy = foreign(tmp_path / "a", {}, model=value["model"] | {"vocab": fewer, "merges": merges})
    with pytest.raises(DataError, match=r"loses text|id of its token"):
        SubwordTokenizer.of_file(f"hf:{lossy}")
    random = foreign(tmp_path / "b", {}, model=value["model"] | {"dropout": 0.9})
    own = SubwordTokenizer.of_file(f"hf:{random}")
    assert len({tuple(own.encode("the grünen hills of the sea").tolist()) for _ in range(20)}) == 1
