"""`crossover measure-serving`: real predictors of a small study, what is recorded of them, and what is refused."""

from __future__ import annotations

import json
import shutil
from argparse import Namespace
from pathlib import Path

import pytest

from crossover.cli import main
from crossover.commands import measure_serving_command, serving_measurements
from crossover.commands.measure_serving_command import measure_serving
from crossover.errors import CrossoverError, StudyError
from crossover.registry import Registry
from crossover.registry.open_registry import open_registry
from crossover.stages.serving_record import SERVING, serving_of
from crossover.stages.stage_manifests import AnalysisRef
from crossover.storage import open_store
from crossover.study.study_config import StudyConfig
from tests.crossover.report.test_serving_lines import FOUND, comparison
from tests.crossover.stages.trained_study import run_stages
from tests.services.registry_server import serving as serving_registry

FLAGS = ["--concurrency", "1,2", "--repeats", "2", "--tokens", "8", "--block-length", "4"]


def test_a_study_is_measured_and_its_report_says_so(
    trained: tuple[StudyConfig, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study, done = trained
    shutil.copytree(done, tmp_path / "ws")
    registry = f"sqlite:///{tmp_path / 'r.sqlite'}"
    place = [str(tmp_path / "ws"), "--registry", registry]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CROSSOVER_REGISTRY_URL", registry)
        run_stages(study, str(tmp_path / "ws"))  # again, into this registry
    assert main(["report", str(tmp_path / "ws")]) == 0
    assert "Serving" not in capsys.readouterr().out

    exact = ["--cache", "exact", "--confidence-threshold", "0"]
    assert main(["measure-serving", *place, *FLAGS, *exact, "--json"]) == 0

    output = capsys.readouterr()
    measured = json.loads(output.out)
    assert output.err.count("at once, tokens/s") == 4
    assert measured["agreement"] == 1, "the setting is the exact one"
    assert (measured["answer_tokens"], measured["baseline"]["arm"], measured["candidate"]["arm"]) == (8, "ar", "dlm")
    assert [rate["concurrency"] for rate in measured["exact"]["rates"]] == [1, 2]
    assert all(len(rate["tokens_per_second"]) == 2 for rate in measured["baseline"]["rates"])
    assert json.loads((tmp_path / "ws" / SERVING).read_text())["comparison"] == measured
    with Registry.open_read_only(registry) as opened:
        (row,) = opened.view_rows("serving_crossovers", {"study": study.name})
        assert (row["outcome"], row["agreement"], row["newest"]) == (measured["crossing"]["outcome"], 1, 1)
        rows = opened.view_rows("serving", {})
        assert sorted((row["arm"], row["concurrency"]) for row in rows) == [
            *(("ar", 1), ("ar", 2), ("dlm", 1), ("dlm", 1), ("dlm", 2), ("dlm", 2)),
        ]
        assert {row["quality"] for row in rows} == {measured[side]["quality"] for side in ("baseline", "candidate")}

    assert main(["report", str(tmp_path / "ws")]) == 0
    assert "Serving was measured after this report was written" in capsys.readouterr().out
    assert main(["analyse", *place]) == 0
    for verb in ("report", "advise"):
        assert main([verb, str(tmp_path / "ws")]) == 0
        text = capsys.readouterr().out
        assert "Serving cost at one request at a time: AR" in text
        assert "after this report" not in text
    assert "What serving costs" in (tmp_path / "ws" / "analysis" / "report.html").read_text()
    assert main(["advise", str(tmp_path / "ws"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["serving"] == measured


def test_a_measurement_of_other_checkpoints_is_not_in_a_report(tmp_path: Path) -> None:
    """As after more training: the workspace keeps it, the report of other runs does not show it."""
    store = open_store(str(tmp_path))
    value = {"study": "x", "kind": "serving-ref", "comparison": comparison(FOUND).model_dump(mode="json")}
    store.write_document(SERVING, value, replaces=None)
    assert serving_of(store, []) is None


def test_it_is_recorded_over_http(trained: tuple[StudyConfig, Path], tmp_path: Path) -> None:
    study = trained[0]
    url = f"sqlite:///{tmp_path / 'r.sqlite'}"
    measured = comparison(FOUND)
    with serving_registry(url, tmp_path) as server, open_registry(server.url) as registry:
        registry.register_study(name=study.name, digest=study.digest, config={})
        registry.record_serving_crossover(study.digest, measured.model_dump(mode="json"))
        (row,) = registry.view_rows("serving_crossovers", {})
    assert (row["crossing_at"], row["crossing_low"], row["outcome"]) == (4.0, 3.5, "baseline overtakes")


def test_agreement_falls_where_all_tokens_are_committed_at_once(dlm_url: str) -> None:
    side, fast = (serving_measurements._Side(dlm_url, {"confidence_threshold": value}) for value in (0.0, 1e-6))
    prompts = [[97 + i, 98, 99] for i in range(4)]
    assert serving_measurements._agreement(side, side, prompts, 16) == 1
    assert serving_measurements._agreement(fast, side, prompts, 16) < 0.9


def test_a_failed_request_ends_the_measurement(dlm_url: str) -> None:
    side = serving_measurements._Side(dlm_url, {})
    with pytest.raises(CrossoverError, match=r"4 of 4 requests failed: HTTP 400.*context"):
        serving_measurements._load(side, [[97] * 30] * 4, 30, 2)


@pytest.mark.parametrize(
    ("flag", "value", "error"),
    [
        *(("concurrency", value, "--concurrency: is") for value in ("", "1", "2,1", "1,x", "0,1", "1,1000", "1,1")),
        ("repeats", 1, "--repeats: is 1; give 2 to 100"),
        ("tokens", 0, "--tokens: is 0"),
        ("block_length", 0, "--block-length: is 0"),
        ("confidence_threshold", float("nan"), "--confidence-threshold: is nan"),
    ],
)
def test_flags_out_of_range(flag: str, value: object, error: str, trained: tuple[StudyConfig, Path]) -> None:
    fields = {"concurrency": "1,2", "repeats": 2, "tokens": 8, "block_length": 4, "confidence_threshold": 0.9}
    fields |= {"cache": "dual", "study": str(trained[1]), "out": None, "registry": None, "json": False, flag: value}
    with pytest.raises(StudyError, match=error):
        measure_serving(Namespace(**fields))


def test_a_study_of_one_family(trained: tuple[StudyConfig, Path]) -> None:
    study, done = trained
    analysis = AnalysisRef.read(done / "analysis" / "decision.json")
    one = analysis.model_copy(update={"best": {"dlm": analysis.best["dlm"]}})
    with pytest.raises(StudyError, match=r"its arms are of one family: dlm"):
        measure_serving_command._chosen(study, one)


def test_a_study_that_was_not_analysed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main(["measure-serving", "demo", "--out", str(tmp_path / "ws"), "--registry", f"sqlite:///{tmp_path}/r"]) == 2
    )
    assert "run the stage that writes it first" in capsys.readouterr().err
