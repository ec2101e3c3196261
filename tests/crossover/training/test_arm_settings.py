"""Learning rate, batch, warm-up and schedule of single arms; the arms of a pair end after the same tokens."""

from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from crossover.errors import StudyError
from crossover.model.transformer import Block
from crossover.registry import Registry
from crossover.settings import get_settings
from crossover.stages.analyse_stage import SCHEDULE_NOTES, _schedule_note
from crossover.stages.study_report import _training_facts
from crossover.study.arms import Recipe, resolve_arm
from crossover.study.identity import RunId
from crossover.study.load_study import parse_study
from crossover.study.study_config import StudyConfig
from crossover.study.study_digests import run_digest
from crossover.training.batch_order import batch_at
from crossover.training.checkpoint_info import read_info
from crossover.training.planner import plan_study
from crossover.training.recorder import NoRecorder, Progress
from crossover.training.run_spec import RunSpec
from crossover.training.trainer import Trainer
from crossover.training.training_objectives import TrainingObjective
from tests.conftest import tiny_model
from tests.crossover.stages.trained_study import run_stages
from tests.crossover.training.saved import saved_milestones

CLIP = 1.2
"""Within the norms of the tiny study's gradients."""


class Rates(NoRecorder):
    """Keeps the learning rates by training tokens."""

    def __init__(self) -> None:
        self.rates: dict[int, float] = {}

    def point(self, at: Progress, metric: str, value: float) -> None:
        if metric == "learning_rate":
            self.rates[at.tokens] = value


def with_recipes(study: StudyConfig, **recipes: dict[str, object]) -> StudyConfig:
    return StudyConfig.model_validate(study.model_dump() | {"recipes": recipes})


@given(st.integers(1, 100), st.integers(1, 100), st.integers(20, 2000), st.integers(2, 16))
@example(own=7, batch=29, examples=20, points=2)  # 14 steps of 29 are 58 of 7, which floating point makes 59
def test_points_of_an_arm_stand_at_the_tokens_of_the_others(own: int, batch: int, examples: int, points: int) -> None:
    try:
        study = parse_study(
            f"data: {{sequence_length: 8}}\ngrid: {{unique_tokens: [{8 * examples}]}}\n"
            f"recipes: {{dlm: {{batch_size: {own}}}}}\nevaluation: {{points: {points}, first_epoch: 1}}\n"
            f"training: {{epochs: 20, batch_size: {batch}}}"
        )
    except StudyError as error:
        assert "fewer than two steps" in str(error)
        return
    cell = study.cells[0]
    ar, dlm = (np.array(study.evaluation_steps(cell, arm)) * study.training_of(arm).batch_size for arm in ("ar", "dlm"))
    assert 0 <= dlm[-1] - ar[-1] < own
    assert study.total_steps(cell, "dlm") * own == dlm[-1]
    nearest = np.abs(dlm[:, None] - ar[None, :])
    assert nearest.min(axis=1).max() <= max(own, own / 2)  # each stands at one of the others, to its own step
    if own <= batch:
        assert len(dlm) == len(ar)
        assert nearest.min(axis=0).max() <= own


def test_a_pair_with_different_batches_sees_the_same_examples_and_ends_after_the_same_tokens(
    tiny_study: StudyConfig, examples: np.ndarray, tmp_path: Path
) -> None:
    study = with_recipes(tiny_study, dlm={"batch_size": 2, "learning_rate": 0.001, "warmup_steps": 8})
    ends, rates = {}, {}
    for arm in ("ar", "dlm"):
        spec = RunSpec(study=study, cell=study.cells[1], arm=arm, seed=0)
        recorder = Rates()
        Trainer(spec, examples, tmp_path / arm, recorder).run()
        folders = saved_milestones(spec, tmp_path / arm)
        assert len(folders) == len(spec.milestones)
        infos = [read_info(folder) for folder in folders]
        assert all(info.tokens == info.step * study.tokens_per_step(arm) for info in infos)
        ends[arm], rates[arm] = [info.tokens for info in infos], recorder.rates
    assert ends["ar"] == ends["dlm"]
    assert rates["ar"][ends["ar"][-1]] == 0.003
    assert rates["dlm"][ends["dlm"][-1]] == 0.001
    assert rates["dlm"][2 * 16] == pytest.approx(0.001 / 8)


def test_only_the_runs_of_the_arm_are_trained_anew(tiny_study: StudyConfig) -> None:
    changes: list[dict[str, object]] = [
        {"learning_rate": 0.01},
        {"batch_size": 4},
        {"warmup_steps": 3},
        {"schedule": "cosine"},
    ]
    for change in changes:
        study = with_recipes(tiny_study, dlm=change)
        for arm in study.arms:
            run = RunId(study.cells[0].name, arm, 0)
            same = run_digest(study, run, "examples") == run_digest(tiny_study, run, "examples")
            assert same == (arm != "dlm")


def test_the_plan_counts_the_steps_of_each_arm(tiny_study: StudyConfig) -> None:
    study = with_recipes(tiny_study, dlm={"batch_size": 4}, ar={"schedule": "wsd"})
    plan = plan_study(study, get_settings())
    runs = {run.arm: run for run in plan.runs if run.cell == study.cells[1].name}
    whole = {run.arm: run for run in plan_study(tiny_study, get_settings()).runs if run.cell == study.cells[1].name}
    assert runs["dlm"].steps == 2 * whole["dlm"].steps
    assert (runs["dlm"].tokens, runs["dlm"].flops) == (whole["dlm"].tokens, whole["dlm"].flops)
    assert runs["ar"].steps > whole["ar"].steps  # decay branches


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        ("{batch_size: 3}", "recipes.dlm and training: microbatch_size and batch_size: 4 does not divide 3"),
        ("{batch_size: 100000}", "leave dlm fewer than two steps"),
        ("{schedule: linear}", "recipes.dlm.schedule"),
        ("{learning_rate: 0}", "recipes.dlm.learning_rate"),
    ],
)
def test_settings_that_do_not_fit_are_refused_by_name(recipe: str, words: str) -> None:
    with pytest.raises(StudyError, match=words):
        parse_study(f"training: {{batch_size: 8, microbatch_size: 4}}\nrecipes: {{dlm: {recipe}}}")


def test_report_and_notes_name_what_differs(tiny_study: StudyConfig) -> None:
    study = with_recipes(tiny_study, dlm={"batch_size": 4, "schedule": "cosine"})
    facts = {fact.label: fact.value for fact in _training_facts(study)}
    assert facts["Settings of single arms"] == "dlm: batch size 4, schedule cosine"
    assert "Settings of single arms" not in {fact.label for fact in _training_facts(tiny_study)}
    assert _schedule_note({"ar": "constant", "dlm": "cosine"}).endswith(": ar constant, dlm cosine.")
    assert _schedule_note({"ar": "wsd", "dlm": "wsd"}) == SCHEDULE_NOTES["wsd"]
    assert _schedule_note({"ar": "constant", "dlm": "constant"}) == ""


def test_a_study_with_settings_of_an_arm_is_analysed(tiny_study: StudyConfig, tmp_path: Path) -> None:
    """Through the stages: checkpoints of either arm are found by its own steps, and points pair on the tokens axis."""
    fields = tiny_study.model_dump()
    fields["grid"]["unique_tokens"] = [512]
    fields["evaluation"] |= {"samples": 0, "passages": 0}
    study = with_recipes(StudyConfig.model_validate(fields), dlm={"batch_size": 4, "learning_rate": 0.001})
    run_stages(study, str(tmp_path / "ws"))
    with Registry.open(get_settings().registry) as registry:
        rows = registry.query("SELECT arm, MAX(last_step), MAX(last_tokens) FROM v_runs GROUP BY arm ORDER BY arm").rows
        points = registry.query(
            "SELECT arm, tokens FROM v_curves WHERE metric = 'validation_bpb' AND seed = 0 ORDER BY arm, tokens"
        ).rows
    assert [row[0] for row in rows] == ["ar", "dlm"]
    assert rows[0][1] == 16
    assert (rows[1][1], rows[1][2]) == (32, rows[0][2])
    assert [tokens for arm, tokens in points if arm == "ar"] == [tokens for arm, tokens in points if arm == "dlm"]


def test_mlp_dropout_spares_attention() -> None:
    arms = {place: resolve_arm("x", Recipe(base="ar-dropout", dropout_place=place)) for place in ("residual", "mlp")}
    drops = {}
    for place, arm in arms.items():
        part = TrainingObjective(arm, 8, 0).microbatch(
            0,
            batch_at(0, 0, batch_size=2, examples=2),
            slice(0, 2),
            np.zeros((2, 8), dtype=np.int64),
            sparse=False,
            device=torch.device("cpu"),
        )
        model = tiny_model(causal=True, vocab=259, length=8)
        block = cast(Block, model.model.layers[0])
        outputs: dict[str, torch.Tensor] = {}
        block.post_attention_layernorm.register_forward_pre_hook(lambda _, inputs, to=outputs: to.update(x=inputs[0]))
        with torch.inference_mode():
            dropped = model(part.inputs_nT, dropout=part.dropout)
            inside = outputs["x"].clone()
            plain = model(part.inputs_nT)
        drops[place] = (torch.equal(inside, outputs["x"]), torch.equal(dropped, plain))
    assert drops == {"residual": (False, False), "mlp": (True, False)}


def test_the_share_of_clipped_steps_is_recorded_and_resumed(
    tiny_study: StudyConfig, examples: np.ndarray, tmp_path: Path
) -> None:
    class Norms(NoRecorder):
        def __init__(self) -> None:
            self.values: dict[str, dict[int, float]] = {"gradient_norm": {}, "clipped_steps": {}}

        def point(self, at: Progress, metric: str, value: float) -> None:
            self.values.get(metric, {})[at.step] = value

    def train(folder: Path, stop_at: int = 0) -> dict[str, dict[int, float]]:
        def interrupt(step: int, total: int, loss: float) -> None:
            if step == stop_at:
                raise KeyboardInterrupt

        norms = Norms()
        training = tiny_study.training.model_copy(update={"gradient_clip": CLIP})
        study = tiny_study.model_copy(update={"training": training})
        Trainer(RunSpec(study=study, cell=study.cells[1], arm="ar", seed=0), examples, folder, norms, interrupt).run()
        return norms.values

    whole = train(tmp_path / "whole")
    above = np.array([norm > CLIP for norm in whole["gradient_norm"].values()])
    assert 0 < above.mean() < 1
    np.testing.assert_allclose(list(whole["clipped_steps"].values()), above.cumsum() / np.arange(1, len(above) + 1))
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "cut", stop_at=23)
    rest = train(tmp_path / "cut")["clipped_steps"]
    assert rest
    assert rest == {step: share for step, share in whole["clipped_steps"].items() if step in rest}
