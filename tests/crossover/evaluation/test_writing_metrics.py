"""What models write: variety, copies of the training text, and passages known by heart."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from crossover.decoding import generate_text
from crossover.decoding.inference_model import InferenceModel
from crossover.decoding.key_value_cache import KeyValueCache
from crossover.decoding.segment import Segment
from crossover.errors import CheckpointError, StudyError
from crossover.evaluation import memorisation, writing_metrics
from crossover.evaluation.memorisation import extraction, ngram_hashes, overlap
from crossover.evaluation.sample_quality import matched_held_out, quality, score_texts, write_samples
from crossover.evaluation.writing_metrics import measure_writing
from crossover.model.transformer import Transformer
from crossover.study.study_parts import EvaluationConfig
from crossover.tokenization.tokenizer import BOS, BYTES, EOS
from crossover.training.checkpoint import load_checkpoint
from crossover.training.checkpoint_info import CheckpointInfo
from tests.conftest import tiny_model
from tests.crossover.evaluation.test_tasks import save_model
from tests.crossover.tokenization.test_subword_tokenizer import BPE

LENGTH = 16
TEXTS = ("the cat sat on a ", "rain fell on town", "a dog ran in park", "she read old book")


def rows(texts: tuple[str, ...]) -> np.ndarray:
    return np.stack([BYTES.encode(text[:LENGTH]) for text in texts])


class KnowsByHeart(InferenceModel):
    """Knows four texts by construction: what a training would reach depends on the processor.

    A token has a logit of 20 where a text has it that agrees with all that the position sees, and of 0 elsewhere.
    """

    def __init__(self, model: Transformer, **options: Any) -> None:  # noqa: ANN401 - as the class has them
        super().__init__(model, **options)
        self._read: dict[int, np.ndarray] = {}

    def new_cache(self, positions: int) -> KeyValueCache:
        cache = super().new_cache(positions)
        self._read[id(cache)] = np.zeros(positions, dtype=np.int64)
        return cache

    def forward(self, segments: Sequence[Segment]) -> list[np.ndarray]:
        return [self._logits_of(segment) for segment in segments]

    def _logits_of(self, segment: Segment) -> np.ndarray:
        tokens_L, end = segment.tokens_L, segment.start + len(segment.tokens_L)
        if segment.cache is not None:
            self._read[id(segment.cache)][segment.start : end] = tokens_L
            tokens_L = self._read[id(segment.cache)][:end]
        known_NL = texts_NL = rows(TEXTS)[:, : len(tokens_L)].astype(np.int64)
        if self.model.causal:  # the input is shifted: BOS, then the tokens before
            known_NL = np.hstack((np.full((len(texts_NL), 1), BOS), rows(TEXTS)))[:, : len(tokens_L)]
        agrees_NL = (tokens_L == known_NL) | (tokens_L == self.model.mask_id)
        fits_NL = (
            np.cumprod(agrees_NL, axis=1) if self.model.causal else agrees_NL.all(axis=1, keepdims=True) * agrees_NL
        )
        logits_LV = np.zeros((len(tokens_L), 259))
        for text, fits in zip(texts_NL, fits_NL, strict=True):
            places = np.flatnonzero(fits[: len(text)])
            logits_LV[places, text[places]] = 20.0
        return logits_LV[segment.start + segment.wanted_P]


@pytest.fixture
def by_heart(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Transformer]:
    """Makes models that decode as `KnowsByHeart`."""
    known: list[Transformer] = []

    def prepared(model: Transformer, **options: Any) -> InferenceModel:  # noqa: ANN401 - as the class has them
        kind = KnowsByHeart if any(model is one for one in known) else InferenceModel
        return kind(model, **options)

    def make(*, causal: bool) -> Transformer:
        known.append(tiny_model(causal=causal, vocab=259, length=LENGTH, seed=1))
        return known[-1]

    monkeypatch.setattr(generate_text, "InferenceModel", prepared)
    return make


@pytest.mark.parametrize("causal", [True, False])
def test_what_is_known_by_heart_comes_out_and_nothing_else(causal: bool, by_heart: Callable[..., Transformer]) -> None:
    model, other = by_heart(causal=causal), rows(("zz top band is me", "12345678901234567"))
    known = extraction(model, rows(TEXTS), 4)
    assert (known.exact, known.tokens, known.passages) == (1.0, 1.0, 4)
    unknown = extraction(model, other, 2)
    assert unknown.exact == 0.0
    assert unknown.tokens < 0.5
    assert extraction(tiny_model(causal=causal, vocab=259, length=LENGTH), rows(TEXTS), 4).exact == 0.0


def test_passages_cut_inside_characters_are_passed_over() -> None:
    model = tiny_model(causal=True, vocab=259, length=LENGTH)
    broken = np.stack([[*BYTES.encode("é" * 8)[1:].tolist(), 65], rows(TEXTS)[0].tolist()]).astype(np.uint16)
    ended = rows(TEXTS).copy()
    ended[:, 12] = EOS
    assert extraction(model, broken, 2).passages == 1
    assert extraction(model, ended, 4).passages == 0
    assert math.isnan(extraction(model, ended, 4).exact)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_overlap_is_that_of_plain_sets(data: st.DataObject) -> None:
    few = st.integers(0, 2)
    examples = np.array(data.draw(st.lists(st.lists(few, min_size=9, max_size=9), min_size=1, max_size=7)), np.uint16)
    texts = [np.array(text, np.int64) for text in data.draw(st.lists(st.lists(few, max_size=12), max_size=4))]
    n = data.draw(st.sampled_from([1, 2, 4, 8]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memorisation, "ROWS_AT_ONCE", 2)
        share = overlap(texts, examples, n)
    known = {tuple(row[i : i + n]) for row in examples.tolist() for i in range(len(row) - n + 1)}
    grams = [tuple(text[i : i + n]) for text in (t.tolist() for t in texts) for i in range(len(text) - n + 1)]
    if not grams:
        assert math.isnan(share)
    else:
        assert share == pytest.approx(sum(gram in known for gram in grams) / len(grams))


def test_hashes_of_different_ngrams_differ() -> None:
    """A million random 8-grams of two symbols and all 65,536 of length 16: no two share a hash."""
    tokens = np.random.default_rng(0).integers(0, 256, (1000, 1007)).astype(np.uint16)
    assert len(np.unique(ngram_hashes(tokens, 8))) == 1_000_000
    every = (np.arange(65536)[:, None] >> np.arange(16)) & 1
    assert len(np.unique(ngram_hashes(every, 16))) == 65536
    with pytest.raises(ValueError, match="power of two"):
        overlap([], tokens, 3)


def test_quality_of_known_texts() -> None:
    same, half = np.zeros(20, np.int64), np.array([0, 1] * 8)
    assert quality([same]).entropy == 0.0
    assert quality([half]).entropy == pytest.approx(1.0)
    assert quality([half]).distinct == pytest.approx((2 / 16, 2 / 15, 2 / 14, 2 / 13))
    assert quality([half]).repetition == pytest.approx(7 / 9)
    assert quality([np.arange(20)]).repetition == 0.0
    assert math.isnan(quality([]).entropy)
    assert math.isnan(quality([np.empty(0, np.int64)]).distinct[0])
    assert quality([np.arange(3)]).repetition == 0.0
    assert quality([same, half, np.r_[np.arange(8), np.zeros(9, np.int64)], np.zeros(1, np.int64)]).collapsed == 0.5


def test_the_control_is_held_out_text_of_the_same_lengths() -> None:
    held_out = rows(TEXTS).copy()
    held_out[1, 3] = EOS
    texts = matched_held_out([np.arange(5), np.arange(0), np.arange(7), np.arange(2)], held_out, BYTES)
    assert [text.tolist() for text in texts] == [held_out[0, :5].tolist(), [], held_out[3, :7].tolist()]


@pytest.mark.parametrize("causal", [True, False])
def test_samples_depend_on_their_seed_only(causal: bool) -> None:
    model = tiny_model(causal=causal, vocab=259, length=LENGTH)
    together = write_samples(model, 4, LENGTH)
    (alone,) = write_samples(model, 1, LENGTH, seed=2)
    assert together[2].tolist() == alone.tolist()
    assert len({tuple(text.tolist()) for text in together}) == 4
    assert all((text < BOS).all() for text in together)


def test_perplexity_is_that_of_an_even_scorer() -> None:
    scorer, writer = (tiny_model(causal=causal, vocab=259, length=LENGTH) for causal in (True, False))
    torch.nn.init.zeros_(scorer.lm_head.weight)
    found = score_texts(scorer, [np.arange(9), np.empty(0, np.int64)], writer)
    assert found.perplexity == pytest.approx(258)  # all tokens but MASK
    assert found.bits_per_byte is None
    assert math.isnan(score_texts(scorer, [], writer).perplexity)
    with pytest.raises(ValueError, match="autoregressive"):
        score_texts(writer, [np.arange(9)], scorer)
    with pytest.raises(ValueError, match="must not be the model that generated"):
        score_texts(scorer, [np.arange(9)], scorer)


def test_a_scorer_of_another_tokenizer_reads_the_text(tmp_path: Path) -> None:
    """An even scorer of bytes needs log2(258) bits a byte of text, however the writer cuts it into tokens."""
    scorer, writer = (tiny_model(causal=True, vocab=size, length=48) for size in (259, BPE.vocab_size))
    torch.nn.init.zeros_(scorer.lm_head.weight)
    writer.tokenizer = BPE
    texts: list[np.ndarray] = [*map(BPE.encode, ("the old hills 😀", "the sea")), np.empty(0, np.int64)]
    even = score_texts(scorer, texts, writer)
    assert even.perplexity == pytest.approx(258)
    assert even.bits_per_byte == pytest.approx(math.log2(258))
    torch.nn.init.zeros_(writer.lm_head.weight)
    tokens, length = sum(len(text) for text in texts), len("the old hills 😀".encode()) + len("the sea")
    read = [np.frombuffer(text.encode(), np.uint8) for text in ("the old hills 😀", "the sea")]
    found = score_texts(writer, read, scorer)
    assert found.perplexity == pytest.approx(BPE.mask)  # all tokens but MASK
    assert found.bits_per_byte == pytest.approx(tokens * math.log2(BPE.mask) / length)
    assert score_texts(scorer, [], writer).bits_per_byte is not None
    save_model(tmp_path / "scorer", causal=True, length=48)
    config = EvaluationConfig(samples=3, passages=0, scorer=str(tmp_path / "scorer"))
    examples = BPE.encode("the old green sea and hills " * 4)[None, :16].astype(np.uint16)
    values = {m.metric: m.value for m in measure_writing(writer, examples, examples, config)}
    assert values["sample_bpb"] > 0


def test_probes_stand_beside_their_controls(tmp_path: Path, by_heart: Callable[..., Transformer]) -> None:
    save_model(tmp_path / "scorer", causal=True, length=LENGTH)
    config = EvaluationConfig(samples=6, passages=4, scorer=str(tmp_path / "scorer"))
    held_out = rows(("zz top band is me", "12345678901234567"))
    values = {m.metric: m for m in measure_writing(by_heart(causal=True), rows(TEXTS), held_out, config)}
    assert values["extraction_rate"].value == 1.0
    assert values["heldout_extraction_rate"].value == 0.0
    assert values["sample_copied_8"].value > values["heldout_copied_8"].value == 0.0
    assert values["sample_perplexity"].value > 1
    assert {m.estimator for m in values.values()} == {"none"}
    assert measure_writing(by_heart(causal=True), rows(TEXTS), held_out, EvaluationConfig(samples=0, passages=0)) == []
    save_model(tmp_path / "dlm", causal=False, length=LENGTH)
    save_model(tmp_path / "same", causal=True, length=LENGTH)
    for name, error, words in (
        ("same", StudyError, "generated the texts"),
        ("dlm", StudyError, "autoregressive"),
        ("none", CheckpointError, "manifest"),
    ):
        wrong = config.model_copy(update={"scorer": str(tmp_path / name)})
        with pytest.raises(error, match=words):
            measure_writing(tiny_model(causal=True, vocab=259, length=LENGTH), rows(TEXTS), held_out, wrong)


@pytest.mark.parametrize("causal", [True, False])
def test_samples_come_from_the_models_own_distribution(causal: bool) -> None:
    """Of a model that finds every token as likely, samples have the entropy of even draws, and none is favoured."""
    model = tiny_model(causal=causal, vocab=259, length=LENGTH)
    torch.nn.init.zeros_(model.lm_head.weight)
    texts = write_samples(model, 150, LENGTH)
    tokens = np.concatenate(texts)
    even = quality([np.random.default_rng(0).integers(0, 256, len(tokens))]).entropy
    assert quality(texts).entropy == pytest.approx(even, abs=0.1)


def test_a_diffusion_model_is_not_sharpened_by_its_surest_places(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two tokens, one at 0.8 everywhere and independently: eight in ten, whatever the place."""
    model = tiny_model(causal=False, vocab=259, length=LENGTH)
    logits = np.full(259, -1e4)
    logits[65], logits[66] = np.log(0.8), np.log(0.2)

    def forward(_: InferenceModel, segments: Sequence[Segment]) -> list[np.ndarray]:
        return [np.tile(logits, (len(segment.wanted_P), 1)) for segment in segments]

    monkeypatch.setattr(InferenceModel, "forward", forward)
    tokens = np.concatenate(write_samples(model, 60, LENGTH))
    assert (tokens == 65).mean() == pytest.approx(0.8, abs=4 * np.sqrt(0.16 / len(tokens)))


def test_the_scorer_is_loaded_onto_the_writer_s_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = tiny_model(causal=True, vocab=259, length=LENGTH, seed=3)
    scorer = save_model(tmp_path / "scorer", causal=True, length=LENGTH)
    devices: list[str] = []

    def load(folder: Path, *, device: str = "cpu") -> tuple[Transformer, CheckpointInfo]:
        devices.append(device)
        return load_checkpoint(folder)

    monkeypatch.setattr(writing_metrics, "load_checkpoint", load)
    monkeypatch.setattr(writing_metrics, "device_of", lambda model: {writer: torch.device("cuda", 1)}[model])
    config = EvaluationConfig(samples=2, passages=0, scorer=str(scorer))
    assert "sample_perplexity" in {m.metric for m in measure_writing(writer, rows(TEXTS), rows(TEXTS), config)}
    assert devices == ["cuda:1"]
