"""EOS stands in the examples, its loss counts in both arms, and both learn where texts end."""

from pathlib import Path

import numpy as np
import pytest
import torch

from crossover.counter_rng import Stream, generator
from crossover.data.prepare_dataset import prepare_dataset
from crossover.data.split_corpus import read_corpus
from crossover.study.arms import ARMS
from crossover.study.load_study import parse_study
from crossover.tokenization.tokenizer import BOS, EOS, MASK
from crossover.training.batch_order import batch_at
from crossover.training.checkpoint import load_checkpoint
from crossover.training.recorder import NoRecorder
from crossover.training.run_spec import RunSpec
from crossover.training.trainer import Trainer
from crossover.training.training_objectives import TrainingObjective, shifted_inputs
from tests.crossover.training.saved import saved_milestones

LENGTH, EPOCHS = 16, 24
WORDS = ("ant", "bee", "cat", "dog", "elk", "fox")


def write_documents(folder: Path) -> None:
    """Each is fifteen bytes, three words and a full stop, so that with EOS it fills one example."""
    folder.mkdir()
    for number, words in enumerate((a, b, c) for a in WORDS for b in WORDS for c in WORDS):
        text = f"{words[0]} {words[1]} {words[2]}."
        (folder / f"{number}.txt").write_text(text.rjust(LENGTH - 1, "-"))


@pytest.mark.parametrize("arm", ["ar", "dlm"])
def test_an_arm_expects_eos_where_a_document_ends_and_nowhere_else(arm: str, tmp_path: Path) -> None:
    write_documents(tmp_path / "corpus")
    study = parse_study(
        f"""
data: {{source: "text:{tmp_path}/corpus/*.txt", sequence_length: {LENGTH}, validation_tokens: 64}}
grid: {{unique_tokens: [2048], models: [pico]}}
training: {{epochs: {EPOCHS}, batch_size: 8, warmup_steps: 2, learning_rate: 0.01}}
evaluation: {{points: 2, cloze_items: 4}}
"""
    )
    with read_corpus(study.data, tmp_path / "scratch") as corpus:
        dataset = prepare_dataset(study, corpus, tmp_path)
    tokens, held_out = np.asarray(dataset.train(2048)), dataset.validation()
    assert (tokens[:, -1] == EOS).all()
    spec = RunSpec(study=study, cell=study.cells[0], arm=arm, seed=0)
    Trainer(spec, tokens, tmp_path / "run", NoRecorder()).run()
    model, _ = load_checkpoint(saved_milestones(spec, tmp_path / "run")[-1])
    given = torch.from_numpy(held_out[:4].astype(np.int64))
    with torch.inference_mode():
        if arm == "ar":
            probability = model(shifted_inputs(given, BOS)).softmax(-1)[..., EOS]
        else:  # each position hidden alone
            alone = torch.eye(LENGTH, dtype=torch.bool).repeat(4, 1)
            hidden = given.repeat_interleave(LENGTH, 0).masked_fill(alone, MASK)
            probability = model(hidden).softmax(-1)[..., EOS].view(4, LENGTH, LENGTH).diagonal(dim1=1, dim2=2)
    assert float(probability[:, -1].min()) > 0.5  # far above any other place; how far depends on how long it is trained
    assert float(probability[:, :-1].max()) < 0.05


@pytest.mark.parametrize("arm", ["ar", "dlm", "bd"])
def test_the_loss_of_eos_has_the_weight_of_any_token(arm: str) -> None:
    """Over draws each position weighs 1 on average, the last as the others."""
    tokens = generator(0, Stream.ORDER).integers(0, 256, (64, LENGTH))
    tokens[:, -1] = EOS
    weight, draws = np.zeros(LENGTH), 200
    objective = TrainingObjective(ARMS[arm], LENGTH, 0)
    for step in range(draws):
        batch = batch_at(0, step, batch_size=64, examples=64, random_lengths=0.01)
        part = objective.microbatch(step, batch, slice(0, 64), tokens, sparse=False, device=torch.device("cpu"))
        assert bool((part.targets_nL[:, -1] == EOS).all())
        weight += 1.0 if part.weights_nL is None else part.weights_nL.double().mean(0).numpy()
    np.testing.assert_allclose(weight / draws, 1.0, atol=0.1)
