"""The study that is proposed for a corpus and some hours: arithmetic with invented times, and one real machine."""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest

from crossover.cli import main
from crossover.data.corpus_survey import CorpusSurvey
from crossover.data.sources import SourceCounts
from crossover.errors import StudyError
from crossover.model.model_presets import PRESETS
from crossover.settings import Settings
from crossover.stages import study_proposal as module
from crossover.stages.study_proposal import Proposal, propose_study
from crossover.stages.waiting_time import StageSeconds
from crossover.study.data_config import DataConfig
from crossover.study.load_study import load_study, parse_study
from crossover.study.study_config import StudyConfig


def survey(tokens: int) -> CorpusSurvey:
    lengths = np.full(tokens // 1024, 1024)
    data = DataConfig(source="text:corpus/*.txt")
    return CorpusSurvey(data, SourceCounts(files=1), tokens, lengths, lengths[: max(1, len(lengths) // 9)])


@pytest.fixture
def invented_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step takes 10 ms for each 32 of width; nothing else takes time worth mentioning."""

    def of(study: StudyConfig, arms: Iterable[tuple[str, str]], seconds: float) -> dict[tuple[str, str], float]:
        return {(model, arm): seconds * PRESETS[model]["hidden_size"] / 32 for model, arm in arms}

    def steps(study: StudyConfig, model: str, arms: Iterable[object], on_run: object) -> dict[tuple[str, str], float]:
        return of(study, [(model, arm) for arm in study.arms], 0.01)

    def rest(study: StudyConfig, step: dict[tuple[str, str], float], on_run: object) -> StageSeconds:
        return StageSeconds(step, of(study, step, 1e-9), start=1.0, analysis=1.0)

    monkeypatch.setattr(module, "measured_steps", steps)
    monkeypatch.setattr(module, "stage_seconds", rest)
    monkeypatch.setattr(module, "evaluation_seconds", lambda study, step, on_run: of(study, step, 1e-9))
    monkeypatch.setattr(module, "contention", lambda study, settings: nullcontext())


def propose(tokens: int, hours: float, models: tuple[str, ...] = ()) -> Proposal:
    return propose_study(survey(tokens), Settings(parallelism=2), name="corpus", hours=hours, models=models)


@pytest.mark.usefixtures("invented_times")
class TestWithInventedTimes:
    def test_more_hours_reach_higher_and_every_study_is_affordable(self) -> None:
        proposals = [propose(100_000_000, hours) for hours in (0.5, 2, 8, 40)]
        tops = [proposal.cells[-1].unique_tokens * proposal.parameters[-1] for proposal in proposals]
        assert tops == sorted(set(tops))
        for proposal, hours in zip(proposals, (0.5, 2, 8, 40), strict=True):
            assert proposal.hours <= hours
            assert proposal.parameters[-1] <= 4 * proposal.cells[-1].unique_tokens
            assert parse_study(proposal.text) == proposal.study
            assert 1 <= len(proposal.cells) <= 4
        assert len(proposals[-1].cells) == 4

    def test_a_large_corpus_may_have_a_subword_tokenizer(self) -> None:
        line = "  # tokenizer: bpe:8192  #"
        large = propose(100_000_000, 0.5)
        assert line in large.text
        assert parse_study(large.text.replace(line, "  tokenizer: bpe:8192  #")).data.tokenizer == "bpe:8192"
        assert "tokenizer" not in propose(10_000_000, 0.5).text

    def test_a_larger_model_would_have_too_many_parameters_for_the_budget_it_reaches(self) -> None:
        proposal = propose(100_000_000, 8)
        larger = list(PRESETS)[list(PRESETS).index(proposal.study.grid.models[0]) + 1]
        other = propose(100_000_000, 8, (larger,))
        assert other.parameters[0] > 4 * other.cells[-1].unique_tokens

    def test_all_of_a_small_corpus_is_the_top(self) -> None:
        proposal = propose(128 * 1024, 100)
        assert [cell.unique_tokens for cell in proposal.cells] == [10_000, 30_000, 128 * 1024]
        assert proposal.cells[-1].share == 1
        assert proposal.full_hours == pytest.approx(proposal.cells[-1].hours)

    def test_a_corpus_below_the_smallest_budget_is_used_completely(self) -> None:
        proposal = propose(2 * 4096, 1)
        assert [cell.unique_tokens for cell in proposal.cells] == [proposal.available_tokens]

    def test_several_models_share_the_hours(self) -> None:
        one, two = propose(10_000_000, 4, ("nano",)), propose(10_000_000, 4, ("nano", "micro"))
        assert two.study.grid.models == ("nano", "micro")
        assert two.hours <= 4
        assert two.cells[-1].unique_tokens < one.cells[-1].unique_tokens

    def test_too_few_hours_are_refused_with_those_that_suffice(self) -> None:
        with pytest.raises(StudyError, match="10,000 unique tokens, which take 0") as caught:
            propose(1_000_000, 0.001)
        assert caught.value.code == "init.too-few-hours"


def test_a_corpus_becomes_a_study_that_can_be_planned(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """On this machine, with measured times."""
    corpus = tmp_path / "2024 😀.jsonl"
    corpus.write_text("".join(json.dumps({"text": f"{n} " + "a line of it " * 40}) + "\n" for n in range(60)))
    out = str(tmp_path / "mine.yaml")
    arguments = ["init", str(corpus), "--hours", "50", "--model", "pico", "--epochs", "8", "--seeds", "2", "--out", out]
    assert main(arguments) == 0
    text = capsys.readouterr().out
    assert "1 file of 0.0 MB, 60 documents" in text
    assert f"crossover run {out}" in text
    study = load_study(out)
    assert (study.name, study.grid.models, len(study.seeds)) == ("2024", ("pico",), 2)
    assert main(["plan", out, "--no-measure"]) == 0
    assert main(arguments) == 2
    assert "[init.exists]" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--hours", "0"], "--hours: 0 hours"),
        (["--hours", "nan"], "--hours"),
        (["--model", "giant"], "grid.models.0: unknown model 'giant'"),
        (["--seeds", "0"], "seeds: no seed trains nothing"),
        (["--epochs", "-1"], "training.epochs"),
        (["--name", "No Name"], "name: "),
    ],
)
def test_wrong_flags_are_named(
    flags: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["init", "stdlib:", "--out", str(tmp_path / "s.yaml"), *flags]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "s.yaml").exists()
