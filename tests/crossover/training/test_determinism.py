"""`training.deterministic`: what it switches on a GPU, and that a study without it is what it was."""

import os
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch._inductor import config as inductor

from crossover.errors import StudyError
from crossover.model.model_presets import preset
from crossover.study.arms import ARMS
from crossover.study.identity import RunId
from crossover.study.study_config import StudyConfig
from crossover.study.study_digests import run_digest
from crossover.study.study_parts import TrainingConfig
from crossover.training.batch_order import batch_at
from crossover.training.determinism import explaining_kernels, use_deterministic_kernels
from crossover.training.distributed import World
from crossover.training.train_engine import TrainEngine

GPU = torch.device("cuda")


@pytest.fixture(autouse=True)
def _as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")
    del os.environ["CUBLAS_WORKSPACE_CONFIG"]
    yield
    use_deterministic_kernels(GPU, False)


def state() -> tuple[bool, bool, str | None]:
    return (
        torch.are_deterministic_algorithms_enabled(),
        inductor.deterministic,
        os.environ.get("CUBLAS_WORKSPACE_CONFIG"),
    )


def test_kernels_of_torch_cublas_and_the_compiler_are_chosen_for_a_gpu() -> None:
    use_deterministic_kernels(torch.device("cpu"), True)
    assert state() == (False, False, None)
    use_deterministic_kernels(GPU, True)
    assert state() == (True, True, ":4096:8")
    use_deterministic_kernels(GPU, False)  # the next run of this process is of another study
    assert state()[:2] == (False, False)


def losses(arm: str, model: str, examples: np.ndarray) -> list[float]:
    shape = preset(model, vocab_size=259, max_length=16)
    engine = TrainEngine(TrainingConfig(batch_size=4), shape, ARMS[arm], seed=0, length=16, world=World())
    engine.set_weights(engine.model.draws(torch.Generator().manual_seed(0)))
    found = []
    for step in range(3):
        found.append(engine.gradients(step, batch_at(0, step, batch_size=4, examples=len(examples)), examples).nll)
        engine.apply(0.003)
    return found


@pytest.mark.parametrize(("arm", "model"), [("ar-dropout", "pico"), ("bd", "pico"), ("dlm", "mini-moe")])
def test_every_kind_of_step_has_deterministic_kernels_here(arm: str, model: str, examples: np.ndarray) -> None:
    """Where an operation has none, torch raises; a CPU's bits stay."""
    plain = losses(arm, model, examples)
    use_deterministic_kernels(GPU, True)
    assert losses(arm, model, examples) == plain


def test_an_operation_without_one_is_an_error_of_the_study(
    examples: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise RuntimeError(
            "cumsum_cuda_kernel does not have a deterministic implementation, but you set "
            "'torch.use_deterministic_algorithms(True)'. You can turn off determinism"
        )

    monkeypatch.setattr(TrainEngine, "backward", refused)
    with pytest.raises(StudyError, match=r"training.deterministic: is true, .* \(cumsum_cuda_kernel") as caught:
        losses("ar", "pico", examples)
    assert caught.value.code == "training.no-deterministic-kernel"


def test_an_error_without_a_message_comes_through_as_it_is() -> None:
    with pytest.raises(RuntimeError) as caught, explaining_kernels():
        raise RuntimeError
    assert caught.value.args == ()


def test_a_study_without_it_is_recorded_and_named_as_before(tiny_study: StudyConfig) -> None:
    run = RunId(tiny_study.cells[0].name, "ar", 0)
    assert "deterministic" not in tiny_study.model_dump_json()
    fields = tiny_study.training.model_dump() | {"deterministic": True}
    other = tiny_study.model_copy(update={"training": TrainingConfig.model_validate(fields)})
    assert '"deterministic":true' in other.model_dump_json()
    assert StudyConfig.model_validate_json(other.model_dump_json()) == other
    assert run_digest(other, run, "examples") != run_digest(tiny_study, run, "examples")
