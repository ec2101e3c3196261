"""The sweep before a study: seeds of its own, the smallest budget, and arms that take what they chose."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from crossover.cli import main
from crossover.commands import run_command
from crossover.errors import StudyError
from crossover.registry import Registry
from crossover.settings import get_settings
from crossover.stages.pipeline_stage import check_parameters
from crossover.stages.prepare_stage import leave_dataset, open_dataset, plan_groups, prepare_stage
from crossover.stages.pretrain_stage import pretrain_stage
from crossover.stages.reuse import plan_reuse
from crossover.stages.stage_manifests import Group
from crossover.stages.study_context import open_study
from crossover.stages.sweep_results import examples_digest, keep_results, tuned_study
from crossover.stages.tune_stage import plan_sweep, tune_stage
from crossover.storage import open_store
from crossover.study.identity import RunId
from crossover.study.load_study import load_study, parse_study
from crossover.study.study_config import StudyConfig
from crossover.study.study_digests import run_digest
from crossover.study.sweep_study import sweep_digest, sweep_of, with_results
from crossover.study.tuning_config import TuningResult
from tests.crossover.stages.trained_study import run_stages

RATES = (1e-5, 0.01)


def with_tuning(study: StudyConfig, **tuning: object) -> StudyConfig:
    fields = study.model_dump() | {"tuning": {"learning_rates": RATES, "seeds": (1000, 1001), **tuning}}
    fields["evaluation"] |= {"samples": 0, "passages": 0}
    return StudyConfig.model_validate(fields)


def results(**losses: tuple[float | None, ...]) -> list[dict[str, object]]:
    return [
        {"arm": arm, "learning_rate": rate, "loss": loss}
        for arm, row in losses.items()
        for rate, loss in zip(RATES, row, strict=True)
    ]


def test_the_arms_choose_by_their_mean_loss_and_train_with_what_they_chose(
    tiny_study: StudyConfig, tmp_path: Path
) -> None:
    study = with_tuning(tiny_study)
    tuned = tune_stage(study, str(tmp_path / "ws"))
    assert study.tuning.is_pending
    assert not tuned.tuning.is_pending
    assert [tuned.training_of(arm).learning_rate for arm in ("ar", "dlm")] == [0.01, 0.01]
    with Registry.open(get_settings().registry) as registry:
        rows = registry.query(
            "SELECT study, cell, arm, seed, MIN(value) FROM v_curves WHERE metric = 'validation_bpb' "
            "GROUP BY study, cell, arm, seed"
        ).rows
    assert {row[:2] for row in rows} == {("tiny-tuning", "u512-pico")}
    assert {row[3] for row in rows} == {1000, 1001}
    for result in tuned.tuning.results:
        of_arm = [
            float(str(row[4])) for row in rows if row[2] == f"{result.arm}-tried-{RATES.index(result.learning_rate)}"
        ]
        assert len(of_arm) == 2
        assert result.loss == pytest.approx(np.mean(of_arm))
    set_by_hand = StudyConfig.model_validate(
        tiny_study.model_dump() | {"recipes": {arm: {"learning_rate": 0.01} for arm in ("ar", "dlm")}}
    )
    run = RunId("u512-pico", "dlm", 0)
    assert run_digest(tuned, run, "examples") == run_digest(set_by_hand, run, "examples")
    assert tune_stage(study, str(tmp_path / "ws")) == tuned
    run_stages(tuned, str(tmp_path / "ws"))
    report = (tmp_path / "ws" / "analysis" / "report.md").read_text()
    assert "on seeds that no verdict uses (1000, 1001): ar learning rate 0.01; dlm learning rate 0.01." in report
    assert "The rate of ar and dlm is at an edge of those tried" in report
    facts = json.loads((tmp_path / "ws" / "analysis" / "report.json").read_text())["training"]
    assert {"label": "Tuned arms", "value": "ar learning rate 0.01; dlm learning rate 0.01"} in facts


def test_a_rate_that_diverges_is_out(
    tiny_study: StudyConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = with_tuning(tiny_study, learning_rates=(0.003, 1e30), seeds=(5,))
    tuned = tune_stage(study, str(tmp_path / "ws"))
    assert [(r.learning_rate, r.loss is None) for r in tuned.tuning.results] == [(0.003, False), (1e30, True)] * 2
    assert tuned.training_of("dlm").learning_rate == 0.003
    assert "this setting is out" in capsys.readouterr().err
    with pytest.raises(StudyError, match="ar diverged with every one of them"):
        tune_stage(with_tuning(tiny_study, learning_rates=(1e30,), seeds=(5,)), str(tmp_path / "other"))


def test_the_sweep_is_the_smallest_budget_its_first_model_and_every_setting(tiny_study: StudyConfig) -> None:
    fields = tiny_study.model_dump() | {
        "grid": {"unique_tokens": [1024, 512], "models": ["nano", "pico"]},
        "arms": ["ar", "dlm", "heavy", "bd"],
        "recipes": {"heavy": {"base": "ar-dropout", "dropout": 0.3}},
    }
    fields["analysis"] |= {"tuned": ["heavy"]}
    study = with_tuning(StudyConfig.model_validate(fields), weight_decays=(0.1, 0.4))
    sweep, variants = sweep_of(study)
    assert [cell.name for cell in sweep.cells] == ["u512-nano"]
    assert sweep.seeds == (1000, 1001)
    assert not sweep.tuning.learning_rates
    settings = [(rate, decay) for rate in RATES for decay in (0.1, 0.4)]
    assert list(variants.values()) == [(arm, setting) for arm in ("ar", "dlm", "heavy") for setting in settings]
    for name, (arm, (rate, decay)) in variants.items():
        training = sweep.training_of(name)
        assert (training.learning_rate, training.weight_decay) == (rate, decay)
        assert sweep.arm(name).objective == study.arm(arm).objective
        assert sweep.arm(name).dropout == study.arm(arm).dropout
    assert sweep.evaluation_steps(sweep.cells[0]) == study.evaluation_steps(study.cell("u512-nano"))


def test_a_study_is_not_trained_before_its_sweep(
    tiny_study: StudyConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = with_tuning(tiny_study)
    with open_study(study, str(tmp_path / "ws")) as context:
        reference = prepare_stage(context)
        leave_dataset(context, reference)
        with pytest.raises(StudyError, match="has not been made"):
            pretrain_stage(context, reference, Group(cell="u512-pico", arm="ar", seeds=(0,)))
    assert check_parameters(study.model_dump_json(), "never", 1, "") == study
    (tmp_path / "study.json").write_text(study.model_dump_json())
    for verb in ("pretrain", "evaluate"):
        assert main([verb, str(tmp_path / "study.json"), "--out", str(tmp_path / "ws")]) == 2
        assert "make it with `crossover tune`" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("tuning", "more", "words"),
    [
        ("{learning_rates: [0.1, 0.1]}", "", "values must be distinct"),
        ("{learning_rates: [0]}", "", "tuning.learning_rates"),
        ("{weight_decays: [0.1]}", "", "decays need rates"),
        ("{learning_rates: [0.1], seeds: [1]}", "", "tuning.seeds and seeds: both have 1"),
        (
            "{learning_rates: [0.1]}",
            "recipes: {dlm: {learning_rate: 0.2}}",
            "recipes.dlm.learning_rate and tuning.learning_rates",
        ),
        ("{learning_rates: [0.1], results: [{arm: ar, learning_rate: 0.2, loss: 1}]}", "", "of other settings"),
        ("{learning_rates: [0.1], results: [{arm: bd, learning_rate: 0.1, loss: 1}]}", "", "the study has no arm bd"),
        ("{learning_rates: [0.1], results: [{arm: ar, learning_rate: 0.1, loss: null}]}", "", "no finite loss"),
    ],
)
def test_what_does_not_fit_is_refused(tuning: str, more: str, words: str) -> None:
    with pytest.raises(StudyError, match=words):
        parse_study(f"tuning: {tuning}\n{more}")


def test_the_note_names_only_rates_at_an_edge(tiny_study: StudyConfig) -> None:
    study = with_tuning(
        tiny_study, learning_rates=RATES, results=results(ar=(5.0, 4.0), dlm=(3.0, None)), weight_decays=()
    )
    assert study.tuning.chosen("dlm") == {"learning_rate": 1e-5}
    assert study.tuning.chosen("bd") == {}
    inner = study.tuning.model_copy(update={"learning_rates": (1e-6, *RATES, 0.1)})
    assert "edge" in study.tuning.note()
    assert "edge" not in inner.note()
    assert tiny_study.tuning.note() == ""


def test_the_verb_writes_the_study_and_run_makes_the_sweep_itself(
    tiny_study: StudyConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    study = with_tuning(tiny_study, seeds=(7,))
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(study.model_dump(mode="json")))
    command = [str(tmp_path / "study.yaml"), "--out", str(tmp_path / "ws")]
    assert main(["tune", *command, "--write", str(tmp_path / "tuned.yaml")]) == 0
    printed = capsys.readouterr().out
    assert printed.count("chosen") == 2
    written = load_study(str(tmp_path / "tuned.yaml"))
    assert written.digest == tune_stage(study, str(tmp_path / "ws")).digest
    started: list[StudyConfig] = []

    def start(run: StudyConfig, *_: object, **__: object) -> Path:
        started.append(run)
        raise KeyboardInterrupt

    monkeypatch.setattr(run_command, "run_study", start)
    assert main(["run", *command]) == 130
    assert started == [study], "the pipeline makes the sweep"
    assert tuned_study(study, open_store(str(tmp_path / "ws"))) == written
    (tmp_path / "plain.yaml").write_text(yaml.safe_dump(tiny_study.model_dump(mode="json")))
    assert main(["tune", str(tmp_path / "plain.yaml")]) == 2
    assert "nothing to choose from" in capsys.readouterr().err


def changed(study: StudyConfig, **fields: object) -> StudyConfig:
    return StudyConfig.model_validate(study.model_dump() | fields)


def measured(study: StudyConfig) -> list[TuningResult]:
    """Results as the sweep of a study would leave them."""
    found = results(ar=(5.0, 4.0), dlm=(3.0, None))
    return [TuningResult.model_validate(result | {"sweep": sweep_digest(study)}) for result in found]


def test_results_are_of_the_study_that_they_were_measured_for(tiny_study: StudyConfig, tmp_path: Path) -> None:
    pending = with_tuning(tiny_study)
    tuned, store = with_results(pending, measured(pending)), open_store(str(tmp_path))
    assert tuned_study(tuned, store) == tuned
    grid = tiny_study.grid.model_dump()
    same: tuple[dict[str, object], ...] = (
        {"name": "other", "question": "Reworded?", "seeds": (0, 1, 2)},
        {"grid": grid | {"unique_tokens": (512, 1024), "models": ("pico", "nano")}},
        {"arms": ("ar", "dlm", "bd"), "recipes": {"bd": {"block_length": 8}}},
    )
    for fields in same:
        study = changed(tuned, **fields)
        assert tuned_study(study, store) == study
    other: tuple[dict[str, object], ...] = (
        {"training": tiny_study.training.model_dump() | {"epochs": 12}},
        {"grid": grid | {"unique_tokens": (256,)}},
        {"data": tiny_study.data.model_dump() | {"validation_fraction": 0.2}},
        {"recipes": {"dlm": {"batch_size": 4}}},
        {"arms": ("ar", "dlm", "bd"), "analysis": tiny_study.analysis.model_dump() | {"candidate": "bd"}},
    )
    for fields in other:
        with pytest.raises(StudyError, match=r"tuning\.results: are of a sweep over other.*tune again"):
            tuned_study(changed(tuned, **fields), store)
    by_hand = changed(pending, tuning=pending.tuning.model_dump() | {"results": results(ar=(5.0, 4.0), dlm=(3.0, 2.0))})
    with pytest.raises(StudyError, match="tune again"), open_study(by_hand, str(tmp_path / "ws")):
        pass
    with pytest.raises(StudyError, match="tune again"):
        check_parameters(by_hand.model_dump_json(), "never", 1, "")


def test_a_pending_study_takes_the_results_of_its_workspace_and_those_of_no_other_sweep(
    tiny_study: StudyConfig, tmp_path: Path
) -> None:
    pending, store = with_tuning(tiny_study), open_store(str(tmp_path / "ws"))
    with open_study(pending, str(tmp_path / "ws")) as context:
        examples = examples_digest(pending, open_dataset(context, prepare_stage(context)).manifest)
    keep_results(pending, store, measured(pending), examples)
    with open_study(pending, str(tmp_path / "ws")) as context:
        assert context.study == with_results(pending, measured(pending))
        assert plan_groups(context, 1)
        assert plan_sweep(context, prepare_stage(context)) == []
    assert tuned_study(with_tuning(tiny_study, seeds=(7,)), store).tuning.is_pending


def test_runs_that_were_trained_before_a_sweep_was_asked_for_are_not_taken_for_tuned_ones(
    trained: tuple[StudyConfig, Path],
) -> None:
    study, workspace = trained
    store = open_store(str(workspace))
    assert not plan_reuse(study, store).new_runs
    assert len(plan_reuse(with_tuning(study), store).new_runs) == 4


def test_arms_with_long_names_that_begin_alike_are_both_tried(tiny_study: StudyConfig) -> None:
    first, second = "a" * 60 + "-1", "a" * 60 + "-2"
    plan = tiny_study.analysis.model_dump() | {"baseline": first, "candidate": second, "tuned": ()}
    recipes = {first: {"base": "ar"}, second: {"base": "dlm"}}
    study = changed(with_tuning(tiny_study), arms=(first, second), recipes=recipes, analysis=plan)
    assert [arm for arm, _ in sweep_of(study)[1].values()] == [first, first, second, second]


def test_the_sweep_links_the_dataset_of_its_study(tiny_study: StudyConfig, tmp_path: Path) -> None:
    with open_study(with_tuning(tiny_study, seeds=(7,)), str(tmp_path / "ws")) as context:
        groups = plan_sweep(context, prepare_stage(context))
    assert len(groups) == 4
    ours, theirs = (
        {file.name: file.stat().st_ino for file in (tmp_path / place).glob("datasets/*/*.bin")}
        for place in ("ws", "ws/tuning")
    )
    assert theirs
    assert theirs == ours


def test_a_plan_counts_the_sweep(tiny_study: StudyConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = with_tuning(tiny_study)
    place = [str(tmp_path / "study.json"), "--out", str(tmp_path / "ws")]
    (tmp_path / "study.json").write_text(study.model_dump_json())
    assert main(["plan", *place, "--measure", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    of_arm = {run["arm"]: run for run in plan["runs"] if run["cell"] == "u512-pico"}
    assert plan["sweep"]["runs"] == 8
    assert plan["sweep"]["flops"] == pytest.approx(4 * sum(of_arm[arm]["flops"] for arm in ("ar", "dlm")))
    assert plan["sweep"]["device_hours"] == pytest.approx(4 * sum(of_arm[a]["device_hours"] for a in ("ar", "dlm")))
    assert plan["sweep"]["minutes"] > 0
    assert plan["basis"] == "8 measured steps on examples packed of documents of the corpus's lengths"
    assert main(["plan", *place, "--no-measure"]) == 0
    assert "sweep of `tuning`, not included above: 8 runs of u512-pico to train" in capsys.readouterr().out
    keep_results(study, open_store(str(tmp_path / "ws")), measured(study), "examples")
    assert main(["plan", *place, "--no-measure", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["sweep"] is None
