"""From documents to examples: nothing is lost but what fills no example, and seeds draw samples of their own."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crossover.counter_rng import Stream, generator
from crossover.data.packing import packed
from crossover.study.study_config import StudyConfig
from crossover.tokenization.tokenizer import EOS
from tests.crossover.data.test_prepare import changed, prepare

ALL = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def corpus(lengths: list[int]) -> np.ndarray:
    """Documents of distinct tokens, in order; the last of each is EOS."""
    tokens = np.arange(1000, 1000 + sum(lengths), dtype=np.uint16)
    tokens[np.cumsum(lengths, dtype=np.int64) - 1] = EOS
    return tokens


@ALL
@given(lengths=st.lists(st.integers(1, 50), max_size=40), length=st.integers(1, 16))
def test_a_document_is_cut_and_what_is_left_is_joined(lengths: list[int], length: int, tmp_path: Path) -> None:
    tokens = corpus(lengths)
    expected, left = [], []
    for document in np.split(tokens, np.cumsum(lengths)[:-1]) if lengths else []:
        whole = len(document) // length * length
        expected += list(document[:whole])
        left += list(document[whole:])
    kept = len(left) // length * length
    with packed(tokens, np.array(lengths, dtype=np.int64), length, "document", tmp_path) as examples:
        rows = examples.rows(np.arange(len(examples)))
        assert rows.ravel().tolist() == expected + left[:kept]
        assert examples.dropped == len(left) - kept < length
        shuffled = np.random.default_rng(0).permutation(len(examples))
        np.testing.assert_array_equal(examples.rows(shuffled), rows[shuffled])


@ALL
@given(lengths=st.lists(st.integers(1, 50), max_size=40), length=st.integers(1, 16))
def test_a_stream_is_all_documents_end_to_end(lengths: list[int], length: int, tmp_path: Path) -> None:
    tokens = corpus(lengths)
    with packed(tokens, np.array(lengths, dtype=np.int64), length, "stream", tmp_path) as examples:
        kept = len(tokens) // length * length
        assert examples.rows(np.arange(len(examples))).ravel().tolist() == tokens[:kept].tolist()
        assert examples.dropped == len(tokens) - kept


@pytest.mark.parametrize("packing", ["document", "stream"])
def test_documents_shorter_than_an_example_are_trained_on(
    tiny_study: StudyConfig, tmp_path: Path, packing: str
) -> None:
    file = tmp_path / "short.txt"
    file.write_text("\f".join(f"note {i}: short" for i in range(400)))
    fields = {"source": f"text:{file}", "separator": "\f", "sequence_length": 64, "packing": packing}
    study = changed(
        tiny_study, data={**fields, "validation_tokens": 64}, grid={"unique_tokens": [1024]}, evaluation={"tasks": []}
    )
    manifest = prepare(study, tmp_path / "d").manifest
    assert manifest.available_tokens + manifest.tail_tokens_dropped == manifest.train_bytes + manifest.train_documents
    assert manifest.tail_tokens_dropped < 64
    assert manifest.document_end == EOS
    whole = changed(study, data={"attention": "example"})
    assert prepare(whole, tmp_path / "e").manifest.document_end is None


def test_seeds_draw_nested_samples_of_their_own(tiny_study: StudyConfig, tmp_path: Path) -> None:
    study = changed(tiny_study, data={"resample": True}, grid={"unique_tokens": [640, 1280]})
    dataset = prepare(study, tmp_path / "d")
    manifest = dataset.manifest
    assert manifest.train_examples * manifest.sequence_length == manifest.available_tokens
    samples = [dataset.train(1280, seed) for seed in range(3)]
    for seed, sample in enumerate(samples):
        np.testing.assert_array_equal(sample, dataset.train(1280, seed))
        np.testing.assert_array_equal(sample[: len(sample) // 2], dataset.train(640, seed))
        assert len(np.unique(sample, axis=0)) == len(np.unique(dataset.train(1280, seed), axis=0))
    assert not np.array_equal(samples[0], samples[1])
    assert not np.array_equal(samples[1], samples[2])
    same = prepare(changed(study, data={"resample": False}), tmp_path / "e")
    np.testing.assert_array_equal(same.train(1280, 0), same.train(1280, 1))


def test_a_sample_of_a_seed_is_no_copy_of_its_tokens(tiny_study: StudyConfig, tmp_path: Path) -> None:
    """8 bytes for each example stay in memory, and while it is drawn 8 for each example of the corpus."""
    length, budget = 256, 65536
    for number in range(100):
        (tmp_path / f"{number}.txt").write_text(f"{number} is a number\n" * 100)
    data: dict[str, object] = {"source": f"text:{tmp_path}/*.txt", "resample": True}
    data |= {"sequence_length": length, "validation_tokens": length}
    study = changed(tiny_study, data=data, grid={"unique_tokens": [budget]}, evaluation={"tasks": []})
    dataset = prepare(study, tmp_path / "d")
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        sample = dataset.train(budget, 1)
        held, peak = (used - before for used in tracemalloc.get_traced_memory())
    finally:
        tracemalloc.stop()
    rows, every = budget // length, dataset.manifest.train_examples
    objects = 8 << 10
    assert held < 8 * rows + objects < rows * length
    assert peak < 8 * (rows + every) + objects
    whole = np.fromfile(dataset.folder / "train.bin", dtype=sample.dtype).reshape(-1, length)
    expected = whole[generator(1, Stream.RESAMPLING).permutation(len(whole))[:rows]]
    assert (len(sample), sample.shape) == (rows, expected.shape)
    for chosen in (np.array([3, 0, 3]), slice(2, 20, 3), slice(None)):
        read = sample[chosen]
        np.testing.assert_array_equal(read, expected[chosen], strict=True)
    np.testing.assert_array_equal(np.asarray([*sample]), expected)
