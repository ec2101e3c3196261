"""Arms and recipes: what a study may set, what is refused, and how it says so."""

import pytest
from pydantic import ValidationError

from crossover.errors import StudyError
from crossover.study.arms import ARMS, Arm, Recipe, resolve_arm
from crossover.study.load_study import parse_study
from crossover.study.study_config import StudyConfig


def refused(text: str) -> StudyError:
    with pytest.raises(StudyError) as caught:
        parse_study(text)
    return caught.value


def with_recipe(name: str, recipe: str, more: str = "") -> str:
    arms = "ar, dlm" if name in ("ar", "dlm") else f"ar, dlm, {name}"
    return f"arms: [{arms}]\nrecipes: {{{name}: {recipe}}}\n{more}"


def test_the_built_in_arms_are_what_they_say() -> None:
    assert {name: (arm.family, arm.objective) for name, arm in ARMS.items()} == {
        "ar": ("AR", "next-token"),
        "dlm": ("DLM", "masked"),
        "dlm-bernoulli": ("DLM", "masked"),
        "ar-decay": ("AR", "next-token"),
        "ar-dropout": ("AR", "next-token"),
        "ar-masked-input": ("AR", "next-token"),
        "bd": ("DLM", "block-masked"),
        "dlm-fixed-order": ("DLM", "block-masked"),
    }
    assert all(arm.causal == (arm.family == "AR") for arm in ARMS.values())
    set_apart = {
        name: arm.model_dump(exclude_defaults=True, exclude={"name", "objective", "description"})
        for name, arm in ARMS.items()
    }
    assert set_apart == {
        "ar": {},
        "dlm": {},
        "dlm-bernoulli": {"mask_sampling": "bernoulli"},
        "ar-decay": {"weight_decay": 1.0},
        "ar-dropout": {"dropout": 0.1},
        "ar-masked-input": {"input_mask": 0.3},
        "bd": {"block_length": 16},
        "dlm-fixed-order": {"block_length": 1},
    }
    assert {name: arm.isolates for name, arm in ARMS.items() if arm.isolates} == {
        "ar-dropout": "Monte Carlo augmentation",
        "ar-masked-input": "Monte Carlo augmentation",
        "bd": "any-order modelling",
        "dlm-fixed-order": "any-order modelling",
    }


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("ar", {"weight_decay": 0.0}),
        ("ar-dropout", {"dropout": 0.0}),
        ("ar-masked-input", {"input_mask": 0.5, "dropout": 0.2}),
        ("dlm", {"mask_sampling": "bernoulli", "expert_choice": True}),
        ("bd", {"block_length": 4}),
    ],
)
def test_a_recipe_overrides_what_it_names_and_nothing_else(name: str, changes: dict[str, object]) -> None:
    result = resolve_arm(name, Recipe.model_validate(changes))
    left = {"description"} | set(changes)
    assert result.model_dump(exclude=left) == ARMS[name].model_dump(exclude=left)
    assert result.model_dump(include=set(changes)) == changes
    for key, value in changes.items():
        assert f"{key.replace('_', ' ')} {value}" in result.description
    assert resolve_arm(name, None) is ARMS[name]


def test_a_new_arm_starts_from_its_base() -> None:
    heavy = resolve_arm("heavy", Recipe(base="ar-decay", weight_decay=1.6))
    assert (heavy.name, heavy.family, heavy.weight_decay) == ("heavy", "AR", 1.6)
    assert heavy.description == "ar-decay with weight decay 1.6"
    twin = resolve_arm("twin", Recipe(base="bd"))
    assert twin == ARMS["bd"].model_copy(update={"name": "twin"})
    assert resolve_arm("ar", Recipe(base="dlm")).objective == "masked"


@pytest.mark.parametrize(
    ("base", "recipe", "words"),
    [
        ("dlm", "{base: dlm, input_mask: 0.1}", "input_mask is for next-token arms, and 'x' is masked"),
        ("bd", "{base: bd, input_mask: 0.1}", "input_mask is for next-token arms, and 'x' is block-masked"),
        (
            "ar",
            "{base: ar, mask_sampling: bernoulli}",
            "mask_sampling is for masked arms, and 'x' is next-token",
        ),
        (
            "bd",
            "{base: bd, mask_sampling: bernoulli}",
            "mask_sampling is for masked arms, and 'x' is block-masked",
        ),
        ("ar", "{base: ar, block_length: 4}", "block_length is for block-masked arms, and 'x' is next-token"),
        ("dlm", "{base: dlm, block_length: 4}", "block_length is for block-masked arms, and 'x' is masked"),
        ("ar", "{base: ar, expert_choice: true}", "leak into earlier ones: 'x' is next-token"),
        ("bd", "{base: bd, expert_choice: true}", "leak into earlier ones: 'x' is block-masked"),
    ],
)
def test_what_an_objective_has_not_is_refused_by_the_arms_name(base: str, recipe: str, words: str) -> None:
    error = refused(with_recipe("x", recipe))
    assert error.code == "study.invalid"
    assert words in error.problem
    assert "\n" not in str(error)
    assert resolve_arm("x", Recipe(base=base)).name == "x"  # without that setting it stands


def test_a_block_masked_arm_needs_its_blocks() -> None:
    with pytest.raises(ValidationError, match="block_length is for block-masked arms, and 'b' is block-masked"):
        Arm(name="b", objective="block-masked", description="")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("arms: [ar, dlm, x]", "unknown arm 'x'; choose from ar, dlm,"),
        (with_recipe("x", "{base: nothing}"), "unknown arm 'nothing'; choose from ar, dlm,"),
        (with_recipe("x", "{dropout: 0.2}"), "unknown arm 'x'"),
        ("recipes: {bd: {block_length: 4}}", "the recipe 'bd' is for none of the arms ar, dlm"),
        (
            with_recipe("dlm", "{expert_choice: true}"),
            "recipes.dlm.expert_choice and grid.models: no model of the grid has experts",
        ),
        ("arms: [ar, dlm, ar]", "an arm stands twice in ['ar', 'dlm', 'ar']"),
        ("arms: [ar, bd]", "analysis.candidate: 'dlm' is none of the arms ar, bd"),
    ],
)
def test_a_study_says_what_is_wrong_with_its_arms(text: str, problem: str) -> None:
    error = refused(text)
    assert problem in f"{error.field}: {error.problem}"


@pytest.mark.parametrize(
    ("recipe", "field"),
    [
        ("{dropout: 0.96}", "recipes.ar.dropout"),
        ("{input_mask: -0.1}", "recipes.ar.input_mask"),
        ("{weight_decay: -1}", "recipes.ar.weight_decay"),
        ("{block_length: 0}", "recipes.ar.block_length"),
        ("{mask_sampling: antithetic}", "recipes.ar.mask_sampling"),
        ("{lr: 1}", "recipes.ar.lr"),
    ],
)
def test_a_ratio_out_of_range_names_its_field(recipe: str, field: str) -> None:
    error = refused(with_recipe("ar", recipe))
    assert (error.code, error.field) == ("study.invalid", field)


def test_a_badly_named_arm_is_not_blamed_on_the_studys_own_name() -> None:
    error = refused("name: fine\narms: [ar, dlm, Big]\nrecipes: {Big: {base: ar}}")
    assert error.field != "name"


def test_expert_choice_stands_where_the_grid_has_experts() -> None:
    text = with_recipe("dlm", "{expert_choice: true}", "grid: {models: [pico, mini-moe]}")
    study = parse_study(text)
    assert study.arm("dlm").expert_choice
    assert not study.arm("ar").expert_choice
    assert study.digest != StudyConfig.model_validate(study.model_dump() | {"recipes": {}}).digest
