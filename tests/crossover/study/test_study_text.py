"""A study's text: what YAML and JSON may hold, and that every wrong field is named, with its value."""

from __future__ import annotations

import json

import pytest

from crossover.errors import StudyError
from crossover.settings import get_settings
from crossover.study.load_study import parse_study


def refused(text: str) -> StudyError:
    with pytest.raises(StudyError) as caught:
        parse_study(text)
    return caught.value


@pytest.mark.parametrize("text", ["Which wins? 🙂", "𝔘nicode 𝒳", "ü € 中"])
def test_any_character_comes_through_json_as_through_yaml(text: str) -> None:
    """JSON escapes a character beyond U+FFFF as two halves."""
    for ascii_only in (True, False):
        written = json.dumps({"question": text, "data": {"source": f"text:{text}/*"}}, ensure_ascii=ascii_only)
        study = parse_study(written)
        assert (study.question, study.data.source) == (text, f"text:{text}/*")
    assert parse_study(study.model_dump_json()).digest == study.digest


def test_half_of_a_character_is_refused() -> None:
    error = refused('{"name": "x",\n "question": "\\ud83d"}')
    assert error.code == "study.not-yaml"
    assert "line 2" in error.problem
    assert "half of a character" in error.problem
    str(error).encode()


@pytest.mark.parametrize("number", ["1e4", "1E+4", "1.0e4", "10_000", "10000", "10000.0"])
def test_a_whole_number_may_have_an_exponent(number: str) -> None:
    assert parse_study(f"grid: {{unique_tokens: [{number}]}}").grid.unique_tokens == (10000,)


def test_numbers_of_other_fields_are_as_before() -> None:
    study = parse_study("training: {learning_rate: 3e-4, epochs: 1e1, warmup_steps: 1e1}\nseeds: 1e1")
    assert (study.training.learning_rate, study.training.epochs, study.training.warmup_steps) == (3e-4, 10.0, 10)
    assert study.seeds == tuple(range(10))


@pytest.mark.parametrize("name", ["2025-01-15", "no", "on", "12-30"])
def test_a_name_that_yaml_1_1_would_take_for_something_else_is_a_name(name: str) -> None:
    assert parse_study(f"name: {name}").name == name


@pytest.mark.parametrize(("value", "quoted"), [("2025", "'2025'"), ("true", "'true'"), ("1.5", "'1.5'")])
def test_a_number_as_a_name_is_refused_with_the_remedy(value: str, quoted: str) -> None:
    error = refused(f"name: {value}")
    assert (error.field, error.problem) == ("name", f"{value} is not text; put it in quotes: {quoted}")


def test_yes_and_no_are_still_true_and_false_where_these_are_wanted() -> None:
    assert parse_study("training: {compile: yes}").training.compile
    assert not parse_study("training: {compile: no}").training.compile


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("seeds: 2\nname: x\nseeds: 3", "line 3, column 1: the key 'seeds' stands twice, first in line 1"),
        ('{"seeds": 2, "seeds": 3}', "the key 'seeds' stands twice, first in line 1"),
        ("training: {epochs: 1, epochs: 2}", "the key 'epochs' stands twice"),
    ],
)
def test_a_key_twice_is_refused_with_its_line(text: str, problem: str) -> None:
    error = refused(text)
    assert error.code == "study.not-yaml"
    assert problem in error.problem


def test_what_an_anchor_merges_may_be_replaced() -> None:
    study = parse_study("training: &same {epochs: 5}\nevaluation: {points: 3}\nname: x\n")
    assert study.training.epochs == 5
    merged = parse_study(
        "recipes:\n  ar: &a {dropout: 0.1}\n  ar-decay:\n    <<: *a\n    dropout: 0.2\narms: [ar, dlm, ar-decay]"
    )
    assert (merged.recipes["ar"].dropout, merged.recipes["ar-decay"].dropout) == (0.1, 0.2)


def test_a_single_value_is_a_list_of_one() -> None:
    text = (
        "arms: [ar, dlm, ar-decay]\ngrid: {{unique_tokens: {}, models: {}}}\nevaluation: {{tasks: {}}}\n"
        "analysis: {{metrics: {}, axes: {}, tuned: {}, looks: {}}}"
    )
    values = ("10000", "pico", "domain-cloze", "validation_bpb", "tokens", "ar-decay", "5")
    listed = parse_study(text.format(*(f"[{value}]" for value in values)))
    assert parse_study(text.format(*values)).digest == listed.digest
    assert parse_study("seeds: 3").seeds == (0, 1, 2), "a number of seeds is not a list of one"


@pytest.mark.parametrize(
    ("text", "field", "problem"),
    [
        ("grid: {unique_tokens: [1.5]}", "grid.unique_tokens.0", "is not a whole number: 1.5"),
        ("grid: {unique_tokens: [many]}", "grid.unique_tokens.0", "is not a whole number: 'many'"),
        ("training: {epochs: -1}", "training.epochs", "should be greater than 0, found -1"),
        (
            *("training: {schedule: cosin}", "training.schedule"),
            "'cosin' is not 'constant', 'wsd' or 'cosine'; did you mean cosine?",
        ),
        ("analysis: {early_window: 0.4}", "analysis.early_window", "is not a list: 0.4; write [first, second]"),
        ("question:", "question", "is not text: null"),
        ("training: {compile: maybe}", "training.compile", "is neither true nor false: 'maybe'"),
        ("data: corpus", "data", "has no fields (name: value): 'corpus'"),
        ("name: Mine", "name", "'Mine' is no name; use up to 63 of a-z, 0-9 and . _ - with a letter or digit first"),
        ("grid: {models: []}", "grid.models", "should have at least 1 item after validation, not 0, found []"),
    ],
)
def test_a_wrong_value_is_shown(text: str, field: str, problem: str) -> None:
    error = refused(text)
    assert (error.code, error.field, error.problem) == ("study.invalid", field, problem)
    assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("sed: 3", "unknown field; did you mean seeds? (fields: name, question, data,"),
        ("epochs: 3", "unknown field; did you mean training.epochs? (fields: name,"),
        ("recipes: {ar: {dropot: 0.1}}", "unknown field; did you mean dropout? (fields: base, weight_decay,"),
        ("analysis: {metrics: [{name: validation_bpb, dleta: 1}]}", "unknown field; did you mean delta? (fields:"),
        ("xyzzy: 3", "unknown field (fields: name, question,"),
    ],
)
def test_an_unknown_field_is_answered_with_the_one_that_was_meant(text: str, start: str) -> None:
    assert refused(text).problem.startswith(start)


@pytest.mark.parametrize(
    ("text", "field", "start"),
    [
        ("arms: [ar, dlm, ar-decya]", "arms.2", "unknown arm 'ar-decya'; did you mean ar-decay? Choose from ar, dlm,"),
        ("grid: {models: [nanoo]}", "grid.models.0", "unknown model 'nanoo'; did you mean nano? Choose from "),
        ("recipes: {ar-decya: {dropout: 0.1}}", "arms", "the recipe 'ar-decya' is for none of the arms ar, dlm"),
        (
            "analysis: {candidate: dml}",
            "analysis.candidate",
            "'dml' is none of the arms ar, dlm; did you mean dlm?",
        ),
        (
            "analysis: {tuned: [ar-decay]}",
            "analysis.tuned",
            "'ar-decay' is not an arm of this study of the baseline's",
        ),
        (
            *("analysis: {metrics: [validation_bpp]}", "analysis.metrics.0"),
            "unknown metric 'validation_bpp'; did you mean validation_bpb? In curves of your own a metric may",
        ),
        (
            *("analysis: {metrics: [{name: hellaswag_acuracy}]}", "analysis.metrics.0"),
            "unknown metric 'hellaswag_acuracy'; did you mean hellaswag_accuracy? In curves of",
        ),
        (
            *("analysis: {metrics: [xyzzy]}", "analysis.metrics.0"),
            "unknown metric 'xyzzy'. In curves of your own a metric may have any name, with direction and delta",
        ),
    ],
)
def test_an_unknown_name_is_answered_with_the_one_that_was_meant(text: str, field: str, start: str) -> None:
    error = refused(text)
    assert error.field == field
    assert error.problem.startswith(start)


@pytest.mark.parametrize(
    ("name", "evaluation", "words"),
    [
        ("validation_bp", "{}", "is recorded by no task or stage; did you mean validation_bpb?"),
        ("domain-cloze_acuracy", "{}", "is recorded by no task or stage; did you mean domain-cloze_accuracy?"),
        ("xyzzy", "{}", "is recorded by no task or stage; leave it out"),
        ("domain-cloz_accuracy", "{}", "evaluation.tasks lacks; did you mean domain-cloze?"),
        ("training_loss", "{}", "is recorded while training"),
        ("chain_rule_bpb", "{chain_rule_points: 0}", "evaluation.chain_rule_points; set it"),
        ("sample_copied_32", "{samples: 0}", "evaluation.samples; set it"),
        ("heldout_extraction_rate", "{passages: 0}", "evaluation.passages; set it"),
        ("sample_entropy", "{writing_points: 0}", "evaluation.writing_points; set it"),
        ("sample_perplexity", "{}", "evaluation.scorer; set it"),
    ],
)
def test_a_metric_that_is_not_measured_is_refused(name: str, evaluation: str, words: str) -> None:
    metric = f"{{name: {name}, direction: lower, delta: 0.02}}"
    error = refused(f"evaluation: {evaluation}\nanalysis: {{metrics: [validation_bpb, {metric}]}}")
    assert (error.field, error.remedy) == ("analysis.metrics", "correct analysis.metrics")
    assert error.problem.startswith(f"{name!r} is ")
    assert words in error.problem


def test_metrics_of_packs_and_of_written_text_need_no_more_than_their_settings() -> None:
    study = parse_study(
        "evaluation: {tasks: [my-pack], scorer: a}\n"
        "analysis: {metrics: [my-pack_exact_match, sample_copied_32, chain_rule_bpb, extraction_rate,"
        " {name: sample_bpb, delta: 0.1}]}"
    )
    assert len(study.analysis.metrics) == 5
    assert refused("analysis: {metrics: [{name: xyzzy, direction: lower}]}").field == "analysis.metrics.0.delta"


def test_metrics_of_a_task_that_is_not_evaluated_are_no_default_and_refused_where_named() -> None:
    for unwritten in ("", "analysis: {axes: [tokens]}\n"):
        study = parse_study(f"evaluation: {{tasks: []}}\n{unwritten}")
        assert [metric.name for metric in study.analysis.metrics] == ["validation_bpb"]
    error = refused("evaluation: {tasks: [blimp]}\nanalysis: {metrics: [validation_bpb, domain-cloze_accuracy_norm]}")
    assert error.field == "analysis.metrics"
    assert error.problem.startswith("'domain-cloze_accuracy_norm' is of a task that evaluation.tasks lacks")


@pytest.mark.parametrize("text", ["name: x", "analysis: {axes: [tokens]}", "evaluation: {tasks: []}"])
def test_a_study_without_its_defaults_is_the_same_study(text: str) -> None:
    study = parse_study(text)
    assert parse_study(json.dumps(study.model_dump(mode="json", exclude_defaults=True))).digest == study.digest


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("training: {microbatch_size: 3}", "training.microbatch_size and training.batch_size"),
        ("training: {expert_parallel: 2}", "training.expert_parallel and training.data_parallel"),
        ("training: {decay_shape: exponential}", "training.decay_shape and training.final_rate"),
        ("training: {decay_steps: 4}", "training.decay_steps and training.decay_shape and training.schedule"),
        (
            *("training: {epochs: 0.01}",),
            "training.epochs and training.batch_size and evaluation.first_epoch",
        ),
        ("recipes: {ar: {batch_size: 3}}\ntraining: {microbatch_size: 2}", "recipes.ar and training"),
        ("tuning: {learning_rates: [0.1], seeds: [0]}", "tuning.seeds and seeds"),
        (
            *("tuning: {learning_rates: [0.1]}\nrecipes: {ar: {learning_rate: 1}}",),
            "recipes.ar.learning_rate and tuning.learning_rates",
        ),
        ("tuning: {weight_decays: [0.1]}", "tuning.weight_decays and tuning.learning_rates"),
        ("grid: {unique_tokens: [9]}", "grid.unique_tokens and data.sequence_length"),
        ("analysis: {comparisons: [frontier]}", "analysis.comparisons and grid.models"),
        ("analysis: {baseline: dlm}", "analysis.baseline and analysis.candidate"),
        ("analysis: {early_window: [0.5, 0.9]}", "analysis.early_window and analysis.late_window"),
        ("analysis: {looks: [3]}", "analysis.looks"),
        ("data: {source: 'text:a', sources: [{source: 'text:b', share: 1}]}", "data.source and data.sources"),
        ("data: {deduplication: {bands: 7}}", "data.deduplication.bands and data.deduplication.hashes"),
        ("data: {quality: {scorer: column}}", "data.quality.scorer and data.quality.column"),
        (
            "data: {cleaning: {minimum_words: 9, maximum_words: 8}}",
            "data.cleaning.maximum_words and data.cleaning.minimum_words",
        ),
    ],
)
def test_a_fault_across_fields_names_them(text: str, field: str) -> None:
    error = refused(text)
    assert (error.field, error.remedy) == (field, f"correct {field}")


def test_unknown_names_are_listed_with_the_other_faults() -> None:
    error = refused(
        "sed: 3\narms: [ar, dlm, gpt]\ngrid: {models: [nanoo, huge]}\ntraining: {epochs: -1}\n"
        "analysis: {metrics: [validation_bpp], alpha: 2}"
    )
    assert [line.partition(":")[0].strip() for line in error.problem.splitlines()[1:]] == [
        *("grid.models.0", "grid.models.1", "arms.2", "training.epochs", "analysis.metrics.0", "analysis.alpha", "sed")
    ]
    assert "unknown model 'nanoo'; did you mean nano?" in error.problem
    assert "unknown model 'huge'" in error.problem


def test_every_fault_is_listed_one_a_line() -> None:
    error = refused("sed: 3\nname: 7\ntraining: {epochs: -1, batch_size: x}\ngrid: {unique_tokens: [a, 2]}")
    lines = str(error).splitlines()
    assert lines[0] == "study: 5 fields are wrong:"
    assert [line.partition(":")[0].strip() for line in lines[1:-1]] == [
        *("name", "grid.unique_tokens.0", "training.epochs", "training.batch_size", "sed")
    ]
    assert lines[-1] == "correct them [study.invalid]"


def test_every_wrong_setting_is_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    from crossover.errors import WorkspaceError

    monkeypatch.setenv("CROSSOVER_THREADS", "many")
    monkeypatch.setenv("CROSSOVER_PLANNED_MFU", "40")
    get_settings.cache_clear()
    with pytest.raises(WorkspaceError) as caught:
        get_settings()
    assert caught.value.code == "settings.invalid"
    assert "\n  CROSSOVER_THREADS: is not a whole number: 'many'" in caught.value.problem
    assert "\n  CROSSOVER_PLANNED_MFU: should be less than or equal to 1, found '40'" in caught.value.problem
    get_settings.cache_clear()
