"""What a plan times steps with: examples that have as many documents as the study's own."""

from __future__ import annotations

import numpy as np
import pytest

from crossover.evaluation import evaluation_timing
from crossover.model.transformer import Transformer
from crossover.settings import Settings
from crossover.study.study_config import StudyConfig
from crossover.tokenization.tokenizer import BYTES
from crossover.training import planner
from crossover.training.memory_estimate import step_memory
from crossover.training.planner import plan_study
from crossover.training.run_spec import cell_model
from crossover.training.step_timing import Stepper, middle_mean
from crossover.training.timed_examples import TimedExamples, dataset_examples, packed_examples, whole_examples
from crossover.training.train_engine import TrainEngine
from crossover.training.training_objectives import Microbatch


def changed(study: StudyConfig, part: str, **fields: object) -> StudyConfig:
    return StudyConfig.model_validate(study.model_dump() | {part: getattr(study, part).model_dump() | fields})


def share(examples: TimedExamples) -> float:
    """Of the rows that hold several documents."""
    assert examples.document_end is not None
    return float((examples.rows_NL[:, :-1] == examples.document_end).any(axis=1).mean())


def test_rows_are_packed_as_the_study_packs(tiny_study: StudyConfig) -> None:
    study = changed(changed(tiny_study, "data", sequence_length=16), "training", batch_size=256, epochs=64)
    long, short = [16 * 9 + 4] * 40, [4] * 40
    by_document = packed_examples(study, long)  # 9 whole examples a document, and a quarter of one that is joined
    assert by_document.document_end == BYTES.eos
    assert share(by_document) == pytest.approx(0.25 / 9.25, abs=0.02)
    assert share(packed_examples(changed(study, "data", packing="stream"), long)) == pytest.approx(
        0.75 / 9.25, abs=0.03
    )
    joined = packed_examples(study, short)
    assert ((joined.rows_NL == BYTES.eos).sum(axis=1) == 4).all()
    for whole in (packed_examples(changed(study, "data", attention="example"), short), packed_examples(study, [])):
        assert (whole.document_end, whole.basis) == (None, "examples of one document each")


def test_rows_of_a_dataset_are_taken_from_all_over_it(tiny_study: StudyConfig) -> None:
    rows = np.arange(100, dtype=np.uint16).repeat(16).reshape(100, 16)
    examples = dataset_examples(tiny_study, rows, 99)
    assert examples.document_end == 99
    assert len(examples.rows_NL) == 4 * tiny_study.training.batch_size
    assert examples.rows_NL[:, 0].max() > 80


def test_steps_and_evaluations_are_timed_with_the_masks_of_the_examples(
    tiny_study: StudyConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = changed(tiny_study, "training", random_lengths=0.0)
    cell, arm = study.cells[0], study.arm("ar")
    parts: list[Microbatch] = []
    evaluated: list[bool] = []
    loss, forward = TrainEngine.backward, Transformer.forward

    def backward(self: TrainEngine, part: Microbatch, slots: slice) -> object:
        parts.append(part)
        return loss(self, part, slots)

    def seen(self: Transformer, *given: object, **named: object) -> object:
        evaluated.append(named.get("documents_BL") is not None)
        return forward(self, *given, **named)  # type: ignore[arg-type]  # as they came

    monkeypatch.setattr(TrainEngine, "backward", backward)
    for examples, masked in ((whole_examples(study), False), (packed_examples(study, [5] * 99), True)):
        parts.clear()
        Stepper(study, cell_model(study, cell), arm, examples).time()
        assert {part.documents_nT is not None for part in parts} == {masked}
        with monkeypatch.context() as patch:
            patch.setattr(Transformer, "forward", seen)
            evaluated.clear()
            evaluation_timing.row_seconds(study, cell, arm, examples)
        assert set(evaluated) == {masked}
    parts.clear()
    Stepper(changed(study, "training", random_lengths=1.0), cell_model(study, cell), arm).time()
    assert {part.documents_nT is not None for part in parts} == {True}, "examples are cut as the study's are"


def test_a_mean_of_both_kinds_of_steps_without_stragglers() -> None:
    assert middle_mean([1.0, 1.0, 1.0, 2.0, 2.0, 2.0, 0.1, 9.0]) == 1.5
    assert middle_mean([3.0]) == 3.0


def test_memory_is_that_of_a_step_with_a_mask_where_attention_stays_within_documents(
    tiny_study: StudyConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planner, "peak_memory", lambda device: 0)  # of this process, which grows meanwhile
    study = changed(tiny_study, "training", random_lengths=0.0)
    shape, arm = cell_model(study, study.cells[0]), study.arm("ar")
    plain, masked = (
        step_memory(study.training, shape, arm, length=study.data.sequence_length, masked=masked).peak
        for masked in (False, True)
    )
    assert masked > plain
    within, across = (
        plan_study(changed(study, "data", attention=kind), Settings(peak_tflops=1.0)).runs[0].memory_bytes
        for kind in ("document", "example")
    )
    assert within > across


def test_a_plan_says_what_its_steps_were_measured_on(tiny_study: StudyConfig) -> None:
    plans = (
        plan_study(tiny_study, Settings(), measure=True, examples=examples)
        for examples in (None, packed_examples(tiny_study, [5] * 99))
    )
    assert [plan.basis for plan in plans] == [
        "8 measured steps on examples of one document each",
        "8 measured steps on examples packed of documents of the corpus's lengths",
    ]
