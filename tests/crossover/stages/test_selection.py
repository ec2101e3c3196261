"""The runs of a round as one line of text: there and back, and refused by name."""

from __future__ import annotations

import pytest

from crossover.errors import StudyError
from crossover.stages.run_selection import check_rounds, looks_note, parse_selection, selection_text
from crossover.study.study_config import StudyConfig

STUDY = StudyConfig.model_validate(
    {
        "grid": {"unique_tokens": [10_000, 20_000], "models": ["nano"]},
        "seeds": [0, 1, 2, 3, 4, 7],
        "analysis": {"looks": [5, 6]},
    }
)
WITHOUT_LOOKS = STUDY.model_copy(update={"analysis": STUDY.analysis.model_copy(update={"looks": ()})})


def test_there_and_back() -> None:
    text = "u10000-nano:0,1,7;u20000-nano:3"
    found = parse_selection(STUDY, text)
    assert found == {"u10000-nano": (0, 1, 7), "u20000-nano": (3,)}
    assert selection_text((cell, seed) for cell, seeds in found.items() for seed in seeds) == text


def test_every_arm_names_its_seed_and_it_is_written_once() -> None:
    assert selection_text([("a", 2), ("a", 2), ("b", 0), ("a", 1)]) == "a:2,1;b:0"
    assert selection_text([]) == ""


def test_empty_is_everything_and_order_is_the_study_s() -> None:
    everything = {"u10000-nano": STUDY.seeds, "u20000-nano": STUDY.seeds}
    assert parse_selection(STUDY, "") == parse_selection(STUDY, " \n") == everything
    assert parse_selection(WITHOUT_LOOKS, "") == everything, "a whole study needs no looks"
    found = parse_selection(STUDY, " u20000-nano : 7, 3 ; u10000-nano:1;u20000-nano:0,0 ")
    assert list(found.items()) == [("u10000-nano", (1,)), ("u20000-nano", (0, 3, 7))]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("u10000-nano:5", "'u10000-nano:5' names no seeds among 0, 1, 2, 3, 4, 7"),
        ("u10000-nano:", "'u10000-nano:' names no seeds"),
        ("u10000-nano", "'u10000-nano' names no seeds"),
        ("u10000-nano:0,,1", "names no seeds"),
        ("u10000-nano:-1", "names no seeds"),
        ("u10000-nano:one", "names no seeds"),
        ("u30000-nano:0", "'u30000-nano:0' names no cell among u10000-nano, u20000-nano"),
        ("u10000-nano:0;", "'' names no cell"),
        (":0", "names no cell"),
    ],
)
def test_what_the_study_does_not_have_is_named(text: str, told: str) -> None:
    with pytest.raises(StudyError, match="write CELL:SEED,SEED") as error:
        parse_selection(STUDY, text)
    assert (error.value.code, error.value.field) == ("run.bad-selection", "runs")
    assert told in str(error.value)


def test_a_part_of_a_study_without_looks_is_refused() -> None:
    for check in (check_rounds, lambda study: parse_selection(study, "u10000-nano:0")):
        with pytest.raises(StudyError, match="judged at the plan's looks only, and there are none") as error:
            check(WITHOUT_LOOKS)
        assert (error.value.code, error.value.field) == ("run.rounds-need-looks", "analysis.looks")
    with pytest.raises(StudyError, match="the first look is at 5 seed pairs, and there are 4 seeds"):
        check_rounds(STUDY.model_copy(update={"seeds": (0, 1, 2, 3)}))


def test_a_study_names_its_looks_alone() -> None:
    assert STUDY.analysis.metrics == StudyConfig().analysis.metrics


def test_looks_are_planned_with_their_runs_and_those_out_of_reach_are_named() -> None:
    assert looks_note(WITHOUT_LOOKS) == ""
    assert looks_note(STUDY) == "in rounds (`--rounds`): judged at 5, 6 seed pairs, 20 runs up to the first"
    few = STUDY.model_copy(update={"seeds": (0, 1, 2, 3, 4)})
    assert looks_note(few).endswith("; the study has 5 seeds, so that it never reaches 6")
    none = STUDY.model_copy(update={"seeds": (0, 1, 2)})
    never = "in rounds (`--rounds`): judged at 5, 6 seed pairs; the study has 3 seeds, so that it never reaches 5, 6"
    assert looks_note(none) == never
    many = STUDY.model_copy(update={"seeds": tuple(range(9))})
    assert looks_note(many).endswith("; of the study's 9 seeds those beyond the last look (3) are never judged")
