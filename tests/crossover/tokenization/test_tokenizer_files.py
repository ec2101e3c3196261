"""Files that lose text or are malformed are refused with the field and what is wrong, never with a traceback."""

from __future__ import annotations

import copy
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossover.errors import DataError
from crossover.tokenization import tokenizer_file
from crossover.tokenization.subword_tokenizer import SubwordTokenizer
from crossover.tokenization.tokenizer_file import vocabulary_rows
from tests.crossover.tokenization.sentencepiece_files import STYLES, VALUE, sentencepiece_file
from tests.crossover.tokenization.test_subword_tokenizer import BPE, foreign

ISOLATED = {"type": "Split", "pattern": {"String": "x"}, "behavior": "Isolated", "invert": False}
BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
PREFIXED = BYTE_LEVEL | {"add_prefix_space": True}
METASPACE = STYLES["words"]["pre_tokenizer"]
MODEL, FALLBACK = BPE.hugging_face_json()["model"], VALUE["model"]
WORDPIECE = {
    "type": "WordPiece",
    "unk_token": "[UNK]",
    "continuing_subword_prefix": "##",
    "max_input_chars_per_word": 100,
    "vocab": {"[UNK]": 0, "the": 1, "##s": 2},
}
UNIGRAM = {"type": "Unigram", "unk_id": 0, "byte_fallback": False, "vocab": [["<unk>", 0.0], ["▁", -2.0], ["a", -3.0]]}


def refusal(path: Path) -> DataError:
    with pytest.raises(DataError) as caught:
        SubwordTokenizer.of_file(f"hf:{path}")
    assert caught.value.field == "data.tokenizer"
    return caught.value


def sequence(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"type": "Sequence", "pretokenizers": list(parts)}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"pre_tokenizer": METASPACE}, ["not byte-level", "no byte fallback"]),
        ({"pre_tokenizer": sequence({"type": "Whitespace"}, BYTE_LEVEL)}, ["Whitespace drops", "comes back as"]),
        (
            {"pre_tokenizer": sequence(ISOLATED | {"behavior": "Removed"}, BYTE_LEVEL)},
            ["pre-tokenizer Split drops"],
        ),
        ({"normalizer": {"type": "Lowercase"}}, ["normalizer Lowercase changes", "the zebra"]),
        ({"normalizer": {"type": "NFKC"}}, ["normalizer NFKC changes"]),
        ({"model": {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "a"}}, ["WordLevel", "comes back as"]),
        ({"model": WORDPIECE, "pre_tokenizer": {"type": "BertPreTokenizer"}}, ["WordPiece", "comes back as"]),
        ({"model": UNIGRAM, "pre_tokenizer": METASPACE}, ["Unigram", "comes back as"]),
    ],
)
def test_files_that_lose_text_are_refused_with_what_loses_it(
    changes: dict[str, Any], words: list[str], tmp_path: Path
) -> None:
    error = refusal(foreign(tmp_path, {}, **changes))
    assert error.code == "data.unsupported-tokenizer"
    assert [word for word in words if word not in str(error)] == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"normalizer": {"type": "StripAccents"}}, ["normalizer StripAccents", "comes back as"]),
        ({"model": FALLBACK | {"byte_fallback": False}}, ["no byte fallback", "comes back as"]),
        ({"model": FALLBACK | {"merges": [*FALLBACK["merges"], ["<0x4", "1>"]]}}, ["merges text to a token of byte"]),
        ({"pre_tokenizer": {"type": "WhitespaceSplit"}}, ["pre-tokenizer WhitespaceSplit"]),
        ({"pre_tokenizer": ISOLATED | {"pattern": {"Regex": r"\s+"}}}, ["regular expression"]),
        ({"model": FALLBACK | {"ignore_merges": True}}, ["'<0x00>' comes back as"]),
    ],
)
def test_byte_fallback_that_loses_text_is_refused(changes: dict[str, Any], words: list[str], tmp_path: Path) -> None:
    if "<0x4" in str(changes):
        merged = FALLBACK["vocab"] | {text: len(FALLBACK["vocab"]) + n for n, text in enumerate(("<0x4", "1>"))}
        changes = {"model": changes["model"] | {"vocab": merged}}
    error = refusal(sentencepiece_file(tmp_path, **changes))
    assert error.code == "data.unsupported-tokenizer"
    assert [word for word in words if word not in str(error)] == []


def test_a_space_in_front_is_left_out_and_splits_that_keep_text_are_kept(tmp_path: Path) -> None:
    parts = sequence(ISOLATED | {"behavior": "MergedWithPrevious"}, PREFIXED)
    own = SubwordTokenizer.of_file(f"hf:{foreign(tmp_path / 'a', {}, pre_tokenizer=parts)}")
    assert own.decode(own.encode("the xx sea")) == "the xx sea"
    assert own.encode("the").tolist() == BPE.encode("the").tolist()
    untyped = {name: value for name, value in MODEL.items() if name != "type"}
    old = SubwordTokenizer.of_file(f"hf:{foreign(tmp_path / 'b', {}, model=untyped)}")
    assert old.encode("the old sea").tolist() == BPE.encode("the old sea").tolist(), "as older files are published"


def test_the_configuration_names_tokens_of_the_vocabulary(tmp_path: Path) -> None:
    top = len(MODEL["vocab"])
    model = MODEL | {"vocab": MODEL["vocab"] | {"<|endoftext|>": top}}
    path = foreign(tmp_path, {}, model=model)
    (tmp_path / "tokenizer_config.json").write_text('{"eos_token": {"content": "<|endoftext|>"}}')
    own = SubwordTokenizer.of_file(f"hf:{path}")
    assert (own.eos, own.bos, own.mask) == (top, top + 1, top + 2)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "JSONDecodeError"),
        ("{", "JSONDecodeError"),
        ("[]", "valid dictionary"),
        ("{}", "model: Field required"),
        ('{"model": {}}', "model.vocab: Field required"),
        ('{"model": {"vocab": 3}}', "model.vocab"),
        ('{"model": {"vocab": {"a": "0"}}}', "valid integer"),
        ('{"model": {"vocab": {"a": 0, "b": 0}}}', "'a' and 'b' have the same id 0"),
        ('{"model": {"vocab": {"a": 0, "b": 2}}}', "no token has the id 1"),
        ('{"model": {"vocab": {"a": 0, "b": 4000000000}}}', "no token has the id 1"),
        ('{"model": {"vocab": {"a": -1}}}', "greater than or equal to 0"),
        ('{"model": {"vocab": {"\\ud800": 0}}}', "half of a surrogate pair"),
        ('{"model": {"vocab": {"a": 0}}, "added_tokens": [{"id": 0, "content": "b"}]}', "same id 0"),
        ('{"model": {"vocab": {"a": 0}}, "added_tokens": [{"id": 1, "content": "a"}]}', "has the ids 0 and 1"),
        ('{"model": {"vocab": {"a": 0}}, "added_tokens": [{"id": 5, "content": "b"}]}', "no token has the id 1"),
        ('{"model": {"vocab": {"a": 0}}, "added_tokens": {"a": 1}}', "added_tokens: Input should be a valid list"),
        ("[" * 200_000, "RecursionError"),
    ],
)
def test_malformed_files_are_refused(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text(text)
    error = refusal(tmp_path)
    assert error.code == "data.malformed-tokenizer"
    assert words in str(error)
    with pytest.raises(DataError, match=r"is no tokenizer\.json"):
        vocabulary_rows(f"hf:{tmp_path}")


def test_other_bytes_a_huge_file_and_a_bad_configuration_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = foreign(tmp_path, {})
    for text, words in (("[]", "it is no object"), ("{", "JSONDecodeError")):
        (tmp_path / "tokenizer_config.json").write_text(text)
        error = refusal(path)
        assert "tokenizer_config.json is no tokenizer_config.json" in str(error)
        assert words in str(error)
    (tmp_path / "tokenizer_config.json").unlink()
    monkeypatch.setattr(tokenizer_file, "MOST_BYTES", 1000)
    assert "more than 1,000" in str(refusal(path))
    monkeypatch.undo()
    path.write_bytes(b"\xff\xfe\0")
    assert "UnicodeDecodeError" in str(refusal(path))
    path.unlink()
    path.mkdir()
    assert "no such file" in str(refusal(tmp_path))
    for name in ("a\0b", "a" * 5000):
        assert refusal(Path(name)).code == "data.no-tokenizer"


def places(value: Any, here: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:  # noqa: ANN401 # any JSON value
    """Where something stands in a value; of long lists and objects the first few."""
    inside = list(value.items())[:6] if isinstance(value, dict) else list(enumerate(value))[:3]
    found = [here] if here else []
    return found + [
        p for k, v in inside for p in (places(v, (*here, k)) if isinstance(v, dict | list) else [(*here, k)])
    ]


WHOLE = {"byte-level": BPE.hugging_face_json(), "byte fallback": VALUE | STYLES["mistral"]}
JUNK: st.SearchStrategy[Any] = st.sampled_from(
    [None, True, -1, 0, 1, 2**40, 1.5, "", "a", " ", "▁", "\ud800", [], {}, [[]], [1], {"type": "NFC"}]
)


@pytest.mark.parametrize("kind", WHOLE)
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_a_mutated_file_is_lossless_or_refused(kind: str, tmp_path_factory: pytest.TempPathFactory, data: Any) -> None:  # noqa: ANN401 # hypothesis' own type is not public
    value = copy.deepcopy(WHOLE[kind])
    for place in data.draw(st.lists(st.sampled_from(places(value)), min_size=1, max_size=2, unique=True)):
        parent = value
        with suppress(KeyError, IndexError, TypeError):  # the first mutation took the place away
            for key in place[:-1]:
                parent = parent[key]
            if data.draw(st.booleans()):
                del parent[place[-1]]
            else:
                parent[place[-1]] = copy.deepcopy(data.draw(JUNK))  # or the next mutation would change JUNK
    path = tmp_path_factory.mktemp("mutated") / "tokenizer.json"
    path.write_text(json.dumps(value))
    try:
        own = SubwordTokenizer.of_file(f"hf:{path}")
    except DataError as error:
        assert error.field == "data.tokenizer"
    else:
        text = " The zebra\t▁ <0x41> 世界 🙂\n"
        assert own.decode(own.encode(text)) == text
