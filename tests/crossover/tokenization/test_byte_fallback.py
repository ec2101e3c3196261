"""SentencePiece's BPE with byte fallback: every text comes back, piece by piece, with the file's own tokens."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st

from crossover.decoding.text_pieces import TextPieces
from crossover.evaluation.encoded_pair import encode_pair
from crossover.tokenization.lossless_form import lossless_form
from crossover.tokenization.subword_tokenizer import SubwordTokenizer
from crossover.tokenization.tokenizer_lookup import read_tokenizer
from tests.crossover.tokenization.sentencepiece_files import STYLES, TEXTS, VALUE, sentencepiece, sentencepiece_file
from tests.crossover.tokenization.test_subword_tokenizer import PARTS, write_files

ALL = pytest.mark.parametrize("style", STYLES)
PIECES = st.lists(st.sampled_from([*PARTS, " ", "  ", "▁", "<0x41>", "the", " hills", "\n", "\t"]))


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> dict[str, SubwordTokenizer]:
    return {style: sentencepiece(tmp_path_factory.mktemp(style), style) for style in STYLES}


@ALL
@settings(max_examples=60, deadline=None)
@given(first=st.text() | PIECES.map("".join), second=st.text() | PIECES.map("".join))
def test_texts_that_are_encoded_one_by_one_are_the_joined_text(
    own: dict[str, SubwordTokenizer], style: str, first: str, second: str
) -> None:
    tokenizer = own[style]
    nfc = style == "words"
    if nfc:
        first, second = (tokenizer.decode(tokenizer.encode(text)) for text in (first, second))
    ids = [tokenizer.encode(text) for text in (first, second)]
    joined = np.concatenate(ids)
    assert tokenizer.decode(joined) == first + second
    assert tokenizer.count_bytes(joined) == len((first + second).encode())
    assert not tokenizer.is_special(joined).any()
    assert np.array_equal(
        np.concatenate(encode_pair(first, second, tokenizer.encode)), tokenizer.encode(first + second)
    )
    pieces, taken = TextPieces(tokenizer), ""
    for token in joined.tolist():
        pieces.add([token])
        taken += pieces.take()[0]
        assert (first + second).startswith(taken), "never part of a character"
    pieces.finish()
    assert taken + pieces.take()[0] == first + second


@ALL
def test_tokens_are_those_of_the_file_but_for_the_space_in_front(style: str, tmp_path: Path) -> None:
    own = sentencepiece(tmp_path, style)
    theirs = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    for text in (*TEXTS[::17], "Zebra  Quux\n\n  世界 of 3", "the sea\tthe sea "):
        raw = theirs.encode(text if style == "gemma" else text.removeprefix(" "), add_special_tokens=False).ids
        expected = own.encode(text if style == "gemma" else f" {text}").tolist()
        assert raw == expected
    assert own.encode("the old sea").tolist() != own.encode(" the old sea").tolist()


@ALL
def test_special_tokens_are_those_of_the_file_and_mask_is_added(style: str, tmp_path: Path) -> None:
    own = sentencepiece(tmp_path, style)
    rows = len(VALUE["model"]["vocab"])
    assert (own.bos, own.eos, own.mask, own.vocab_size) == (1, 2, rows, rows + 1)
    assert own.special == {0: "<unk>", 1: "<s>", 2: "</s>", rows: "<|mask|>"}
    assert own.decode([1, *own.encode("<s> x</s>").tolist(), 2, rows]) == "<s> x</s>"


@ALL
def test_the_form_stays_as_it_is_when_it_is_read_again(style: str, tmp_path: Path) -> None:
    own = sentencepiece(tmp_path, style)
    again = read_tokenizer(write_files(own, tmp_path / "stored"))
    assert (again.digest, again.name) == (own.digest, own.name)
    assert lossless_form(own.hugging_face_json()) == own.hugging_face_json()
    text = "a ▁ <0x41> 😀"
    assert np.array_equal(again.encode(text), own.encode(text))


@ALL
def test_transformers_reads_the_files_alike(style: str, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    own = sentencepiece(tmp_path / "theirs", style)
    theirs = AutoTokenizer.from_pretrained(write_files(own, tmp_path / "own"))
    for text in ("the grünen 😀 hills\r\n  of 3", " the sea", "a▁b 世"):
        ids = own.encode(text).tolist()
        assert theirs(text).input_ids == [own.bos, *ids]
        assert theirs.decode(ids) == text
    assert (theirs.mask_token_id, theirs.eos_token_id, len(theirs)) == (own.mask, own.eos, own.vocab_size)


def test_added_tokens_of_text_are_kept_and_swallow_no_blank(tmp_path: Path) -> None:
    entry = VALUE["added_tokens"][0] | {"special": False, "lstrip": True, "rstrip": True}
    top = len(VALUE["model"]["vocab"])
    texts = {"<tool>": False, "<a▁b>": True, "▁▁x": False}
    added = [entry | {"id": top + n, "content": t, "normalized": norm} for n, (t, norm) in enumerate(texts.items())]
    path = sentencepiece_file(tmp_path, added_tokens=[*VALUE["added_tokens"], *added])
    own = SubwordTokenizer.of_file(f"hf:{path}")
    for text in ("a <tool> b", "<a b>  <a▁b>", "▁▁x"):
        assert own.decode(own.encode(text)) == text
    assert [token for token in own.encode("c <tool> d").tolist() if token >= top] == [top]
    assert own.encode("<a b>").tolist() == [top + 1]
    assert own.encode("▁▁x").tolist() == [top + 2]
