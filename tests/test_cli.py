"""The command line: frozen verbs and flags, quick start-up, and bad input as one line with exit code 2."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

import pytest

from crossover.cli import STUDY_HELP, build_parser, main
from crossover.storage import open_store
from crossover.study.load_study import load_study, study_presets
from crossover.study.study_config import StudyConfig
from tests.conftest import write_corpus

FROZEN = {
    "init": "corpus hours out name model epochs seeds text_field separator",
    "run": "study out registry promote seeds_per_task rounds print_study json",
    "next": "study out registry json",
    "plan": "study out processes nodes measure json",
    "tune": "study out registry write",
    "compile": "out profile",
    "upload": "profile host namespace token_file",
    "submit": "study out registry endpoint promote seeds_per_task data_shards runs experiment follow profile host "
    "namespace token_file",
    "doctor": "json",
    "prepare": "study out registry shard",
    "pretrain": "study out registry cell arm seed",
    "evaluate": "study out registry cell arm seed",
    "analyse": "study out registry promote curves wide unique_tokens plan metric baseline candidate tuned axes "
    "comparisons alpha early late json",
    "promote": "study out registry kubernetes namespace endpoint force_conflicts replicas canary dry_run",
    "rollback": "study registry namespace endpoint force_conflicts",
    "serve": "place arm host port allow_origin grpc_port device dtype memory max_queue timeout log_prompts trial",
    "measure-serving": "study out registry concurrency repeats tokens block_length confidence_threshold cache json",
    "export-model": "place folder arm dtype",
    "report": "workspace picture json",
    "advise": "workspace unique_tokens parameters flops epochs json",
    "import": "files study wide unique_tokens run_pattern runs skip_other_runs tokens_per_step tokens_metric out "
    "registry plan metric baseline candidate tuned axes comparisons alpha early late json",
    "lm-eval": "arguments",
    "registry": "",
}
SMALL = """
name: small
data: {{source: "text:{corpus}/*.txt", sequence_length: 16, validation_fraction: 0.3, validation_tokens: 128}}
grid: {{unique_tokens: [512], models: [pico]}}
seeds: 2
training: {{epochs: 4, batch_size: 8}}
evaluation: {{points: 3, nelbo_draws: 4, chain_rule_examples: 2, chain_rule_points: 1, cloze_items: 8, cloze_draws: 2}}
"""


def verbs_of(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    action = next(a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    return dict(action.choices)


@pytest.fixture
def small(tmp_path: Path) -> Path:
    write_corpus(tmp_path / "corpus")
    path = tmp_path / "small.yaml"
    path.write_text(SMALL.format(corpus=tmp_path / "corpus"))
    return path


def test_verbs_and_flags_are_frozen() -> None:
    flags = {
        name: [a.dest for a in parser._actions if a.dest not in ("help", "registry_verb")]
        for name, parser in verbs_of(build_parser()).items()
    }
    assert flags == {name: frozen.split() for name, frozen in FROZEN.items()}
    assert set(verbs_of(verbs_of(build_parser())["registry"])) == {
        "upgrade",
        "query",
        "backup",
        "restore",
        "export",
        "delete",
        "undelete",
        "archive",
        "unarchive",
        "purge",
        "compact",
        "serve",
    }


def test_stages_one_by_one_are_the_full_study(small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = ["--out", str(tmp_path / "ws"), "--registry", f"sqlite:///{tmp_path}/r.sqlite"]
    assert main(["prepare", str(small), *out]) == 0
    assert main(["pretrain", str(small), "--arm", "dlm", "--seed", "1", *out]) == 0
    capsys.readouterr()
    assert main(["report", str(tmp_path / "ws")]) == 2
    assert "holds no report yet: runs 1 of 4, evaluations 0 of " in capsys.readouterr().err
    assert main(["pretrain", str(small), *out]) == 0
    assert main(["evaluate", str(small), *out]) == 0
    assert main(["analyse", str(small), "--promote", "always", *out]) == 0
    assert main(["promote", str(small), *out]) == 0
    capsys.readouterr()
    query = "SELECT COUNT(*) AS n FROM v_runs WHERE status = 'done'"
    assert main(["registry", "query", query, "--registry", out[3]]) == 0
    assert "4" in capsys.readouterr().out
    assert main(["report", str(tmp_path / "ws"), "--picture", str(tmp_path / "verdict.svg")]) == 0
    assert "insufficient evidence" in capsys.readouterr().out
    assert "Validation loss" in (tmp_path / "verdict.svg").read_text("utf-8")
    assert main(["advise", str(tmp_path / "ws")]) == 0
    assert ": Insufficient evidence." in capsys.readouterr().out
    assert (
        main(["advise", str(tmp_path / "ws"), "--unique-tokens", "1e6", "--parameters", "2e6", "--flops", "1e15"]) == 0
    )
    assert "This cell was not run" in capsys.readouterr().out
    written = tmp_path / "ws" / "analysis" / "report.json"
    text = written.read_text("utf-8")
    written.write_text(text.replace('"overview"', '"underview"', 1), "utf-8")
    assert main(["report", str(tmp_path / "ws")]) == 2
    assert "report.json does not have the recorded digest" in capsys.readouterr().err
    store = open_store(str(tmp_path / "ws"))
    store.publish("analysis")  # as another version would have
    assert main(["report", str(tmp_path / "ws")]) == 2
    assert "run `crossover analyse` on the study again" in capsys.readouterr().err
    written.write_text(text, "utf-8")
    store.publish("analysis")
    assert main(["advise", str(tmp_path / "ws"), "--flops", "1e15"]) == 0
    output = capsys.readouterr().out
    assert "1e+15 FLOPs: Cannot say yet" in output
    assert "was not tested" in output
    for wrong in (["--unique-tokens", "1e6"], ["--unique-tokens", "-1", "--parameters", "9"], ["--flops", "-1"]):
        assert main(["advise", str(tmp_path / "ws"), *wrong]) == 2
        assert "[advise.bad-budget]" in capsys.readouterr().err


def test_print_study_is_a_study_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "demo", "--print-study"]) == 0
    (tmp_path / "again.yaml").write_text(capsys.readouterr().out)
    assert load_study(str(tmp_path / "again.yaml")).digest == load_study("demo").digest


@pytest.mark.parametrize("name", study_presets())
def test_presets_load(name: str) -> None:
    assert isinstance(load_study(name), StudyConfig)


def edited(small: Path, old: str, new: str) -> Path:
    text = small.read_text()
    assert old in text
    small.write_text(text.replace(old, new))
    return small


class TestBadInput:
    @pytest.mark.parametrize(
        ("old", "new", "field"),
        [
            ("seeds: 2", "seeds: 0", "seeds"),
            ("models: [pico]", "models: [giant]", "grid.models"),
            ("seeds: 2", "arms: [ar, dlm, gpt]", "arms"),
            ("seeds: 2", "arms: [ar]", "arms"),
            ("points: 3", "tasks: [mmlu]", "evaluation.tasks"),
            ("points: 3", "pints: 3", "evaluation.pints"),
            ("name: small", "name: 'no spaces please'", "name"),
            ("unique_tokens: [512]", "unique_tokens: [8]", "unique_tokens"),
            ("unique_tokens: [512]", "unique_tokens: [99999999]", "grid.unique_tokens"),
            ("/*.txt", "/*.nothing", "data.source"),
            ("text:", "http:", "data.source"),
            ("epochs: 4", "epochs: -1", "training.epochs"),
            ("seeds: 2", "seeds: [", "STUDY"),
        ],
    )
    def test_study(
        self, small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], old: str, new: str, field: str
    ) -> None:
        path = edited(small, old, new)
        assert main(["prepare", str(path), "--out", str(tmp_path / "ws")]) == 2
        error = capsys.readouterr().err
        assert error.startswith("crossover: ")
        assert field in error
        assert error.count("\n") == 1
        assert not (tmp_path / "ws" / "dataset" / "manifest.json").exists()

    def test_unknown_preset(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["run", "nonsense"]) == 2
        assert "presets 30m-bpe, demo, factors, map, smoke" in capsys.readouterr().err

    def test_the_help_names_every_preset(self) -> None:
        assert STUDY_HELP.endswith(": " + ", ".join(study_presets()))

    def test_another_study_in_the_folder(self, small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        out = ["--out", str(tmp_path / "ws")]
        assert main(["prepare", str(small), *out]) == 0
        assert main(["prepare", str(small), *out]) == 0
        assert main(["prepare", str(edited(small, "epochs: 4", "epochs: 5")), *out]) == 0, "a study may be edited"
        assert main(["prepare", str(edited(small, "name: small", "name: other")), *out]) == 2
        assert "this one is named 'other'" in capsys.readouterr().err

    def test_unwritable_output(self, small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (tmp_path / "file").write_text("")
        assert main(["prepare", str(small), "--out", str(tmp_path / "file" / "ws")]) == 2
        assert "--out" in capsys.readouterr().err

    def test_a_stage_before_its_turn(self, small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["pretrain", str(small), "--out", str(tmp_path / "ws")]) == 2
        assert "run the stage that writes it first" in capsys.readouterr().err

    def test_unknown_run(self, small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["prepare", str(small), "--out", str(tmp_path / "ws")]) == 0
        assert main(["pretrain", str(small), "--out", str(tmp_path / "ws"), "--seed", "9"]) == 2
        assert "--seed: the study has no seed 9; choose from 0, 1" in capsys.readouterr().err

    @pytest.mark.parametrize("name", ["threads", "parallelism"])
    def test_bad_setting(self, name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        from crossover.settings import get_settings

        monkeypatch.setenv(f"CROSSOVER_{name.upper()}", "many")
        get_settings.cache_clear()
        assert main(["doctor"]) == 2
        assert f"CROSSOVER_{name.upper()}" in capsys.readouterr().err

    def test_nothing_to_serve(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["serve", str(tmp_path)]) == 2
        assert "name an arm with --arm" in capsys.readouterr().err

    def test_no_report(self, small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """A study's file stands for its workspace."""
        for place, named in ((str(tmp_path), str(tmp_path)), (str(small), "/small")):
            assert main(["report", place]) == 2
            assert f"{named}: holds no report" in capsys.readouterr().err


def test_a_write_that_fails_is_one_line_and_exit_2(small: Path, tmp_path: Path) -> None:
    """RLIMIT_FSIZE makes every larger write fail for real, in the process under test."""
    code = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000)); "
        "from crossover.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    out = ["--out", str(tmp_path / "ws")]
    assert main(["prepare", str(small), *out]) == 0
    command = [sys.executable, "-c", code, "pretrain", str(small), *out]
    result = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | {"PYTHONPATH": "."})
    assert result.returncode == 2, result.stderr
    assert "Traceback" not in result.stderr
    assert not list((tmp_path / "ws" / "runs").rglob("step-*/manifest.json"))
